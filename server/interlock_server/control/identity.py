"""What the other replicas know this one by: an id that stays with its data directory, and not with a copy of it."""

from __future__ import annotations

import logging
import os
import uuid
from pathlib import Path
from typing import Final

log = logging.getLogger("interlock.fleet")

_FILE: Final = "replica-id"


def replica_id(state: Path) -> str:
    """Return the id that is kept in a directory, made at the first start; a copy of the directory gets another one.

    The file names its own inode, which a copy, a restored backup and a moved disk do not share. Two replicas with one
    id would overwrite each other's heartbeats, and a promote would take the one's word for the other's.
    """
    path = state / _FILE
    try:
        told = path.read_text().split()
        inode = path.stat().st_ino
    except FileNotFoundError:
        return _write(path, str(uuid.uuid4()))
    if len(told) == 2 and told[1] == str(inode):
        return told[0]
    if len(told) == 1:  # of a release that did not note the inode
        return _write(path, told[0])
    made = _write(path, str(uuid.uuid4()))
    log.warning(
        "this data directory is a copy, or was restored: the replica is %s from now on, and %s is left to the original",
        made,
        told[0] if told else "the id before",
    )
    return made


def _write(path: Path, made: str) -> str:
    new = path.with_suffix(".new")
    with new.open("w") as file:
        file.write(f"{made} {os.fstat(file.fileno()).st_ino}\n")
    new.replace(path)
    return made
