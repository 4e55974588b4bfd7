"""The same cases over the wire: registered, promoted and asked, each the next version of one of a few models."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, cast

import grpc
from interlock.errors import InterlockError
from interlock.model import ServingConfig
from interlock.protocols import open_inference_pb2 as pb
from interlock.protocols.open_inference_pb2_grpc import GRPCInferenceServiceStub
from interlock_client import Admin

from tests.conformance.backend.cases import Case
from tests.conformance.backend.direct import Exchange, Tensor

LANES: Final = 6
"""Cases at a time. Each lane is a model whose versions are its cases, so that only a few of them are loaded at once."""
_TIMEOUT_S: Final = 120.0


@dataclass(frozen=True)
class Asked:
    """How one case went."""

    case: Case
    problem: str
    """"" where every answer was the one of the process, bit for bit."""


def ask(
    work: Sequence[tuple[Case, Sequence[Exchange]]],
    admin: Admin,
    channel: grpc.Channel,
    folder: Path,
    done: Callable[[], None] = lambda: None,
) -> list[Asked]:
    """Put cases through a server, a few at a time, and hold its answers against the expected ones."""
    waiting = _Shared(work)
    stub = GRPCInferenceServiceStub(channel)

    def lane(number: int) -> list[Asked]:
        asked = []
        for case, exchanges in waiting:
            problem = _problem(case, exchanges, f"onnx-{number}", admin, stub, folder / f"{number}.onnx")
            asked.append(Asked(case, problem))
            done()
        return asked

    lanes = min(LANES, len(work))
    with ThreadPoolExecutor(lanes) as pool:
        return [asked for found in pool.map(lane, range(lanes)) for asked in found]


class _Shared:
    """An iterator that several threads take from."""

    def __init__(self, items: Iterable[tuple[Case, Sequence[Exchange]]]) -> None:
        self._items = iter(items)
        self._lock = threading.Lock()

    def __iter__(self) -> Iterator[tuple[Case, Sequence[Exchange]]]:
        return self

    def __next__(self) -> tuple[Case, Sequence[Exchange]]:
        with self._lock:
            return next(self._items)


def _problem(
    case: Case, exchanges: Sequence[Exchange], model: str, admin: Admin, stub: GRPCInferenceServiceStub, file: Path
) -> str:
    file.write_bytes(case.content)
    try:
        alone = ServingConfig(max_batch_size=0)
        version = admin.register(model, file, config=alone, note=f"{case.kind}/{case.name}", timeout=_TIMEOUT_S)
        admin.promote(model, version.version, allow_breaking=True, timeout=_TIMEOUT_S)
    except InterlockError as error:
        return f"{error.reason}: {error.message}"
    for index, exchange in enumerate(exchanges):
        try:
            reply = stub.ModelInfer(_request(model, exchange.inputs), timeout=_TIMEOUT_S)
        except grpc.RpcError as error:
            status = cast(Any, error)
            return f"set {index}: {status.code().name}: {status.details()}"
        wrong = _difference(reply, str(version.version), exchange.outputs)
        if wrong:
            return f"set {index}: {wrong}"
    return ""


def _request(model: str, inputs: Sequence[Tensor]) -> pb.ModelInferRequest:
    request = pb.ModelInferRequest(model_name=model)
    for tensor in inputs:
        request.inputs.add(name=tensor.name, datatype=tensor.dtype.value, shape=tensor.shape)
        request.raw_input_contents.append(tensor.raw)
    return request


def _difference(reply: pb.ModelInferResponse, version: str, expected: Sequence[Tensor]) -> str:
    if reply.model_version != version:
        return f"version {reply.model_version} answered, expected was {version}"
    if [output.name for output in reply.outputs] != [tensor.name for tensor in expected]:
        return f"outputs are {[output.name for output in reply.outputs]}"
    for output, raw, tensor in zip(reply.outputs, reply.raw_output_contents, expected, strict=True):
        if (output.datatype, tuple(output.shape)) != (tensor.dtype.value, tensor.shape):
            return f"output {output.name} {output.datatype}{list(output.shape)}, in process {tensor}"
        if raw != tensor.raw:
            return f"output {tensor} has other bits than in process"
    return ""
