"""The C library's allocator, told to give memory back: a server loads and drops large models for months."""

from __future__ import annotations

import ctypes
from typing import Final

_M_TRIM_THRESHOLD: Final = -1
_M_MMAP_THRESHOLD: Final = -3
_MIB: Final = 1 << 20


def bound_freed_memory() -> None:
    """Have the allocator return large blocks at once.

    Each session is made on a thread of its own, and so in one of many arenas. Left to itself glibc learns from the
    first freed weights to keep blocks of up to 32 MiB, in every arena, where not even malloc_trim finds the last one.
    """
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None)
    if mallopt is not None:
        mallopt(_M_MMAP_THRESHOLD, 4 * _MIB)
        mallopt(_M_TRIM_THRESHOLD, 8 * _MIB)


def give_back_memory() -> None:
    """Return freed memory to the system: without this RSS does not fall after a session is dropped."""
    trim = getattr(ctypes.CDLL(None), "malloc_trim", None)
    if trim is not None:
        trim(0)
