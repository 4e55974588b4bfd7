"""The gate in front of the admin port's methods."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextvars import ContextVar
from dataclasses import dataclass
from typing import Any, Final

import grpc
import grpc.aio

from interlock_server.access.gate import Caller, Gate, Refused
from interlock_server.access.rules import RPCS, Rule, Scope
from interlock_server.front.credentials import certificate_names
from interlock_server.rpc import errors


@dataclass(frozen=True, slots=True)
class Admitted:
    """Who makes the call that runs, and what it needs."""

    caller: Caller
    rule: Rule

    def check(self, model: str) -> None:
        """Refuse where the caller lacks the permission for a model; raises PermissionDenied."""
        self.caller.need(self.rule.permission, model)

    def sees(self, model: str) -> bool:
        """Whether the caller is told of a model."""
        return self.caller.powers.on(self.rule.permission, model)


_ADMITTED: Final[ContextVar[Admitted | None]] = ContextVar("admitted", default=None)


def admitted() -> Admitted | None:
    """Return who makes the call that runs; None without authentication."""
    return _ADMITTED.get()


class GateInterceptor(grpc.aio.ServerInterceptor):
    """Lets calls through whose callers are known and may make them."""

    def __init__(self, gate: Gate) -> None:
        self._gate = gate

    async def intercept_service(
        self,
        continuation: Callable[[grpc.HandlerCallDetails], Awaitable[grpc.RpcMethodHandler[Any, Any] | None]],
        details: grpc.HandlerCallDetails,
    ) -> grpc.RpcMethodHandler[Any, Any] | None:
        """Put the gate in front of a method."""
        handler = await continuation(details)
        return handler and _guarded(handler, self._gate, RPCS.get(details.method))


def _guarded(handler: Any, gate: Gate, rule: Rule | None) -> Any:
    async def meet(request: Any, context: Any) -> None:
        metadata = {key: value for key, value in context.invocation_metadata() or () if isinstance(value, str)}
        is_named = rule is not None and rule.scope in (Scope.MODEL, Scope.HEALTH)
        found = gate.enter(
            rule,
            lambda: str(getattr(request, rule.field)) if rule is not None and is_named else "",
            authorization=metadata.get("authorization"),
            certificate=lambda: certificate_names(context.auth_context()),
            address=lambda: context.peer().rpartition(":")[0],
        )
        if isinstance(found, Refused):
            await asyncio.sleep(found.after_s)
            await errors.abort(context, found.error)
            raise found.error
        assert rule is not None
        _ADMITTED.set(Admitted(found, rule))

    async def one(request: Any, context: Any) -> Any:
        await meet(request, context)
        inner = handler.stream_unary if handler.request_streaming else handler.unary_unary
        return await inner(request, context)

    async def many(request: Any, context: Any) -> AsyncIterator[Any]:
        await meet(request, context)
        inner = handler.stream_stream if handler.request_streaming else handler.unary_stream
        async for message in inner(request, context):
            yield message

    make = {
        (False, False): grpc.unary_unary_rpc_method_handler,
        (True, False): grpc.stream_unary_rpc_method_handler,
        (False, True): grpc.unary_stream_rpc_method_handler,
        (True, True): grpc.stream_stream_rpc_method_handler,
    }[(handler.request_streaming, handler.response_streaming)]
    behavior: Any = many if handler.response_streaming else one
    return make(
        behavior,
        request_deserializer=handler.request_deserializer,
        response_serializer=handler.response_serializer,
    )
