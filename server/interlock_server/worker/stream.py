"""Inference over one long call: requests come as messages, and each is answered by one, in their order."""

from __future__ import annotations

import heapq
import threading
import time
from collections import deque
from collections.abc import Callable
from typing import Final

from google.protobuf.message import DecodeError
from interlock.envelope import open_request, varint
from interlock.errors import Draining, InterlockError, TooLarge
from interlock.protocols.open_inference_pb2 import (
    InferParameter,
    ModelInferResponse,
    ModelStreamInferResponse,
)

from interlock_server.front.seam import Call, Conversation, Limits, Trailing
from interlock_server.worker.methods import SERVICE, Methods

ERROR_AS_STATUS: Final = "triton_grpc_error"
"""Metadata key by which a caller asks for a status, and the end of the stream, instead of an error in a message."""
_OVER: Final = (
    "no answer within the deadline: the request's parameter `timeout`, the stream's own, or the server's settings "
    "default_deadline_s and max_deadline_s"
)
_FINAL: Final = ModelInferResponse(
    parameters={"triton_final_response": InferParameter(bool_param=True)}
).SerializeToString()
"""Appended to a serialised answer, which protobuf reads as one message: no model here answers in several parts."""
_INFER_RESPONSE_TAG: Final = b"\x12"
"""Field 2 of ModelStreamInferResponse, length-delimited."""


class StreamInference:
    """Answers ModelStreamInfer calls by whatever answers ModelInfer calls."""

    def __init__(self, infer: Callable[[Call], None], limits: Limits) -> None:
        self._infer = infer
        self._limits = limits
        self._lock = threading.Lock()
        self._open: set[_Stream] = set()
        self._draining = False

    @property
    def methods(self) -> Methods:
        """What it answers."""
        return Methods(conversations={SERVICE + "ModelStreamInfer": self.start}, drain=self.drain)

    def start(self, call: Conversation) -> None:
        """Listen to a call until it ends."""
        limit_s = self._limits.default_deadline_s if call.deadline == float("inf") else self._limits.max_deadline_s
        stream = _Stream(call, self._infer, limit_s, self._limits.max_message_bytes)
        with self._lock:
            self._open.add(stream)
            draining = self._draining
        call.on_cancel(lambda: self._over(stream))
        if draining:
            stream.drain()

    def drain(self) -> None:
        """End every stream once what it has asked is answered: one that asks nothing must not hold a stop up."""
        with self._lock:
            self._draining = True
            streams = tuple(self._open)
        for stream in streams:
            stream.drain()

    def _over(self, stream: _Stream) -> None:
        with self._lock:
            self._open.discard(stream)
        stream.cancel()


