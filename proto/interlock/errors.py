"""The one error tree. Servers raise these, clients catch these; grpc stays out of it.

    InterlockError
    ├── InvalidArgument       InvalidName · InvalidRef · InvalidInput · InvalidModel · InvalidGolden · GoldenMismatch
    ├── NotFound              ModelNotFound · VersionNotFound · AliasNotFound
    ├── AlreadyExists         IdempotencyKeyReused
    ├── FailedPrecondition    VersionNotLoaded · VersionNotServable · VersionInUse · IncompatibleSignature ·
    │                         NothingToRollBack · NotInStack · PrepareFailed · NotProven · ApprovalRequired ·
    │                         StartupRefused · ExportRefused
    ├── Aborted               GenerationConflict · Preempted
    ├── ResourceExhausted     QueueFull · TooLarge · StorageFull
    ├── Unavailable           ServerUnreachable · NotReady · Draining · RegistryUnavailable · WorkerUnavailable
    ├── DeadlineExceeded
    ├── Cancelled
    ├── DataLoss
    ├── Unimplemented
    ├── Unauthenticated
    ├── PermissionDenied
    └── InternalError

Each carries `reason` (its name on the wire, google.rpc.ErrorInfo), `facts` (strings by name) and a message that
says what was wrong, with which value, and what to do next.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import ClassVar, Final, Self


@dataclass(frozen=True, slots=True)
class Violation:
    """One thing wrong with a request: where, and what (google.rpc.BadRequest)."""

    field: str
    description: str


class InterlockError(Exception):
    """The root: catch it to catch everything that Interlock raises."""

    reason: ClassVar[str] = "INTERNAL"

    def __init__(
        self,
        message: str,
        *,
        facts: Mapping[str, str] | None = None,
        violations: Sequence[Violation] = (),
        retry_after_s: float | None = None,
    ) -> None:
        super().__init__(message)
        self.message = message
        self.facts: Final[Mapping[str, str]] = dict(facts or {})
        self.violations: Final = tuple(violations)
        self.retry_after_s: Final = retry_after_s

    @classmethod
    def rebuild(
        cls,
        message: str,
        *,
        facts: Mapping[str, str],
        violations: Sequence[Violation] = (),
        retry_after_s: float | None = None,
    ) -> Self:
        """Make an instance from what came over the wire, past the subclass's own constructor."""
        error = cls.__new__(cls)
        InterlockError.__init__(error, message, facts=facts, violations=violations, retry_after_s=retry_after_s)
        return error


# --- the request is wrong ---


class InvalidArgument(InterlockError):
    """The request can never succeed as it is."""

    reason = "INVALID_ARGUMENT"


class InvalidName(InvalidArgument):
    """A model or alias name breaks the rules."""

    reason = "INVALID_NAME"

    def __init__(self, kind: str, value: str, rule: str) -> None:
        super().__init__(
            f"{value[:200]!r} is not a valid {kind} name: use {rule}",
            facts={"kind": kind, "value": value[:200]},
            violations=[Violation(kind, f"must be {rule}")],
        )


class InvalidRef(InvalidArgument):
    """A ref is neither MODEL, MODEL@VERSION nor MODEL:ALIAS."""

    reason = "INVALID_REF"

    def __init__(self, text: str, why: str) -> None:
        super().__init__(why, facts={"ref": text[:200]}, violations=[Violation("ref", why)])


class InvalidInput(InvalidArgument):
    """The tensors of a request do not fit the version's signature."""

    reason = "INVALID_INPUT"

    def __init__(self, message: str, violations: Iterable[Violation] = ()) -> None:
        super().__init__(message, violations=tuple(violations) or (Violation("inputs", message),))


class InvalidModel(InvalidArgument):
    """An uploaded file is refused: not ONNX, broken, too new, or dangerous."""

    reason = "INVALID_MODEL"

    def __init__(self, message: str, *, check: str) -> None:
        super().__init__(message, facts={"check": check}, violations=[Violation("model", message)])


class InvalidGolden(InvalidArgument):
    """A golden sample file is not one."""

    reason = "INVALID_GOLDEN"

    def __init__(self, message: str) -> None:
        super().__init__(message, violations=[Violation("golden", message)])


class GoldenMismatch(InvalidArgument):
    """The model's answers differ from its golden samples beyond the tolerance."""

    reason = "GOLDEN_MISMATCH"

    def __init__(self, message: str, *, output: str, max_abs: float) -> None:
        super().__init__(message, facts={"output": output, "max_abs": f"{max_abs:.6g}"})


# --- there is no such thing ---


class NotFound(InterlockError):
    """The request names something that is not there."""

    reason = "NOT_FOUND"


class ModelNotFound(NotFound):
    """No model of that name is registered."""

    reason = "MODEL_NOT_FOUND"

    def __init__(self, model: str) -> None:
        super().__init__(
            f"Request for unknown model: '{model}' is not found; `interlock models` lists what is registered",
            facts={"model": model},
        )


