"""`make races`: every race many times; exits 1 if anything happened that must not."""

from __future__ import annotations

import sys
import tempfile
import time
from pathlib import Path

import click

from tests.databases import POSTGRESQL, SQLITE, Cluster, SqlitePlace
from tests.postgres import Postgres
from tests.races.arena import Arena, Result
from tests.races.rules import RACES
from tests.races.storm import THREADS, Storm
from tests.server import Server

_SLOW = {("client", "register"): 20}
"""A registration by a client is validated by a child process: one for so many of the other rounds."""


@click.command()
@click.option("--rounds", default=1000, show_default=True, help="Rounds of each race.")
@click.option("--by", type=click.Choice(["registry", "client", "storm", "all"]), default="all", show_default=True)
@click.option("--race", "names", multiple=True, help="Only these races.")
@click.option("--database", type=click.Choice([SQLITE, POSTGRESQL]), default=SQLITE, show_default=True)
@click.option("--seed", default=0, help="Of the delays.")
def main(rounds: int, by: str, names: tuple[str, ...], database: str, seed: int) -> None:
    """Race processes over one registry, and clients of one server; then have many do everything at once."""
    wanted = [race for race in RACES if not names or race.name in names]
    failed = False
    with tempfile.TemporaryDirectory() as folder:
        for kind in ("registry", "client") if by == "all" else (by,) if by != "storm" else ():
            root = Path(folder) / kind
            root.mkdir()
            for race in wanted:
                began = time.monotonic()
                count = max(1, rounds // _SLOW.get((kind, race.name), 1))
                result = _run(kind, root / race.name, race.name, count, database, seed)
                failed |= bool(result.violations)
                took = time.monotonic() - began
                counts = f"{result.rounds:5} rounds {len(result.violations):3} violations {took:6.1f} s"
                print(f"{kind:9} {race.name:17} {counts}")
                for ending, times in result.endings.most_common():
                    print(f"{times:35} × {ending}")
                for violation in result.violations[:10]:
                    print(f"    {violation}")
        if by in ("storm", "all"):
            failed |= _storm(Path(folder), rounds, seed)
    sys.exit(1 if failed else 0)


def _storm(folder: Path, rounds: int, seed: int) -> bool:
    """Let threads load and unload, pin and unpin, promote and roll back one model; returns whether anything failed."""
    began = time.monotonic()
    with Server(folder / "storm") as server:
        weather = Storm(server, folder, seed=seed).blow(rounds)
    took = time.monotonic() - began
    print(f"storm     {THREADS} threads, {rounds} rounds {len(weather.violations):3} violations {took:6.1f} s")
    print(f"{weather.asked:35} × anything, beside {weather.answered} inferences")
    for ending, times in weather.endings.most_common():
        print(f"{times:35} × {ending}")
    for violation in weather.violations[:10]:
        print(f"    {violation}")
    return bool(weather.violations)


def _run(kind: str, root: Path, name: str, rounds: int, database: str, seed: int) -> Result:
    race = next(race for race in RACES if race.name == name)
    root.mkdir()
    if kind == "registry" and database == POSTGRESQL:
        with Postgres() as postgres, Arena(Cluster(postgres).new().url, root, seed=seed) as arena:
            return arena.run(race, rounds)
    if kind == "registry":
        with Arena(SqlitePlace(root / "registry.db").url, root, seed=seed) as arena:
            return arena.run(race, rounds)
    with (
        Server(root / "data") as server,
        Arena(SqlitePlace(server.data / "registry.db").url, root, server, seed=seed) as arena,
    ):
        return arena.run(race, rounds)


if __name__ == "__main__":
    main()