class _Stream:
    """The requests of one call that are not answered yet. Its methods may be called from any thread."""

    def __init__(self, call: Conversation, infer: Callable[[Call], None], limit_s: float, most: int) -> None:
        self.most: Final = most
        self._call = call
        self._infer = infer
        self._limit_s = limit_s
        self._lock = threading.Lock()
        self._waiting: deque[_Request] = deque()
        self._ended = self._closed = self._draining = False
        self._alarms: list[float] = []
        """When the call will ring, a heap."""
        self._error_as_status = call.metadata.get(ERROR_AS_STATUS, "").lower() == "true"
        call.listen(self._take, self._end)

    def line(self) -> str:
        """Return what tells the connection that the call came over."""
        return self._call.line()

    def _take(self, data: bytes) -> None:
        request = _Request(self, self._call, data, min(self._call.deadline, time.monotonic() + self._limit_s))
        with self._lock:
            if self._ended:
                return
            self._waiting.append(request)
        self.wake(request.deadline)
        self._infer(request)

    def _end(self) -> None:
        with self._lock:
            self._ended = True
            self._close_if_through()

    def _close_if_through(self) -> None:
        """End the call once, when all is answered and no more will come. Hold the lock."""
        if self._ended and not self._waiting and not self._closed:
            self._closed = True
            if self._draining:
                self._call.fail(Draining())
            else:
                self._call.done()

    def drain(self) -> None:
        """Take no more requests, and end in an error, which says so, once those that came are answered."""
        with self._lock:
            self._draining = self._draining or not self._ended
            self._ended = True
            self._close_if_through()

    def cancel(self) -> None:
        """Give up what is not answered: the call is over."""
        with self._lock:
            self._ended = self._closed = True
            waiting = tuple(self._waiting)
            self._waiting.clear()
        for request in waiting:
            request.cancel()

    def flush(self) -> None:
        """Send the answers that no unanswered request is in front of."""
        dropped: tuple[_Request, ...] = ()
        with self._lock:
            while self._waiting and (self._waiting[0].answer or self._waiting[0].error):
                request = self._waiting.popleft()
                if request.error is None:
                    self._call.message(request.answer)
                elif not self._error_as_status:
                    self._call.message(_error_message(request.request, request.error))
                else:
                    self._call.fail(request.error)
                    self._ended = self._closed = True
                    dropped = tuple(self._waiting)
                    self._waiting.clear()
            self._close_if_through()
        for each in dropped:
            each.cancel()

    def wake(self, at: float) -> None:
        """Look at the deadlines at a time, unless they will be looked at before."""
        with self._lock:
            if self._alarms and at >= self._alarms[0]:
                return
            heapq.heappush(self._alarms, at)
        self._call.alarm(at, self._expire)

    def _expire(self) -> None:
        now = time.monotonic()
        with self._lock:
            if self._alarms:
                heapq.heappop(self._alarms)  # this is its ring, however exact the clock; one too many is only set again
            while self._alarms and self._alarms[0] <= now:
                heapq.heappop(self._alarms)
            open_ = [each for each in self._waiting if not each.answer and each.error is None]
        late = [each for each in open_ if each.deadline <= now]
        left = [each.deadline for each in open_ if each.deadline > now]
        for request in late:
            request.expire(_OVER)
        if left:
            self.wake(min(left))


class _Request(Call):
    """One message of a stream, as a call of its own."""

    __slots__ = ("_stream", "answer", "error")

    def __init__(self, stream: _Stream, call: Conversation, data: bytes, deadline: float) -> None:
        super().__init__(call.method, data, call.metadata, deadline)
        self._stream = stream
        self.caller = call.caller
        self.answer = b""
        self.error: InterlockError | None = None

    def line(self) -> str:
        return self._stream.line()

    def message(self, data: bytes) -> None:
        raise TypeError("a request of a stream is answered once: end it with done()")

    def weigh(self, data: bytes) -> None:
        whole = len(data) + len(_around(data)) + len(_FINAL)
        if whole > self._stream.most:
            raise TooLarge("an answer", whole, self._stream.most, "max_message_bytes")

    def done(self, data: bytes | None = None, trailing: Trailing = ()) -> None:
        if not self.answer and self.error is None:
            self.release()
            body = data or b""
            self.answer = b"".join((_around(body), body, _FINAL))
            self._stream.flush()

    def fail(self, error: InterlockError) -> None:
        if not self.answer and self.error is None:
            self.release()
            self.error = error
            self._stream.flush()

    def alarm(self, at: float, callback: Callable[[], None]) -> None:
        self._stream.wake(at)


def _around(body: bytes) -> bytes:
    """Return what stands before an answer in the message that holds it."""
    return _INFER_RESPONSE_TAG + varint(len(body) + len(_FINAL))


def _error_message(data: bytes, error: InterlockError) -> bytes:
    """Say an error, with the id of the request that it is about."""
    try:
        named = open_request(data).envelope.id
    except DecodeError:
        named = ""
    response = ModelStreamInferResponse(error_message=error.message, infer_response=ModelInferResponse(id=named))
    return response.SerializeToString()
