from __future__ import annotations

import threading
import time
import weakref
from collections.abc import Callable, Mapping

import pytest
from interlock.errors import DeadlineExceeded, Draining, InvalidInput, ModelNotFound, TooLarge
from interlock.protocols.open_inference_pb2 import ModelInferRequest, ModelInferResponse, ModelStreamInferResponse
from interlock_server.front.seam import Call
from interlock_server.settings import Settings
from interlock_server.worker.stream import StreamInference

from tests.unit.server.builders import RecordingConversation

METHOD = "/inference.GRPCInferenceService/ModelStreamInfer"


class Inference:
    """Keeps the requests that it is given, for the test to answer."""

    def __init__(self) -> None:
        self.calls: list[Call] = []

    def start(self, call: Call) -> None:
        self.calls.append(call)

    def answer(self, index: int) -> None:
        request = ModelInferRequest.FromString(self.calls[index].request)
        self.calls[index].done(ModelInferResponse(model_name="m", id=request.id).SerializeToString())


@pytest.fixture
def inference() -> Inference:
    return Inference()


Open = Callable[..., RecordingConversation]


@pytest.fixture
def open_stream(inference: Inference) -> Open:
    def make(metadata: Mapping[str, str] | None = None, **changes: object) -> RecordingConversation:
        call = RecordingConversation(METHOD, b"", metadata)
        StreamInference(inference.start, Settings.load(dict(changes), None)).start(call)
        return call

    return make


def request(id: str) -> bytes:
    return ModelInferRequest(model_name="m", id=id).SerializeToString()


def said(call: RecordingConversation) -> list[ModelStreamInferResponse]:
    return [ModelStreamInferResponse.FromString(data) for data in call.messages]


def ids(call: RecordingConversation) -> list[str]:
    return [message.infer_response.id for message in said(call)]


def test_answers_come_in_the_order_of_their_requests_whatever_order_they_were_ready_in(
    open_stream: Open, inference: Inference
) -> None:
    call = open_stream()
    for name in "abc":
        call.say(request(name))
    inference.answer(2)
    inference.answer(1)
    assert said(call) == []
    inference.answer(0)
    assert ids(call) == ["a", "b", "c"]
    assert all(message.error_message == "" for message in said(call))
    assert all(message.infer_response.parameters["triton_final_response"].bool_param for message in said(call))


def test_a_stream_ends_when_its_caller_has_and_all_is_answered(open_stream: Open, inference: Inference) -> None:
    call = open_stream()
    call.say(request("a"))
    call.stop()
    assert call.ended == 0
    inference.answer(0)
    assert (call.ended, call.error, ids(call)) == (1, None, ["a"])
    empty = open_stream()
    empty.stop()
    assert (empty.ended, empty.error) == (1, None)


def test_an_error_is_a_message_that_names_its_request_and_the_stream_goes_on(
    open_stream: Open, inference: Inference
) -> None:
    call = open_stream()
    for name in "ab":
        call.say(request(name))
    inference.calls[0].fail(InvalidInput("input 'x' is missing"))
    inference.answer(1)
    first, second = said(call)
    assert (first.error_message, first.infer_response.id) == ("input 'x' is missing", "a")
    assert (second.error_message, second.infer_response.id) == ("", "b")
    assert call.ended == 0


def test_an_error_about_bytes_that_are_no_request_names_nobody(open_stream: Open, inference: Inference) -> None:
    call = open_stream()
    call.say(b"\xff\xff")
    inference.calls[0].fail(InvalidInput("no request"))
    assert [(each.error_message, each.infer_response.id) for each in said(call)] == [("no request", "")]


def test_a_caller_that_wants_a_status_gets_what_came_before_and_then_the_status(
    open_stream: Open, inference: Inference
) -> None:
    call = open_stream({"triton_grpc_error": "true"})
    for name in "abc":
        call.say(request(name))
    inference.calls[1].fail(ModelNotFound("m"))
    assert call.ended == 0, "the request before it is not answered yet"
    inference.answer(0)
    assert ids(call) == ["a"]
    assert (call.ended, type(call.error)) == (1, ModelNotFound)
    assert inference.calls[2].cancelled, "nobody will read its answer"
    inference.answer(2)
    call.say(request("d"))
    call.stop()
    assert (call.ended, len(inference.calls)) == (1, 3)


