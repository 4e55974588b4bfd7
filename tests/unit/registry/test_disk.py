from __future__ import annotations

import errno
import os

import pytest
from interlock.errors import InterlockError, StorageFull, Unavailable
from interlock_registry import disk


@pytest.mark.parametrize(
    ("number", "kind", "said"),
    [
        (errno.ENOSPC, StorageFull, "the disk of the store is full (No space left on device); make room there"),
        (errno.EDQUOT, StorageFull, "the disk of the store is full (Disk quota exceeded); make room there"),
        (errno.EFBIG, StorageFull, "the disk of the store is full (File too large); make room there"),
        (errno.EIO, Unavailable, "the store cannot be used: Input/output error"),
        (errno.EROFS, Unavailable, "the store cannot be used: Read-only file system"),
    ],
)
def test_what_the_system_refuses_is_said_with_what_to_do(number: int, kind: type[InterlockError], said: str) -> None:
    found = disk.failure(OSError(number, os.strerror(number)), "the store")
    assert type(found) is kind and found.message.startswith(said)
    assert ("`interlock gc`" in found.message) is (kind is StorageFull)
