"""Which version, and which request, is to blame for workers that crash. Pure.

A worker that ends by a fault's signal, or is killed because a run does not end, was running what it had noted. From
then on the versions that it ran are suspects: in the worker that takes its place they run one request at a time, one
version at a time, so that the next crash has one culprit.
"""

from __future__ import annotations

import signal
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Final

from interlock_server.process.deaths import Death
from interlock_server.process.notes import Note
from interlock_server.snapshot import VersionKey

WINDOW_S: Final = 600.0
"""Crashes that are older do not count."""
TOO_MANY: Final = 3
"""A version that has brought down so many workers, on different requests, is not loaded any more."""
REPEATED: Final = 2
"""A request that has brought down so many workers is refused."""
FAULTS: Final = frozenset(
    -each
    for each in (
        signal.SIGSEGV,
        signal.SIGABRT,
        signal.SIGBUS,
        signal.SIGFPE,
        signal.SIGILL,
        signal.SIGTRAP,
        signal.SIGSYS,
    )
)
"""Exit statuses of processes that were not ended by anybody else."""


@dataclass(frozen=True, slots=True, order=True)
class Poison:
    """A request that brings a worker down, by the fingerprint of all its bytes."""

    version: VersionKey
    fingerprint: int


@dataclass(frozen=True, slots=True, order=True)
class Quarantined:
    """A version that is not loaded any more, and why."""

    version: VersionKey
    reason: str


@dataclass(frozen=True, slots=True)
class Judgement:
    """What follows from the crashes so far."""

    suspects: frozenset[VersionKey] = frozenset()
    poison: frozenset[Poison] = frozenset()
    quarantined: tuple[Quarantined, ...] = ()

    def poison_of(self, key: VersionKey) -> tuple[int, ...]:
        """Return the fingerprints that a version's requests must not have."""
        return tuple(sorted(each.fingerprint for each in self.poison if each.version == key))

    def quarantine_of(self, key: VersionKey) -> str:
        """Return why a version must not be loaded; "" where it may."""
        return next((each.reason for each in self.quarantined if each.version == key), "")


@dataclass(frozen=True, slots=True)
class _Blamed:
    key: VersionKey
    note: Note
    how: str


def judge(deaths: Sequence[Death], now: float) -> Judgement:
    """Weigh the deaths of workers, oldest first."""
    crashes = [each for each in deaths if each.running and is_crash(each) and now - each.at < WINDOW_S]
    suspects: set[VersionKey] = set()
    blamed: list[_Blamed] = []
    for death in crashes:
        running = {key: note for note in death.running if (key := _key(note)) is not None}
        culprits = running.keys() if len(running) == 1 else running.keys() & suspects
        if len(culprits) == 1:
            (culprit,) = culprits
            blamed.append(_Blamed(culprit, running[culprit], describe(death)))
        suspects |= running.keys()
    poison = frozenset(each for key in {each.key for each in blamed} for each in _poison(key, blamed))
    return Judgement(frozenset(suspects), poison, tuple(sorted(_quarantined(blamed, poison))))


def is_crash(death: Death) -> bool:
    """Whether a worker was brought down by what it ran: a kill from outside says nothing of its versions."""
    return bool(death.cause) or death.status in FAULTS


def describe(death: Death) -> str:
    """Say how a worker ended."""
    return death.cause or f"killed by {signal.Signals(-death.status).name}"


def _key(note: Note) -> VersionKey | None:
    model, _, version = note.version.rpartition("@")
    return VersionKey(model, int(version)) if model and version.isdigit() else None


def _poison(key: VersionKey, blamed: Iterable[_Blamed]) -> Iterable[Poison]:
    notes = [each.note for each in blamed if each.key == key]
    for whole in {note.whole for note in notes if note.whole}:
        parts = {part for note in notes if note.whole == whole for part in note.parts}
        if sum(note.whole == whole or (not note.whole and bool(parts & set(note.parts))) for note in notes) >= REPEATED:
            yield Poison(key, whole)


def _is_of(note: Note, known: set[int], parts: set[int]) -> bool:
    """Whether a run was of a request that is known by now; one that was noted by its first bytes may have been."""
    return note.whole in known if note.whole else bool(parts & set(note.parts))


def _quarantined(blamed: Sequence[_Blamed], poison: frozenset[Poison]) -> Iterable[Quarantined]:
    for key in {each.key for each in blamed}:
        own = [each for each in blamed if each.key == key]
        known = {each.fingerprint for each in poison if each.version == key}
        parts = {part for each in own if each.note.whole in known for part in each.note.parts}
        # However often one request was sent, it is one reason to distrust the version.
        others = [each for each in own if not _is_of(each.note, known, parts)]
        if len(known) + len(others) >= TOO_MANY:
            yield Quarantined(
                key,
                f"quarantined: it brought the worker down {len(own)} times within {WINDOW_S / 60:g} minutes, last: "
                f"{own[-1].how}; promote it again to give it another chance",
            )