class VersionNotFound(NotFound):
    """The model has no version of that number."""

    reason = "VERSION_NOT_FOUND"

    def __init__(self, model: str, version: int) -> None:
        super().__init__(
            f"model {model!r} has no version {version}; `interlock versions {model}` lists them",
            facts={"model": model, "version": str(version)},
        )


class AliasNotFound(NotFound):
    """The model has no alias of that name."""

    reason = "ALIAS_NOT_FOUND"

    def __init__(self, model: str, alias: str) -> None:
        super().__init__(
            f"model {model!r} has no alias {alias!r}; set it with `interlock promote {model} VERSION --alias {alias}`",
            facts={"model": model, "alias": alias},
        )


class AlreadyExists(InterlockError):
    """The request would make something that is there."""

    reason = "ALREADY_EXISTS"


class IdempotencyKeyReused(AlreadyExists):
    """An idempotency key came again with another request."""

    reason = "IDEMPOTENCY_KEY_REUSED"

    def __init__(self, key: str) -> None:
        super().__init__(
            f"idempotency key {key!r} was used before for another request; use a fresh key",
            facts={"key": key},
        )


# --- the state forbids it ---


class FailedPrecondition(InterlockError):
    """The request is well-formed, but not now: something has to change first."""

    reason = "FAILED_PRECONDITION"


class VersionNotLoaded(FailedPrecondition):
    """A version was asked for by number and is not loaded here; nothing is ever loaded on request."""

    reason = "VERSION_NOT_LOADED"

    def __init__(self, model: str, version: int) -> None:
        super().__init__(
            f"version {version} of {model!r} is not loaded; `interlock pin {model} {version}` loads it and keeps it",
            facts={"model": model, "version": str(version)},
        )


class VersionNotServable(FailedPrecondition):
    """A version is retired or deleted."""

    reason = "VERSION_NOT_SERVABLE"

    def __init__(self, model: str, version: int, state: str) -> None:
        super().__init__(
            f"version {version} of {model!r} is {state} and cannot be served; register it again as a new version",
            facts={"model": model, "version": str(version), "state": state},
        )


class VersionInUse(FailedPrecondition):
    """A version is referred to by an alias, a stack or a pin, or is not yet retired."""

    reason = "VERSION_IN_USE"

    def __init__(self, model: str, version: int, by: str) -> None:
        super().__init__(
            f"version {version} of {model!r} is in use: {by}",
            facts={"model": model, "version": str(version), "by": by},
        )


class IncompatibleSignature(FailedPrecondition):
    """The target's signature would break callers of the serving version."""

    reason = "INCOMPATIBLE_SIGNATURE"

    def __init__(self, model: str, version: int, serving: int, changes: Sequence[str]) -> None:
        super().__init__(
            f"version {version} of {model!r} would break callers of version {serving}: {'; '.join(changes)}. "
            "If they are ready for it, repeat with --allow-breaking",
            facts={"model": model, "version": str(version), "serving": str(serving)},
        )


class NothingToRollBack(FailedPrecondition):
    """The alias's stack holds nothing under the live version."""

    reason = "NOTHING_TO_ROLL_BACK"

    def __init__(self, model: str, alias: str, live: int) -> None:
        super().__init__(
            f"alias {alias!r} of {model!r} has served nothing before version {live}; "
            f"`interlock promote {model} VERSION` moves it",
            facts={"model": model, "alias": alias, "live": str(live)},
        )


class NotInStack(FailedPrecondition):
    """A rollback names a version that the alias has not served before the live one."""

    reason = "NOT_IN_STACK"

    def __init__(self, model: str, alias: str, version: int, stack: Sequence[int]) -> None:
        choices = ", ".join(map(str, reversed(stack))) or "nothing"
        super().__init__(
            f"version {version} is not in the stack of alias {alias!r} of {model!r}; "
            f"it can be rolled back to {choices}",
            facts={"model": model, "alias": alias, "version": str(version), "stack": choices},
        )


class PrepareFailed(FailedPrecondition):
    """A version did not load, warm up or pass its golden check; the alias did not move."""

    reason = "PREPARE_FAILED"

    def __init__(self, model: str, version: int, why: str) -> None:
        self.why = why
        super().__init__(
            f"version {version} of {model!r} could not be prepared, nothing was changed: {why}",
            facts={"model": model, "version": str(version)},
        )


class NotProven(FailedPrecondition):
    """Policy asks for golden samples and the upload has none."""

    reason = "NOT_PROVEN"

    def __init__(self, model: str) -> None:
        super().__init__(
            f"this server takes no version without golden samples; register {model!r} with --golden FILE.npz "
            "(`interlock_client.torch.export` writes one)",
            facts={"model": model},
        )


class ApprovalRequired(FailedPrecondition):
    """Policy asks that others approve a version before an alias moves on to it, and too few have."""

    reason = "APPROVAL_REQUIRED"

    def __init__(
        self, model: str, version: int, alias: str, *, needed: int, have: Sequence[str], author: str, requester: str
    ) -> None:
        others = " and ".join(dict.fromkeys((author, requester)))
        given = f"has those of {', '.join(have)}" if have else "has none"
        super().__init__(
            f"alias {alias!r} of {model!r} moves on to version {version} with {needed} "
            f"{'approval' if needed == 1 else 'approvals'} by others than {others}, and it {given}; "
            f"`interlock approve {model} {version} --alias {alias}` gives one",
            facts={
                "model": model,
                "version": str(version),
                "alias": alias,
                "needed": str(needed),
                "approved_by": ", ".join(have),
            },
        )


