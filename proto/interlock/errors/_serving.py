"""Errors of a server that cannot, or not now."""

from __future__ import annotations

from interlock.errors._root import InterlockError

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


class Overloaded(ResourceExhausted):
    """The version has so much to do that the request would be answered too late."""

    reason = "OVERLOADED"

    def __init__(self, model: str, version: int, wait_s: float, retry_after_s: float) -> None:
        super().__init__(
            f"{model}@{version} has more to do than it can: this request would wait about {wait_s:g} s, longer than "
            "its deadline or the server's setting max_queue_wait_s allows; send fewer at a time, or allow more time",
            facts={"model": model, "version": str(version), "wait_s": f"{wait_s:g}"},
            retry_after_s=retry_after_s,
        )


class RateExceeded(ResourceExhausted):
    """One caller asks more often than it may, or fails to say who it is too often."""

    reason = "RATE_EXCEEDED"


class MemoryExceeded(ResourceExhausted):
    """A run asked for more memory than the worker can get."""

    reason = "MEMORY_EXCEEDED"


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
    """The caller went away; without details, a server that stops had not begun the call, which may be sent again."""

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


class NotTrusted(PermissionDenied):
    """A version is not signed by a key that is trusted for its model, and policy wants that."""

    reason = "NOT_TRUSTED"


class InternalError(InterlockError):
    """A fault of ours; the message holds an id that the server's log explains."""

    reason = "INTERNAL"


class PoisonRequest(InternalError):
    """The same request has brought down workers before, and is not run any more."""

    reason = "POISON_REQUEST"


class OutputMismatch(InternalError):
    """A model answered with a tensor that is not as the version's signature says."""

    reason = "OUTPUT_MISMATCH"

    def __init__(self, output: str, said: str, found: str) -> None:
        super().__init__(
            f"the model's output {output!r} is {found}, and its signature says {said}: the version is at fault, "
            "register one whose outputs are declared as they come",
            facts={"output": output, "said": said, "found": found},
        )


class NonFiniteOutput(InternalError):
    """A model answered with NaN or infinity, and its version is registered so that such answers are refused."""

    reason = "NON_FINITE_OUTPUT"

    def __init__(self, output: str) -> None:
        super().__init__(
            f"the model's output {output!r} holds NaN or infinity, which its version refuses to give (serving config, "
            "non_finite): look at the inputs, or roll the alias back",
            facts={"output": output},
        )
