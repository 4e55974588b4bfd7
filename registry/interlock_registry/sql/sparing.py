"""The statements of a switch, on SQLite without the work that SQLAlchemy does anew for each: most of what they cost."""

from __future__ import annotations

import sqlite3
from collections import namedtuple
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Any, Final, cast

from sqlalchemy import Connection, Delete, Dialect, Insert, Select, Update
from sqlalchemy.exc import DBAPIError
from sqlalchemy.types import TypeEngine

from interlock_registry.sql.rows import AnyRow

Statement = Select[tuple[object, ...]] | Insert | Update | Delete

_Process = Callable[[Any], object]
_PLANS: Final = 256


@dataclass(frozen=True, slots=True)
class _Bound:
    """A value of a statement: a parameter by its name, else a constant."""

    name: str | None
    constant: object
    process: _Process | None

    def of(self, parameters: Mapping[str, object]) -> object:
        value = self.constant if self.name is None else parameters[self.name]
        return value if self.process is None else self.process(value)


@dataclass(frozen=True, slots=True)
class _Plan:
    """A statement as SQLite takes it, what it binds in their order, and how its rows are read."""

    sql: str
    bound: tuple[_Bound, ...]
    row: Callable[..., tuple[object, ...]] | None
    processes: tuple[tuple[int, _Process], ...]

    def read(self, values: Sequence[object]) -> AnyRow:
        assert self.row is not None
        found = list(values)
        for at, process in self.processes:
            found[at] = process(found[at])
        return cast(AnyRow, self.row(*found))


class SparingConnection:
    """Runs statements in the transaction of a connection. Each must be built once and kept: it is planned once."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection
        raw = connection.connection.driver_connection
        self._sqlite = raw if isinstance(raw, sqlite3.Connection) else None

    def rows(self, statement: Select[tuple[object, ...]], parameters: Mapping[str, object]) -> Sequence[AnyRow]:
        """Return what a query finds."""
        if self._sqlite is None:
            return self._connection.execute(statement, parameters).all()
        plan = _plan(self._connection.dialect, statement, tuple(parameters))
        return [plan.read(values) for values in self._run(self._sqlite, plan, parameters)]

    def row(self, statement: Select[tuple[object, ...]], parameters: Mapping[str, object]) -> AnyRow | None:
        """Return the one row that a query finds, if any."""
        found = self.rows(statement, parameters)
        assert len(found) <= 1, f"{len(found)} rows where one was asked for"
        return found[0] if found else None

    def change(self, statement: Insert | Update | Delete, parameters: Mapping[str, object]) -> int:
        """Change rows; returns how many."""
        if self._sqlite is None:
            return self._connection.execute(statement, parameters).rowcount
        plan = _plan(self._connection.dialect, statement, tuple(parameters))
        return self._run(self._sqlite, plan, parameters).rowcount

    def _run(self, raw: sqlite3.Connection, plan: _Plan, parameters: Mapping[str, object]) -> sqlite3.Cursor:
        values = [each.of(parameters) for each in plan.bound]
        try:
            return raw.execute(plan.sql, values)
        except sqlite3.Error as error:
            # Others tell SQLAlchemy's errors apart, whichever way a statement went.
            raise DBAPIError.instance(
                plan.sql, values, error, sqlite3.Error, dialect=self._connection.dialect
            ) from error


@lru_cache(maxsize=_PLANS)
def _plan(dialect: Dialect, statement: Statement, names: tuple[str, ...]) -> _Plan:
    compiled = statement.compile(dialect=dialect, column_keys=list(names))
    assert compiled.positiontup is not None and not compiled.insert_prefetch and not compiled.update_prefetch
    constants = compiled.params
    bound = tuple(
        _Bound(
            name if name in names else None,
            None if name in names else constants[name],
            _binding(compiled.binds[name].type, dialect),
        )
        for name in compiled.positiontup
    )
    if not isinstance(statement, Select):
        return _Plan(compiled.string, bound, None, ())
    columns = statement.selected_columns
    results = ((at, _result(column.type, dialect)) for at, column in enumerate(columns))
    return _Plan(
        compiled.string,
        bound,
        namedtuple("Found", [column.key for column in columns]),  # type: ignore[misc]
        tuple((at, process) for at, process in results if process is not None),
    )


def _binding(kind: TypeEngine[Any], dialect: Dialect) -> _Process | None:
    return kind.dialect_impl(dialect).bind_processor(dialect)


def _result(kind: TypeEngine[Any], dialect: Dialect) -> _Process | None:
    return kind.dialect_impl(dialect).result_processor(dialect, None)
