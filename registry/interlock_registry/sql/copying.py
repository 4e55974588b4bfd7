"""Copies of a registry's database: one that is whole while others write, and a new life for one that was put back."""

from __future__ import annotations

import os
import sqlite3
import uuid
from pathlib import Path
from typing import Final

from interlock.errors import RegistryUnavailable, StorageFull
from sqlalchemy import make_url, update
from sqlalchemy.exc import SQLAlchemyError

from interlock_registry import disk
from interlock_registry.sql import engine as engines
from interlock_registry.sql import tables as t

_BESIDE: Final = ("-wal", "-shm", "-journal")


def is_file(url: str) -> bool:
    """Say whether the database is a file that this program can copy."""
    return url.startswith("sqlite")


def copy_database(url: str, target: Path) -> None:
    """Copy what is committed in a SQLite database into a file, durably; readers and writers go on.

    What is at `target` is replaced. Raises RegistryUnavailable, OSError.
    """
    engine = engines.open_engine(url)
    try:
        remove_database(target)
        engines.back_up(engine, target)
    except sqlite3.Error as error:
        if engines.is_full(error):
            raise StorageFull(f"the disk of {str(target.parent)!r} is full; {disk.MAKE_ROOM}") from error
        raise RegistryUnavailable(
            f"the registry's database {engines.where(engine)} cannot be copied: {error}"
        ) from error
    finally:
        engine.dispose()
    sync(target)


def remove_database(path: Path) -> None:
    """Remove a SQLite file and what SQLite keeps beside it; nothing happens where it is not there."""
    for suffix in ("", *_BESIDE):
        path.with_name(path.name + suffix).unlink(missing_ok=True)


def put_in_place(new: Path, target: Path) -> None:
    """Make a closed copy the database at `target`, durably and at once; raises OSError."""
    sync(new)
    for suffix in _BESIDE:  # of a database that was there before, and would be played into this one
        target.with_name(target.name + suffix).unlink(missing_ok=True)
    new.replace(target)
    sync(target)


def dump_command(url: str, folder: Path) -> str:
    """Return the command that dumps a database which is no file."""
    shown = make_url(url).set(drivername="postgresql").render_as_string(hide_password=True)
    return f"pg_dump --format=custom --file={folder / 'registry.dump'} '{shown}'"


def restore_command(url: str, folder: Path) -> str:
    """Return the command that puts such a dump back."""
    shown = make_url(url).set(drivername="postgresql").render_as_string(hide_password=True)
    return f"pg_restore --clean --if-exists --dbname='{shown}' {folder / 'registry.dump'}"


def begin_anew(url: str) -> str:
    """Give a registry that was put back from a backup a new incarnation, and return it; raises RegistryUnavailable.

    Replicas that have seen later epochs than it holds then take it for what it is, and not for a step backwards.
    """
    made = str(uuid.uuid4())
    engine = engines.open_engine(url)
    try:
        with engines.writing(engine) as connection:
            connection.execute(update(t.epoch).values(incarnation=made, epoch=t.epoch.c.epoch + 1))
    except SQLAlchemyError as error:
        raise engines.unavailable(engine, error) from error
    finally:
        engine.dispose()
    return made


def sync(path: Path) -> None:
    """Make a file durable, and its name; raises OSError."""
    for each, flags in ((path, os.O_RDONLY), (path.parent, os.O_RDONLY | os.O_DIRECTORY)):
        descriptor = os.open(each, flags | os.O_CLOEXEC)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)
