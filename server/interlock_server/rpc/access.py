"""The gate in front of the admin port's methods."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextvars import ContextVar
from dataclasses import dataclass
from typing import Any, Final

import grpc
import grpc.aio
from interlock.errors import DeadlineExceeded, InvalidArgument, Unavailable

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
    """Lets calls through whose callers are known and may make them.

    A request is read only when its caller is known, and has to be here soon: gRPC itself would hold what strangers
    send, and what is never finished, for as long as they like.
    """

    def __init__(self, gate: Gate, patience_s: float) -> None:
        """Take the gate, and how long a request may take to arrive."""
        self._gate = gate
        self.patience_s = patience_s
        """May be changed at any time."""

    async def intercept_service(
        self,
        continuation: Callable[[grpc.HandlerCallDetails], Awaitable[grpc.RpcMethodHandler[Any, Any] | None]],
        details: grpc.HandlerCallDetails,
    ) -> grpc.RpcMethodHandler[Any, Any] | None:
        """Put the gate in front of a method."""
        handler = await continuation(details)
        return handler and _guarded(handler, self._gate, RPCS.get(details.method), self.patience_s)


def _guarded(handler: Any, gate: Gate, rule: Rule | None, patience_s: float) -> Any:
    async def meet(requests: Any, context: Any) -> Any:
        """Let the caller in and return what its method takes: the requests, or the only one."""
        metadata = {key: value for key, value in context.invocation_metadata() or () if isinstance(value, str)}
        authorization = metadata.get("authorization")

        def certificate() -> tuple[str, ...]:
            return certificate_names(context.auth_context())

        request = requests if handler.request_streaming else None
        if request is None and not gate.is_stranger(rule, authorization, certificate):
            request = await _only(context, patience_s)
        is_named = rule is not None and rule.scope in (Scope.MODEL, Scope.HEALTH)
        found = gate.enter(
            rule,
            lambda: str(getattr(request, rule.field, "")) if rule is not None and is_named else "",
            authorization=authorization,
            certificate=certificate,
            address=lambda: context.peer().rpartition(":")[0],
        )
        if isinstance(found, Refused):
            await asyncio.sleep(found.after_s)
            await errors.abort(context, found.error)
            raise found.error
        if request is None:
            await errors.abort(context, Unavailable(f"{found.name} was not known yet when this call began; try again"))
        assert rule is not None
        _ADMITTED.set(Admitted(found, rule))
        return request

    async def one(requests: Any, context: Any) -> Any:
        request = await meet(requests, context)
        inner = handler.stream_unary if handler.request_streaming else handler.unary_unary
        return await inner(request, context)

    async def many(requests: Any, context: Any) -> AsyncIterator[Any]:
        request = await meet(requests, context)
        inner = handler.stream_stream if handler.request_streaming else handler.unary_stream
        async for message in inner(request, context):
            yield message

    # As streams, whatever the method takes: then it is we who read, and when.
    make = grpc.stream_stream_rpc_method_handler if handler.response_streaming else grpc.stream_unary_rpc_method_handler
    behavior: Any = many if handler.response_streaming else one
    return make(
        behavior,
        request_deserializer=handler.request_deserializer,
        response_serializer=handler.response_serializer,
    )


async def _only(context: Any, patience_s: float) -> Any:
    """Read the only request of a call; one that does not come ends it."""
    try:
        async with asyncio.timeout(patience_s):
            request = await context.read()
    except TimeoutError:
        await errors.abort(context, DeadlineExceeded(f"the request was not here within {patience_s:g} s"))
        raise
    if request is grpc.aio.EOF:
        await errors.abort(context, InvalidArgument("the call ended before its request came"))
    return request
