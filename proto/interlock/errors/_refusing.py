"""Errors of requests that what is there now does not allow."""

from __future__ import annotations

from collections.abc import Sequence

from interlock.errors._root import InterlockError

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
            "If they are ready for it, allow it (--allow-breaking, allow_breaking=True)",
            facts={"model": model, "version": str(version), "serving": str(serving)},
        )


def _promote(model: str, version: object, alias: str) -> str:
    """Return the command that moves an alias; `stable` is the one that it moves where none is named."""
    return f"interlock promote {model} {version}" + ("" if alias == "stable" else f" --alias {alias}")


class NothingToRollBack(FailedPrecondition):
    """The alias's stack holds nothing under the live version."""

    reason = "NOTHING_TO_ROLL_BACK"

    def __init__(self, model: str, alias: str, live: int) -> None:
        super().__init__(
            f"alias {alias!r} of {model!r} has served nothing before version {live}; "
            f"`{_promote(model, 'VERSION', alias)}` moves it",
            facts={"model": model, "alias": alias, "live": str(live)},
        )


class NotInStack(FailedPrecondition):
    """A rollback names a version that the alias has not served before the live one."""

    reason = "NOT_IN_STACK"

    def __init__(self, model: str, alias: str, version: int, stack: Sequence[int]) -> None:
        choices = ", ".join(map(str, reversed(stack))) or "nothing"
        way = f"it can be rolled back to {choices}" if stack else "it has served nothing before what it serves now"
        super().__init__(
            f"version {version} is not in the stack of alias {alias!r} of {model!r}; {way}; "
            f"`{_promote(model, version, alias)}` moves it there",
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
