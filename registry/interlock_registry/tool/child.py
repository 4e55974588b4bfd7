"""A child process for one job: started clean, watched while it runs, gone with all that it started."""

from __future__ import annotations

import asyncio
import logging
import os
import signal
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from enum import Enum, auto
from pathlib import Path
from typing import Final

from interlock_registry.walls.enclosure import clean_environment
from interlock_registry.walls.limits import ToolLimits

_log = logging.getLogger(__name__)

_MAX_REPLY: Final = 16 << 20
_MAX_STDERR: Final = 4 << 10
_REAP_S: Final = 5.0
_LOOK_S: Final = 0.25
"""How often the disk is looked at: no rlimit counts what many files take together."""


class Stop(Enum):
    """What the parent ended a child for."""

    WALL_CLOCK = auto()
    DISK = auto()


@dataclass(frozen=True, slots=True)
class Ended:
    """How a child ended: its exit code (negative: the signal), None where the parent stopped it."""

    code: int | None
    reply: bytes
    stderr: str
    stopped: Stop | None = None


async def run(module: str, request: bytes, directory: Path, limits: ToolLimits, writable: Sequence[Path] = ()) -> Ended:
    """Run a module of ours in a fresh interpreter with a request on its standard input, and wait for its end.

    Ends the child where it takes too long, or `writable` grows over its limit; no child is left where this raises.
    """
    process = await asyncio.create_subprocess_exec(
        # Isolated: nothing of the directory that the upload lies in, nor of the user's site, is ever imported.
        *(sys.executable, "-I", "-m", module),
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
        async with asyncio.timeout(limits.wall_s):
            while not ending.done():
                await asyncio.wait([ending], timeout=_LOOK_S)
                if _size(writable) > limits.disk_bytes:
                    return Ended(None, b"", "", Stop.DISK)
        code, reply, stderr, _ = ending.result()
        return Ended(code, reply, stderr)
    except TimeoutError:
        return Ended(None, b"", "", Stop.WALL_CLOCK)
    finally:
        # Also where the child itself is gone: something that it started may still hold its pipes.
        if not ending.done() or process.returncode is None:
            _kill_group(process.pid)
            await asyncio.wait([ending], timeout=_REAP_S)
            ending.cancel()


def _size(paths: Sequence[Path]) -> int:
    return sum(_size_of(path) for path in paths)


def _size_of(path: Path) -> int:
    try:
        if not path.is_dir():
            return path.stat().st_size
        with os.scandir(path) as entries:
            return sum(entry.stat(follow_symlinks=False).st_size for entry in entries)
    except FileNotFoundError:  # it is writing there
        return 0


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
