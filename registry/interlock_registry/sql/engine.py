"""Open a database the way the registry needs it. The only module that knows SQLite from PostgreSQL."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Final, cast

from interlock.errors import RegistryUnavailable, StartupRefused
from sqlalchemy import URL, Connection, Dialect, Engine, create_engine, event, text
from sqlalchemy.engine import make_url
from sqlalchemy.exc import ArgumentError, DBAPIError, NoSuchModuleError, SQLAlchemyError
from sqlalchemy.exc import TimeoutError as PoolTimeout
from sqlalchemy.pool import ConnectionPoolEntry

from interlock_registry import disk

_BUSY_TIMEOUT_MS: Final = 5000
_POOL_TIMEOUT_S: Final = 5.0
_OLDEST_SQLITE: Final = (3, 35, 0)  # RETURNING
_CHECKPOINT_PAGES: Final = 8000
"""When a commit itself checkpoints, should `tidy` never come round to it: a WAL of 32 MB."""
_MIGRATION_LOCK: Final = 0x696E7465726C6F63
_TRANSIENT_SQLSTATES: Final = frozenset({"40001", "40P01", "23505", "55P03"})
_DISK_FULL: Final = "53100"
_POSTGRESQL: Final = {
    "application_name": "interlock",
    "connect_timeout": 5,
    "options": "-c statement_timeout=10000 -c lock_timeout=5000 -c idle_in_transaction_session_timeout=30000",
    # A server that vanished from the network is noticed in seconds; the system's own defaults take minutes or hours.
    "keepalives_idle": 5,
    "keepalives_interval": 2,
    "keepalives_count": 3,
    "tcp_user_timeout": 10_000,
}

_WRITE: Final = "interlock_write"
_DURABLE: Final = "interlock_durable"
_OUTSIDE: Final = "interlock_outside"
"""Execution options: what kind of transaction `_begin_sqlite` is to begin, if any."""
_SYNCHRONOUS: Final = "interlock_synchronous"
"""What a SQLite connection's `synchronous` was last set to, in its `info`."""


def read_url(url: str) -> URL:
    """Take a database's URL apart; raises StartupRefused."""
    try:
        return make_url(url)
    except ArgumentError as error:
        raise StartupRefused(
            "the registry's database is not a URL that can be read; write sqlite:///PATH or "
            "postgresql+psycopg://USER@HOST/NAME"
        ) from error


def open_engine(url: str) -> Engine:
    """Prepare the connections to a database; raises StartupRefused where the URL can never work."""
    parsed = read_url(url)
    name = parsed.get_backend_name()
    if name not in ("sqlite", "postgresql"):
        raise StartupRefused(f"the registry does not run on {name!r}; use sqlite:///PATH or postgresql+psycopg://…")
    if name == "sqlite" and parsed.database in (None, "", ":memory:"):
        raise StartupRefused("the registry needs a database that outlives the process; write sqlite:///PATH")
    if name == "sqlite" and sqlite3.sqlite_version_info < _OLDEST_SQLITE:
        raise StartupRefused(f"SQLite {sqlite3.sqlite_version} is too old for the registry; 3.35 is the oldest")
    try:
        if name == "sqlite":
            engine = create_engine(parsed, pool_timeout=_POOL_TIMEOUT_S)
            event.listen(engine, "connect", _set_up_sqlite)
            event.listen(engine, "begin", _begin_sqlite)
            return engine
        # Connections are not tried out before use: a unit of work whose connection is gone is repeated whole anyway.
        engine = create_engine(parsed, pool_timeout=_POOL_TIMEOUT_S, connect_args=_POSTGRESQL)
        event.listen(engine, "do_connect", _connect_postgresql)
        return engine
    except (NoSuchModuleError, ModuleNotFoundError) as error:
        raise StartupRefused(
            f"the driver for {parsed.drivername!r} is not installed ({error}); `pip install 'interlock[postgres]'`"
        ) from error


def is_sqlite(engine: Engine) -> bool:
    """Tell an embedded registry from a fleet's."""
    return engine.dialect.name == "sqlite"


@contextmanager
def reading(engine: Engine) -> Iterator[Connection]:
    """Open a transaction that sees one moment of the database, whatever is committed meanwhile."""
    with engine.connect() as connection:
        if not is_sqlite(engine):
            connection = connection.execution_options(isolation_level="REPEATABLE READ", postgresql_readonly=True)
        with connection.begin():
            yield connection


@contextmanager
def writing(engine: Engine, *, durable: bool = True) -> Iterator[Connection]:
    """Open a transaction that may write, and commit it unless the block raises.

    One that is not `durable` may be lost with the power, never with the process, and costs no fsync.
    """
    with engine.connect() as connection:
        connection = connection.execution_options(**{_WRITE: True, _DURABLE: durable})
        with connection.begin():
            if not durable and not is_sqlite(engine):
                connection.exec_driver_sql("SET LOCAL synchronous_commit TO OFF")
            yield connection


@contextmanager
def migrating(engine: Engine) -> Iterator[Connection]:
    """Open a transaction that may change the schema, alone among all processes."""
    with engine.connect() as connection:
        connection = connection.execution_options(**{_WRITE: True})
        if is_sqlite(engine):
            # A migration may rebuild tables that others refer to. The check is void inside a transaction, and comes
            # back with a new connection.
            cast(sqlite3.Connection, connection.connection.dbapi_connection).execute("PRAGMA foreign_keys=OFF")
            connection.detach()
        with connection.begin():
            if is_sqlite(engine):
                yield connection
                broken = connection.exec_driver_sql("PRAGMA foreign_key_check").fetchall()
                if broken:
                    raise RegistryUnavailable(f"the migration would leave {len(broken)} rows that refer to nothing")
            else:
                connection.execute(text("SELECT pg_advisory_xact_lock(:key)"), {"key": _MIGRATION_LOCK})
                yield connection


