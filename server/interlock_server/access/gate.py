"""Who is calling, and may it: asked by every listener for every call when authentication is on."""

from __future__ import annotations

import hmac
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field, replace
from functools import partial
from typing import Final

from interlock.access import PERMISSIONS, Permission, Powers, Proof, token_key
from interlock.errors import InterlockError, PermissionDenied, RateExceeded, Unauthenticated

from interlock_server.access.board import Boards
from interlock_server.access.holder import Holder
from interlock_server.access.rates import Rates
from interlock_server.access.rules import MODEL_HEALTH, Rule, Scope, model_of

_SCHEME: Final = "bearer "
_USUAL: Final = "Bearer "
_MAX_TOKEN: Final = 512
_BURST_S: Final = 2.0
_MINUTE_S: Final = 60.0
_TOKEN: Final = Proof.TOKEN
_ON_SOME: Final = frozenset({Scope.SOME, Scope.HANDLER, Scope.VISIBLE, Scope.HEALTH})
_ON_MODEL: Final = Scope.MODEL
_ON_HEALTH: Final = Scope.HEALTH
_IN_HANDLER: Final = Scope.HANDLER
# Members of enums, looked up once: in Python 3.11 that takes a call each time.


@dataclass(frozen=True, slots=True)
class Caller:
    """Somebody who is known."""

    name: str
    """As the history has it: token:NAME or certificate:NAME."""
    powers: Powers
    still_known: Callable[[], bool] = field(default=lambda: True, compare=False, repr=False)
    """Whether it would be let in again: a long call outlives what opened it."""
    rates: Rates | None = field(default=None, compare=False, repr=False)
    """What it may ask how often; None: whatever it likes."""

    def need(self, permission: Permission, model: str) -> None:
        """Refuse unless the caller holds a permission for a model; raises PermissionDenied, Unauthenticated.

        It counts as one more that it asks; raises RateExceeded.
        """
        if self.rates is not None:
            self.count()
        if not self.still_known():
            raise Unauthenticated(f"what {self.name} was known by has expired or was revoked since this call began")
        if not self.powers.on(permission, model):
            raise denied(self, permission, model)

    def count(self) -> None:
        """Count one more that it asks; raises RateExceeded."""
        if self.rates is None:
            return
        after_s = self.rates.take(self.name)
        if after_s:
            raise RateExceeded(
                f"{self.name} asks more than {self.rates.per_s:g} times a second; slow down, or have the server's "
                "setting max_requests_per_s raised",
                facts={"caller": self.name, "limit": f"{self.rates.per_s:g}"},
                retry_after_s=after_s,
            )


ANYBODY: Final = Caller("anybody", Powers(()))
"""Whoever asks what nobody needs to be known for."""


@dataclass(frozen=True, slots=True)
class Refused:
    """How a call ends that is not let in, and after how many seconds."""

    error: InterlockError
    after_s: float = 0.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Manners:
    """What the gate expects of callers; a part of the settings."""

    open_probes: bool = False
    """Whether health may be asked by anybody."""
    requests_per_s: float = 0.0
    """How often one caller may ask; 0: as often as it likes."""
    failures_per_minute: float = 0.0
    """How often an address may fail to be known before its answers are held back; 0: as often as it likes."""
    failure_delay_s: float = 0.0
    """How long they are held back then."""


@dataclass(frozen=True, slots=True)
class _Known:
    """A holder, ready to be met."""

    key: bytes
    expires_at: float
    caller: Caller

    @property
    def is_current(self) -> bool:
        """Whether it has not expired."""
        return not self.expires_at or time.time() < self.expires_at


@dataclass(frozen=True, slots=True)
class _Picture:
    """Everybody who is known at a time: by the hash of a token, by a name in a certificate."""

    holders: tuple[Holder, ...]
    tokens: Mapping[str, _Known]
    certificates: Mapping[str, _Known]
    sign: object
    """Its own, as long as nothing has changed."""

    def find(self, proof: Proof, key: str) -> _Known | None:
        """Return who is known by something, if that has not expired."""
        found = (self.tokens if proof is Proof.TOKEN else self.certificates).get(key)
        # The look-up is by a hash that nobody can choose; the comparison takes as long wherever two keys differ.
        if found is None or not hmac.compare_digest(found.key, key.encode()):
            return None
        return found if found.is_current else None


