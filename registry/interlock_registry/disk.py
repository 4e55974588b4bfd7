"""What is said when the system refuses a read or a write, and what to do then. Pure."""

from __future__ import annotations

import errno
from typing import Final

from interlock.errors import InterlockError, StorageFull, Unavailable

FULL: Final = frozenset({errno.ENOSPC, errno.EDQUOT, errno.EFBIG})
"""No room on the disk, of a quota, or under a limit on the size of files."""
DAMAGED: Final = frozenset({errno.EIO, errno.EBADMSG, errno.EUCLEAN, errno.ENODATA})
"""The disk, or the filesystem by a checksum of its own, has lost the bytes of this one file."""
MAKE_ROOM: Final = "make room there (`interlock gc` tells what nobody needs) and try again"


def failure(error: OSError, what: str) -> InterlockError:
    """Return what to raise where `what`, something on a disk, could not be used: StorageFull or Unavailable."""
    if error.errno in FULL:
        return StorageFull(f"the disk of {what} is full ({error.strerror}); {MAKE_ROOM}")
    return Unavailable(f"{what} cannot be used: {error.strerror or error}")
