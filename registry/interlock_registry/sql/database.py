"""Units of work: a function runs in one transaction, is repeated whole where a race was lost, or fails in our words."""

from __future__ import annotations

import random
import threading
import time
from collections.abc import Callable
from contextlib import nullcontext
from dataclasses import dataclass
from pathlib import Path
from typing import Final, Generic, TypeVar

from interlock.chain import ChainHead
from interlock.errors import InternalError, InvalidArgument, RegistryUnavailable
from sqlalchemy.exc import DataError, DBAPIError, IntegrityError, SQLAlchemyError

from interlock_registry.sql import engine as engines
from interlock_registry.sql import migrate
from interlock_registry.sql.fleet import FleetRows
from interlock_registry.sql.reader import Reader
from interlock_registry.sql.writer import Writer

T = TypeVar("T")

_ATTEMPTS: Final = 5
_PATIENCE_S: Final = 10.0
_CHECKPOINT_AFTER: Final = 32


@dataclass(frozen=True, slots=True)
class _Done(Generic[T]):
    """A unit of work that ran to its end and is to be committed."""

    result: T
    event: ChainHead | None


class Database:
    """The registry's database. Any thread may use it."""

    def __init__(self, url: str) -> None:
        self._engine = engines.open_engine(url)
        # One writer at a time queues here, fairly, and not by polling in the database.
        self._writing = threading.Lock()
        self._writes = 0
        self._closed = False

    def prepare(self, *, may_migrate: bool, backup_dir: Path | None) -> None:
        """Check the file and bring its schema up to date; raises RegistryUnavailable, StartupRefused."""
        try:
            engines.check_integrity(self._engine)
            migrate.prepare(self._engine, may_migrate=may_migrate, backup_dir=backup_dir)
        except SQLAlchemyError as error:
            raise engines.unavailable(self._engine, error) from error

    def read(self, work: Callable[[Reader], T]) -> T:
        """Run a unit of work that sees one moment."""

        def once() -> T:
            with engines.reading(self._engine) as connection:
                return work(Reader(connection))

        return self._repeat(once)

    def write(self, work: Callable[[Writer], T], *, durable: bool = True) -> T:
        """Run a unit of work alone and commit it; whatever it raises leaves no trace.

        It may be run more than once, so it does nothing but read and write through what it is given.
        """
        if not self._writing.acquire(timeout=_PATIENCE_S):
            raise RegistryUnavailable(f"other writes have kept the registry busy for {_PATIENCE_S:g} s; try again")
        try:
            result = self._repeat(lambda: self._write_once(work, durable=durable))
            self._writes += 1
            return result
        finally:
            self._writing.release()

    def note(self, work: Callable[[FleetRows], T]) -> T:
        """Run a unit of work on replicas and rollouts, beside the writes and without their order.

        What it notes may be lost with the power. It may be run more than once.
        """

        def once() -> T:
            with engines.writing(self._engine, durable=False) as connection:
                return work(FleetRows(connection))

        # SQLite has one writer at a time anyway, and this is the fairer queue.
        with self._writing if engines.is_sqlite(self._engine) else nullcontext():
            result = self._repeat(once)
        self._writes += 1
        return result

    def checkpoint(self) -> None:
        """Do SQLite's housekeeping if enough was written, away from any commit that somebody waits for."""
        if self._writes < _CHECKPOINT_AFTER:
            return
        self._writes = 0
        try:
            engines.checkpoint(self._engine)
        except SQLAlchemyError as error:
            raise engines.unavailable(self._engine, error) from error

    def close(self) -> None:
        """Close all connections; a second call does nothing."""
        if not self._closed:
            self._closed = True
            self._engine.dispose()

    def _write_once(self, work: Callable[[Writer], T], *, durable: bool) -> T:
        done: _Done[T] | None = None
        try:
            with engines.writing(self._engine, durable=durable) as connection:
                writer = Writer(connection)
                done = _Done(work(writer), writer.recorded)
            return done.result
        except DBAPIError as error:
            # The connection may have broken after the commit and before its answer: then the event is there.
            if done is None or done.event is None or not engines.is_lost(error) or not self._has(done.event):
                raise
            return done.result

    def _has(self, recorded: ChainHead) -> bool:
        try:
            # Begins with the lock that every write holds: it waits for the one whose answer was lost.
            with engines.writing(self._engine) as connection:
                return Writer(connection).has(recorded)
        except SQLAlchemyError as error:
            raise engines.in_doubt(self._engine, error) from error

    def _repeat(self, once: Callable[[], T]) -> T:
        if self._closed:
            raise RegistryUnavailable("the registry is closed")
        give_up_at = time.monotonic() + _PATIENCE_S
        for attempt in range(1, _ATTEMPTS + 1):
            try:
                return once()
            except DataError as error:
                raise InvalidArgument(
                    f"the registry cannot keep or find a value that was sent: {error.orig}"
                ) from error
            except SQLAlchemyError as error:
                if not engines.is_transient(error) or attempt == _ATTEMPTS or time.monotonic() > give_up_at:
                    if isinstance(error, IntegrityError):
                        raise InternalError(f"a write would break a rule of the schema: {error.orig}") from error
                    raise engines.unavailable(self._engine, error) from error
                time.sleep(random.uniform(0, 0.01 * attempt))
        raise AssertionError("the last attempt returns or raises")
