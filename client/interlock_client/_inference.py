"""What `Client` and `AsyncClient` do, as flows: fetch the signature once, check, ask, and notice a switch. No I/O."""

from __future__ import annotations

import threading
from collections import OrderedDict
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

from interlock.errors import InvalidInput
from interlock.protocols import open_inference_pb2 as pb
from interlock.types import ModelRef, Signature

from interlock_client._codec import Codec
from interlock_client._flow import Call, Flow, ask
from interlock_client._infer import (
    InferResult,
    Inputs,
    ModelMetadata,
    Parameters,
    ServerMetadata,
    model_metadata,
)

_CACHED: Final = 256


@dataclass(frozen=True, slots=True)
class _Known:
    signature: Signature
    version: int | None
    codec: Codec


class SignatureCache:
    """Signatures by ref, the least recently used dropped first. Safe to share between threads."""

    def __init__(self, size: int = _CACHED) -> None:
        self._size: Final = size
        self._entries: Final[OrderedDict[ModelRef, _Known]] = OrderedDict()
        self._lock: Final = threading.Lock()

    def get(self, ref: ModelRef) -> _Known | None:
        """Return what is known of a ref, or None."""
        with self._lock:
            found = self._entries.get(ref)
            if found is not None:
                self._entries.move_to_end(ref)
            return found

    def put(self, ref: ModelRef, known: _Known) -> None:
        """Remember a signature."""
        with self._lock:
            self._entries[ref] = known
            self._entries.move_to_end(ref)
            while len(self._entries) > self._size:
                self._entries.popitem(last=False)

    def drop(self, ref: ModelRef) -> None:
        """Forget a ref; the next request fetches its signature again."""
        with self._lock:
            self._entries.pop(ref, None)

    def answered_by(self, ref: ModelRef, version: int) -> None:
        """Drop the entry unless it is of the version that answered; learn the version where it was not known."""
        with self._lock:
            known = self._entries.get(ref)
            if known is None:
                return
            if known.version is None:
                self._entries[ref] = _Known(known.signature, version, known.codec)
            elif known.version != version:
                del self._entries[ref]


@dataclass(frozen=True, slots=True)
class _Question:
    ref: ModelRef
    inputs: Inputs
    outputs: Sequence[str] | None
    parameters: Parameters | None
    request_id: str


def infer(
    cache: SignatureCache,
    ref: str,
    inputs: Inputs,
    *,
    outputs: Sequence[str] | None,
    parameters: Parameters | None,
    request_id: str,
) -> Flow[InferResult]:
    """Ask for one answer.

    A refusal of the inputs, by us or by the server, may be due to a switch to a version with another signature: then
    the signature is fetched again, and the inputs are tried once more if it did change.
    """
    question = _Question(ModelRef.parse(ref), inputs, outputs, parameters, request_id)
    known = cache.get(question.ref)
    if known is None:
        known = yield from _fetch(cache, question.ref)
        return (yield from _attempt(cache, question, known))
    try:
        return (yield from _attempt(cache, question, known))
    except InvalidInput:
        cache.drop(question.ref)
        fresh = yield from _fetch(cache, question.ref)
        if fresh.signature == known.signature:
            raise
    return (yield from _attempt(cache, question, fresh))


def _fetch(cache: SignatureCache, ref: ModelRef) -> Flow[_Known]:
    described = yield from metadata(ref)
    known = _Known(described.signature, described.version, Codec(ref, described.signature))
    cache.put(ref, known)
    return known


def _attempt(cache: SignatureCache, question: _Question, known: _Known) -> Flow[InferResult]:
    request = known.codec.request(
        question.inputs,
        outputs=question.outputs,
        parameters=question.parameters,
        request_id=question.request_id,
    )
    answer = yield Call("ModelInfer", request)
    result = known.codec.result(answer.data, answer.trailing)
    cache.answered_by(question.ref, result.version)
    return result


def metadata(ref: ModelRef) -> Flow[ModelMetadata]:
    """Ask what a ref means now."""
    request = pb.ModelMetadataRequest(name=ref.model, version=ref.wire_version)
    answer = yield from ask("ModelMetadata", request, pb.ModelMetadataResponse)
    return model_metadata(answer.message)


def model_ready(ref: ModelRef) -> Flow[bool]:
    """Ask whether a ref can be asked now."""
    request = pb.ModelReadyRequest(name=ref.model, version=ref.wire_version)
    answer = yield from ask("ModelReady", request, pb.ModelReadyResponse)
    return answer.message.ready


def server_live() -> Flow[bool]:
    """Ask whether the process answers."""
    answer = yield from ask("ServerLive", pb.ServerLiveRequest(), pb.ServerLiveResponse)
    return answer.message.live


def server_ready() -> Flow[bool]:
    """Ask whether the server takes requests."""
    answer = yield from ask("ServerReady", pb.ServerReadyRequest(), pb.ServerReadyResponse)
    return answer.message.ready


def server_metadata() -> Flow[ServerMetadata]:
    """Ask who the server is."""
    answer = yield from ask("ServerMetadata", pb.ServerMetadataRequest(), pb.ServerMetadataResponse)
    found = answer.message
    return ServerMetadata(found.name, found.version, tuple(found.extensions))
