"""Which files of the artifact store may go, and why. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Set
from dataclasses import dataclass
from datetime import datetime, timedelta
from enum import Enum
from typing import Final

from interlock.types import ModelRef

UNFINISHED_GRACE_S: Final = 3600.0
"""How long an unfinished file is left alone, however short the grace period: nothing is written for longer."""

CONDEMNED: Final = ".condemned-"
"""What the name of a blob begins with that is being collected."""
_NAMED: Final = 3
"""How many versions a reason names."""


class Cause(Enum):
    """Why nobody needs a file."""

    DELETED = "deleted"
    """Every version that had it is deleted."""
    UNUSED = "unused"
    """It never became part of a version."""
    UNFINISHED = "unfinished"
    """A write was interrupted."""


class FileKind(Enum):
    """What a file of the artifact store is, by its name."""

    BLOB = "blob"
    INCOMING = "incoming"
    """A blob that is being written."""
    CONDEMNED = "condemned"
    """A blob that is being collected; it is put back if that fails."""
    UNKNOWN = "unknown"


@dataclass(frozen=True, slots=True)
class StoredFile:
    """A file of the artifact store, as it was when it was looked at."""

    name: str
    kind: FileKind
    size_bytes: int
    changed_at: datetime
    inode: int
    mode: int
    """Its permissions."""
    links: int
    """How many names it has."""

    @property
    def digest(self) -> str:
        """Of a blob, collected or not: the name that it has as such."""
        return self.name.removeprefix(CONDEMNED)

    @property
    def is_blob(self) -> bool:
        """Whether its bytes are those of a blob, which may have been condemned."""
        return self.kind in (FileKind.BLOB, FileKind.CONDEMNED)


@dataclass(frozen=True, slots=True)
class LastUse:
    """The deleted versions that a blob belonged to, and when the last of them was deleted."""

    versions: tuple[ModelRef, ...]
    until: datetime


@dataclass(frozen=True, slots=True)
class Garbage:
    """A file that nobody needs."""

    file: StoredFile
    cause: Cause
    why: str
    since: datetime
    due: datetime
    """When the grace period is over and it may go."""


def judge(
    files: Iterable[StoredFile],
    *,
    referenced: Set[str],
    held: Set[str],
    last_uses: Mapping[str, LastUse],
    grace_s: float,
) -> tuple[Garbage, ...]:
    """Return the files that nobody needs, by name; what is referred to, held or none of ours is never among them."""
    found = []
    for file in sorted(files, key=lambda each: each.name):
        match file.kind:
            case FileKind.BLOB | FileKind.CONDEMNED if file.digest not in referenced and file.digest not in held:
                found.append(_blob(file, last_uses.get(file.digest), grace_s))
            case FileKind.INCOMING:
                grace = timedelta(seconds=max(grace_s, UNFINISHED_GRACE_S))
                why = "a write that was interrupted"
                found.append(Garbage(file, Cause.UNFINISHED, why, file.changed_at, file.changed_at + grace))
            case _:
                pass
    return tuple(found)


def _blob(file: StoredFile, last_use: LastUse | None, grace_s: float) -> Garbage:
    grace = timedelta(seconds=grace_s)
    if last_use is None:
        return Garbage(file, Cause.UNUSED, "it is part of no version", file.changed_at, due=file.changed_at + grace)
    # Written anew since, it may be about to become part of a version again.
    since = max(file.changed_at, last_use.until)
    return Garbage(file, Cause.DELETED, _deleted(last_use.versions), since, due=since + grace)


def _deleted(versions: tuple[ModelRef, ...]) -> str:
    named = ", ".join(map(str, versions[:_NAMED]))
    more = len(versions) - _NAMED
    return f"of the deleted {named}" + (f" and {more} more" if more > 0 else "")