class Gate:
    """Tells who calls, by what `source` says of who is known. Thread-safe.

    A token costs a call one sha256 and one look-up: what is known is prepared once for each change of it.
    """

    def __init__(
        self,
        source: Callable[[], tuple[Holder, ...]],
        manners: Manners | None = None,
        boards: Boards | None = None,
    ) -> None:
        """Take what returns everybody who is known now; the same object while nothing has changed.

        With boards, how often somebody asks is counted together with the replica's other processes.
        """
        self._source = source
        self._manners = manners = manners or Manners()
        per_s, per_minute = manners.requests_per_s, manners.failures_per_minute
        callers, addresses = (None, None) if boards is None else (boards.callers, boards.addresses)
        self._rates = Rates(per_s, max(1.0, _BURST_S * per_s), board=callers) if per_s else None
        self._failures = Rates(per_minute / _MINUTE_S, max(1.0, per_minute), board=addresses) if per_minute else None
        self._picture = _Picture((), {}, {}, object())
        self._lock = threading.Lock()
        self._refused: Counter[str] = Counter()

    def enter(
        self,
        rule: Rule | None,
        named: Callable[[], str],
        *,
        authorization: str | None,
        certificate: Callable[[], Iterable[str]],
        address: Callable[[], str],
    ) -> Caller | Refused:
        """Let a call in, or say how it ends.

        `named` reads what the request is about, once its caller is known; `address` tells where it comes from.
        """
        try:
            caller = self._greet(rule, authorization, certificate)
            if rule is not None and rule.scope is not _IN_HANDLER:
                caller.count()
            admit(caller, rule, named())
        except Unauthenticated as error:
            return self._failed(error, address)
        except InterlockError as error:
            self._note(error)
            return Refused(error)
        return caller

    def usual(self, rule: Rule | None, authorization: str | None) -> Caller | None:
        """Let in who asks for an inference with a token, in few steps; None where `enter` has to look more closely.

        It lets in nobody whom `enter` would not. Between two small requests the caches have other things to hold, so
        each function that is spared counts for several times what it takes in a loop.
        """
        if rule is None or authorization is None or rule.scope is not _IN_HANDLER or self._rates is not None:
            return None
        picture = self._picture
        if self._source() is not picture.holders:
            return None
        if authorization[: len(_USUAL)] != _USUAL or len(authorization) > _MAX_TOKEN:
            return None
        found = picture.tokens.get(token_key(authorization[len(_USUAL) :]))
        if (
            found is None
            or (found.expires_at and not found.is_current)
            or not found.caller.powers.somewhere(rule.permission)
        ):
            return None
        return found.caller

    def is_stranger(
        self, rule: Rule | None, authorization: str | None, certificate: Callable[[], Iterable[str]]
    ) -> bool:
        """Tell whether `enter` would refuse a call whatever it is about, since its caller is not known."""
        try:
            self._greet(rule, authorization, certificate)
        except Unauthenticated:
            return True
        return False

    def refused(self) -> Mapping[str, int]:
        """Return how many calls were not let in, by the reason of their errors."""
        with self._lock:
            return dict(self._refused)

    def _greet(self, rule: Rule | None, authorization: str | None, certificate: Callable[[], Iterable[str]]) -> Caller:
        if rule is None or not rule.is_open or not self._manners.open_probes:
            return self.meet(authorization, certificate)
        try:
            return self.meet(authorization, certificate)
        except Unauthenticated:
            return ANYBODY

    def _failed(self, error: Unauthenticated, address: Callable[[], str]) -> Refused:
        after_s = 0.0 if self._failures is None else self._failures.take(address())
        if not after_s or self._failures is None:
            self._note(error)
            return Refused(error)
        # What is right goes on being let in from there: one who guesses must not lock out those behind his address.
        slowed = RateExceeded(
            f"too many calls from your address failed to say who they are ({self._failures.burst:g} a minute may); "
            f"this one: {error.message}",
            facts={"limit": f"{self._failures.burst:g}"},
            retry_after_s=after_s,
        )
        self._note(slowed)
        return Refused(slowed, self._manners.failure_delay_s)

    def _note(self, error: InterlockError) -> None:
        with self._lock:
            self._refused[error.reason] += 1

    def meet(self, authorization: str | None, certificate: Callable[[], Iterable[str]] = tuple) -> Caller:
        """Return who shows an Authorization header, or else a certificate; raises Unauthenticated.

        `certificate` reads the names in one, which takes longer than all the rest: it is asked only without a header.
        """
        picture = self._look()
        if authorization is not None:
            if authorization[: len(_SCHEME)].lower() != _SCHEME or len(authorization) > _MAX_TOKEN:
                raise Unauthenticated("the authorization is not of the form 'Bearer TOKEN'")
            found = picture.find(_TOKEN, token_key(authorization[len(_SCHEME) :].strip()))
            if found is None:
                raise Unauthenticated(
                    "the token is not known here, has expired or was revoked; `interlock token create` makes one"
                )
            return found.caller
        names = tuple(certificate())
        for name in names:
            found = picture.find(Proof.CERTIFICATE, name)
            if found is not None:
                return found.caller
        if names:
            raise Unauthenticated(
                f"nobody is known by the certificate's names ({', '.join(names)[:300]}) and there is no token; "
                "`interlock identity allow NAME` makes one known"
            )
        raise Unauthenticated(
            "this server wants to know who calls: send a token as `authorization: Bearer TOKEN` "
            "(INTERLOCK_TOKEN_FILE or INTERLOCK_TOKEN for the interlock command and the SDK)"
        )

    def _look(self) -> _Picture:
        holders, picture = self._source(), self._picture
        if holders is not picture.holders:
            # An equal one is no reason to prepare everything anew.
            same = holders == picture.holders
            picture = self._picture = replace(picture, holders=holders) if same else self._prepare(holders)
        return picture

    def _prepare(self, holders: tuple[Holder, ...]) -> _Picture:
        tokens: dict[str, _Known] = {}
        certificates: dict[str, _Known] = {}
        sign = object()
        for each in holders:
            by = tokens if each.proof is Proof.TOKEN else certificates
            caller = Caller(
                f"{each.proof.value}:{each.name}",
                Powers(each.grants),
                partial(self._still_knows, sign, each),
                self._rates,
            )
            by[each.key] = _Known(each.key.encode(), each.expires_at, caller)
        return _Picture(holders, tokens, certificates, sign)

    def _still_knows(self, sign: object, holder: Holder) -> bool:
        picture = self._picture
        # Nearly always it is still the one that the call began under.
        if picture.sign is sign and self._source() is picture.holders:
            return not holder.expires_at or time.time() < holder.expires_at
        now = self._look()
        return now.find(holder.proof, holder.key) is not None


