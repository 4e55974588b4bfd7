"""What a version's thread tells of its runs before they begin, so that a crash can be laid to somebody's charge."""

from __future__ import annotations

import hashlib
import threading
import zlib
from collections.abc import Sequence
from typing import Final

from interlock.errors import PoisonRequest
from interlock.types import Array

from interlock_server.process.notes import Slot

_PART_BYTES: Final = 128
_PART_INPUTS: Final = 2

_ONE_AT_A_TIME: Final = threading.Lock()
"""Held by runs of suspects, of whatever version: the next crash shall have one culprit."""


class Watch:
    """Notes the runs of one version; an unnoted one costs the same few instructions less."""

    __slots__ = ("_slot", "_version", "poison", "suspect")

    def __init__(
        self, version: str = "", slot: Slot | None = None, *, suspect: bool = False, poison: Sequence[int] = ()
    ) -> None:
        """Take where to note runs; a suspect runs alone, and `poison` are the fingerprints that it must not run."""
        self._version = version
        self._slot = slot
        self.suspect: Final = suspect
        self.poison: Final = frozenset(poison)

    def admit(self, inputs: Sequence[Array]) -> None:
        """Refuse a request that has brought down workers before; raises PoisonRequest."""
        if whole(inputs) in self.poison:
            raise PoisonRequest(
                f"this request has brought down the worker whenever {self._version} ran it, and is not run again; mend "
                "the model, or change the request",
                facts={"version": self._version},
            )

    def begin(self, inputs: Sequence[Array]) -> None:
        """Note that a run of one request begins."""
        if self.suspect:
            _ONE_AT_A_TIME.acquire()
        if self._slot is not None:
            self._slot.begin(part(inputs), whole(inputs) if self.suspect else 0)

    def begin_many(self, requests: Sequence[Sequence[Array]]) -> None:
        """Note that a run of several requests begins; suspects run one at a time and have none."""
        if self._slot is not None:
            self._slot.begin_many([part(inputs) for inputs in requests])

    def begin_loading(self) -> None:
        """Note that the version is being loaded."""
        if self.suspect:
            _ONE_AT_A_TIME.acquire()
        if self._slot is not None:
            self._slot.begin(0)

    def end(self) -> None:
        """Note that the run, or the loading, is over."""
        if self._slot is not None:
            self._slot.end()
        if self.suspect:
            _ONE_AT_A_TIME.release()

    def close(self) -> None:
        """Give the place back where runs were noted. Idempotent."""
        if self._slot is not None:
            self._slot.close()


def part(inputs: Sequence[Array]) -> int:
    """Return a fingerprint of a request's first bytes, never 0: well under a microsecond for most."""
    found = 0
    for array in inputs if len(inputs) <= _PART_INPUTS else inputs[:_PART_INPUTS]:
        try:
            if array.nbytes <= _PART_BYTES:
                found = zlib.crc32(array, found)  # type: ignore[arg-type]
            else:
                found = zlib.crc32(memoryview(array).cast("B")[:_PART_BYTES], found)  # type: ignore[arg-type]
        except (TypeError, ValueError, NotImplementedError):  # texts, nothing at all, or a datatype unknown to buffers
            found = zlib.crc32(_slow_bytes(array.ravel()[: _PART_BYTES // array.itemsize]), found)
    return found | 1 << 32


def whole(inputs: Sequence[Array]) -> int:
    """Return a fingerprint of all bytes, shapes and datatypes of a request, never 0."""
    hasher = hashlib.blake2b(digest_size=8)
    for array in inputs:
        hasher.update(f"{array.dtype.str}{array.shape}".encode())
        hasher.update(_slow_bytes(array))
    return int.from_bytes(hasher.digest(), "little") or 1


def _slow_bytes(array: Array) -> bytes:
    if array.dtype.hasobject:
        return b"\0".join(item if isinstance(item, bytes) else str(item).encode() for item in array.ravel())
    return array.tobytes()
