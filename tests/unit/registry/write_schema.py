"""Keep a registry as this program leaves it, as SQL, for the tests of later programs.

    python -m tests.unit.registry.write_schema

Run it before a release that has a new schema; the files of older ones never change.
"""

from __future__ import annotations

import sqlite3
import subprocess
import tempfile
from contextlib import closing
from pathlib import Path
from typing import Final

from interlock_registry.domain import Action
from interlock_registry.registry import Registry
from interlock_registry.sql import migrate

from tests.databases import Cluster, Place, SqlitePlace
from tests.postgres import Postgres, programs
from tests.unit.registry.builders import Desk, attempt

SCHEMAS: Final = Path(__file__).parent / "schemas"


def fill(place: Place) -> None:
    """Put a little of everything in: version 2 is live over 1, 3 pinned, 4 retired, 5 deleted, `canary` removed."""
    desk = Desk(Registry.open(place.url), place)
    for number in range(1, 6):
        desk.register(seed=f"weights {number}")
    desk.promote(1)
    desk.promote(2)
    desk.promote(3, alias="canary")
    desk.remove_alias("canary")
    desk.pin(3)
    for number in (4, 5):
        desk.retire(number)
    desk.delete(5)
    desk.register("other")
    key = attempt(Action.PIN, version=2, key="k-1", request_hash="h-1")
    desk.registry.pin(key)
    desk.registry.close()


def main() -> None:
    SCHEMAS.mkdir(exist_ok=True)
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "registry.db"
        fill(SqlitePlace(path))
        with closing(sqlite3.connect(path)) as connection:
            text = "\n".join(connection.iterdump())
        (SCHEMAS / f"{migrate.HEAD}.sqlite.sql").write_text(text + "\n")
    with Postgres() as server:
        place = Cluster(server).new()
        fill(place)
        dumped = subprocess.run(
            [programs() / "pg_dump", "--inserts", "--no-owner", "--no-privileges", *_where(server, place.name)],
            capture_output=True,
            text=True,
            check=True,
        ).stdout
        # Lines that are psql's own are no SQL.
        lines = [line for line in dumped.splitlines() if line and not line.startswith(("\\", "--"))]
        (SCHEMAS / f"{migrate.HEAD}.postgresql.sql").write_text("\n".join(lines) + "\n")


def _where(server: Postgres, database: str) -> list[str]:
    return ["--host=127.0.0.1", f"--port={server.port}", "--username=postgres", database]


if __name__ == "__main__":
    main()
