"""Levers: a word of shared memory for each alias, by which control has every worker take the alias's way back at once.

A snapshot tells workers each alias's way back, and which word will say that it is taken. A rollback then costs them no
message: control writes the word, and the next request that a worker resolves sees it. The whole picture follows.
"""

from __future__ import annotations

import fcntl
import mmap
import os
import uuid
from dataclasses import dataclass
from typing import Final

LEVERS: Final = 1 << 16
"""How many aliases can have one; the others are switched by messages alone."""
_WORD: Final = 8
_SEALS: Final = fcntl.F_SEAL_SHRINK | fcntl.F_SEAL_GROW | fcntl.F_SEAL_SEAL
"""A mapped file that shrinks would kill whoever reads there."""


@dataclass(frozen=True, slots=True)
class Lever:
    """Where to look for a pulled lever, and what stands there once it is."""

    index: int
    token: int
    """Of this way back alone: neither the alias's next one nor that of an alias made anew has it again."""


@dataclass(frozen=True, slots=True)
class _Alias:
    model: str
    alias: str


@dataclass(frozen=True, slots=True)
class _Way:
    incarnation: str
    generation: int
    version: int


@dataclass(frozen=True, slots=True)
class _Set:
    way: _Way
    lever: Lever


class LeverFrame:
    """The control process's end: gives out levers and pulls them. The only writer of the memory."""

    def __init__(self) -> None:
        """Take memory that ends with the processes that map it; raises OSError."""
        # Of this frame alone: a later process may have the same number, and the same descriptor.
        self._name = f"interlock-levers-{uuid.uuid4().hex}"
        self._descriptor = os.memfd_create(self._name, os.MFD_CLOEXEC | os.MFD_ALLOW_SEALING)
        os.ftruncate(self._descriptor, LEVERS * _WORD)
        fcntl.fcntl(self._descriptor, fcntl.F_ADD_SEALS, _SEALS)
        self._memory = mmap.mmap(self._descriptor, LEVERS * _WORD)
        self._words = memoryview(self._memory).cast("Q")
        self._given: dict[_Alias, _Set] = {}
        self._last_token = 0
        self._closed = False

    @property
    def place(self) -> str:
        """Where another process of this user can open the memory, while this one lives: PROCESS/DESCRIPTOR/NAME."""
        return f"{os.getpid()}/{self._descriptor}/{self._name}"

    def lever(self, model: str, alias: str, *, incarnation: str, generation: int, version: int) -> Lever | None:
        """Return the lever of an alias's way back to a version at a generation: the same for the same, else a new one.

        None where all are given out.
        """
        key, way = _Alias(model, alias), _Way(incarnation, generation, version)
        given = self._given.get(key)
        if given is not None and given.way == way:
            return given.lever
        if given is None and len(self._given) == LEVERS:
            return None
        self._last_token += 1
        index = given.lever.index if given is not None else len(self._given)
        lever = Lever(index, self._last_token)
        self._given[key] = _Set(way, lever)
        return lever

    def pull(self, lever: Lever) -> None:
        """Have every worker that knows the lever's way back take it, from the next request on."""
        self._words[lever.index] = lever.token

    def close(self) -> None:
        """Give the memory up; workers keep what they have mapped. Idempotent."""
        if not self._closed:
            self._closed = True
            self._words.release()
            self._memory.close()
            os.close(self._descriptor)


class LeverView:
    """A worker's end: reads."""

    def __init__(self, place: str) -> None:
        """Map the memory at a frame's place; raises OSError, also where another frame is there by now."""
        self.place: Final = place
        process, _, rest = place.partition("/")
        number, _, name = rest.partition("/")
        descriptor = os.open(f"/proc/{process}/fd/{number}", os.O_RDONLY | os.O_CLOEXEC)
        try:
            found = os.readlink(f"/proc/self/fd/{descriptor}")
            if found != f"/memfd:{name} (deleted)":
                raise OSError(f"{place} is not a frame of levers: {found} is there")
            # It stays mapped as long as routes hold this view.
            memory = mmap.mmap(descriptor, LEVERS * _WORD, prot=mmap.PROT_READ)
        finally:
            os.close(descriptor)
        self._words: Final = memoryview(memory).cast("Q")

    def pulled(self, lever: Lever) -> bool:
        """Tell whether a lever was pulled."""
        return self._words[lever.index] == lever.token
