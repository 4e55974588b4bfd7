"""The registry's own words: attempts, moves, what should be loaded and where aliases lead. Pure."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from enum import Enum
from typing import Final, Generic, TypeVar

from interlock.access import Credential
from interlock.chain import ChainHead, Link
from interlock.errors import FailedPrecondition, InterlockError, VersionInUse
from interlock.golden import Tolerance
from interlock.model import Alias, ServingConfig, Version, VersionState
from interlock.statement import Signed, SignedStatement
from interlock.types import Signature

from interlock_registry.manifest import Blob, Manifest

T = TypeVar("T")


class Action(Enum):
    """What somebody may attempt; the value is its name in events."""

    REGISTER = "register"
    QUANTIZE = "quantize"
    PROMOTE = "promote"
    ROLLBACK = "rollback"
    REMOVE_ALIAS = "alias.remove"
    PIN = "pin"
    UNPIN = "unpin"
    RETIRE = "retire"
    DELETE = "delete"
    SIGN = "sign"
    TRUST = "trust"
    AUDIT_KEY = "audit.key"
    COLLECT = "gc"
    DAMAGE = "damage"
    MEND = "mend"
    ISSUE_TOKEN = "token.issue"
    ROTATE_TOKEN = "token.rotate"
    REVOKE_TOKEN = "token.revoke"
    ALLOW_IDENTITY = "identity.allow"
    REVOKE_IDENTITY = "identity.revoke"
    APPROVE = "approve"
    WITHDRAW = "approval.withdraw"


@dataclass(frozen=True, slots=True, kw_only=True)
class Attempt:
    """Who tries to do what to which model: granted or refused, it becomes exactly one event."""

    action: Action
    actor: str
    request_id: str
    model: str
    alias: str = ""
    version: int = 0
    reason: str = ""
    idempotency_key: str = ""
    request_hash: str = ""
    """Tells requests under one key apart; equal requests have equal hashes."""


@dataclass(frozen=True, slots=True, kw_only=True)
class GivenApproval:
    """An approval as it was given; whether it counts depends on the moment."""

    seq: int
    """The event by which it was given."""
    model: str
    version: int
    alias: str
    digest: str
    approver: str
    reason: str
    given_at: datetime
    expires_at: datetime
    withdrawn_at: datetime | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class KeptAnswer:
    """What an attempt got before, under its idempotency key."""

    request_hash: str
    answer: str
    """Canonical JSON: the answer, or the refusal."""
    refused: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class NewVersion:
    """A validated upload, its blobs stored: all that a version will be, but for its number."""

    model: str
    manifest: Manifest
    golden: Blob | None
    golden_samples: int
    signature: Signature
    config: ServingConfig
    proven: bool
    joinable: bool
    """A batch of two agreed with two singles."""
    tolerances: Mapping[str, Tolerance]
    """By provider."""
    note: str = ""
    tags: Mapping[str, str] = field(default_factory=dict)
    report_json: str = "{}"
    size_bytes: int = 0
    signed: SignedStatement | None = None


@dataclass(frozen=True, slots=True)
class Target:
    """One version that a route leads to."""

    version: int
    weight: int
    """Shares of the route's traffic; all the targets' weights together are the whole."""
    shadow: bool = False
    """Gets copies, and its answers are dropped."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Route:
    """Where an alias leads, at a generation."""

    model: str
    alias: str
    generation: int
    targets: tuple[Target, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class DesiredVersion:
    """A version that every worker should have loaded, with all that it takes to load it."""

    model: str
    version: int
    digest: str
    graph: Blob
    golden: Blob | None
    signature: Signature
    config: ServingConfig
    tolerances: Mapping[str, Tolerance]
    joinable: bool
    damage: str = ""
    """What is wrong with one of its blobs; "" where nothing is known to be. It must not be loaded from them."""
    memory_bytes: int = 0
    """What loading and running it added to a process, measured when it was validated; 0: unknown."""
    signed: tuple[Signed, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class DesiredModel:
    """What should be served of one model; aliases, routes, pins and versions are sorted."""

    name: str
    newest: int
    """The highest version number that was given out."""
    aliases: tuple[Alias, ...]
    routes: tuple[Route, ...]
    pins: tuple[int, ...]
    keep: tuple[DesiredVersion, ...]


@dataclass(frozen=True, slots=True)
class ModelStanding:
    """The versions of a model that are there, ascending; tombstones are not."""

    name: str
    validated: tuple[int, ...]
    retired: tuple[int, ...]


@dataclass(frozen=True, slots=True)
class EpochState:
    """How far the registry is: within an incarnation the epoch only grows, by one with each change."""

    incarnation: str
    epoch: int


@dataclass(frozen=True, slots=True)
class Desired:
    """What should be served, all of it, at one epoch."""

    incarnation: str
    epoch: int
    models: tuple[DesiredModel, ...]
    credentials: tuple[Credential, ...] = ()
    """Who is known: all that were neither revoked nor expired when it was read."""


@dataclass(frozen=True, slots=True, kw_only=True)
class AliasRecord:
    """What is stored of an alias; one that was removed keeps its generation, so that none comes twice."""

    model: str
    alias: str
    version: int
    """0 where the alias does not exist."""
    generation: int
    """The last one given out, 0 where it never existed."""
    stack: tuple[int, ...] = ()

    @property
    def visible_generation(self) -> int:
        """What callers compare with: 0 where the alias does not exist."""
        return self.generation if self.version else 0


@dataclass(frozen=True, slots=True, kw_only=True)
class Candidate:
    """What decides whether an alias may point at a version."""

    model: str
    version: int
    state: VersionState
    signature: Signature


@dataclass(frozen=True, slots=True, kw_only=True)
class Move:
    """A planned move of an alias: it commits only if the alias is still where the plan found it."""

    model: str
    alias: str
    from_version: int
    """0 where the alias does not exist."""
    to_version: int
    stack_after: tuple[int, ...]
    generation_before: int
    """0 where the alias does not exist."""
    generation_after: int
    breaking: tuple[str, ...] = ()
    """Signature differences that break callers, where they were allowed."""

    @property
    def is_noop(self) -> bool:
        """The alias is there already: nothing but the event will be written."""
        return self.from_version == self.to_version


@dataclass(frozen=True, slots=True)
class AliasPlace:
    """Where a page of aliases begins: after this one."""

    model: str = ""
    alias: str = ""


@dataclass(frozen=True, slots=True)
class ChainPart:
    """Some links of the history, and where the history ended when they were read."""

    links: tuple[Link, ...]
    head: ChainHead


@dataclass(frozen=True, slots=True)
class Moved:
    """A move right after its commit, for caches."""

    move: Move
    epoch: int
    at: datetime


@dataclass(frozen=True, slots=True)
class Recalled:
    """What an idempotency key brings back: the answer (JSON) that the attempt got before, or its refusal."""

    answer: str = ""
    refusal: InterlockError | None = None

    def result(self) -> str:
        """Return the answer; raises the refusal."""
        if self.refusal is not None:
            raise self.refusal
        return self.answer


@dataclass(frozen=True, slots=True)
class Committed:
    """The touched model right after a commit, for caches."""

    epoch: int
    desired: DesiredModel


@dataclass(frozen=True, slots=True)
class Registered:
    """A version that has just become visible."""

    version: Version
    committed: Committed


@dataclass(frozen=True, slots=True)
class Page(Generic[T]):
    """A part of a listing."""

    items: tuple[T, ...]
    next_page_token: str
    """"" after the last part."""


_NEXT: Final[Mapping[VersionState, VersionState | None]] = {
    VersionState.VALIDATED: VersionState.RETIRED,
    VersionState.RETIRED: VersionState.DELETED,
    VersionState.DELETED: None,
}


def check_transition(model: str, version: int, *, state: VersionState, to: VersionState) -> None:
    """Let a version go from one state to the next; raises FailedPrecondition, VersionInUse (not retired yet)."""
    if _NEXT[state] is to:
        return
    if state is VersionState.VALIDATED and to is VersionState.DELETED:
        raise VersionInUse(model, version, f"it is not retired; `interlock retire {model} {version}` comes first")
    raise FailedPrecondition(
        f"version {version} of {model!r} is {state.value} and cannot become {to.value}; "
        f"`interlock versions {model}` shows every version's state",
        facts={"model": model, "version": str(version), "state": state.value, "to": to.value},
    )
