"""Where tests keep a registry: each place is a database of its own, in SQLite or PostgreSQL, with the same words."""

from __future__ import annotations

import sqlite3
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import AbstractContextManager, closing, contextmanager
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Final, Protocol

import psycopg
from interlock_registry.registry import Registry

from tests.postgres import Postgres

SQLITE: Final = "sqlite"
POSTGRESQL: Final = "postgresql"

REFUSED_BY_RULE: Final = (sqlite3.IntegrityError, psycopg.IntegrityError)
"""What direct SQL gets that would break a rule of the schema."""

_TEMPLATE: Final = "registry_template"


class Behind(Protocol):
    """SQL behind the registry's back."""

    def execute(self, statement: str) -> Sequence[tuple[object, ...]]:
        """Run a statement and return its rows."""


class Place(Protocol):
    """A database for one registry."""

    @property
    def url(self) -> str:
        """As `INTERLOCK_DB` takes it."""

    def sql(self) -> AbstractContextManager[Behind]:
        """Go behind the registry's back, with the rules that any connection to it has."""

    def locked(self) -> AbstractContextManager[None]:
        """Hold what every write of the registry waits for."""


@dataclass(frozen=True, slots=True)
class SqlitePlace:
    """A file."""

    path: Path

    @property
    def url(self) -> str:
        return f"sqlite:///{self.path}"

    @contextmanager
    def sql(self) -> Iterator[Behind]:
        with closing(sqlite3.connect(self.path)) as connection, connection:
            connection.execute("PRAGMA foreign_keys=ON")
            yield _Sqlite(connection)

    @contextmanager
    def locked(self) -> Iterator[None]:
        with closing(sqlite3.connect(self.path, isolation_level=None, check_same_thread=False)) as connection:
            connection.execute("BEGIN IMMEDIATE")
            yield
            connection.execute("COMMIT")


def fresh(path: Path) -> SqlitePlace:
    """Begin an empty registry in a file, by copying one: no migrations. One that is there already stays."""
    if not path.exists():
        path.write_bytes(_empty_registry())
    return SqlitePlace(path)


@cache
def _empty_registry() -> bytes:
    with tempfile.TemporaryDirectory() as folder:
        place = SqlitePlace(Path(folder) / "registry.db")
        Registry.open(place.url).close()
        return place.path.read_bytes()


@dataclass(frozen=True, slots=True)
class PostgresPlace:
    """A database of a server."""

    server: Postgres
    name: str

    @property
    def url(self) -> str:
        return self.server.url(self.name)

    @contextmanager
    def sql(self) -> Iterator[Behind]:
        with self.server.connect(self.name) as connection:
            yield _Postgresql(connection)

    @contextmanager
    def locked(self) -> Iterator[None]:
        with self.server.connect(self.name) as connection, connection.transaction():
            connection.execute("SELECT * FROM epoch FOR UPDATE")
            yield


class _Sqlite:
    def __init__(self, connection: sqlite3.Connection) -> None:
        self._connection = connection

    def execute(self, statement: str) -> Sequence[tuple[object, ...]]:
        return self._connection.execute(statement).fetchall()


class _Postgresql:
    def __init__(self, connection: psycopg.Connection) -> None:
        self._connection = connection

    def execute(self, statement: str) -> Sequence[tuple[object, ...]]:
        cursor = self._connection.execute(statement.encode())
        return cursor.fetchall() if cursor.description is not None else []


class Cluster:
    """The PostgreSQL server of a test run, and a registry in it that databases are copied from: no migrations."""

    def __init__(self, server: Postgres) -> None:
        self.server = server
        server.create(_TEMPLATE)
        Registry.open(server.url(_TEMPLATE)).close()
        self._made = 0

    def new(self, *, empty: bool = False) -> PostgresPlace:
        """Make a database with an empty registry, or with nothing at all."""
        self._made += 1
        name = f"registry{self._made}"
        self.server.create(name, template="template0" if empty else _TEMPLATE)
        return PostgresPlace(self.server, name)


class _Kept:
    """Which registry belongs to which data directory, where servers keep theirs in PostgreSQL."""

    cluster: Cluster | None = None
    places: Final[dict[Path, PostgresPlace]] = {}


def keep_in(cluster: Cluster | None) -> None:
    """Let servers keep their registries in PostgreSQL from now on; None: in SQLite, in their data directories."""
    _Kept.cluster = cluster
    _Kept.places.clear()


def of(data: Path) -> Place:
    """Return where a server on that data directory keeps its registry; the same directory has the same registry."""
    if _Kept.cluster is None:
        return SqlitePlace(data / "registry.db")
    if data not in _Kept.places:
        _Kept.places[data] = _Kept.cluster.new(empty=True)
    return _Kept.places[data]


def setting(data: Path) -> str:
    """Return the setting `db` of a server on that data directory."""
    return "" if _Kept.cluster is None else of(data).url
