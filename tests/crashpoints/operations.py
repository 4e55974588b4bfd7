"""The changes, each in a process of its own: `python -m tests.crashpoints.operations NAME FOLDER`."""

from __future__ import annotations

import asyncio
import hashlib
import os
import shutil
import sys
import uuid
from collections.abc import AsyncIterator, Callable, Iterator, Mapping
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Final

from interlock.errors import InterlockError
from interlock.model import FileRole, UploadFile, UploadHeader
from interlock_registry import disk
from interlock_registry.artifacts import LocalArtifactStore
from interlock_registry.backup import Backup
from interlock_registry.checking import Checker
from interlock_registry.collector import Collector
from interlock_registry.derived import Form, Recipe
from interlock_registry.derived_store import DerivedStore
from interlock_registry.domain import Action, Attempt
from interlock_registry.fsck import Severity
from interlock_registry.registry import Registry
from interlock_registry.tool import AssembleJob, DeriveJob, ToolLimits, assemble, derive
from interlock_server.control.last_known_good import LastKnownGood
from interlock_server.control.metrics import ControlMetrics
from interlock_server.control.uploads import Uploads
from interlock_server.settings import Settings
from interlock_server.snapshot import Snapshot

from tests import models
from tests.databases import SqlitePlace
from tests.unit.registry.builders import MODEL, Desk, attempt
from tests.unit.registry.warehouse import DAY, Warehouse, content, stocked

ACKNOWLEDGED: Final = "acknowledged"
REFUSED: Final = "refused"
_NEW: Final = ("six", "shared")


_MODEL: Final = models.mlp(width=2, hidden=140, classes=2, layers=2)


def _graph(folder: Path) -> Path:
    """Where a real model lies, named by its bytes as blobs are; it is no version's."""
    return folder / "graphs" / hashlib.sha256(_MODEL).hexdigest()


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
    graph = _graph(folder)
    graph.parent.mkdir()
    graph.write_bytes(_MODEL)
    place.desk.promote(1)
    place.desk.promote(2)
    place.desk.retire(4)
    place.drop(5)
    place.put(b"given up")
    state = place.registry.state()
    place.registry.close()
    (folder / "state").mkdir(exist_ok=True)
    LastKnownGood(folder / "state").save(Snapshot(state.incarnation, state.epoch - 1, (), ()))


def _register(place: Warehouse, asked: Attempt) -> None:
    new = stocked(MODEL, _NEW)
    assert new.golden is not None
    digests = [each.digest for each in (*new.manifest.blobs, new.golden)]
    holder = uuid.uuid4().hex
    place.registry.blobs.hold(holder, digests)
    with _in_our_words("what was uploaded"):
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


def _upload(place: Warehouse, asked: Attempt) -> None:
    """Receive an upload, as far as it goes without a child to validate it; it is dropped again."""
    data = content("an upload") * 50
    header = UploadHeader(MODEL, (UploadFile("m.onnx", FileRole.MODEL, len(data), hashlib.sha256(data).hexdigest()),))

    async def chunks() -> AsyncIterator[bytes]:
        for start in range(0, len(data), 1 << 13):
            yield data[start : start + (1 << 13)]

    async def receive() -> None:
        uploads = Uploads(
            Settings.load({"data": place.root}, None), _made(place.root / "state" / "uploads"), ControlMetrics()
        )
        uploads.sweep()
        uploads.check(header)
        (await uploads.receive(header, chunks())).discard()

    with _in_our_words("the folder of uploads"):
        asyncio.run(receive())


def _pull(place: Warehouse, asked: Attempt) -> None:
    """Put a real model together in the sandboxed child."""
    with _in_our_words("the folder of downloads"):
        folder = _made(place.root / "state" / "downloads")
        for leftover in folder.iterdir():
            shutil.rmtree(leftover)
        job = AssembleJob(graph=_graph(place.root), name="back.onnx", is_outside=False, folder=_made(folder / "one"))
        asyncio.run(assemble(job, ToolLimits()))
        shutil.rmtree(folder / "one")


