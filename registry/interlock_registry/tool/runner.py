"""The parent's half: spawn a child for one job, bound it, and turn what became of it into a report or an error."""

from __future__ import annotations

import asyncio
import json
import logging
import os
import signal
import sys
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Final, TypeVar

from interlock.errors import DataLoss, InterlockError, InternalError, InvalidModel, Violation, by_reason
from interlock.quantization import Quantization

from interlock_registry.comparison import Measured
from interlock_registry.tool.assemble_job import Assembled, AssembleJob
from interlock_registry.tool.diff_job import DiffJob, read_measured
from interlock_registry.tool.job import ToolLimits, Validated, ValidateJob
from interlock_registry.tool.quantize_job import QuantizeJob
from interlock_registry.tool.sandbox import clean_environment

_log = logging.getLogger(__name__)

R = TypeVar("R")

_MAX_REPLY: Final = 16 << 20
_MAX_STDERR: Final = 4 << 10
_REAP_S: Final = 5.0
_REFUSALS: Final = frozenset(
    {"INVALID_ARGUMENT", "INVALID_MODEL", "INVALID_GOLDEN", "GOLDEN_MISMATCH", "STORAGE_FULL", "DATA_LOSS"}
)
"""What a child may say; anything else is a fault of ours."""


async def validate(job: ValidateJob, limits: ToolLimits) -> Validated:
    """Validate a model in a sandboxed child and take it apart; what the child wrote has yet to be hashed again.

    Raises InvalidModel, InvalidGolden, GoldenMismatch, StorageFull, InternalError.

    Call it from the loop of a thread that lives as long as the process: the child dies with the thread.
    """
    return await ask("validate", job.to_json(), Validated.from_json, job.model.parent, limits)


async def assemble(job: AssembleJob, limits: ToolLimits) -> Assembled:
    """Put a model together in a sandboxed child; raises DataLoss, StorageFull, InternalError, and as `validate`."""
    return await ask("assemble", job.to_json(), Assembled.from_json, job.folder, limits)


async def quantize(job: QuantizeJob, limits: ToolLimits) -> Quantization:
    """Make a narrower form of a model in a sandboxed child; what the child wrote is yet to be validated.

    Raises InvalidModel, GoldenMismatch, InvalidArgument, InternalError.
    """
    return await ask("quantize", job.to_json(), Quantization.from_json, job.out, limits)


async def diff(job: DiffJob, limits: ToolLimits) -> Measured:
    """Compare two versions in a sandboxed child; raises InvalidGolden, InternalError, InvalidModel (its limits).

    Call it as `validate` is called.
    """
    return await ask("diff", job.to_json(), read_measured, job.folder, limits)


async def ask(
    verb: str, job: Mapping[str, Any], read: Callable[[Mapping[str, Any]], R], directory: Path, limits: ToolLimits
) -> R:
    """Have a child do one job in a directory and return its report as `read` makes it of JSON.

    Raises what the child refuses (InvalidModel and its kind), and InternalError where it fails.
    """
    request = {"kind": verb, "parent": os.getpid(), "limits": asdict(limits), "job": job}
    ended = await _run(json.dumps(request).encode(), str(directory), limits.wall_s)
    reply = _reply(ended, limits)
    try:
        return read(reply)
    except (KeyError, TypeError, ValueError, AttributeError, DataLoss) as error:
        raise InternalError(f"the model tool's report cannot be read: {error!r}") from error


@dataclass(frozen=True, slots=True)
class _Ended:
    """How a child ended: its exit code (negative: the signal), None where it was killed at the wall clock."""

    code: int | None
    reply: bytes
    stderr: str


async def _run(request: bytes, directory: str, wall_s: float) -> _Ended:
    process = await asyncio.create_subprocess_exec(
        # Isolated: nothing of the directory that the upload lies in, nor of the user's site, is ever imported.
        *(sys.executable, "-I", "-m", "interlock_registry.tool"),
        stdin=asyncio.subprocess.PIPE,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
        cwd=directory,
        env=clean_environment(os.environ),
        start_new_session=True,
    )
    assert process.stdin and process.stdout and process.stderr
    ending = asyncio.gather(process.wait(), _head(process.stdout), _tail(process.stderr), _send(process.stdin, request))
    try:
        async with asyncio.timeout(wall_s):
            code, reply, stderr, _ = await asyncio.shield(ending)
        return _Ended(code, reply, stderr)
    except TimeoutError:
        return _Ended(None, b"", "")
    finally:
        # Also where the child itself is gone: something that it started may still hold its pipes.
        if not ending.done() or process.returncode is None:
            _kill_group(process.pid)
            await asyncio.wait([ending], timeout=_REAP_S)
            ending.cancel()


async def _send(stream: asyncio.StreamWriter, request: bytes) -> None:
    try:
        stream.write(request)
        await stream.drain()
        stream.close()
        await stream.wait_closed()
    except (BrokenPipeError, ConnectionResetError):
        _log.debug("the model tool ended before it had read its job")  # its exit code tells why


async def _head(stream: asyncio.StreamReader) -> bytes:
    kept = bytearray()
    while chunk := await stream.read(1 << 16):
        kept += chunk[: _MAX_REPLY + 1 - len(kept)]
    return bytes(kept)


async def _tail(stream: asyncio.StreamReader) -> str:
    kept = b""
    while chunk := await stream.read(1 << 16):
        kept = (kept + chunk)[-_MAX_STDERR:]
    return kept.decode(errors="replace")


def _kill_group(leader: int) -> None:
    try:
        os.killpg(leader, signal.SIGKILL)
    except ProcessLookupError:
        _log.debug("the model tool %d had just ended", leader)


def _reply(ended: _Ended, limits: ToolLimits) -> dict[str, Any]:
    if ended.code != 0:
        raise _death(ended, limits)
    try:
        reply = json.loads(ended.reply)
        if "error" in reply:
            raise _refusal(reply["error"])
        report = reply["report"]
        if not isinstance(report, dict):
            raise TypeError("the report is not an object")
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        raise InternalError(f"the model tool's answer of {len(ended.reply)} bytes cannot be read: {error!r}") from error
    return report


def _refusal(data: dict[str, Any]) -> InterlockError:
    reason = str(data["reason"])
    cls = by_reason()[reason] if reason in _REFUSALS else InternalError
    violations = [Violation(str(each["field"]), str(each["description"])) for each in data["violations"]]
    facts = {str(key): str(value) for key, value in data["facts"].items()}
    return cls.rebuild(str(data["message"]), facts=facts, violations=violations)


def _death(ended: _Ended, limits: ToolLimits) -> InterlockError:
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
