"""The parent's half: spawn a child for one job, bound it, and turn what became of it into a report or an error."""

from __future__ import annotations

import json
import logging
import os
import signal
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, Final, TypeVar

from interlock.errors import DataLoss, InterlockError, InternalError, InvalidModel, Violation, by_reason
from interlock.quantization import Quantization

from interlock_registry.comparison import Measured
from interlock_registry.tool.assemble_job import Assembled, AssembleJob
from interlock_registry.tool.child import Ended, Stop, run
from interlock_registry.tool.derive_job import DeriveJob, DeriveReport
from interlock_registry.tool.diff_job import DiffJob, read_measured
from interlock_registry.tool.job import Validated, ValidateJob
from interlock_registry.tool.quantize_job import QuantizeJob
from interlock_registry.walls import enclosure
from interlock_registry.walls.limits import Reach, Sandbox, ToolLimits

_log = logging.getLogger(__name__)

R = TypeVar("R")

_REFUSALS: Final = frozenset(
    {"INVALID_ARGUMENT", "INVALID_MODEL", "INVALID_GOLDEN", "GOLDEN_MISMATCH", "STORAGE_FULL", "DATA_LOSS"}
)
"""What a child may say; anything else is a fault of ours."""


async def validate(job: ValidateJob, limits: ToolLimits) -> Validated:
    """Validate a model in a sandboxed child and take it apart; what the child wrote has yet to be hashed again.

    Raises InvalidModel, InvalidGolden, GoldenMismatch, StorageFull, InternalError.

    Call it from the loop of a thread that lives as long as the process: the child dies with the thread.
    """
    folder = job.model.parent
    job.parts.mkdir(mode=0o700, exist_ok=True)
    job.original.touch(mode=0o600)
    readable = (folder, *([] if job.golden is None else [job.golden]), *(each.path for each in job.files))
    return await ask(
        "validate", job.to_json(), Validated.from_json, folder, limits, Reach(readable, (job.parts, job.original))
    )


async def assemble(job: AssembleJob, limits: ToolLimits) -> Assembled:
    """Put a model together in a sandboxed child; raises DataLoss, StorageFull, InternalError, and as `validate`."""
    reach = Reach((job.graph.parent,), (job.folder,))
    return await ask("assemble", job.to_json(), Assembled.from_json, job.folder, limits, reach)


async def quantize(job: QuantizeJob, limits: ToolLimits) -> Quantization:
    """Make a narrower form of a model in a sandboxed child; what the child wrote is yet to be validated.

    Raises InvalidModel, GoldenMismatch, InvalidArgument, InternalError.
    """
    reach = Reach((job.model.parent, job.golden), (job.out,))
    return await ask("quantize", job.to_json(), Quantization.from_json, job.out, limits, reach)


async def diff(job: DiffJob, limits: ToolLimits) -> Measured:
    """Compare two versions in a sandboxed child; raises InvalidGolden, InternalError, InvalidModel (its limits).

    Call it as `validate` is called.
    """
    reach = Reach((job.folder, job.before.manifest, job.after.manifest))
    return await ask("diff", job.to_json(), read_measured, job.folder, limits, reach)


async def derive(job: DeriveJob, limits: ToolLimits) -> DeriveReport:
    """Make a derived form in a sandboxed child; raises InvalidModel with the reason why not, InternalError.

    The form is then in `job.folder`, yet to be put where its graph says that it is. Call it as `validate` is called.
    """
    job.graph.touch(mode=0o600)
    readable = (job.model.parent, job.own, *([] if job.golden is None else [job.golden]))
    reach = Reach(readable, (job.folder, job.graph))
    return await ask("derive", job.to_json(), DeriveReport.from_json, job.folder, limits, reach)