def _derive(place: Warehouse, asked: Attempt) -> None:
    """Make a derived form in the sandboxed child, and keep it."""
    recipe = Recipe(graph_sha256="0" * 64, runtime="any", cpu="any", provider="CPU")
    with _in_our_words("the derived forms"):
        store = DerivedStore(place.root)
        store.sweep()
        workplace = store.workplace()
        job = DeriveJob(
            model=_graph(place.root),
            golden=None,
            joinable=True,
            folder=workplace.folder,
            graph=workplace.graph,
            own=place.root / "derived",
            shared=None,
        )
        try:
            report = asyncio.run(derive(job, ToolLimits()))
            store.add(Form(recipe=recipe, graph=report.graph, own=report.own, shared=report.shared), workplace)
        finally:
            workplace.discard()


@contextmanager
def _in_our_words(what: str) -> Iterator[None]:
    """Do what a server does with an error of the disk."""
    try:
        yield
    except OSError as error:
        raise disk.failure(error, what) from error


def _backup(place: Warehouse, asked: Attempt) -> None:
    backup = Backup(place.root / "backup")
    backup.check_free()
    backup.save(place.registry, str(place.desk.place.url), place.store, program="test")


def _last_known_good(place: Warehouse, asked: Attempt) -> None:
    state = place.registry.state()
    with _in_our_words("last-known-good"):
        LastKnownGood(place.root / "state").save(Snapshot(state.incarnation, state.epoch, (), ()))


def _made(folder: Path) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    return folder


def unfinished(name: str, folder: Path) -> Iterator[str]:
    """Say what an operation that only writes files has left that is neither whole nor absent."""
    match name:
        case "backup":
            backup = Backup(folder / "backup")
            if not (folder / "backup" / "backup.json").exists():
                return
            backup.read()
            kept = Registry.open(f"sqlite:///{backup.database}", migrate=False)
            for finding in Checker(kept, backup.store, actor="test").check():
                if finding.severity is Severity.ERROR:
                    yield f"the backup says that it is whole: {finding.what}"
            kept.close()
        case "last-known-good":
            if LastKnownGood(folder / "state").load() is None:
                yield "neither the new nor the old last-known-good can be read"
        case "derive":
            store = DerivedStore(folder)
            yield from (fault for each in store.held() if (fault := store.fault(each.form)))


_Operation = Callable[[Warehouse, Attempt], None]
OPERATIONS: Final[Mapping[str, _Operation]] = {
    "register": _register,
    "promote": _promote,
    "rollback": _rollback,
    "delete": _delete,
    "gc": _collect,
    "upload": _upload,
    "pull": _pull,
    "derive": _derive,
    "backup": _backup,
    "last-known-good": _last_known_good,
}
SYNCED: Final = ("register", "promote", "rollback", "delete", "gc", "backup", "last-known-good")
"""What promises to be durable; the others write what may be lost, and is made or sent again."""
_ATTEMPTS: Final[Mapping[str, Attempt]] = {
    "register": attempt(Action.REGISTER, key="k", request_hash="h"),
    "promote": attempt(Action.PROMOTE, version=3, alias="stable", key="k", request_hash="h"),
    "rollback": attempt(Action.ROLLBACK, version=1, alias="stable", key="k", request_hash="h"),
    "delete": attempt(Action.DELETE, version=4, key="k", request_hash="h"),
    "gc": attempt(Action.COLLECT, model=""),
    **dict.fromkeys(("upload", "pull", "derive", "backup", "last-known-good"), attempt(Action.COLLECT, model="")),
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
        _say(f"{REFUSED} {error.reason} {error.message}")
    else:
        _say(ACKNOWLEDGED)


def _say(text: str) -> None:
    """Print by a call that no fault is put at: what is to fail are writes to files."""
    os.writev(1, [f"{text}\n".encode()])


if __name__ == "__main__":
    main()