def test_a_stop_ends_streams_once_what_they_asked_is_answered(inference: Inference) -> None:
    streams = StreamInference(inference.start, Settings.load({}, None))
    idle, busy, through, late = (RecordingConversation(METHOD, b"") for _ in range(4))
    for call in (idle, busy, through):
        streams.start(call)
    busy.say(request("a"))
    through.say(request("b"))
    through.stop()
    streams.drain()
    streams.start(late)
    assert isinstance(idle.error, Draining) and isinstance(late.error, Draining)
    assert [busy.ended, through.ended] == [0, 0]
    busy.say(request("c"))
    inference.answer(0)
    inference.answer(1)
    assert ids(busy) == ["a"] and isinstance(busy.error, Draining)
    assert ids(through) == ["b"] and through.ended == 1 and through.error is None
    assert len(inference.calls) == 2


def test_a_caller_that_leaves_takes_its_requests_along(open_stream: Open, inference: Inference) -> None:
    call = open_stream()
    for name in "ab":
        call.say(request(name))
    call.cancel()
    assert [each.cancelled for each in inference.calls] == [True, True]
    inference.answer(0)
    assert said(call) == []


def test_each_request_has_a_deadline_of_its_own(open_stream: Open, inference: Inference) -> None:
    call = open_stream(default_deadline_s=0.05)
    for name in "ab":
        call.say(request(name))
    inference.answer(1)
    assert said(call) == []
    call.ring()
    first, second = said(call)
    assert "default_deadline_s" in first.error_message and first.infer_response.id == "a"
    assert second.infer_response.id == "b"
    assert inference.calls[0].cancelled and not inference.calls[1].cancelled
    inference.answer(0)
    assert len(call.messages) == 2, "a late answer is dropped"


def test_a_request_that_names_a_shorter_time_gets_it(open_stream: Open, inference: Inference) -> None:
    call = open_stream()
    for name in "ab":
        call.say(request(name))
    inference.answer(0)
    inference.calls[1].shorten(time.monotonic() + 0.05)
    call.ring()
    assert "`timeout`" in said(call)[1].error_message


def test_requests_that_name_a_time_leave_nothing_behind_on_a_stream_that_stays(
    open_stream: Open, inference: Inference
) -> None:
    call = open_stream()
    for index in range(5):
        call.say(request(str(index)))
        inference.calls[index].shorten(time.monotonic() + 0.001)
        inference.answer(index)
        call.ring()
    assert len(call.alarms) == 1, "the one for the server's own deadline"


@pytest.mark.parametrize("well", [True, False], ids=["well", "in error"])
def test_who_worked_for_a_request_is_let_go_with_its_answer(
    open_stream: Open, inference: Inference, well: bool
) -> None:
    class Work:
        def forget(self) -> None:
            """Nothing: it is here to be referred to."""

    open_stream().say(request("a"))
    work = Work()
    inference.calls[0].on_cancel(work.forget)
    kept = weakref.ref(work)
    del work
    if well:
        inference.answer(0)
    else:
        inference.calls[0].fail(ModelNotFound("m"))
    assert kept() is None


def test_an_answer_that_is_too_large_can_be_refused_before_it_ends_the_stream(
    open_stream: Open, inference: Inference
) -> None:
    call = open_stream(max_message_bytes=1 << 20)
    call.say(request("a"))
    inference.calls[0].weigh(bytes((1 << 20) - 100))
    with pytest.raises(TooLarge, match="max_message_bytes") as caught:
        inference.calls[0].weigh(bytes(1 << 20))
    inference.calls[0].fail(caught.value)
    assert "an answer" in said(call)[0].error_message
    assert not call.ended


def test_a_request_is_answered_once(open_stream: Open, inference: Inference) -> None:
    call = open_stream()
    call.say(request("a"))
    inference.answer(0)
    inference.answer(0)
    inference.calls[0].fail(DeadlineExceeded("late"))
    assert ids(call) == ["a"]
    with pytest.raises(TypeError):
        inference.calls[0].message(b"")


def test_answers_from_many_threads_keep_their_order(open_stream: Open, inference: Inference) -> None:
    call = open_stream()
    names = [str(number) for number in range(200)]
    for name in names:
        call.say(request(name))

    def answer_all(indices: range) -> None:
        for index in indices:
            inference.answer(index)

    threads = [threading.Thread(target=answer_all, args=(part,)) for part in (range(0, 200, 2), range(199, 0, -2))]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert ids(call) == names
