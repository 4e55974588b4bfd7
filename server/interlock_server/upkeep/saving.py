"""`interlock backup` and `interlock restore`: flags → one call → what was moved."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from pathlib import Path

import click
import interlock
from interlock.errors import DataLoss, InvalidArgument, StartupRefused
from interlock_registry import disk
from interlock_registry.artifacts import LocalArtifactStore
from interlock_registry.backup import Backup, Transfer
from interlock_registry.sql import copying

from interlock_server.process.datadir import DataDir, DataDirRefused, DataLock
from interlock_server.settings import Settings
from interlock_server.trust import keys as trusted
from interlock_server.trust.keys import TrustedKeys
from interlock_server.upkeep import printing
from interlock_server.upkeep.commands import placed
from interlock_server.upkeep.place import opened, private


@dataclass(frozen=True, slots=True)
class _Keys:
    """The trusted keys that were moved, and what is to be said of them."""

    text: str | None = None
    count: int = 0
    remark: str = ""
    is_fault: bool = False


@click.command()
@click.argument("folder", type=click.Path(path_type=Path, file_okay=False))
@placed
def backup(folder: Path, data: Path | None, config: Path | None, output: str) -> int:
    """Copy the registry, every blob that it names and the data directory's trusted keys; a server may be running.

    A second backup into the same FOLDER copies only what is new. Exits 1 if a blob or the keys are damaged or gone.
    """
    target = Backup(folder.absolute())
    target.check_free()
    with opened(data, config) as place:
        if folder.absolute() == place.data.root:
            raise StartupRefused(f"{str(folder)!r} is the data directory itself; name another directory")
        url = place.settings.database_url
        if not copying.is_file(url) and not (target.folder / "registry.dump").exists():
            raise StartupRefused(
                "the registry is not a file, and its database makes its own backups. Dump it first, so that every "
                f"blob that the dump names is still to come: {copying.dump_command(url, target.folder)} "
                "(make the directory before); then run this again for the blobs"
            )
        keys = _keys_to_save(place.settings, place.data, target)
        moved = target.save(place.registry, url, place.store, program=interlock.__version__, trusted_keys=keys.text)
    return _tell("backed up", moved, keys, output)


@click.command()
@click.argument("folder", type=click.Path(path_type=Path, file_okay=False, exists=True))
@placed
@click.option("--partial", is_flag=True, help="Restore what is whole, although blobs of the backup are damaged.")
def restore(folder: Path, data: Path | None, config: Path | None, output: str, partial: bool) -> int:
    """Put the backup in FOLDER into a data directory that has no registry; every blob is hashed on the way."""
    settings = Settings.load({} if data is None else {"data": data}, config)
    place = DataDir(settings.data.absolute())
    source = Backup(folder.absolute())
    kept_elsewhere = source.read().database != "file"
    url = settings.database_url
    if kept_elsewhere == copying.is_file(url):
        raise StartupRefused(
            "the backup has no registry of its own: set INTERLOCK_DB to the database that its dump was put into with: "
            f"{copying.restore_command('postgresql://HOST/NAME', source.folder)}"
            if kept_elsewhere
            else "the backup holds a registry as a file, and INTERLOCK_DB names another database; unset it"
        )
    try:
        place.create()
        lock = DataLock.take(place)
    except DataDirRefused as error:
        raise StartupRefused(str(error)) from error
    try:
        if not kept_elsewhere and place.database.exists():
            raise StartupRefused(
                f"{str(place.database)!r} is there already; move it away, with registry.db-wal and registry.db-shm if "
                "they are there, or name another data directory with --data"
            )
        with private():
            # Before the registry appears: a server must not start on it without them.
            keys = _put_keys_back(settings, place, source, partial=partial)
            moved = source.put_back(url, place.database, LocalArtifactStore(settings.blobs), partial=partial)
        # Of the registry that is gone: it would be served again if this one could not be opened.
        for name in ("last-known-good", "last-known-good.previous"):
            (place.state / name).unlink(missing_ok=True)
    finally:
        lock.close()
    return _tell("restored", moved, keys, output)


def _own(settings: Settings, data: DataDir) -> Path | None:
    """Return the data directory's file of trusted keys; None where they are kept elsewhere, by somebody else."""
    path = settings.trust_path.absolute()
    return path if path.is_relative_to(data.root) else None


def _keys_to_save(settings: Settings, data: DataDir, target: Backup) -> _Keys:
    path = _own(settings, data)
    if path is None:
        return _Keys(
            remark=f"the trusted keys {str(settings.trust_path)!r} lie outside of the data directory: not taken"
        )
    earlier = _earlier(target)
    # The good ones of last time are what mends a fault.
    kept = "" if earlier is None else "; the backup keeps those that it had"
    try:
        found = trusted.read(path)
    except StartupRefused as error:
        return _Keys(earlier, remark=f"{error.message}{kept}", is_fault=True)
    if found is None and earlier is not None:
        return _Keys(earlier, remark=f"the trusted keys {str(path)!r} are gone{kept}", is_fault=True)
    return _Keys() if found is None else _Keys(found.to_json(), len(found.keys))


def _earlier(target: Backup) -> str | None:
    try:
        return target.trusted_keys() if target.is_finished else None
    except (DataLoss, StartupRefused):  # what was there before is no good either, and is replaced
        return None


def _put_keys_back(settings: Settings, data: DataDir, source: Backup, *, partial: bool) -> _Keys:
    """Write the backup's trusted keys where there are none; damaged ones raise DataLoss, unless `partial`."""
    try:
        text = source.trusted_keys()
        found = None if text is None else TrustedKeys.from_json(text)
    except (DataLoss, InvalidArgument) as error:
        if not partial:
            raise DataLoss(f"{error.message}; nothing was changed. --partial restores the rest") from error
        return _Keys(remark=error.message, is_fault=True)
    if found is None:
        return _Keys()
    path = _own(settings, data)
    if path is None:
        return _Keys(remark=f"the trusted keys are those of {str(settings.trust_path)!r}: the backup's were left out")
    if path.exists():
        # They may be newer, and a key that was revoked since must not count again.
        same = path.read_bytes() == found.to_json().encode()
        return _Keys(remark="" if same else f"{str(path)!r} is there, and was left as it is")
    try:
        trusted.write(path, found)
    except OSError as error:
        raise disk.failure(error, f"the data directory {data.root}") from error
    return _Keys(text, len(found.keys))


def _tell(verb: str, moved: Transfer, keys: _Keys, output: str) -> int:
    document = moved.document
    if output == "json":
        printing.print_json(
            {**asdict(document), "lost": list(moved.lost), "keys_moved": keys.count, "keys_remark": keys.remark}
        )
    else:
        trusting = f", and {keys.count} trusted keys" if keys.count else ""
        click.echo(
            f"{verb} the registry of {document.made_at} (epoch {document.epoch}) and {document.blobs} blobs "
            f"({printing.size(document.blob_bytes)}){trusting}"
        )
        if keys.remark:
            click.echo(keys.remark, err=True)
        for digest in moved.lost:
            click.echo(f"blob {digest} is damaged or gone; `interlock fsck` says which versions have it", err=True)
    return 1 if moved.lost or keys.is_fault else 0
