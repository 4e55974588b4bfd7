"""The signature cache, and what a flow does when a switch happens behind its back: flows driven by hand."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import TypeVar

import numpy as np
import pytest
from google.protobuf.message import Message
from interlock.errors import InvalidInput, ServerUnreachable
from interlock.protocols import open_inference_pb2 as pb
from interlock.types import DType, ModelRef, Signature, TensorSpec
from interlock_client import InferResult
from interlock_client._flow import Answer, Call, Flow
from interlock_client._inference import SignatureCache, infer

from tests.unit.client.scripted import describe

T = TypeVar("T")
FLOAT = Signature((TensorSpec("x", DType.FP32, (None,)),), ())
WHOLE = Signature((TensorSpec("x", DType.INT64, (None,)),), ())
NARROW = Signature((TensorSpec("x", DType.FP32, (3,)),), ())


class Server:
    """What is served now, and which calls it got."""

    def __init__(self, signature: Signature, version: int, property_version: bool = True) -> None:
        self.signature, self.version, self.property_version = signature, version, property_version
        self.calls: list[str] = []
        self.refuses: Callable[[pb.ModelInferRequest], InvalidInput | None] = lambda request: None

    def answer(self, call: Call) -> Message:
        self.calls.append(call.method)
        if call.method == "ModelMetadata":
            found = describe("m", self.signature, self.version)
            if not self.property_version:
                del found.interlock_properties["interlock.version"], found.versions[:]
            return found
        wanted = self.signature.inputs[0].dtype.value
        if pb.ModelInferRequest.FromString(call.request).inputs[0].datatype != wanted:
            raise InvalidInput(f"expects {wanted}")
        return pb.ModelInferResponse(model_name="m", model_version=str(self.version))

    def run(self, flow: Flow[T]) -> T:
        trailing: Mapping[str, str] = {}
        try:
            call = next(flow)
            while True:
                try:
                    message = self.answer(call)
                except InvalidInput as error:
                    call = flow.throw(error)
                else:
                    call = flow.send(Answer(message.SerializeToString(), trailing))
        except StopIteration as done:
            result: T = done.value
            return result


def ask(server: Server, cache: SignatureCache, x: object, ref: str = "m") -> InferResult:
    flow = infer(cache, ref, {"x": x}, outputs=None, parameters=None, request_id="")  # type: ignore[dict-item]
    return server.run(flow)


def test_the_signature_is_fetched_once() -> None:
    server, cache = Server(FLOAT, 1), SignatureCache()
    for _ in range(3):
        assert ask(server, cache, [1.0]).version == 1
    assert server.calls == ["ModelMetadata", "ModelInfer", "ModelInfer", "ModelInfer"]


def test_each_ref_has_a_signature_of_its_own() -> None:
    server, cache = Server(FLOAT, 1), SignatureCache()
    ask(server, cache, [1.0], "m")
    ask(server, cache, [1.0], "m@1")
    assert server.calls.count("ModelMetadata") == 2


def test_an_answer_of_another_version_drops_the_signature() -> None:
    server, cache = Server(FLOAT, 1), SignatureCache()
    ask(server, cache, [1.0])
    server.version = 2
    ask(server, cache, [1.0])
    ask(server, cache, [1.0])
    ask(server, cache, [1.0])
    assert server.calls == ["ModelMetadata", "ModelInfer", "ModelInfer", "ModelMetadata", "ModelInfer", "ModelInfer"]


def test_inputs_that_fit_only_the_new_version_are_sent_after_a_refetch() -> None:
    server, cache = Server(NARROW, 1), SignatureCache()
    ask(server, cache, [1, 2, 3])
    server.signature, server.version = FLOAT, 2
    assert ask(server, cache, [1, 2]).version == 2


def test_a_refusal_by_the_server_after_a_switch_is_answered_with_new_inputs() -> None:
    server, cache = Server(FLOAT, 1), SignatureCache()
    ask(server, cache, [1, 2])
    server.signature, server.version = WHOLE, 2
    assert ask(server, cache, [1, 2]).version == 2


def test_inputs_that_still_do_not_fit_are_refused_after_one_refetch() -> None:
    server, cache = Server(FLOAT, 1), SignatureCache()
    ask(server, cache, [1.0])
    with pytest.raises(InvalidInput, match="got int32"):
        ask(server, cache, np.zeros(1, np.int32))
    assert server.calls == ["ModelMetadata", "ModelInfer", "ModelMetadata"]


def test_a_fresh_signature_is_not_fetched_twice_before_a_refusal() -> None:
    server, cache = Server(FLOAT, 1), SignatureCache()
    with pytest.raises(InvalidInput):
        ask(server, cache, ["text"])
    assert server.calls == ["ModelMetadata"]


def test_a_server_that_names_no_version_in_its_metadata_is_believed_at_its_first_answer() -> None:
    server, cache = Server(FLOAT, 1, property_version=False), SignatureCache()
    ask(server, cache, [1.0])
    ask(server, cache, [1.0])
    assert server.calls.count("ModelMetadata") == 1
    server.version = 2
    ask(server, cache, [1.0])
    ask(server, cache, [1.0])
    assert server.calls.count("ModelMetadata") == 2


def test_the_cache_is_bounded_and_forgets_the_least_recently_used() -> None:
    server, cache = Server(FLOAT, 1), SignatureCache(size=2)
    for ref in ("a", "b", "a", "c"):
        ask(server, cache, [1.0], ref)
    assert cache.get(ModelRef.parse("a")) is not None
    assert cache.get(ModelRef.parse("b")) is None
    assert cache.get(ModelRef.parse("c")) is not None


def test_other_errors_pass_through_and_keep_the_signature() -> None:
    server, cache = Server(FLOAT, 1), SignatureCache()
    ask(server, cache, [1.0])
    flow = infer(cache, "m", {"x": [1.0]}, outputs=None, parameters=None, request_id="")
    next(flow)
    with pytest.raises(ServerUnreachable):
        flow.throw(ServerUnreachable("gone"))
    assert cache.get(ModelRef.parse("m")) is not None
