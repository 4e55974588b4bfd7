"""`make races`: every race many times; exits 1 if anything happened that must not."""

from __future__ import annotations

import sys
import tempfile
import time
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import click

from tests import databases
from tests.databases import POSTGRESQL, SQLITE, Cluster, Place
from tests.postgres import Postgres
from tests.races import collection
from tests.races.arena import Arena, Result
from tests.races.rules import RACES, Race
from tests.races.storm import THREADS, Storm
from tests.server import Server

_SLOW = {("client", "register"): 20}
"""A registration by a client is validated by a child process: one for so many of the other rounds."""
_KINDS = ("registry", "client", "collector", "storm")


@click.command()
@click.option("--rounds", default=1000, show_default=True, help="Rounds of each race.")
@click.option("--by", type=click.Choice([*_KINDS, "all"]), default="all", show_default=True)
@click.option("--race", "names", multiple=True, help="Of the races by registry and by client, only these.")
@click.option("--database", type=click.Choice([SQLITE, POSTGRESQL]), default=SQLITE, show_default=True)
@click.option("--seed", default=0, help="Of the delays.")
def main(rounds: int, by: str, names: tuple[str, ...], database: str, seed: int) -> None:
    """Race processes over one registry, clients of one server, a registration with a collector; then everything."""
    wanted = [race for race in RACES if not names or race.name in names]
    failed = False
    with tempfile.TemporaryDirectory() as folder, _databases(database):
        for kind in _KINDS if by == "all" else (by,):
            for result, took_s in _run(kind, Path(folder) / kind, wanted, rounds, seed):
                failed |= bool(result.violations)
                _tell(f"{kind:9} {database:10}", result, took_s)
    sys.exit(1 if failed else 0)


@contextmanager
def _databases(database: str) -> Iterator[None]:
    """Let every registry be in such a database."""
    if database == SQLITE:
        yield
        return
    with Postgres() as postgres:
        databases.keep_in(Cluster(postgres))
        yield
        databases.keep_in(None)


def _run(kind: str, root: Path, races: Sequence[Race], rounds: int, seed: int) -> Iterator[tuple[Result, float]]:
    root.mkdir()
    if kind in ("collector", "storm"):
        began = time.monotonic()
        result = _collect(root, rounds) if kind == "collector" else _blow(root, rounds, seed)
        yield result, time.monotonic() - began
        return
    for race in races:
        began = time.monotonic()
        count = max(1, rounds // _SLOW.get((kind, race.name), 1))
        yield _race(kind, root / race.name, race, count, seed), time.monotonic() - began


def _race(kind: str, root: Path, race: Race, rounds: int, seed: int) -> Result:
    root.mkdir()
    if kind == "registry":
        with Arena(_place(root).url, root, seed=seed) as arena:
            return arena.run(race, rounds)
    with Server(root / "data") as server, Arena(databases.of(server.data).url, root, server, seed=seed) as arena:
        return arena.run(race, rounds)


def _collect(root: Path, rounds: int) -> Result:
    return collection.run(_place(root), root, rounds)


def _blow(root: Path, rounds: int, seed: int) -> Result:
    """Let threads load and unload, pin and unpin, promote and roll back one model."""
    with Server(root / "data") as server:
        weather = Storm(server, root, seed=seed).blow(rounds)
    endings = Counter(weather.endings)
    endings["inferences beside that"] = weather.answered
    return Result(f"{THREADS} threads", rounds, weather.violations, endings)


def _place(root: Path) -> Place:
    """Return a place for a registry that no server has."""
    return databases.of(root)


def _tell(kind: str, result: Result, took_s: float) -> None:
    print(
        f"{kind} {result.race:17} {result.rounds:5} rounds {len(result.violations):3} violations {took_s:6.1f} s",
        flush=True,
    )
    for ending, times in result.endings.most_common():
        print(f"{times:35} × {ending}")
    for violation in result.violations[:10]:
        print(f"    {violation}")


if __name__ == "__main__":
    main()
