"""What a registry of 100,000 versions costs over one of 1,000, on SQLite and on PostgreSQL.

    python -m tests.bench.registry [--versions N]... [--database NAME]... [--rounds N] [--quick]

Both databases lie on this machine's disk, PostgreSQL with fsync as its users have it. Of each model one version is made
by the registry's own writer and the others are copies of its rows; events and moves are all its own. Every operation is
then timed alone, on models chosen at random.
"""

from __future__ import annotations

import argparse
import json
import random
import statistics
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Final

from interlock.model import EventFilter
from interlock.types import ModelRef
from interlock.v1.worker_pb2 import ApplyRequest
from interlock_registry.attempts import draft
from interlock_registry.domain import Action, Committed
from interlock_registry.manifest import Manifest
from interlock_registry.registry import Registry
from interlock_registry.sql import tables as t
from interlock_registry.sql.database import Database
from interlock_registry.sql.writer import Writer
from interlock_server.control.replica import Replica
from interlock_server.snapshot_wire import SnapshotReader, SnapshotWriter, snapshot_message
from sqlalchemy import insert, select, update

from tests.bench.grid import Cell, Grid
from tests.bench.machine import Machine, this_machine
from tests.databases import POSTGRESQL, SQLITE
from tests.postgres import Postgres
from tests.screen import screen
from tests.unit.registry.builders import attempt, new_version

PER_MODEL: Final = 100
STACKED: Final = 5
"""Versions on each alias's stack, the live one included."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Timed:
    """One operation on one registry."""

    database: str
    versions: int
    operation: str
    p50_ms: float
    p99_ms: float
    cpu_p50_ms: float
    """Of the calling thread: what other work on the machine does not change."""
    rounds: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Report:
    """A whole run."""

    machine: Machine
    timed: tuple[Timed, ...]
    snapshot_bytes: dict[str, int]


def fill(url: str, versions: int) -> None:
    """Register versions, 100 of each model, and promote the last five of each in turn."""
    database = Database(url)
    for model in names(versions):
        database.write(lambda writer, model=model: _fill_model(writer, model))  # type: ignore[misc]
    database.close()


def names(versions: int) -> list[str]:
    return [f"model-{index:04d}" for index in range(max(1, versions // PER_MODEL))]


def _fill_model(writer: Writer, model: str) -> None:
    """Make the first version as a registration does, the others as copies of its rows with artifacts of their own."""
    now = datetime.now(UTC)
    new = new_version(model)
    writer.insert_model(model, now)
    made = replace(new, manifest=_manifest(new.manifest, model, 1))
    writer.insert_version(made, writer.take_number(model), actor="ada", now=now)
    connection, first = writer._connection, made.manifest.digest
    connection.execute(update(t.models).where(t.models.c.name == model).values(next_version=PER_MODEL + 1))
    others = {number: _manifest(new.manifest, model, number) for number in range(2, PER_MODEL + 1)}
    for table, mine in (
        (t.artifacts, t.artifacts.c.digest == first),
        (t.artifact_blobs, t.artifact_blobs.c.artifact == first),
        (t.versions, t.versions.c.model == model),
        (t.golden_samples, t.golden_samples.c.model == model),
    ):
        rows = [dict(row) for row in connection.execute(select(table).where(mine)).mappings()]
        copies = []
        for number, manifest in others.items():
            own = {"version": number, "manifest": manifest.to_json(), "artifact": manifest.digest}
            if table in (t.artifacts, t.versions):
                own["digest"] = manifest.digest
            copies += [{name: own.get(name, value) for name, value in row.items()} for row in rows]
        connection.execute(insert(table), copies)
    for number in range(1, PER_MODEL + 1):
        writer.record(draft(attempt(Action.REGISTER, model), now, outcome="ok", to_version=number), changes=True)


def _manifest(manifest: Manifest, model: str, number: int) -> Manifest:
    return replace(manifest, graph=replace(manifest.graph, digest=_digest(model, number)))


def _digest(model: str, number: int) -> str:
    return f"{model}-{number}".encode().hex().ljust(64, "0")[:64]


def promote(registry: Registry, model: str, version: int) -> None:
    move = registry.plan_promote(model, version)
    asked = attempt(Action.PROMOTE, model, version, "stable")
    registry.commit_move(move, asked, "{}")


def roll_back(registry: Registry, model: str) -> None:
    asked = attempt(Action.ROLLBACK, model, 0, "stable")
    registry.roll_back(asked, lambda _: "{}", ready=frozenset(range(1, PER_MODEL + 1)))


class Stopwatch:
    """Times operations on one registry."""

    def __init__(self, database: str, versions: int, rounds: int) -> None:
        self.timed: list[Timed] = []
        self._database = database
        self._versions = versions
        self._rounds = rounds

    def time(
        self,
        operation: str,
        work: Callable[[], object],
        *,
        rounds: int = 0,
        between: Callable[[], object] = lambda: None,
    ) -> None:
        """Time an operation; `between` is done after each round and not timed."""
        rounds = rounds or self._rounds
        took, used = [], []
        for _ in range(rounds):
            started, begun = time.perf_counter(), time.thread_time()
            work()
            took.append((time.perf_counter() - started) * 1000)
            used.append((time.thread_time() - begun) * 1000)
            between()
        took.sort()
        self.timed.append(
            Timed(
                database=self._database,
                versions=self._versions,
                operation=operation,
                p50_ms=statistics.median(took),
                p99_ms=took[min(len(took) - 1, int(len(took) * 0.99))],
                cpu_p50_ms=statistics.median(used),
                rounds=rounds,
            )
        )


def measure(database: str, url: str, versions: int, rounds: int) -> tuple[list[Timed], int]:
    """Fill a registry and time what is asked of it."""
    registry = Registry.open(url)
    registry.close()
    fill(url, versions)
    watch = Stopwatch(database, versions, rounds)
    watch.time("open", lambda: Registry.open(url).close(), rounds=5)
    registry = Registry.open(url)
    dice = random.Random(7)
    models = names(versions)
    tidy = registry._database.checkpoint
    """What a server does with each heartbeat, so that no commit has to."""
    for model in models:
        for version in range(PER_MODEL - STACKED + 1, PER_MODEL + 1):
            promote(registry, model, version)
        tidy()

    def one() -> str:
        return dice.choice(models)

    watch.time("look (each poll)", registry.fleet.look)
    watch.time("resolve an alias", lambda: registry.version(ModelRef(one(), alias="stable")))
    watch.time("resolve a number", lambda: registry.version(ModelRef(one(), version=dice.randint(1, PER_MODEL))))
    watch.time("versions, first 100", lambda: registry.versions(one()))
    watch.time("models, first 100", registry.models)
    watch.time("log of all, newest 100", registry.events)
    watch.time("log of a model, newest 100", lambda: registry.events(EventFilter(model=one())))
    watch.time("promote (plan and commit)", lambda: promote(registry, one(), dice.randint(1, PER_MODEL)), between=tidy)
    watch.time("roll back", lambda: _there_and_back(registry, one()), between=tidy)
    watch.time("desired state of one model", lambda: registry.desired_model(one()))
    watch.time("desired state of all (start)", registry.desired, rounds=5)

    replica = Replica(lambda digest: Path("/blobs") / digest)
    desired = registry.desired()

    def picture() -> bytes:
        replica.replace_all(desired)
        return snapshot_message(replica.snapshot()).SerializeToString()

    watch.time("snapshot for the workers, anew", picture, rounds=5)
    size = len(picture())
    writer, reader = SnapshotWriter(), SnapshotReader()

    def change() -> bytes:
        committed = registry.committed(one())
        replica.replace_model(Committed(replica.epoch + 1, committed.desired))
        return writer.request(replica.snapshot()).SerializeToString()

    sent = change()
    reader.snapshot(ApplyRequest.FromString(sent))
    watch.time("snapshot for the workers, after a change", change, rounds=20)
    watch.time("that, read by a worker", lambda: reader.snapshot(ApplyRequest.FromString(sent)), rounds=20)
    registry.close()
    return watch.timed, size


def _there_and_back(registry: Registry, model: str) -> None:
    alias = registry.alias(model, "stable")
    assert alias is not None
    if alias.stack:
        roll_back(registry, model)
    else:
        promote(registry, model, 1 + alias.version % PER_MODEL)


@contextmanager
def place(database: str, folder: Path) -> Iterator[Callable[[int], str]]:
    """Yield what gives a fresh database's URL."""
    if database == SQLITE:
        yield lambda versions: f"sqlite:///{folder}/registry-{versions}.db"
        return
    with Postgres(durable=True) as server:

        def create(versions: int) -> str:
            server.create(f"bench{versions}")
            return server.url(f"bench{versions}")

        yield create


