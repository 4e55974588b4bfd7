"""The changes, each in a process of its own: `python -m tests.crashpoints.operations NAME FOLDER`."""

from __future__ import annotations

import sys
import uuid
from collections.abc import Callable, Mapping
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Final

from interlock.errors import InterlockError
from interlock_registry.artifacts import LocalArtifactStore
from interlock_registry.collector import Collector
from interlock_registry.domain import Action, Attempt
from interlock_registry.registry import Registry

from tests.databases import SqlitePlace
from tests.unit.registry.builders import MODEL, Desk, attempt
from tests.unit.registry.warehouse import DAY, Warehouse, content, stocked

ACKNOWLEDGED: Final = "acknowledged"
REFUSED: Final = "refused"
_NEW: Final = ("six", "shared")


def open_place(folder: Path) -> Warehouse:
    """Open the registry and the blobs of a folder."""
    place = SqlitePlace(folder / "registry.db")
    return Warehouse.at(Desk(Registry.open(place.url), place), folder)


def prepare(folder: Path) -> None:
    """Make a registry for every operation: versions to promote, to delete, and a deleted one to collect."""
    folder.mkdir(parents=True)
    place = open_place(folder)
    for seed in ("one", "two", "three", "four", "five"):
        place.register(seed, "shared")
    place.desk.promote(1)
    place.desk.promote(2)
    place.desk.retire(4)
    place.drop(5)
    place.put(b"given up")
    place.registry.close()


def _register(place: Warehouse, asked: Attempt) -> None:
    new = stocked(MODEL, _NEW)
    assert new.golden is not None
    digests = [each.digest for each in (*new.manifest.blobs, new.golden)]
    holder = uuid.uuid4().hex
    place.registry.blobs.hold(holder, digests)
    for seed in (*_NEW, f"golden of {_NEW[0]}"):
        place.put(content(seed))
    place.store.add_bytes(new.manifest.to_json().encode())
    place.registry.register(new, asked, holder=holder)


def _promote(place: Warehouse, asked: Attempt) -> None:
    place.registry.commit_move(place.registry.plan_promote(MODEL, 3, "stable", allow_breaking=True), asked, "{}")


def _rollback(place: Warehouse, asked: Attempt) -> None:
    place.registry.commit_move(place.registry.plan_rollback(MODEL, "stable", 0, allow_breaking=True), asked, "{}")


def _delete(place: Warehouse, asked: Attempt) -> None:
    place.registry.delete(asked)


def _collect(place: Warehouse, asked: Attempt) -> None:
    later = datetime.now(UTC) + timedelta(days=2)
    Collector(place.registry.blobs, place.store, grace_s=DAY, clock=lambda: later).collect(asked)


_Operation = Callable[[Warehouse, Attempt], None]
OPERATIONS: Final[Mapping[str, _Operation]] = {
    "register": _register,
    "promote": _promote,
    "rollback": _rollback,
    "delete": _delete,
    "gc": _collect,
}
_ATTEMPTS: Final[Mapping[str, Attempt]] = {
    "register": attempt(Action.REGISTER, key="k", request_hash="h"),
    "promote": attempt(Action.PROMOTE, version=3, alias="stable", key="k", request_hash="h"),
    "rollback": attempt(Action.ROLLBACK, version=1, alias="stable", key="k", request_hash="h"),
    "delete": attempt(Action.DELETE, version=4, key="k", request_hash="h"),
    "gc": attempt(Action.COLLECT, model=""),
}


def perform(name: str, folder: Path) -> None:
    """Do a change as a server does: what was done under its key already is not done again; raises InterlockError."""
    place = open_place(folder)
    asked = _ATTEMPTS[name]
    if not asked.idempotency_key or place.registry.recall(asked) is None:
        OPERATIONS[name](place, asked)
    place.registry.close()


def restart(folder: Path) -> LocalArtifactStore:
    """Do what the start of a server does about what its predecessor left; return the store."""
    store = LocalArtifactStore(folder / "blobs")
    store.put_back()
    store.sweep_temporary()
    return store


def main() -> None:
    """Perform one operation and say how it ended; another exception is a traceback, which is a fault."""
    try:
        perform(sys.argv[1], Path(sys.argv[2]))
    except InterlockError as error:
        print(REFUSED, error.reason, error.message, flush=True)
    else:
        print(ACKNOWLEDGED, flush=True)


if __name__ == "__main__":
    main()
