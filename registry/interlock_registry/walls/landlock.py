"""Landlock: the kernel keeps this process, and whatever it starts, away from every file that is not named here."""

from __future__ import annotations

import ctypes
import os
import struct
import sys
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Final

from interlock_registry.walls.limits import Reach

_CREATE: Final = 444
_ADD: Final = 445
_RESTRICT: Final = 446
"""Numbers of the system calls, the same on every architecture."""
_VERSION: Final = 1
_PATH_BENEATH: Final = 1

_READ: Final = 1 << 2 | 1 << 3
_READ_FILE: Final = 1 << 2
_WRITE: Final = 1 << 1 | 1 << 4 | 1 << 5 | 1 << 7 | 1 << 8 | 1 << 13 | 1 << 14
"""Write, remove, make directories and plain files, move, truncate; no devices, sockets, pipes or symbolic links."""
_WRITE_FILE: Final = 1 << 1 | 1 << 14
_TCP: Final = 1 << 0 | 1 << 1
"""To bind and to connect."""
_SCOPES: Final = 1 << 0 | 1 << 1
"""Abstract unix sockets and signals."""

NEWEST_KNOWN: Final = 7
TRUNCATE_SINCE: Final = 3
"""Before this ABI (Linux 6.2) a file out of reach could still be cut short."""
TCP_SINCE: Final = 4
SIGNALS_SINCE: Final = 6

_SYSTEM: Final = (
    *("/lib", "/lib64", "/usr/lib", "/usr/lib64", "/usr/local/lib", "/etc/ld.so.cache"),
    # What sizes thread pools and finds the fast kernels for this processor.
    *("/proc/cpuinfo", "/proc/meminfo", "/sys/devices/system/cpu"),
    *("/dev/null", "/dev/zero", "/dev/urandom", "/dev/random"),
)


def abi() -> int:
    """Return the version of Landlock that this kernel offers, 0 where it has none."""
    return max(0, _call(_CREATE, None, ctypes.c_size_t(0), ctypes.c_uint32(_VERSION)))


def restrict(reach: Reach, version: int) -> None:
    """Leave this process its own program to read and `reach`, no TCP, nobody to signal; raises OSError.

    `version` is what `abi` returned. No file may be executed, also not those that may be read.
    """
    files = _files(version)
    attributes = struct.pack(
        "=QQQ", files, _TCP if version >= TCP_SINCE else 0, _SCOPES if version >= SIGNALS_SINCE else 0
    )
    ruleset = _check(
        _call(_CREATE, attributes, ctypes.c_size_t(_attributes_size(version)), ctypes.c_uint32(0)), "create a ruleset"
    )
    try:
        for path in (*_program(), *reach.readable):
            _allow(ruleset, path, _READ & files)
        for path in reach.writable:
            _allow(ruleset, path, (_READ | _WRITE) & files)
        _check(_call(_RESTRICT, ctypes.c_int(ruleset), ctypes.c_uint32(0)), "restrict this process")
    finally:
        os.close(ruleset)


def _files(version: int) -> int:
    """Return every kind of access to files that a kernel of this version can refuse."""
    bits = 13 + (version >= 2) + (version >= TRUNCATE_SINCE) + (version >= 5)
    return int((1 << bits) - 1)


def _attributes_size(version: int) -> int:
    """Return how much of the attributes a kernel of this version knows."""
    if version >= SIGNALS_SINCE:
        return 24
    return 16 if version >= TCP_SINCE else 8


def _program() -> Iterator[Path]:
    """Yield what the interpreter needs of the machine: itself, its libraries, what they look at."""
    own = (*sys.path, f"{sys.base_prefix}/lib", f"{sys.base_prefix}/lib64", f"/proc/{os.getpid()}")
    yield from map(Path, _existing((*own, *_SYSTEM, *os.environ.get("LD_LIBRARY_PATH", "").split(":"))))


def _existing(names: Iterable[str]) -> Iterator[str]:
    return (name for name in dict.fromkeys(names) if name and os.path.isabs(name) and os.path.exists(name))


def _allow(ruleset: int, path: Path, rights: int) -> None:
    descriptor = os.open(path, os.O_PATH | os.O_CLOEXEC)
    try:
        if not os.path.isdir(path):
            rights &= _READ_FILE | _WRITE_FILE
        # Packed: the kernel's structure has no padding.
        rule = struct.pack("=Qi", rights, descriptor)
        _check(
            _call(_ADD, ctypes.c_int(ruleset), ctypes.c_int(_PATH_BENEATH), rule, ctypes.c_uint32(0)),
            f"allow {str(path)!r}",
        )
    finally:
        os.close(descriptor)


def _call(number: int, *arguments: object) -> int:
    libc = ctypes.CDLL(None, use_errno=True)
    libc.syscall.restype = ctypes.c_long
    return int(libc.syscall(ctypes.c_long(number), *arguments))


def _check(result: int, what: str) -> int:
    if result < 0:
        code = ctypes.get_errno()
        raise OSError(code, f"Landlock did not {what}: {os.strerror(code)}")
    return result