def check_integrity(engine: Engine) -> None:
    """Look for damage in a SQLite file before anything is built on it; raises RegistryUnavailable."""
    if not is_sqlite(engine):
        return
    with reading(engine) as connection:
        found = connection.exec_driver_sql("PRAGMA quick_check(1)").scalar_one()
    if found != "ok":
        raise RegistryUnavailable(f"the registry's database {where(engine)} is damaged ({found}); restore a backup")


def checkpoint(engine: Engine) -> None:
    """Move what SQLite's WAL holds into the database file, as far as no reader is in the way; waits for nobody."""
    if is_sqlite(engine):
        with engine.connect() as connection:
            outside = connection.execution_options(**{_OUTSIDE: True})
            outside.exec_driver_sql("PRAGMA wal_checkpoint(PASSIVE)").fetchall()


def back_up(engine: Engine, target: Path) -> None:
    """Copy what is committed in a SQLite database into a new file; readers and writers go on."""
    source = sqlite3.connect(str(engine.url.database))
    copy = sqlite3.connect(target)
    try:
        source.backup(copy)
    finally:
        copy.close()
        source.close()


def where(engine: Engine) -> str:
    """Say which database it is, without the password."""
    return str(engine.url.database) if is_sqlite(engine) else engine.url.render_as_string(hide_password=True)


def is_transient(error: SQLAlchemyError) -> bool:
    """Tell whether the same unit of work, repeated whole, may succeed.

    The lock was taken, a race was lost, or the connection broke, and a new one may be had at once.
    """
    if not isinstance(error, DBAPIError):
        return False
    if is_lost(error):
        return True
    if isinstance(error.orig, sqlite3.Error):
        return error.orig.sqlite_errorcode & 0xFF in (sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED)
    return getattr(error.orig, "sqlstate", None) in _TRANSIENT_SQLSTATES


def is_lost(error: DBAPIError) -> bool:
    """Tell whether the connection broke under a statement: what it was to do may have been done."""
    return error.connection_invalidated


def is_full(error: BaseException | None) -> bool:
    """Tell whether a database had no room on its disk."""
    if isinstance(error, sqlite3.Error):
        return getattr(error, "sqlite_errorcode", 0) & 0xFF == sqlite3.SQLITE_FULL
    return getattr(error, "sqlstate", None) == _DISK_FULL


def in_doubt(engine: Engine, error: SQLAlchemyError) -> RegistryUnavailable:
    """Say that nobody knows whether a commit was done."""
    return RegistryUnavailable(
        f"the connection to the registry's database {where(engine)} broke during a commit, and it cannot be asked "
        f"whether that was done ({error}); look with `interlock log`, or repeat the request with its idempotency key",
        facts={"database": where(engine)},
    )


def unavailable(engine: Engine, error: SQLAlchemyError) -> RegistryUnavailable:
    """Say in our words that the database cannot be used."""
    if isinstance(error, PoolTimeout):
        why = f"all its connections were busy for {_POOL_TIMEOUT_S:g} s"
    else:
        why = str(error.orig) if isinstance(error, DBAPIError) else str(error)
    if isinstance(error, DBAPIError) and is_full(error.orig):
        why = f"{why}; {disk.MAKE_ROOM}"
    return RegistryUnavailable(
        f"the registry's database {where(engine)} cannot be used: {' '.join(why.split())}; what is loaded is served on",
        facts={"database": where(engine)},
    )


def _connect_postgresql(_dialect: Dialect, _record: ConnectionPoolEntry, args: Any, options: Any) -> Any:
    # Imported late: an embedded registry needs no driver.
    from interlock_registry.sql.answering import connection_class

    return connection_class().connect(*args, **options)


def _set_up_sqlite(connection: sqlite3.Connection, _entry: ConnectionPoolEntry) -> None:
    # The driver's own idea of transactions would begin them too late and without IMMEDIATE; `_begin_sqlite` does it.
    connection.isolation_level = None
    connection.execute(f"PRAGMA busy_timeout={_BUSY_TIMEOUT_MS}")
    connection.execute("PRAGMA journal_mode=WAL")
    connection.execute("PRAGMA synchronous=FULL")
    connection.execute("PRAGMA foreign_keys=ON")
    connection.execute("PRAGMA trusted_schema=OFF")
    connection.execute(f"PRAGMA wal_autocheckpoint={_CHECKPOINT_PAGES}")


def _begin_sqlite(connection: Connection) -> None:
    options = connection.get_execution_options()
    if options.get(_OUTSIDE, False):
        return
    if not options.get(_WRITE, False):
        connection.exec_driver_sql("BEGIN")
        return
    # A setting of the connection, and void inside a transaction, so that a write states its own before it begins.
    wanted = "FULL" if options.get(_DURABLE, True) else "NORMAL"
    if connection.info.get(_SYNCHRONOUS) != wanted:
        connection.exec_driver_sql(f"PRAGMA synchronous={wanted}")
        connection.info[_SYNCHRONOUS] = wanted
    connection.exec_driver_sql("BEGIN IMMEDIATE")
