"""The walls around a model tool child. Stdlib only: they stand before onnx, onnxruntime or a model is touched."""

from __future__ import annotations

import ctypes
import os
import resource
import signal
from collections.abc import Mapping
from typing import Final

from interlock_registry.tool.job import ToolLimits

_PR_SET_PDEATHSIG: Final = 1
_PR_SET_NO_NEW_PRIVS: Final = 38
_OPEN_FILES: Final = 128
_NICE: Final = 10
_KEPT: Final = ("PATH", "LANG", "LC_ALL", "LC_CTYPE", "TZ", "LD_LIBRARY_PATH", "COVERAGE_PROCESS_CONFIG")


def sandbox_layers() -> tuple[str, ...]:
    """Name the walls that every child stands behind; one that cannot be put up fails the job."""
    return ("process", "rlimits", "no-new-privs", "parent-death-signal", "clean-environment", "wall-clock")


def clean_environment(environment: Mapping[str, str]) -> dict[str, str]:
    """Return what a child may know of its parent's environment: no secrets, and one thread per numeric library."""
    kept = {name: environment[name] for name in _KEPT if name in environment}
    # Idle thread pools and malloc arenas would eat the address space that the model is meant to have, and ONNX Runtime
    # would report to its maker.
    fixed = {"OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1", "MALLOC_ARENA_MAX": "2", "ORT_DISABLE_TELEMETRY": "1"}
    return kept | fixed


def enter(limits: ToolLimits, parent: int) -> None:
    """Put this process behind its walls for good; raises OSError where one cannot be put up."""
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


def _prctl(option: int, value: int) -> None:
    libc = ctypes.CDLL(None, use_errno=True)
    if libc.prctl(option, ctypes.c_ulong(value), 0, 0, 0) != 0:
        code = ctypes.get_errno()
        raise OSError(code, f"prctl({option}) failed: {os.strerror(code)}")


def _limit(kind: int, soft: int, hard: int | None = None) -> None:
    _, highest = resource.getrlimit(kind)
    hard = soft if hard is None else hard
    if highest != resource.RLIM_INFINITY:
        soft, hard = min(soft, highest), min(hard, highest)
    resource.setrlimit(kind, (soft, hard))
