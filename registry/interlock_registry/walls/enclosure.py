"""Putting the walls up, in their order, and trying each of them: one that only seems to stand is not reported."""

from __future__ import annotations

import contextlib
import ctypes
import mmap
import os
import resource
import signal
import socket
from collections.abc import Callable, Mapping
from typing import Final

from interlock_registry.walls import landlock, seccomp
from interlock_registry.walls.limits import Reach, Sandbox, ToolLimits

RLIMITS: Final = "rlimits"
NO_NEW_PRIVS: Final = "no-new-privs"
DEATH_SIGNAL: Final = "parent-death-signal"
ENVIRONMENT: Final = "clean-environment"
FILES: Final = "landlock-files"
TCP: Final = "landlock-tcp"
SIGNALS: Final = "landlock-signals"
CALLS: Final = "seccomp"
ALWAYS: Final = (RLIMITS, NO_NEW_PRIVS, DEATH_SIGNAL, ENVIRONMENT)
STRICT: Final = (*ALWAYS, FILES, CALLS)
"""What `Sandbox.STRICT` demands; TCP and signals of others are refused by seccomp too, Landlock is a second wall."""

_PR_SET_PDEATHSIG: Final = 1
_PR_GET_PDEATHSIG: Final = 2
_PR_SET_NO_NEW_PRIVS: Final = 38
_PR_GET_NO_NEW_PRIVS: Final = 39
_OPEN_FILES: Final = 128
_NICE: Final = 10
_WORST: Final = "1000"
_KEPT: Final = ("PATH", "LANG", "LC_ALL", "LC_CTYPE", "TZ", "LD_LIBRARY_PATH")
# Idle thread pools and malloc arenas would eat the address space that the model is meant to have, ONNX Runtime would
# report to its maker, and a home is looked up in files that are out of reach.
_FIXED: Final = {
    "OMP_NUM_THREADS": "1",
    "OPENBLAS_NUM_THREADS": "1",
    "MALLOC_ARENA_MAX": "2",
    "ORT_DISABLE_TELEMETRY": "1",
    "HOME": "/nonexistent",
}


def clean_environment(environment: Mapping[str, str]) -> dict[str, str]:
    """Return what a child may know of its parent's environment: no secrets, and one thread per numeric library."""
    return {name: environment[name] for name in _KEPT if name in environment} | _FIXED


def enter(limits: ToolLimits, reach: Reach, parent: int) -> tuple[str, ...]:
    """Put this process behind its walls for good and return those that held when it ran against them.

    Raises OSError where one that every kernel has cannot be put up.
    """
    _prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
    if os.getppid() != parent:  # it died before the signal was armed
        os._exit(1)
    _prctl(_PR_SET_NO_NEW_PRIVS, 1)
    _limit(resource.RLIMIT_CORE, 0)
    _limit(resource.RLIMIT_AS, limits.memory_bytes)
    # At the first second too many SIGXCPU says why; SIGKILL follows if that is ignored.
    _limit(resource.RLIMIT_CPU, limits.cpu_s, limits.cpu_s + 1)
    _limit(resource.RLIMIT_FSIZE, limits.file_bytes)
    _limit(resource.RLIMIT_NOFILE, _OPEN_FILES)
    # No RLIMIT_NPROC: it counts every thread of the user in the whole machine, and does not bind root at all.
    os.nice(_NICE)
    _die_first()
    held = [
        *([RLIMITS] if _limits_hold(limits) else []),
        *([NO_NEW_PRIVS] if _prctl(_PR_GET_NO_NEW_PRIVS) == 1 else []),
        *([DEATH_SIGNAL] if _death_signal() == signal.SIGKILL else []),
        *([ENVIRONMENT] if os.environ.keys() <= {*_KEPT, *_FIXED} else []),
    ]
    if limits.sandbox is not Sandbox.OFF:
        held += _landlock(reach, parent)
        held += _seccomp(parent)
    return tuple(held)


def missing(held: tuple[str, ...]) -> tuple[str, ...]:
    """Return the walls that `Sandbox.STRICT` demands and that do not stand."""
    return tuple(name for name in STRICT if name not in held)


def _landlock(reach: Reach, parent: int) -> list[str]:
    version = landlock.abi()
    if not version:
        return []
    # Made before: behind the wall a refusal of the socket itself would prove nothing of this one.
    with socket.socket() as probe:
        landlock.restrict(reach, version)
        held = [FILES] if version >= landlock.TRUNCATE_SINCE and _files_are_out_of_reach(reach) else []
        if version >= landlock.TCP_SINCE and _is_refused(lambda: probe.bind(("127.0.0.1", 0))):
            held.append(TCP)
    if version >= landlock.SIGNALS_SINCE and _is_refused(lambda: os.kill(parent, 0)):
        held.append(SIGNALS)
    return held


def _seccomp(parent: int) -> list[str]:
    if not seccomp.is_known():
        return []
    seccomp.install()
    calls: tuple[Callable[[], object], ...] = (
        lambda: socket.socket().close(),
        _fork,
        lambda: os.kill(parent, 0),
        lambda: os.execv("/nonexistent", ["nonexistent"]),
        lambda: os.setpriority(os.PRIO_PROCESS, 0, os.nice(0)),
    )
    return [CALLS] if all(map(_is_refused, calls)) else []


def _files_are_out_of_reach(reach: Reach) -> bool:
    return _is_refused(lambda: os.listdir("/")) and all(
        _is_refused(lambda folder=folder: _make_file(os.path.join(folder, f".wall-{os.getpid()}")))  # type: ignore[misc]
        for folder in reach.readable
        if os.path.isdir(folder)
    )


def _make_file(path: str) -> None:
    os.close(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600))
    os.unlink(path)


def _fork() -> None:
    child = os.fork()
    if child == 0:
        os._exit(0)
    os.waitpid(child, 0)


def _is_refused(act: Callable[[], object]) -> bool:
    try:
        act()
    except PermissionError:
        return True
    except OSError:  # it failed otherwise, which is no proof of a wall
        return False
    return False


def _limits_hold(limits: ToolLimits) -> bool:
    with contextlib.suppress(OSError, ValueError, OverflowError):
        mmap.mmap(-1, limits.memory_bytes).close()
        return False
    return resource.getrlimit(resource.RLIMIT_CORE)[0] == 0 and resource.getrlimit(resource.RLIMIT_FSIZE)[0] > 0


def _die_first() -> None:
    """Have the kernel, should memory run out within the limit on addresses, end this process before the server's."""
    with contextlib.suppress(OSError), open("/proc/self/oom_score_adj", "w") as file:
        file.write(_WORST)


def _death_signal() -> int:
    found = ctypes.c_int()
    _prctl(_PR_GET_PDEATHSIG, ctypes.addressof(found))
    return found.value


def _prctl(option: int, value: int = 0) -> int:
    libc = ctypes.CDLL(None, use_errno=True)
    result = int(libc.prctl(option, ctypes.c_ulong(value), 0, 0, 0))
    if result < 0:
        code = ctypes.get_errno()
        raise OSError(code, f"prctl({option}) failed: {os.strerror(code)}")
    return result


def _limit(kind: int, soft: int, hard: int | None = None) -> None:
    _, highest = resource.getrlimit(kind)
    hard = soft if hard is None else hard
    if highest != resource.RLIM_INFINITY:
        soft, hard = min(soft, highest), min(hard, highest)
    resource.setrlimit(kind, (soft, hard))
