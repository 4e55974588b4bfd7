"""What the registry's file would stand on: SQLite's locks, and the memory its readers share, fail across a network."""

from __future__ import annotations

import re
from enum import Enum
from pathlib import Path
from typing import Final

from interlock.errors import StartupRefused

_MOUNTS: Final = Path("/proc/self/mountinfo")
_NETWORK: Final = frozenset(
    {
        "9p",
        "nfs",
        "nfs4",
        "cifs",
        "smb3",
        "smbfs",
        "ncpfs",
        "afs",
        "coda",
        "ceph",
        "lustre",
        "glusterfs",
        "gpfs",
        "beegfs",
    }
    | {"orangefs", "pvfs2", "ocfs2", "gfs2"}
)
"""By what the kernel calls them. 9p is what shares a host's directories with virtual machines."""
_LOCAL_FUSE: Final = frozenset({"fuseblk", "fuse.fuse-overlayfs", "fuse.ntfs-3g", "fuse.bindfs", "fuse.gocryptfs"})


class Ground(Enum):
    """How far a file system may be trusted with a SQLite database."""

    LOCAL = "local"
    UNKNOWN = "unknown"
    """A program in user space keeps the files, somewhere."""
    NETWORK = "network"


def check_ground(database: Path, *, allowed: bool) -> str:
    """Say what to warn of before a SQLite file is used where it is; "" for nothing.

    Raises StartupRefused where it would lie on a network file system, unless that is `allowed`.
    """
    try:
        mounts = _MOUNTS.read_text(errors="surrogateescape")
    except OSError as error:
        return f"nobody knows on what file system {str(database)!r} lies: {error}"
    kind = file_system(database.absolute().resolve(), mounts)
    match judge(kind):
        case Ground.LOCAL:
            return ""
        case Ground.UNKNOWN:
            return (
                f"the registry {str(database)!r} lies on {kind!r}; if that is a network's, SQLite will be damaged there"
            )
        case Ground.NETWORK if allowed:
            return (
                f"the registry {str(database)!r} lies on {kind!r}, where SQLite can be damaged, as the settings allow"
            )
    raise StartupRefused(
        f"the registry {str(database)!r} would lie on the network file system {kind!r}, where SQLite's locks do not "
        "hold and what was acknowledged can be lost; choose a local directory with --data, or a PostgreSQL with "
        "INTERLOCK_DB. INTERLOCK_ALLOW_NETWORK_FILESYSTEM=1 starts all the same",
        facts={"filesystem": kind, "path": str(database)},
    )


def judge(kind: str) -> Ground:
    """Say what a file system of that name is to a database."""
    if kind in _NETWORK:
        return Ground.NETWORK
    if kind in _LOCAL_FUSE or not kind.startswith(("fuse", "virtiofs")):
        return Ground.LOCAL
    return Ground.UNKNOWN


def file_system(path: Path, mounts: str) -> str:
    """Return the name of the file system that a path lies on, by the text of mountinfo; "" where it tells nothing.

    The path may not be there yet.
    """
    best, found = -1, ""
    for line in mounts.splitlines():
        before, separator, after = line.partition(" - ")
        fields = before.split(" ")
        if not separator or len(fields) < 5 or not after:
            continue
        place = Path(_unescaped(fields[4]))
        # Of two mounts at one place the later one hides the other.
        if path.is_relative_to(place) and len(place.parts) >= best:
            best, found = len(place.parts), after.split(" ")[0]
    return found


def _unescaped(text: str) -> str:
    return re.sub(r"\\([0-7]{3})", lambda found: chr(int(found[1], 8)), text)
