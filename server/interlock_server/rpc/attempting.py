"""Who tries what: the attempt behind each call that changes something."""

from __future__ import annotations

import hashlib
import uuid

from google.protobuf.message import Message
from interlock.errors import InvalidArgument
from interlock.model import MutationOptions
from interlock.types import STABLE
from interlock_registry import attempts
from interlock_registry.domain import Action, Attempt

from interlock_server.control.mutations import Mutations
from interlock_server.rpc.access import admitted
from interlock_server.rpc.errors import Context, Request, Response


class Attempting:
    """Makes attempts of calls."""

    def __init__(self, mutations: Mutations) -> None:
        self._mutations = mutations

    async def _permitted(
        self,
        context: Context[Request, Response],
        action: Action,
        request: Message,
        model: str,
        options: MutationOptions,
        *,
        version: int = 0,
        alias: str | None = None,
    ) -> Attempt:
        """Return who tries what; what may or can not be tried so is refused here, a dry run without an event.

        Raises PermissionDenied, FailedPrecondition, InvalidArgument.
        """
        attempt = attempt_of(context, action, request, model, options, version=version, alias=alias)
        caller = admitted()
        if caller is not None:
            async with self._mutations.refusing(attempt):
                caller.check(model)
        attempts.check_rehearsal(action, options)
        try:
            attempts.check_options(action, options)
        except InvalidArgument:
            await self._mutations.recall(attempt)  # under its key it has been refused before, and has its event
            async with self._mutations.refusing(attempt):
                raise
        return attempt


def attempt_of(
    context: Context[Request, Response],
    action: Action,
    request: Message,
    model: str,
    options: MutationOptions,
    *,
    version: int = 0,
    alias: str | None = None,
) -> Attempt:
    """Say who tries what, be it possible or not; `alias` "" is stable, None is for what has none."""
    metadata = {key: value for key, value in context.invocation_metadata() or () if isinstance(value, str)}
    caller = admitted()
    user = metadata.get("interlock-user", "")[:128]
    unknown = f"unverified:{user}" if user else "anonymous"
    return Attempt(
        action=action,
        # Without authentication, a name is only what the caller says of itself.
        actor=unknown if caller is None else caller.caller.name,
        request_id=metadata.get("x-request-id", "")[:128] or uuid.uuid4().hex,
        model=model,
        alias="" if alias is None else alias or STABLE,
        version=version,
        reason=options.reason,
        idempotency_key=options.idempotency_key,
        request_hash=hashlib.sha256(action.value.encode() + request.SerializeToString(deterministic=True)).hexdigest(),
    )