async def ask(
    verb: str,
    job: Mapping[str, Any],
    read: Callable[[Mapping[str, Any]], R],
    directory: Path,
    limits: ToolLimits,
    reach: Reach,
) -> R:
    """Have a child do one job in a directory and return its report as `read` makes it of JSON.

    Raises what the child refuses (InvalidModel and its kind), and InternalError where it fails.
    """
    request = {
        "kind": verb,
        "parent": os.getpid(),
        "limits": limits.to_json(),
        "reach": reach.to_json(),
        "job": job,
    }
    ended = await run("interlock_registry.tool", json.dumps(request).encode(), directory, limits, reach.writable)
    reply = _reply(ended, limits)
    try:
        return read(reply)
    except (KeyError, TypeError, ValueError, AttributeError, DataLoss) as error:
        raise InternalError(f"the model tool's report cannot be read: {error!r}") from error


def _reply(ended: Ended, limits: ToolLimits) -> dict[str, Any]:
    if ended.code != 0:
        raise _death(ended, limits)
    try:
        reply = json.loads(ended.reply)
        if "error" in reply:
            raise _refusal(reply["error"])
        _check_walls(tuple(map(str, reply["walls"])), limits)
        report = reply["report"]
        if not isinstance(report, dict):
            raise TypeError("the report is not an object")
    except (AttributeError, KeyError, RecursionError, TypeError, ValueError) as error:
        raise InternalError(f"the model tool's answer of {len(ended.reply)} bytes cannot be read: {error!r}") from error
    return report


def _check_walls(held: tuple[str, ...], limits: ToolLimits) -> None:
    missing = enclosure.missing(held)
    if limits.sandbox is Sandbox.STRICT and missing:
        raise InternalError(f"the sandbox is strict, and the model tool ran without {', '.join(missing)}")


def _refusal(data: dict[str, Any]) -> InterlockError:
    reason = str(data["reason"])
    cls = by_reason()[reason] if reason in _REFUSALS else InternalError
    violations = [Violation(str(each["field"]), str(each["description"])) for each in data["violations"]]
    facts = {str(key): str(value) for key, value in data["facts"].items()}
    return cls.rebuild(str(data["message"]), facts=facts, violations=violations)


def _death(ended: Ended, limits: ToolLimits) -> InterlockError:
    if ended.stopped is Stop.DISK:
        return InvalidModel(
            f"validation wrote more than {limits.disk_bytes >> 20} MiB and was stopped: that is several times what the "
            "model's files have",
            check="size",
        )
    if ended.code is None:
        return InvalidModel(
            f"validation took longer than {limits.wall_s:g} s and was stopped: loading or running the model hangs, or "
            "it is too big for this limit; the server's setting validate_wall_s raises it",
            check="time",
        )
    if ended.code == -signal.SIGXCPU:
        return InvalidModel(
            f"validation used more than {limits.cpu_s} s of CPU and was stopped; "
            "the server's setting validate_cpu_s raises the limit",
            check="time",
        )
    _log.warning("a model tool child ended with %s: %s", ended.code, ended.stderr.strip()[-1000:])
    if ended.code < 0:
        if "bad_alloc" in ended.stderr:
            return out_of_memory(limits)
        name = _signal_name(-ended.code)
        if -ended.code == signal.SIGKILL:
            return InvalidModel(
                "validation was killed (SIGKILL): most likely the machine ran out of memory; "
                "try again, with a smaller model or a bigger machine",
                check="memory",
            )
        return InvalidModel(
            f"the validator died with {name} while it loaded or ran the model: "
            "ONNX Runtime crashes on it, so it cannot be served. Export it again, with another opset or torch version",
            check="crash",
        )
    return InternalError(f"the model tool failed with exit status {ended.code}; the server's log has its last words")


def out_of_memory(limits: ToolLimits) -> InvalidModel:
    """Return the refusal of a model that needs more memory than its validation was given."""
    return InvalidModel(
        f"validation needed more than its {limits.memory_bytes / (1 << 20):.0f} MiB of memory; "
        "the server's setting validate_memory_bytes raises the limit",
        check="memory",
    )


def _signal_name(number: int) -> str:
    try:
        return signal.Signals(number).name
    except ValueError:
        return f"signal {number}"
