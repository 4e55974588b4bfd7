"""Who is calling, and may it: asked by every listener for every call when authentication is on."""

from __future__ import annotations

import hmac
import time
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from typing import Final

from interlock.access import PERMISSIONS, Permission, Powers, Proof, token_key
from interlock.errors import PermissionDenied, Unauthenticated

from interlock_server.access.holder import Holder
from interlock_server.access.rules import Rule, Scope, model_of

_SCHEME: Final = "bearer "
_MAX_TOKEN: Final = 512


@dataclass(frozen=True, slots=True)
class Caller:
    """Somebody who is known."""

    name: str
    """As the history has it: token:NAME or certificate:NAME."""
    powers: Powers
    still_known: Callable[[], bool] = field(default=lambda: True, compare=False, repr=False)
    """Whether it would be let in again: a long call outlives what opened it."""

    def need(self, permission: Permission, model: str) -> None:
        """Refuse unless the caller holds a permission for a model; raises PermissionDenied, Unauthenticated."""
        if not self.still_known():
            raise Unauthenticated(f"what {self.name} was known by has expired or was revoked since this call began")
        if not self.powers.on(permission, model):
            raise denied(self, permission, model)


@dataclass(frozen=True, slots=True)
class _Known:
    """A holder, ready to be met."""

    key: str
    expires_at: float
    caller: Caller


class Gate:
    """Tells who calls, by what `source` says of who is known. Thread-safe.

    A token costs a call one sha256 and one look-up: what is known is prepared once for each change of it.
    """

    def __init__(self, source: Callable[[], tuple[Holder, ...]]) -> None:
        """Take what returns everybody who is known now; the same object while nothing has changed."""
        self._source = source
        self._seen: tuple[Holder, ...] = ()
        self._known: Mapping[tuple[Proof, str], _Known] = {}

    def meet(self, authorization: str | None, certificate: Iterable[str] = ()) -> Caller:
        """Return who shows an Authorization header, or else a certificate with these names; raises Unauthenticated."""
        known = self._look()
        if authorization is not None:
            if authorization[: len(_SCHEME)].lower() != _SCHEME or len(authorization) > _MAX_TOKEN:
                raise Unauthenticated("the authorization is not of the form 'Bearer TOKEN'")
            found = _open(known, Proof.TOKEN, token_key(authorization[len(_SCHEME) :].strip()))
            if found is None:
                raise Unauthenticated(
                    "the token is not known here, has expired or was revoked; `interlock token create` makes one"
                )
            return found
        names = tuple(certificate)
        for name in names:
            found = _open(known, Proof.CERTIFICATE, name)
            if found is not None:
                return found
        if names:
            raise Unauthenticated(
                f"nobody is known by the certificate's names ({', '.join(names)[:300]}) and there is no token; "
                "`interlock identity allow NAME` makes one known"
            )
        raise Unauthenticated(
            "this server wants to know who calls: send a token as `authorization: Bearer TOKEN` "
            "(INTERLOCK_TOKEN_FILE or INTERLOCK_TOKEN for the interlock command and the SDK)"
        )

    def _caller(self, holder: Holder) -> Caller:
        def still_known() -> bool:
            return _open(self._look(), holder.proof, holder.key) is not None

        return Caller(f"{holder.proof.value}:{holder.name}", Powers(holder.grants), still_known)

    def _look(self) -> Mapping[tuple[Proof, str], _Known]:
        holders = self._source()
        if holders is not self._seen:
            if holders != self._seen:
                self._known = {
                    (each.proof, each.key): _Known(each.key, each.expires_at, self._caller(each)) for each in holders
                }
            self._seen = holders
        return self._known


def admit(caller: Caller, rule: Rule | None, model: str = "") -> None:
    """Refuse a call that a caller may not make; raises PermissionDenied. `model` is what the request names, if that."""
    if rule is None:
        raise PermissionDenied("nobody may call this: the server has no rule for it", facts={"caller": caller.name})
    needed, powers = rule.permission, caller.powers
    if rule.scope in (Scope.SOME, Scope.HANDLER, Scope.VISIBLE):
        allowed = powers.somewhere(needed)
    elif rule.scope is Scope.MODEL and model:
        allowed = powers.on(needed, model_of(model))
    else:
        allowed = powers.everywhere(needed)
    if not allowed:
        raise denied(caller, needed, model_of(model) if rule.scope is Scope.MODEL else "", rule.scope)


def denied(caller: Caller, permission: Permission, model: str, scope: Scope = Scope.MODEL) -> PermissionDenied:
    """Say what somebody may not do, and what would be needed."""
    roles = ", ".join(role.value for role, held in PERMISSIONS.items() if permission in held)
    on = "" if scope in (Scope.SOME, Scope.HANDLER, Scope.VISIBLE) else f" model {model!r}" if model else " every model"
    return PermissionDenied(
        f"{caller.name} may not {permission.value}{on}: that takes one of the roles {roles}{' on' if on else ''}{on}",
        facts={"caller": caller.name, "permission": permission.value, "model": model, "roles": roles},
    )


def _open(known: Mapping[tuple[Proof, str], _Known], proof: Proof, key: str) -> Caller | None:
    found = known.get((proof, key))
    # The look-up is by a hash that nobody can choose; the comparison takes the same time wherever two keys differ.
    if found is None or not hmac.compare_digest(found.key.encode(), key.encode()):
        return None
    if found.expires_at and time.time() >= found.expires_at:
        return None
    return found.caller
