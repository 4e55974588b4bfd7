"""The one error tree. Servers raise these, clients catch these; grpc stays out of it.

    InterlockError
    ├── InvalidArgument       InvalidName · InvalidRef · InvalidInput · InvalidModel · InvalidGolden · GoldenMismatch
    ├── NotFound              ModelNotFound · VersionNotFound · AliasNotFound
    ├── AlreadyExists         IdempotencyKeyReused
    ├── FailedPrecondition    VersionNotLoaded · VersionNotServable · VersionInUse · IncompatibleSignature ·
    │                         NothingToRollBack · NotInStack · PrepareFailed · NotProven · ApprovalRequired ·
    │                         StartupRefused · ExportRefused
    ├── Aborted               GenerationConflict · Preempted
    ├── ResourceExhausted     QueueFull · Overloaded · RateExceeded · MemoryExceeded · TooLarge · StorageFull
    ├── Unavailable           ServerUnreachable · NotReady · Draining · RegistryUnavailable · WorkerUnavailable
    ├── DeadlineExceeded
    ├── Cancelled
    ├── DataLoss
    ├── Unimplemented
    ├── Unauthenticated
    ├── PermissionDenied      NotTrusted
    └── InternalError         PoisonRequest · OutputMismatch · NonFiniteOutput

Each carries `reason` (its name on the wire, google.rpc.ErrorInfo), `facts` (strings by name) and a message that
says what was wrong, with which value, and what to do next.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from interlock.errors._asking import (
    AliasNotFound,
    AlreadyExists,
    GoldenMismatch,
    IdempotencyKeyReused,
    InvalidArgument,
    InvalidGolden,
    InvalidInput,
    InvalidModel,
    InvalidName,
    InvalidRef,
    ModelNotFound,
    NotFound,
    VersionNotFound,
)
from interlock.errors._refusing import (
    Aborted,
    ApprovalRequired,
    ExportRefused,
    FailedPrecondition,
    GenerationConflict,
    IncompatibleSignature,
    NothingToRollBack,
    NotInStack,
    NotProven,
    Preempted,
    PrepareFailed,
    StartupRefused,
    VersionInUse,
    VersionNotLoaded,
    VersionNotServable,
)
from interlock.errors._root import (
    InterlockError,
    Violation,
)
from interlock.errors._serving import (
    Cancelled,
    DataLoss,
    DeadlineExceeded,
    Draining,
    InternalError,
    MemoryExceeded,
    NonFiniteOutput,
    NotReady,
    NotTrusted,
    OutputMismatch,
    Overloaded,
    PermissionDenied,
    PoisonRequest,
    QueueFull,
    RateExceeded,
    RegistryUnavailable,
    ResourceExhausted,
    ServerUnreachable,
    StorageFull,
    TooLarge,
    Unauthenticated,
    Unavailable,
    Unimplemented,
    WorkerUnavailable,
)

__all__ = [
    "Aborted",
    "AliasNotFound",
    "AlreadyExists",
    "ApprovalRequired",
    "Cancelled",
    "DataLoss",
    "DeadlineExceeded",
    "Draining",
    "ExportRefused",
    "FailedPrecondition",
    "GenerationConflict",
    "GoldenMismatch",
    "IdempotencyKeyReused",
    "IncompatibleSignature",
    "InterlockError",
    "InternalError",
    "InvalidArgument",
    "InvalidGolden",
    "InvalidInput",
    "InvalidModel",
    "InvalidName",
    "InvalidRef",
    "MemoryExceeded",
    "ModelNotFound",
    "NonFiniteOutput",
    "NotFound",
    "NotInStack",
    "NotProven",
    "NotReady",
    "NotTrusted",
    "NothingToRollBack",
    "OutputMismatch",
    "Overloaded",
    "PermissionDenied",
    "PoisonRequest",
    "Preempted",
    "PrepareFailed",
    "QueueFull",
    "RateExceeded",
    "RegistryUnavailable",
    "ResourceExhausted",
    "ServerUnreachable",
    "StartupRefused",
    "StorageFull",
    "TooLarge",
    "Unauthenticated",
    "Unavailable",
    "Unimplemented",
    "VersionInUse",
    "VersionNotFound",
    "VersionNotLoaded",
    "VersionNotServable",
    "Violation",
    "WorkerUnavailable",
    "by_reason",
]


def _leaves(cls: type[InterlockError]) -> Iterable[type[InterlockError]]:
    yield cls
    for child in cls.__subclasses__():
        yield from _leaves(child)


def by_reason() -> Mapping[str, type[InterlockError]]:
    """Return every class of the tree by its reason; the most general one wins where a reason is shared."""
    found: dict[str, type[InterlockError]] = {}
    for cls in _leaves(InterlockError):
        if cls.__module__.startswith(f"{__name__}.") and cls is not InterlockError:
            found.setdefault(cls.reason, cls)
    return found
