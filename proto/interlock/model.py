"""What the registry holds and what a server tells about itself, as values. Pure; the SDK hands these to its users."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from enum import Enum

from interlock.types import Signature


class VersionState(Enum):
    """VALIDATED → RETIRED → DELETED; a deleted version is a tombstone that keeps its number."""

    VALIDATED = "VALIDATED"
    RETIRED = "RETIRED"
    DELETED = "DELETED"


class ServableState(Enum):
    """NEW → LOADING → WARMING → READY → DRAINING → UNLOADED; FAILED from LOADING or WARMING."""

    NEW = "NEW"
    LOADING = "LOADING"
    WARMING = "WARMING"
    READY = "READY"
    DRAINING = "DRAINING"
    UNLOADED = "UNLOADED"
    FAILED = "FAILED"


class NonFinite(Enum):
    """What becomes of requests in which a number is NaN or infinite."""

    PASS = "pass"
    """They pass, and nobody looks."""
    COUNT = "count"
    """They pass and are counted."""
    REFUSE = "refuse"
    """They are counted and refused: inputs with InvalidInput, outputs with NonFiniteOutput."""

    def __str__(self) -> str:
        return self.value


@dataclass(frozen=True, slots=True)
class ServingConfig:
    """How a version is served; part of the immutable version."""

    max_batch_size: int = 32
    """Rows in one run at most; 0 switches joining of requests off."""
    max_queue_delay_us: int = 0
    """How long a request may wait for company while the session is idle."""
    max_queue_size: int = 1024
    """Requests that may wait at most; one more is refused."""
    preferred_batch_sizes: tuple[int, ...] = ()
    """Rows that a run has if enough wait: the largest of these that can be filled; any number where none is given."""
    instances: int = 1
    """Runs that may take place at the same time, each with its own session where the provider needs that."""
    non_finite: NonFinite = NonFinite.PASS
    """What becomes of requests in which a number is NaN or infinite."""


@dataclass(frozen=True, slots=True)
class SignedBy:
    """A key that has signed a version."""

    key: str
    """Its id."""
    signed_at: datetime
    """When the server was given the signature."""
    actor: str
    """Who gave it."""
    name: str = ""
    """What the server that was asked calls the key; "" where it does not know it."""
    fault: str = ""
    """Why the signature counts for nothing with that server; "" where it counts."""


@dataclass(frozen=True, slots=True)
class Version:
    """An immutable version of a model."""

    model: str
    version: int
    state: VersionState
    digest: str
    """sha256 of the artifact's manifest."""
    size_bytes: int
    signature: Signature
    config: ServingConfig
    proven: bool
    """Its golden samples were replayed at register and agreed."""
    golden_samples: int
    note: str
    tags: Mapping[str, str]
    created_at: datetime
    created_by: str
    report_json: str = field(repr=False)
    """What the model tool measured and decided, as canonical JSON."""
    aliases: tuple[str, ...] = ()
    pinned: bool = False
    damage: str = ""
    """What is wrong with its stored bytes; "" where nothing is known to be. It is not loaded anew until mended."""
    signed_by: tuple[SignedBy, ...] = ()


@dataclass(frozen=True, slots=True)
class Alias:
    """A movable name for a version, with the stack under it."""

    model: str
    alias: str
    version: int
    generation: int
    stack: tuple[int, ...]
    """What it served before, oldest first: a rollback goes to the last one."""
    updated_at: datetime


@dataclass(frozen=True, slots=True)
class Model:
    """A name that owns a line of versions."""

    name: str
    created_at: datetime
    versions: int
    newest: int
    """The highest version number given out; 0 where there is none."""
    aliases: tuple[Alias, ...] = ()


@dataclass(frozen=True, slots=True)
class Event:
    """One attempt to change something, granted or refused."""

    seq: int
    time: datetime
    actor: str
    action: str
    model: str
    alias: str
    from_version: int
    """0 where there is none."""
    to_version: int
    reason: str
    request_id: str
    outcome: str
    """"ok", or the reason of the refusal."""
    detail: str
    hash: str


@dataclass(frozen=True, slots=True, kw_only=True)
class EventFilter:
    """Which events are meant: those that everything holds for that is said here."""

    model: str | None = None
    alias: str | None = None
    version: int | None = None
    """It was moved from or to this version."""
    action: str | None = None
    actor: str | None = None
    """A part of the actor, in any case."""
    outcome: str | None = None
    """"ok", the reason of a refusal, or "refused" for every refusal."""
    since: datetime | None = None
    """At this moment (aware) or later."""
    until: datetime | None = None
    """At this moment (aware) or earlier."""
    before: int | None = None
    """Of a lower sequence number."""
    after: int | None = None
    """Of a higher sequence number."""
    oldest_first: bool = False
    """The order of a listing; the newest comes first otherwise."""


