"""What lies in a data directory beside the registry and the blobs: whether it is whole, and what is left over."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from pathlib import Path

from interlock_registry.fsck import Finding, Repair, Severity

from interlock_server.control.last_known_good import LastKnownGood
from interlock_server.process.datadir import DataDir


def check_folder(data: DataDir) -> Iterator[Finding]:
    """Yield what is damaged or left over; only while no server runs there, which would be writing some of it."""
    saved = LastKnownGood(data.state)
    if saved.exists and saved.load() is None:
        yield Finding(
            severity=Severity.ERROR,
            subject="state/last-known-good",
            what="no last-known-good snapshot can be read: a start without the database would serve nothing",
            remedy="start the server once with its database, which writes a new one",
        )
    for path in _leftovers(data):
        yield Finding(
            severity=Severity.NOTE,
            subject=str(path.relative_to(data.root)),
            what="a server that was killed left it behind",
            remedy="the next start of the server removes it",
            repair=Repair.REMOVE,
        )


def remove_leftover(data: DataDir, finding: Finding) -> bool:
    """Remove what `check_folder` found; False where it is none of its findings."""
    for path in _leftovers(data):
        if str(path.relative_to(data.root)) == finding.subject:
            shutil.rmtree(path) if path.is_dir() else path.unlink()
            return True
    return False


def _leftovers(data: DataDir) -> Iterator[Path]:
    if data.uploads.is_dir():
        yield from sorted(data.uploads.iterdir())
