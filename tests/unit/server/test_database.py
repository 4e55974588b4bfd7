from __future__ import annotations

import asyncio
import sqlite3
import threading
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from interlock.errors import ModelNotFound, RegistryUnavailable, StartupRefused
from interlock.types import ModelRef
from interlock_registry.registry import Registry
from interlock_server.control import database as module
from interlock_server.control.database import Database

from tests.support import eventually_async


def nothing() -> None:
    """Find nothing against opening the registry."""


@pytest.fixture
async def database(tmp_path: Path) -> AsyncIterator[Database]:
    made = Database(f"sqlite:///{tmp_path}/registry.db", keep_depth=1, backup_dir=tmp_path, check=nothing)
    yield made
    await asyncio.to_thread(made.close)


async def epoch(database: Database) -> int:
    return (await database.read(lambda registry: registry.state())).epoch


async def test_it_is_down_until_it_is_opened(database: Database) -> None:
    assert database.down == "it has not been opened yet"
    await database.open()
    assert database.down == ""


async def test_the_first_call_opens_it(database: Database) -> None:
    assert await epoch(database) == 0
    assert database.down == ""


async def test_calls_run_beside_the_loop(database: Database) -> None:
    here = threading.get_ident()
    assert await database.read(lambda _: threading.get_ident()) != here
    assert await database.write(lambda _: threading.get_ident()) != here


async def test_writes_run_one_after_another(database: Database) -> None:
    await database.open()
    running: list[int] = []

    def work(_: Registry) -> int:
        running.append(1)
        most = len(running)
        threading.Event().wait(0.002)
        running.pop()
        return most

    assert set(await asyncio.gather(*(database.write(work) for _ in range(10)))) == {1}


async def test_a_refusal_is_no_outage(database: Database) -> None:
    with pytest.raises(ModelNotFound):
        await database.read(lambda registry: registry.version(ModelRef("m", version=1)))
    assert database.down == ""


async def test_a_broken_file_is_an_outage_that_ends_when_the_file_is_mended(
    database: Database, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "_REOPEN_S", 0.0)
    (tmp_path / "registry.db").write_bytes(b"this is no database" * 100)
    with pytest.raises(RegistryUnavailable):
        await database.open()
    assert database.down
    with pytest.raises(RegistryUnavailable):
        await epoch(database)
    (tmp_path / "registry.db").unlink()
    assert await epoch(database) == 0
    assert database.down == ""


async def test_between_two_tries_a_broken_registry_is_left_alone(
    database: Database, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "_REOPEN_S", 1000.0)
    (tmp_path / "registry.db").write_bytes(b"this is no database" * 100)
    with pytest.raises(RegistryUnavailable):
        await database.open()
    (tmp_path / "registry.db").unlink()
    with pytest.raises(RegistryUnavailable, match="inference goes on"):
        await epoch(database)
    assert not (tmp_path / "registry.db").exists()


async def test_many_calls_at_once_open_it_once_also_where_the_first_caller_leaves(tmp_path: Path) -> None:
    opening, go_on, opened = threading.Event(), threading.Event(), 0

    def wait() -> None:
        nonlocal opened
        opened += 1
        opening.set()
        assert go_on.wait(60)

    database = Database(f"sqlite:///{tmp_path}/registry.db", keep_depth=1, backup_dir=tmp_path, check=wait)
    first = asyncio.create_task(epoch(database))
    await eventually_async(opening.is_set, "it is being opened")
    first.cancel()
    with pytest.raises(asyncio.CancelledError):
        await first
    assert database.keep(3)
    go_on.set()
    assert await asyncio.gather(*(epoch(database) for _ in range(10))) == [0] * 10
    assert opened == 1
    assert await database.read(lambda registry: registry._keep_depth) == 3
    await asyncio.to_thread(database.close)


async def test_a_newer_schema_is_refused_and_not_an_outage(database: Database, tmp_path: Path) -> None:
    await database.open()
    await asyncio.to_thread(database.close)
    with sqlite3.connect(tmp_path / "registry.db") as connection:
        connection.execute("UPDATE alembic_version SET version_num = 'from_the_future'")
    connection.close()
    again = Database(f"sqlite:///{tmp_path}/registry.db", keep_depth=1, backup_dir=tmp_path, check=nothing)
    with pytest.raises(StartupRefused):
        await again.open()
    await asyncio.to_thread(again.close)


async def test_what_forbids_opening_is_the_reason_of_the_outage(tmp_path: Path) -> None:
    def lost() -> None:
        raise RegistryUnavailable("it is gone")

    database = Database(f"sqlite:///{tmp_path}/registry.db", keep_depth=1, backup_dir=tmp_path, check=lost)
    with pytest.raises(RegistryUnavailable, match="it is gone"):
        await database.open()
    assert database.down == "it is gone"
    assert not (tmp_path / "registry.db").exists()
    await asyncio.to_thread(database.close)


async def test_closing_twice_is_closing_once(database: Database) -> None:
    await database.open()
    for _ in range(2):
        await asyncio.to_thread(database.close)