@dataclass(frozen=True, slots=True)
class AliasAt:
    """Where an alias pointed at a time in the past, and by whose doing."""

    model: str
    alias: str
    version: int
    since: datetime
    seq: int
    """The event that pointed it there."""
    action: str
    actor: str
    reason: str


@dataclass(frozen=True, slots=True)
class Switch:
    """The outcome of a promote or a rollback."""

    model: str
    alias: str
    from_version: int
    """0 where the alias is new."""
    to_version: int
    generation: int
    stack: tuple[int, ...]
    lagging: tuple[str, ...] = ()
    """Workers that had not confirmed when this was answered; they were killed and come back with the switch."""
    breaking: tuple[str, ...] = ()
    """Signature differences that break callers, where they were allowed."""
    dry_run: bool = False
    resident: bool = False
    """The target was loaded and warm already."""
    prepare_s: float = 0.0
    commit_s: float = 0.0
    late: tuple[str, ...] = ()
    """Live replicas that did not serve the version when the wait, if one was asked for, was over."""


class LoadedFrom(Enum):
    """What a servable was loaded from."""

    ARTIFACT = "ARTIFACT"
    """The registered graph."""
    DERIVED = "DERIVED"
    """The graph as ONNX Runtime optimised it."""
    FALLBACK = "FALLBACK"
    """The registered graph, since the derived form could not be used; the servable's reason says why."""


@dataclass(frozen=True, slots=True)
class ServableStatus:
    """One version in one worker."""

    model: str
    version: int
    state: ServableState
    reason: str
    """Why it is FAILED; of one that was loaded from a fallback, why its derived form was not used."""
    provider: str
    in_flight: int
    load_s: float
    loaded_from: LoadedFrom | None = None
    """None until it is loaded."""


@dataclass(frozen=True, slots=True)
class WorkerStatus:
    """One serving worker."""

    index: int
    pid: int
    reachable: bool
    epoch: int
    provider: str
    front: str
    servables: tuple[ServableStatus, ...] = ()
    threads: int = 0
    """How many the runs of a version have, which its instances share out; 0 where the worker did not say."""
    threads_reason: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class FleetReplica:
    """One `interlock serve` on the same registry, as it was seen by the one that was asked."""

    replica: str
    admin_address: str
    inference_address: str
    live: bool
    """Its last heartbeat is younger than 5 s, by the database's clock."""
    ready: bool
    epoch: int
    """What its workers serve."""
    silent_s: float
    """Since its last heartbeat."""


@dataclass(frozen=True, slots=True)
class ReplicaStatus:
    """One `interlock serve`."""

    replica: str
    server_version: str
    ready: bool
    epoch: int
    degraded: tuple[str, ...]
    workers: tuple[WorkerStatus, ...]
    aliases: tuple[Alias, ...]
    sandbox: tuple[str, ...]
    inference_address: str
    http_address: str
    admin_address: str
    replicas: tuple[FleetReplica, ...] = ()
    """Every replica of the fleet, this one included, as of the last look at the registry."""


@dataclass(frozen=True, slots=True)
class MutationOptions:
    """What every mutation may carry."""

    idempotency_key: str = ""
    expected_generation: int | None = None
    reason: str = ""
    dry_run: bool = False
    allow_breaking: bool = False
    wait_s: float = 0.0
    """How long a promote or rollback waits, after its commit, until every live replica serves the version."""


@dataclass(frozen=True, slots=True)
class UploadFile:
    """One file of an upload, as its sender announces it."""

    name: str
    role: FileRole
    size_bytes: int
    sha256: str


class FileRole(Enum):
    """What an uploaded file is."""

    MODEL = "MODEL"
    GOLDEN = "GOLDEN"
    DATA = "DATA"
    """Tensors that the model keeps outside of its graph; the file's name is the location that the graph gives."""


@dataclass(frozen=True, slots=True)
class UploadHeader:
    """What precedes the bytes of an upload."""

    model: str
    files: tuple[UploadFile, ...]
    config: ServingConfig | None = None
    note: str = ""
    tags: Mapping[str, str] = field(default_factory=dict)
    options: MutationOptions = field(default_factory=MutationOptions)