class StartupRefused(FailedPrecondition):
    """The server will not start like this."""

    reason = "STARTUP_REFUSED"


class ExportRefused(FailedPrecondition):
    """A PyTorch model cannot be exported as it is; raised on the trainer's side."""

    reason = "EXPORT_REFUSED"


class Aborted(InterlockError):
    """Somebody else was faster; read again and decide again."""

    reason = "ABORTED"


class GenerationConflict(Aborted):
    """The alias is not at the generation that the caller expected."""

    reason = "GENERATION_CONFLICT"

    def __init__(self, model: str, alias: str, expected: int, actual: int) -> None:
        super().__init__(
            f"alias {alias!r} of {model!r} is at generation {actual}, not {expected}: it was moved meanwhile. "
            f"`interlock log {model}` shows by whom",
            facts={"model": model, "alias": alias, "expected": str(expected), "actual": str(actual)},
        )


class Preempted(Aborted):
    """A rollback of the same alias overtook this promote."""

    reason = "PREEMPTED"

    def __init__(self, model: str, alias: str, by: str) -> None:
        super().__init__(
            f"the promote of alias {alias!r} of {model!r} was overtaken by {by}; nothing was changed by it",
            facts={"model": model, "alias": alias},
        )


# --- not now, try again ---


class ResourceExhausted(InterlockError):
    """A limit is reached."""

    reason = "RESOURCE_EXHAUSTED"


class QueueFull(ResourceExhausted):
    """The version's queue is full."""

    reason = "QUEUE_FULL"

    def __init__(self, model: str, version: int, limit: int, retry_after_s: float) -> None:
        super().__init__(
            f"the queue of {model}@{version} is full ({limit} requests wait); slow down or raise max_queue_size",
            facts={"model": model, "version": str(version), "limit": str(limit)},
            retry_after_s=retry_after_s,
        )


class TooLarge(ResourceExhausted):
    """A message or an upload is over its limit."""

    reason = "TOO_LARGE"

    def __init__(self, what: str, size: int, limit: int, setting: str) -> None:
        super().__init__(
            f"{what} of {size} bytes is over the limit of {limit}; the server's setting {setting} raises it",
            facts={"what": what, "size": str(size), "limit": str(limit), "setting": setting},
        )


class StorageFull(ResourceExhausted):
    """The server's disk is full."""

    reason = "STORAGE_FULL"


class Unavailable(InterlockError):
    """The server cannot answer now; the same request may succeed later or elsewhere."""

    reason = "UNAVAILABLE"


class ServerUnreachable(Unavailable):
    """No server answers at the address."""

    reason = "SERVER_UNREACHABLE"


class NotReady(Unavailable):
    """The server or the version is still loading."""

    reason = "NOT_READY"


class Draining(Unavailable):
    """The server is shutting down."""

    reason = "DRAINING"

    def __init__(self) -> None:
        super().__init__("the server is shutting down; ask another replica or try again")


class RegistryUnavailable(Unavailable):
    """The registry's database cannot be used; inference goes on."""

    reason = "REGISTRY_UNAVAILABLE"


class WorkerUnavailable(Unavailable):
    """No serving worker answers the control process."""

    reason = "WORKER_UNAVAILABLE"


class DeadlineExceeded(InterlockError):
    """The deadline passed first."""

    reason = "DEADLINE_EXCEEDED"


class Cancelled(InterlockError):
    """The caller went away."""

    reason = "CANCELLED"


class DataLoss(InterlockError):
    """Stored bytes are not what they were."""

    reason = "DATA_LOSS"


class Unimplemented(InterlockError):
    """The server does not do that."""

    reason = "UNIMPLEMENTED"


class Unauthenticated(InterlockError):
    """Nobody we know is asking."""

    reason = "UNAUTHENTICATED"


class PermissionDenied(InterlockError):
    """The caller may not do that."""

    reason = "PERMISSION_DENIED"


class InternalError(InterlockError):
    """A fault of ours; the message holds an id that the server's log explains."""

    reason = "INTERNAL"


class PoisonRequest(InternalError):
    """The same request has brought down workers before, and is not run any more."""

    reason = "POISON_REQUEST"


def _leaves(cls: type[InterlockError]) -> Iterable[type[InterlockError]]:
    yield cls
    for child in cls.__subclasses__():
        yield from _leaves(child)


def by_reason() -> Mapping[str, type[InterlockError]]:
    """Return every class of the tree by its reason; the most general one wins where a reason is shared."""
    found: dict[str, type[InterlockError]] = {}
    for cls in _leaves(InterlockError):
        if cls.__module__ == __name__ and cls is not InterlockError:
            found.setdefault(cls.reason, cls)
    return found
