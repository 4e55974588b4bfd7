"""What must be so after a crash or a failure: everything whole, the change there or not, and possible after all."""

from __future__ import annotations

import signal
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path

from interlock.errors import InterlockError
from interlock.model import EventFilter
from interlock_registry.checking import Checker
from interlock_registry.fsck import Severity
from interlock_registry.garbage import FileKind

from tests.crashpoints.operations import ACKNOWLEDGED, REFUSED, open_place, perform, restart, unfinished
from tests.crashpoints.points import Outcome, Point
from tests.unit.registry.builders import MODEL


@dataclass(frozen=True, slots=True)
class Picture:
    """What somebody sees of a registry: versions, aliases, how many changes, which blobs are live."""

    versions: tuple[tuple[int, str], ...]
    aliases: tuple[tuple[str, int, tuple[int, ...], int], ...]
    changes: int
    blobs: frozenset[str]


def look(folder: Path) -> Picture:
    """Look at a registry."""
    registry = open_place(folder).registry
    try:
        versions = registry.versions(MODEL).items
        (model,) = (each for each in registry.desired().models if each.name == MODEL)
        done = registry.events(EventFilter(outcome="ok")).items
        return Picture(
            tuple((each.version, each.state.value) for each in versions),
            tuple((each.alias, each.version, tuple(each.stack), each.generation) for each in model.aliases),
            len(done),
            frozenset(each.digest for each in registry.blobs.live(limit=1000)),
        )
    finally:
        registry.close()


def violations(
    operation: str, folder: Path, point: Point, outcome: Outcome, before: Picture, after: Picture
) -> Iterator[str]:
    """Say what is not as it must be, and leave the folder with the operation done."""
    killed = point.fault == "SIGKILL"
    if killed and outcome.status not in (-signal.SIGKILL, 128 + signal.SIGKILL, 0):
        yield f"it ended with {outcome.status}: {outcome.stderr[-300:]}"
    if not killed and not outcome.said.startswith((ACKNOWLEDGED, REFUSED)):
        yield f"it did not say in our words what went wrong: {outcome.stderr.strip()[-300:]}"
    found = look(folder)
    if outcome.said.startswith(ACKNOWLEDGED) and found != after:
        yield "it was acknowledged and is not there"
    yield from after_a_crash(operation, folder, found, before, after)


def after_a_crash(operation: str, folder: Path, found: Picture, before: Picture, after: Picture) -> Iterator[str]:
    """Say what is not as it must be in a folder that was found so, and leave it with the operation done."""
    if found not in (before, after):
        yield f"it is neither what was nor what was wanted: {found}"
    yield from _findings(folder, "after it")
    yield from unfinished(operation, folder)
    store = restart(folder)
    if left := [each.name for each in store.files() if each.kind in (FileKind.INCOMING, FileKind.CONDEMNED)]:
        yield f"a start left {left}"
    try:
        perform(operation, folder)
    except InterlockError as error:
        yield f"it cannot be repeated: {error.message}"
    again = look(folder)
    if operation == "gc" and again.changes == after.changes + 1:
        # Killed between the commit and the end: the garbage was put back, and its removal is told twice.
        again = replace(again, changes=after.changes)
    yield from unfinished(operation, folder)
    if left := [str(each) for name in ("uploads", "downloads") for each in (folder / "state" / name).glob("*")]:
        yield f"repeated, it has left {left}"
    if again != after:
        yield f"repeated, it is {again}"
    yield from _findings(folder, "after it was repeated")


def _findings(folder: Path, when: str) -> Iterator[str]:
    place = open_place(folder)
    try:
        for finding in Checker(place.registry, place.store, actor="test").check():
            if finding.severity is Severity.ERROR:
                yield f"{when}: {finding.subject}: {finding.what}"
    finally:
        place.registry.close()
