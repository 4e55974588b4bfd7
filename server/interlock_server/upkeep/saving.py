"""`interlock backup` and `interlock restore`: flags → one call → what was moved."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path

import click
import interlock
from interlock.errors import StartupRefused
from interlock_registry.artifacts import LocalArtifactStore
from interlock_registry.backup import Backup, Transfer
from interlock_registry.sql import copying

from interlock_server.process.datadir import DataDir, DataDirRefused, DataLock
from interlock_server.settings import Settings
from interlock_server.upkeep import printing
from interlock_server.upkeep.commands import placed
from interlock_server.upkeep.place import opened, private


@click.command()
@click.argument("folder", type=click.Path(path_type=Path, file_okay=False))
@placed
def backup(folder: Path, data: Path | None, config: Path | None, output: str) -> int:
    """Copy the registry and every blob that it names into FOLDER; a server may be running.

    A second backup into the same FOLDER copies only what is new. Exits 1 if a blob is damaged or gone.
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
        moved = target.save(place.registry, url, place.store, program=interlock.__version__)
    return _tell("backed up", moved, output)


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
            moved = source.put_back(url, place.database, LocalArtifactStore(settings.blobs), partial=partial)
        # Of the registry that is gone: it would be served again if this one could not be opened.
        for name in ("last-known-good", "last-known-good.previous"):
            (place.state / name).unlink(missing_ok=True)
    finally:
        lock.close()
    return _tell("restored", moved, output)


def _tell(verb: str, moved: Transfer, output: str) -> int:
    document = moved.document
    if output == "json":
        printing.print_json({**asdict(document), "lost": list(moved.lost)})
    else:
        click.echo(
            f"{verb} the registry of {document.made_at} (epoch {document.epoch}) and {document.blobs} blobs "
            f"({printing.size(document.blob_bytes)})"
        )
        for digest in moved.lost:
            click.echo(f"blob {digest} is damaged or gone; `interlock fsck` says which versions have it", err=True)
    return 1 if moved.lost else 0
