"""A data directory and its registry, opened by a command; a server may be running on them."""

from __future__ import annotations

import getpass
import os
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from interlock.errors import StartupRefused
from interlock_registry.artifacts import LocalArtifactStore
from interlock_registry.domain import Action, Attempt
from interlock_registry.registry import Registry

from interlock_server.control.last_known_good import LastKnownGood
from interlock_server.process.datadir import DataDir, DataDirRefused
from interlock_server.settings import Settings


@dataclass(frozen=True, slots=True)
class Place:
    """What a command works on."""

    settings: Settings
    data: DataDir
    registry: Registry
    store: LocalArtifactStore


@contextmanager
def opened(data: Path | None, config: Path | None) -> Iterator[Place]:
    """Open a data directory with its registry as `serve` would find them; nothing is made that is not there.

    Raises StartupRefused where they are not there or do not belong together, RegistryUnavailable.
    """
    with private():
        yield from _opened(data, config)


def make(data: DataDir) -> None:
    """Make a data directory that a server will find; raises StartupRefused where it cannot be written."""
    try:
        data.create()
    except DataDirRefused as error:
        raise StartupRefused(str(error)) from error


@contextmanager
def private() -> Iterator[None]:
    """Make what is written for this user only, also in a directory that others may read."""
    before = os.umask(0o077)
    try:
        yield
    finally:
        os.umask(before)


def _opened(data: Path | None, config: Path | None) -> Iterator[Place]:
    settings = Settings.load({} if data is None else {"data": data}, config)
    folder = DataDir(settings.data.absolute())
    if not settings.blobs.is_dir() or not (settings.db or folder.database.exists()):
        raise StartupRefused(
            f"{str(folder.root)!r} holds no registry and blobs; name the data directory of a server with --data"
        )
    registry = Registry.open(settings.database_url, keep_depth=settings.keep_depth, migrate=False)
    try:
        _check_belongs(folder, registry)
        yield Place(settings, folder, registry, LocalArtifactStore(settings.blobs))
    finally:
        registry.close()


def attempt(action: Action, reason: str = "") -> Attempt:
    """Say that the user of this machine tries something; there is no other authentication on it."""
    return Attempt(action=action, actor=actor(), request_id=uuid.uuid4().hex, model="", reason=reason)


def actor() -> str:
    """Return who runs this command, as the history names him."""
    try:
        return f"local:{getpass.getuser()}"
    except (OSError, KeyError):  # a container's user need not have an entry
        return f"local:{os.getuid()}"


def _check_belongs(folder: DataDir, registry: Registry) -> None:
    """Refuse another server's registry: to it, all blobs here would be garbage."""
    served = LastKnownGood(folder.state).load()
    found = registry.state().incarnation
    if served is not None and served.incarnation != found:
        raise StartupRefused(
            f"the registry (incarnation {found}) is not the one that the data directory {str(folder.root)!r} was last "
            f"served from ({served.incarnation}); check --data and INTERLOCK_DB. After a restore from a backup, start "
            "the server once",
            facts={"found": found, "expected": served.incarnation},
        )
