"""Bring a database's schema up to date, or say why this program must not touch it."""

from __future__ import annotations

import glob
import threading
from datetime import UTC, datetime
from pathlib import Path
from typing import Final

from interlock.errors import RegistryUnavailable, StartupRefused
from sqlalchemy import Connection, Engine, column, inspect, select, table

from interlock_registry.sql import engine as engines

HEAD: Final = "0007"
"""The newest revision under `migrations`; what this program reads and writes."""

MIGRATIONS: Final = Path(__file__).parent / "migrations"

BACKUPS_KEPT: Final = 3
"""How many copies from before migrations are kept of one SQLite file: the newest."""

_REVISIONS: Final = table("alembic_version", column("version_num"))

_ALEMBIC: Final = threading.Lock()
"""Alembic keeps what it is doing in its modules, for the whole process: two at once would write into one database."""
_PATIENCE_S: Final = 600.0
"""Longer than a migration takes that another thread has begun, of another registry."""


def prepare(
    engine: Engine,
    *,
    may_migrate: bool,
    backup_dir: Path | None = None,
    head: str = HEAD,
    migrations: Path = MIGRATIONS,
) -> None:
    """Bring the schema to `head`, from whatever older revision it has.

    A SQLite file that is not empty is copied first, into `backup_dir` or beside itself, where the newest three copies
    stay. Several threads and processes may do so at once. Raises StartupRefused where the schema is newer than this
    program, another program's, or old while migrating is not allowed; RegistryUnavailable.
    """
    with engines.reading(engine) as connection:
        if _revision(connection) == head:
            return
    with engines.migrating(engine) as connection:
        # Another process may have been here while we waited for the lock.
        found = _revision(connection)
        if found == head:
            return
        _check(engine, connection, found, head=head, migrations=migrations)
        if found is not None and not may_migrate:
            raise StartupRefused(
                f"the registry {engines.where(engine)} has schema {found}, this program needs {head}; "
                "start it once with migrations allowed",
                facts={"found": found, "needed": head},
            )
        if found is not None and engines.is_sqlite(engine):
            _back_up(engine, backup_dir, found)
        _upgrade(connection, head=head, migrations=migrations)


def _revision(connection: Connection) -> str | None:
    if not inspect(connection).has_table(_REVISIONS.name):
        return None
    return connection.execute(select(_REVISIONS.c.version_num)).scalars().first()


def _check(engine: Engine, connection: Connection, found: str | None, *, head: str, migrations: Path) -> None:
    if found is None:
        foreign = [name for name in inspect(connection).get_table_names() if name != _REVISIONS.name]
        if foreign:
            raise StartupRefused(
                f"the database {engines.where(engine)} holds tables that are not the registry's "
                f"({', '.join(sorted(foreign)[:5])}); give the registry a database of its own"
            )
        return
    if found not in _known(migrations):
        raise StartupRefused(
            f"the registry {engines.where(engine)} has schema {found}, this program knows schemas up to {head}: "
            "a newer Interlock has been here. Start that one, or restore the backup that was made before its migration",
            facts={"found": found, "needed": head},
        )


def _known(migrations: Path) -> frozenset[str]:
    # Only a schema that is not up to date pays for importing Alembic.
    from alembic.script import ScriptDirectory

    return frozenset(script.revision for script in ScriptDirectory(str(migrations)).walk_revisions())


def _upgrade(connection: Connection, *, head: str, migrations: Path) -> None:
    from alembic import command
    from alembic.config import Config

    config = Config()
    config.set_main_option("script_location", str(migrations).replace("%", "%%"))
    config.attributes["connection"] = connection
    if not _ALEMBIC.acquire(timeout=_PATIENCE_S):
        raise RegistryUnavailable(
            f"another registry's migration in this process has taken more than {_PATIENCE_S:g} s; try again"
        )
    try:
        command.upgrade(config, head)
    finally:
        _ALEMBIC.release()


def _back_up(engine: Engine, directory: Path | None, revision: str) -> None:
    database = Path(str(engine.url.database))
    directory = directory or database.parent
    directory.mkdir(parents=True, exist_ok=True)
    prefix = f"{database.stem}-before-migration-"
    moment = datetime.now(UTC).strftime("%Y%m%dT%H%M%S%fZ")
    engines.back_up(engine, directory / f"{prefix}{revision}-{moment}.db")
    copies = sorted(directory.glob(f"{glob.escape(prefix)}*.db"), key=lambda path: path.stem.rpartition("-")[2])
    for old in copies[:-BACKUPS_KEPT]:
        old.unlink(missing_ok=True)