def grid(report: Report) -> Grid:
    """Return each operation, with its growth over the smallest registry."""
    smallest = min(each.versions for each in report.timed)
    base = {(each.database, each.operation): each.cpu_p50_ms for each in report.timed if each.versions == smallest}
    return Grid(
        title="The registry, by the number of versions",
        header=[
            "operation",
            "database",
            "versions",
            "p50 ms",
            "p99 ms",
            "processor p50 ms",
            "that over the smallest's",
        ],
        rows=[
            [
                Cell(each.operation),
                Cell(each.database),
                Cell(str(each.versions)),
                Cell(f"{each.p50_ms:.2f}"),
                Cell(f"{each.p99_ms:.2f}"),
                Cell(f"{each.cpu_p50_ms:.2f}"),
                Cell(f"{each.cpu_p50_ms / base[each.database, each.operation]:.2f}"),
            ]
            for each in sorted(report.timed, key=lambda each: (each.operation, each.database, each.versions))
        ],
        names=2,
    )


def main(arguments: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(prog="tests.bench.registry")
    parser.add_argument("--versions", type=int, action="append", help="how many; may be repeated (1000 and 100000)")
    parser.add_argument("--database", choices=(SQLITE, POSTGRESQL), action="append", help="may be repeated (both)")
    parser.add_argument("--rounds", type=int, default=300)
    parser.add_argument("--quick", action="store_true", help="a few hundred versions and a few rounds")
    parser.add_argument("--out", type=Path, default=Path("bench-out/registry.json"))
    asked = parser.parse_args(arguments)
    if asked.quick:
        asked.versions, asked.rounds = asked.versions or [200, 400], 3
    machine, timed, sizes = this_machine(), list[Timed](), dict[str, int]()
    for database in asked.database or (SQLITE, POSTGRESQL):
        with tempfile.TemporaryDirectory(prefix="bench-registry-") as folder, place(database, Path(folder)) as url:
            for versions in asked.versions or (1_000, 100_000):
                found, size = measure(database, url(versions), versions, asked.rounds)
                timed += found
                sizes[f"{database} {versions}"] = size
    report = Report(machine=machine, timed=tuple(timed), snapshot_bytes=sizes)
    asked.out.parent.mkdir(parents=True, exist_ok=True)
    asked.out.write_text(json.dumps(asdict(report), indent=2) + "\n")
    asked.out.with_suffix(".md").write_text(grid(report).markdown())
    screen().print(grid(report).table())
    print("; ".join(f"snapshot {name}: {size} bytes" for name, size in sizes.items()))


if __name__ == "__main__":
    main()
