"""What users type: the SDK, the torch export and the interlock command.

`Client` and `AsyncClient` ask models for answers on the inference port; `Admin` and `AsyncAdmin` register, promote,
roll back and read history on the admin port. Errors are those of `interlock.errors`, rooted in `InterlockError`.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Final

from interlock import __version__

if TYPE_CHECKING:
    from interlock.approval import Approval, ApprovalState
    from interlock.chain import ChainHead, ChainReport
    from interlock.diff import (
        AnswerComparison,
        AnswerDifference,
        DiskUse,
        FieldChange,
        OperatorChange,
        TensorChange,
        TensorCount,
        TensorFigures,
        TensorForm,
        TensorStatus,
        VersionDiff,
    )
    from interlock.errors import (
        Aborted,
        AliasNotFound,
        AlreadyExists,
        ApprovalRequired,
        Cancelled,
        DataLoss,
        DeadlineExceeded,
        Draining,
        ExportRefused,
        FailedPrecondition,
        GenerationConflict,
        GoldenMismatch,
        IdempotencyKeyReused,
        IncompatibleSignature,
        InterlockError,
        InternalError,
        InvalidArgument,
        InvalidGolden,
        InvalidInput,
        InvalidModel,
        InvalidName,
        InvalidRef,
        MemoryExceeded,
        ModelNotFound,
        NonFiniteOutput,
        NotFound,
        NothingToRollBack,
        NotInStack,
        NotProven,
        NotReady,
        NotTrusted,
        OutputMismatch,
        Overloaded,
        PermissionDenied,
        PoisonRequest,
        Preempted,
        PrepareFailed,
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
        VersionInUse,
        VersionNotFound,
        VersionNotLoaded,
        VersionNotServable,
        Violation,
        WorkerUnavailable,
    )
    from interlock.model import (
        Alias,
        AliasAt,
        Event,
        LoadedFrom,
        Model,
        NonFinite,
        ReplicaStatus,
        ServableState,
        ServableStatus,
        ServingConfig,
        Switch,
        Version,
        VersionState,
        WorkerStatus,
    )
    from interlock.quantization import Form, OutputParity, Quantization, Quantized
    from interlock.types import DType, ModelRef, Signature, TensorSpec

    from interlock_client._access import Tls
    from interlock_client._admin_async import AsyncAdmin
    from interlock_client._admin_sync import Admin
    from interlock_client._async import AsyncClient
    from interlock_client._download import Pulled
    from interlock_client._infer import InferResult, ModelMetadata, ServerMetadata
    from interlock_client._sync import Client

__all__ = [
    "Aborted",
    "Admin",
    "Alias",
    "AliasAt",
    "AliasNotFound",
    "AlreadyExists",
    "AnswerComparison",
    "AnswerDifference",
    "Approval",
    "ApprovalRequired",
    "ApprovalState",
    "AsyncAdmin",
    "AsyncClient",
    "Cancelled",
    "ChainHead",
    "ChainReport",
    "Client",
    "DType",
    "DataLoss",
    "DeadlineExceeded",
    "DiskUse",
    "Draining",
    "Event",
    "ExportRefused",
    "FailedPrecondition",
    "FieldChange",
    "Form",
    "GenerationConflict",
    "GoldenMismatch",
    "IdempotencyKeyReused",
    "IncompatibleSignature",
    "InferResult",
    "InterlockError",
    "InternalError",
    "InvalidArgument",
    "InvalidGolden",
    "InvalidInput",
    "InvalidModel",
    "InvalidName",
    "InvalidRef",
    "LoadedFrom",
    "MemoryExceeded",
    "Model",
    "ModelMetadata",
    "ModelNotFound",
    "ModelRef",
    "NonFinite",
    "NonFiniteOutput",
    "NotFound",
    "NotInStack",
    "NotProven",
    "NotReady",
    "NotTrusted",
    "NothingToRollBack",
    "OperatorChange",
    "OutputMismatch",
    "OutputParity",
    "Overloaded",
    "PermissionDenied",
    "PoisonRequest",
    "Preempted",
    "PrepareFailed",
    "Pulled",
    "Quantization",
    "Quantized",
    "QueueFull",
    "RateExceeded",
    "RegistryUnavailable",
    "ReplicaStatus",
    "ResourceExhausted",
    "ServableState",
    "ServableStatus",
    "ServerMetadata",
    "ServerUnreachable",
    "ServingConfig",
    "Signature",
    "StorageFull",
    "Switch",
    "TensorChange",
    "TensorCount",
    "TensorFigures",
    "TensorForm",
    "TensorSpec",
    "TensorStatus",
    "Tls",
    "TooLarge",
    "Unauthenticated",
    "Unavailable",
    "Unimplemented",
    "Version",
    "VersionDiff",
    "VersionInUse",
    "VersionNotFound",
    "VersionNotLoaded",
    "VersionNotServable",
    "VersionState",
    "Violation",
    "WorkerStatus",
    "WorkerUnavailable",
    "__version__",
]

# Each name is imported when it is first asked for: gRPC and numpy take 0.3 s, which `interlock --help` need not wait.
_NAMES: Final = {
    "interlock.approval": "Approval ApprovalState",
    "interlock.chain": "ChainHead ChainReport",
    "interlock.diff": (
        "AnswerComparison AnswerDifference DiskUse FieldChange OperatorChange TensorChange TensorCount "
        "TensorFigures TensorForm TensorStatus VersionDiff "
    ),
    "interlock.errors": (
        "Aborted AliasNotFound AlreadyExists ApprovalRequired Cancelled DataLoss DeadlineExceeded Draining "
        "ExportRefused FailedPrecondition GenerationConflict GoldenMismatch IdempotencyKeyReused "
        "IncompatibleSignature InterlockError InternalError InvalidArgument InvalidGolden InvalidInput "
        "InvalidModel InvalidName InvalidRef MemoryExceeded ModelNotFound NonFiniteOutput NotFound "
        "NothingToRollBack NotInStack NotProven NotReady NotTrusted OutputMismatch Overloaded PermissionDenied "
        "PoisonRequest Preempted PrepareFailed QueueFull RateExceeded RegistryUnavailable ResourceExhausted "
        "ServerUnreachable StorageFull TooLarge Unauthenticated Unavailable Unimplemented VersionInUse "
        "VersionNotFound VersionNotLoaded VersionNotServable Violation WorkerUnavailable "
    ),
    "interlock.model": (
        "Alias AliasAt Event LoadedFrom Model NonFinite ReplicaStatus ServableState ServableStatus ServingConfig "
        "Switch Version VersionState WorkerStatus "
    ),
    "interlock.quantization": "Form OutputParity Quantization Quantized",
    "interlock.types": "DType ModelRef Signature TensorSpec",
    "interlock_client._access": "Tls",
    "interlock_client._admin_async": "AsyncAdmin",
    "interlock_client._admin_sync": "Admin",
    "interlock_client._async": "AsyncClient",
    "interlock_client._download": "Pulled",
    "interlock_client._infer": "InferResult ModelMetadata ServerMetadata",
    "interlock_client._sync": "Client",
}
"""Where the names are that are imported above for type checkers only."""

_HOMES: Final = {name: module for module, names in _NAMES.items() for name in names.split()}

if not TYPE_CHECKING:  # a type checker would take any name for one that is here

    def __getattr__(name: str) -> object:
        """Import what is asked for; raises AttributeError for what is not here."""
        home = _HOMES.get(name)
        if home is None:
            raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
        found = globals()[name] = getattr(import_module(home), name)
        return found

    def __dir__() -> list[str]:
        """Return what is here, imported yet or not."""
        return sorted({*globals(), *_HOMES})