def admit(caller: Caller, rule: Rule | None, model: str = "") -> None:
    """Refuse a call that a caller may not make; raises PermissionDenied, Unauthenticated (nobody is known).

    `model` is what the request names, if that.
    """
    if rule is None:
        raise PermissionDenied("nobody may call this: the server has no rule for it", facts={"caller": caller.name})
    needed, powers, scope = rule.permission, caller.powers, rule.scope
    if scope is _ON_HEALTH and model.startswith(MODEL_HEALTH):
        needed, scope, model = Permission.DESCRIBE, Scope.MODEL, model.removeprefix(MODEL_HEALTH)
    if caller is ANYBODY:
        if scope is Scope.MODEL:
            raise Unauthenticated("how a model is, is told to whom the server knows: send a token")
        return
    if scope in _ON_SOME:
        allowed = powers.somewhere(needed)
    elif scope is _ON_MODEL and model:
        allowed = powers.on(needed, model_of(model))
    else:
        allowed = powers.everywhere(needed)
    if not allowed:
        raise denied(caller, needed, model_of(model) if scope is Scope.MODEL else "", scope)


def denied(caller: Caller, permission: Permission, model: str, scope: Scope = Scope.MODEL) -> PermissionDenied:
    """Say what somebody may not do, and what would be needed."""
    roles = ", ".join(role.value for role, held in PERMISSIONS.items() if permission in held)
    told = scope in (Scope.EVERY, Scope.MODEL)
    on = "" if not told else f" model {model!r}" if model else " every model"
    return PermissionDenied(
        f"{caller.name} may not {permission.value}{on}: that takes one of the roles {roles}{' on' if on else ''}{on}",
        facts={"caller": caller.name, "permission": permission.value, "model": model, "roles": roles},
    )
