"""The gate in front of the inference methods, on this side of the seam: the same on every front."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping

from google.protobuf.descriptor import MethodDescriptor
from google.protobuf.message import DecodeError, Message
from google.protobuf.message_factory import GetMessageClass
from interlock.errors import InvalidArgument
from interlock.protocols.pool import POOL

from interlock_server.access.gate import Caller, Gate, Refused
from interlock_server.access.rules import RPCS, Scope
from interlock_server.front.seam import Arity, Call, Conversation, Handler


class GuardedHandler:
    """Lets calls through to a handler whose callers are known and may make them."""

    def __init__(self, handler: Handler, gate: Gate) -> None:
        self._handler = handler
        self._gate = gate
        self._naming = {path: _naming(path) for path in handler.methods if _names_a_model(path)}

    @property
    def methods(self) -> Mapping[str, Arity]:
        """Every method that is served, by full path."""
        return self._handler.methods

    def handle(self, call: Call) -> None:
        """Take a call, or refuse it; neither blocks nor raises."""
        if self._admitted(call):
            self._handler.handle(call)

    def converse(self, call: Conversation) -> None:
        """Take a conversation, or refuse it; neither blocks nor raises."""
        if self._admitted(call):
            self._handler.converse(call)

    def settle(self) -> None:
        """Have the handler see to what it kept back."""
        self._handler.settle()

    def _admitted(self, call: Call) -> bool:
        rule, authorization = RPCS.get(call.method), call.metadata.get("authorization")
        call.caller = self._gate.usual(rule, authorization)
        if call.caller is not None:
            return True
        found = self._gate.enter(
            rule,
            lambda: self._model(call),
            authorization=authorization,
            certificate=call.identities,
            address=call.origin,
        )
        if not isinstance(found, Refused):
            call.caller = found
            return True
        error = found.error
        if found.after_s:
            call.alarm(time.monotonic() + found.after_s, lambda: call.fail(error))
        else:
            call.fail(error)
        return False

    def _model(self, call: Call) -> str:
        read = self._naming.get(call.method)
        return "" if read is None else read(call.request)


def check(caller: Caller | None, call: Call, model: str) -> None:
    """Refuse a call whose handler has found out which model it is about; None is whom nobody needs to know.

    Raises PermissionDenied.
    """
    if caller is not None:
        caller.need(RPCS[call.method].permission, model)


def _names_a_model(path: str) -> bool:
    rule = RPCS.get(path)
    return rule is not None and rule.scope in (Scope.MODEL, Scope.HEALTH)


def _naming(path: str) -> Callable[[bytes], str]:
    """Return what reads the model's name from a request, with the parser that the method itself uses."""
    _, service, name = path.split("/")
    method: MethodDescriptor = POOL.FindServiceByName(service).methods_by_name[name]
    kind: type[Message] = GetMessageClass(method.input_type)
    field = RPCS[path].field

    def read(request: bytes) -> str:
        try:
            return str(getattr(kind.FromString(request), field))
        except DecodeError as error:
            raise InvalidArgument(f"the request's bytes do not parse as the message that {path} takes") from error

    return read
