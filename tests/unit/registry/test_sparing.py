"""Statements that go to SQLite without SQLAlchemy's help: they must come to the same."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta, timezone
from pathlib import Path

import pytest
from interlock_registry.sql import commands as c
from interlock_registry.sql import engine as engines
from interlock_registry.sql import queries as q
from interlock_registry.sql.queries import AnySelect
from interlock_registry.sql.sparing import SparingConnection
from sqlalchemy import Connection
from sqlalchemy.exc import IntegrityError, OperationalError

from tests.databases import SQLITE, Place, SqlitePlace
from tests.unit.registry.builders import MODEL, Desk

QUERIES: list[tuple[str, AnySelect, dict[str, object]]] = [
    ("the epoch", q.EPOCH_LOCKED, {}),
    ("an alias with its stack", q.ALIAS, {"model": MODEL, "alias": "stable"}),
    ("an alias that is not there", q.ALIAS, {"model": MODEL, "alias": "canary"}),
    ("two candidates", q.CANDIDATES, {"model": MODEL, "target": 1, "serving": 2}),
    ("a kept answer", q.ANSWER, {"actor": "a", "action": "rollback", "key": "kept"}),
]
WHEN = datetime(2026, 3, 4, 5, 6, 7, 89, tzinfo=timezone(timedelta(hours=2)))
ANSWER = {
    "actor": "a",
    "action": "rollback",
    "key": "kept",
    "request_hash": "0" * 64,
    "answer": "{}",
    "refused": True,
    "created_at": WHEN,
}


@pytest.fixture(params=[SQLITE])
def place(path: Path) -> Place:
    """SQLite alone: any other database is asked by SQLAlchemy."""
    return SqlitePlace(path)


@pytest.fixture
def connection(desk: Desk, path: Path) -> Iterator[Connection]:
    """A write transaction on a registry with three promoted versions."""
    for number in (1, 2, 3):
        desk.register(seed=f"weights {number}")
        desk.promote(number)
    engine = engines.open_engine(f"sqlite:///{path}")
    with engines.writing(engine) as connection:
        yield connection
    engine.dispose()


@pytest.mark.parametrize(("query", "parameters"), [each[1:] for each in QUERIES], ids=[each[0] for each in QUERIES])
def test_a_query_finds_what_it_finds_by_sqlalchemy(
    connection: Connection, query: AnySelect, parameters: dict[str, object]
) -> None:
    sparing = SparingConnection(connection)
    sparing.change(c.INSERT_ANSWER, ANSWER)
    expected = connection.execute(query, parameters).all()
    found = sparing.rows(query, parameters)
    assert [tuple(row) for row in found] == [tuple(row) for row in expected]
    assert [row._fields for row in found] == [row._fields for row in expected]
    assert [[type(value) for value in row] for row in found] == [[type(value) for value in row] for row in expected]


def test_what_is_written_is_read_back_by_sqlalchemy(connection: Connection) -> None:
    assert SparingConnection(connection).change(c.INSERT_ANSWER, ANSWER) == 1
    row = connection.execute(q.ANSWER, {"actor": "a", "action": "rollback", "key": "kept"}).one()
    assert row._asdict() == {**ANSWER, "created_at": WHEN.astimezone(UTC)}


def test_a_change_tells_how_many_rows_it_touched(connection: Connection) -> None:
    sparing = SparingConnection(connection)
    assert sparing.change(c.CUT_STACK, {"the_model": MODEL, "the_alias": "stable", "the_position": 0}) == 2
    assert sparing.change(c.CUT_STACK, {"the_model": MODEL, "the_alias": "stable", "the_position": 0}) == 0


def test_a_broken_rule_is_sqlalchemys_error(connection: Connection) -> None:
    nowhere = {"model": MODEL, "alias": "canary", "version": 9, "generation": 1, "updated_at": WHEN}
    with pytest.raises(IntegrityError, match="FOREIGN KEY"):
        SparingConnection(connection).change(c.INSERT_ALIAS, nowhere)


@pytest.mark.usefixtures("connection")
def test_a_locked_database_is_transient_as_ever(path: Path) -> None:
    engine = engines.open_engine(f"sqlite:///{path}")
    with engines.reading(engine) as other:
        other.exec_driver_sql("PRAGMA busy_timeout=1")
        with pytest.raises(OperationalError) as raised:
            SparingConnection(other).change(c.INSERT_ANSWER, ANSWER)
    engine.dispose()
    assert engines.is_transient(raised.value)


def test_one_row_is_asked_for_and_found_or_not(connection: Connection) -> None:
    sparing = SparingConnection(connection)
    asked = {"actor": "a", "action": "rollback", "key": "kept"}
    assert sparing.row(q.ANSWER, asked) is None
    sparing.change(c.INSERT_ANSWER, ANSWER)
    found = sparing.row(q.ANSWER, asked)
    assert found is not None and found.answer == "{}"
