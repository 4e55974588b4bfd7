from __future__ import annotations

import sqlite3
from contextlib import closing
from pathlib import Path

import pytest
from interlock.errors import RegistryUnavailable
from interlock_registry.registry import Registry
from interlock_registry.sql import engine as engines
from interlock_registry.sql import migrate
from interlock_registry.sql import queries as q
from interlock_registry.sql.pairs import pairs

from tests.databases import SQLITE, Place, SqlitePlace
from tests.unit.registry.builders import Desk
from tests.unit.registry.test_schema import NEXT, newer


@pytest.fixture(params=[SQLITE])
def place(path: Path) -> Place:
    """SQLite alone: what follows is about its files."""
    return SqlitePlace(path)


def test_versions_of_many_models_are_found_by_their_index(desk: Desk) -> None:
    engine = engines.open_engine(desk.place.url)
    statement = str(q.DESIRED_OF_SOME.compile(engine))
    parameters = (pairs({"a": [1], "b": [2, 3]}), *[1] * (statement.count("?") - 1))
    with engines.reading(engine) as connection:
        steps = [row.detail for row in connection.exec_driver_sql(f"EXPLAIN QUERY PLAN {statement}", parameters)]
    engine.dispose()
    assert any(step.startswith("SEARCH versions USING INDEX") for step in steps), steps


# --- opening ---


def test_sqlite_is_set_up_to_lose_nothing(path: Path) -> None:
    engine = engines.open_engine(f"sqlite:///{path}")
    with engines.writing(engine) as connection:
        found = {
            name: connection.exec_driver_sql(f"PRAGMA {name}").scalar_one()
            for name in ("journal_mode", "synchronous", "foreign_keys", "busy_timeout", "trusted_schema")
        }
    with engines.writing(engine, durable=False) as connection:
        assert connection.exec_driver_sql("PRAGMA synchronous").scalar_one() == 1
    with engines.writing(engine) as connection:
        assert connection.exec_driver_sql("PRAGMA synchronous").scalar_one() == 2
    engine.dispose()
    assert found == {
        "journal_mode": "wal",
        "synchronous": 2,
        "foreign_keys": 1,
        "busy_timeout": 5000,
        "trusted_schema": 0,
    }


def test_an_older_file_is_copied_before_it_is_changed(tmp_path: Path, desk: Desk, path: Path) -> None:
    desk.register()
    desk.promote(1)
    desk.registry.close()
    engine = engines.open_engine(f"sqlite:///{path}")
    backups = tmp_path / "backups"
    migrate.prepare(engine, may_migrate=True, backup_dir=backups, head=NEXT, migrations=newer(tmp_path))
    engine.dispose()
    (backup,) = backups.iterdir()
    assert backup.name.startswith(f"registry-before-migration-{migrate.HEAD}-")
    copied = Registry.open(f"sqlite:///{backup}")
    assert copied.desired_model("digits").aliases[0].version == 1
    copied.close()


def test_only_the_newest_copies_are_kept(tmp_path: Path, desk: Desk, path: Path) -> None:
    desk.registry.close()
    other = tmp_path / "other-before-migration-0001-20200101T000000000000Z.db"
    other.touch()
    for year in range(2020, 2026):
        (tmp_path / f"registry-before-migration-0001-{year}0101T000000000000Z.db").touch()
    engine = engines.open_engine(f"sqlite:///{path}")
    migrate.prepare(engine, may_migrate=True, head=NEXT, migrations=newer(tmp_path))
    engine.dispose()
    kept = sorted(each.name.rpartition("-")[2][:4] for each in tmp_path.glob("registry-before-migration-*"))
    assert kept[:2] == ["2024", "2025"]
    assert len(kept) == migrate.BACKUPS_KEPT == 3
    assert other.exists()


# --- what is no registry ---


def test_a_file_that_is_no_database_is_said_to_be_unusable(path: Path) -> None:
    path.write_bytes(b"once upon a time " * 1000)
    with pytest.raises(RegistryUnavailable, match="file is not a database"):
        Registry.open(f"sqlite:///{path}")


def test_a_damaged_database_is_said_to_be_damaged(desk: Desk, path: Path) -> None:
    for _ in range(40):
        desk.register()
    desk.registry.close()
    with closing(sqlite3.connect(path)) as connection:
        size = connection.execute("PRAGMA page_size").fetchone()[0]
    data = bytearray(path.read_bytes())
    for page in range(3, len(data) // size):
        data[page * size : page * size + 64] = b"\xff" * 64
    path.write_bytes(data)
    with pytest.raises(RegistryUnavailable, match=r"damaged|malformed"):
        Registry.open(f"sqlite:///{path}")


def test_a_directory_that_is_not_there_is_said_to_be_unusable(tmp_path: Path) -> None:
    with pytest.raises(RegistryUnavailable, match="unable to open database file"):
        Registry.open(f"sqlite:///{tmp_path}/nowhere/registry.db")


def test_a_database_that_disappears_comes_back_as_an_error_and_not_as_an_empty_one(desk: Desk) -> None:
    desk.register()
    with desk.sql() as connection:
        connection.execute("DROP TABLE pins")
    with pytest.raises(RegistryUnavailable, match="no such table"):
        desk.registry.desired()
