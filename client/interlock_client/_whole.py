"""Files that appear under their names whole or not at all."""

from __future__ import annotations

import os
import secrets
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO, Final

_MOST_OF_NAME: Final = 64


class NewFile:
    """A file that is given its name when it is whole; until then it lies beside it under one that nobody else has."""

    def __init__(self, target: Path) -> None:
        """Begin it; raises OSError."""
        self.target: Final = target
        self._path: Final = target.with_name(f".{target.name[:_MOST_OF_NAME]}.{secrets.token_hex(8)}")
        # The kernel takes the umask off: to read it here would change it for the other threads of this process.
        descriptor = os.open(self._path, os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o666)
        self.file: Final[BinaryIO] = os.fdopen(descriptor, "w+b")

    def finish(self) -> None:
        """Have what was written on the disk; raises OSError."""
        self.file.flush()
        os.fsync(self.file.fileno())
        self.file.close()

    def commit(self, *, overwrite: bool) -> None:
        """Give it its name; raises FileExistsError where that is taken and may not be overwritten, OSError."""
        if overwrite:
            self._path.replace(self.target)
            return
        os.link(self._path, self.target)
        self._path.unlink()

    def discard(self) -> None:
        """Remove it, unless it has its name. Idempotent."""
        self.file.close()
        self._path.unlink(missing_ok=True)


@contextmanager
def written(target: Path, *, overwrite: bool) -> Iterator[BinaryIO]:
    """Open a file to write it, and give it its name at the end; raises FileExistsError, OSError.

    What may be overwritten and is no file (a device, a pipe) is written to as it is.
    """
    if overwrite and target.exists() and not target.is_file():
        with target.open("wb") as device:
            yield device
        return
    new = NewFile(target.resolve() if overwrite else target)
    try:
        yield new.file
        new.finish()
        new.commit(overwrite=overwrite)
    finally:
        new.discard()
