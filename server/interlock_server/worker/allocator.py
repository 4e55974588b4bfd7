"""The C library's allocator, told what to keep and what to give back: a server loads and drops models for months."""

from __future__ import annotations

import ctypes
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache
from typing import Final

_M_TRIM_THRESHOLD: Final = -1
_M_MMAP_THRESHOLD: Final = -3
_MIB: Final = 1 << 20
_OF_A_LOAD: Final = 4 * _MIB
_OF_REQUESTS: Final = 32 * _MIB
"""The most that glibc takes."""


def keep_for_requests() -> None:
    """Have the allocator keep what requests free, up to 32 MiB in a piece, for the next ones.

    What is given back has to be had anew, page by page: for an input of 6 MB 2,900 faults a request, a quarter of its
    processor time. The trimmer gives back what is kept for long.
    """
    _set(_M_MMAP_THRESHOLD, _OF_REQUESTS)
    _set(_M_TRIM_THRESHOLD, _OF_REQUESTS)


@contextmanager
def give_back_once_freed() -> Iterator[None]:
    """Have large blocks that are allocated meanwhile go back to the system as soon as they are freed.

    Each session is made on a thread of its own, and so in one of many arenas. Left to itself glibc keeps blocks of up
    to 32 MiB of a dropped model there, in every arena, where not even malloc_trim finds the last one.
    """
    _set(_M_MMAP_THRESHOLD, _OF_A_LOAD)
    try:
        yield
    finally:
        _set(_M_MMAP_THRESHOLD, _OF_REQUESTS)


def give_back_memory() -> None:
    """Return freed memory to the system: without this RSS does not fall after a session is dropped."""
    trim = getattr(_c_library(), "malloc_trim", None)
    if trim is not None:
        trim(0)


def _set(which: int, size: int) -> None:
    mallopt = getattr(_c_library(), "mallopt", None)
    if mallopt is not None:
        mallopt(which, size)


@cache
def _c_library() -> ctypes.CDLL:
    """Return the C library: ctypes makes a class each time it is asked, with the interpreter's lock held."""
    return ctypes.CDLL(None)
