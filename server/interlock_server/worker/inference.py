"""Behind the front's seam: every method of the inference port, put together from its parts."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

from google.protobuf.message import DecodeError, Message
from interlock.errors import InterlockError, InvalidArgument, Unimplemented

from interlock_server.faults import opaque
from interlock_server.front.seam import Arity, Call, Conversation
from interlock_server.worker.methods import Methods


class InferenceHandler:
    """Leads each call to the part that answers it."""

    def __init__(self, parts: Sequence[Methods]) -> None:
        self._unary: dict[str, Callable[[bytes], Message]] = {}
        self._calls: dict[str, Callable[[Call], None]] = {}
        self._conversations: dict[str, Callable[[Conversation], None]] = {}
        self._arity: dict[str, Arity] = {}
        self._settle = [part.settle for part in parts if part.settle is not None]
        self._drain = [part.drain for part in parts if part.drain is not None]
        for part in parts:
            self._unary |= part.unary
            self._calls |= {**part.calls, **part.streams}
            self._conversations |= part.conversations
            self._arity |= dict.fromkeys((*part.unary, *part.calls), Arity.UNARY)
            self._arity |= dict.fromkeys(part.streams, Arity.STREAM)
            self._arity |= dict.fromkeys(part.conversations, Arity.CONVERSATION)

    @property
    def methods(self) -> Mapping[str, Arity]:
        """Every method that is served, by full path."""
        return self._arity

    def handle(self, call: Call) -> None:
        """Take a call; neither blocks nor raises."""
        started = self._calls.get(call.method)
        if started is not None:
            started(call)
            return
        answer = self._unary.get(call.method)
        if answer is None:
            call.fail(_no_method(call.method))
            return
        try:
            call.done(answer(call.request).SerializeToString())
        except InterlockError as error:
            call.fail(error)
        except DecodeError:
            call.fail(not_a_message(call.method))
        except Exception as error:  # noqa: BLE001 - a fault of ours must end as this call's answer, and in the log
            call.fail(opaque(error))

    def alone(self, method: str, request: bytes) -> bytes:
        """Return the answer of this worker alone to a method that is answered at once; raises InterlockError."""
        answer = self._unary.get(method)
        if answer is None:
            raise _no_method(method)
        try:
            return answer(request).SerializeToString()
        except DecodeError as error:
            raise not_a_message(method) from error

    def converse(self, call: Conversation) -> None:
        """Take a conversation; neither blocks nor raises."""
        started = self._conversations.get(call.method)
        if started is None:
            call.fail(_no_method(call.method))
            return
        started(call)

    def drain(self) -> None:
        """End what would stay for as long as its caller likes: the server stops."""
        for drain in self._drain:
            drain()

    def settle(self) -> None:
        """See to what the parts kept back."""
        for settle in self._settle:
            settle()


def _no_method(method: str) -> Unimplemented:
    return Unimplemented(f"this server has no method {method}")


def not_a_message(method: str) -> InvalidArgument:
    """Say that a request's bytes are not what its method takes."""
    return InvalidArgument(f"the request's bytes do not parse as the message that {method} takes")
