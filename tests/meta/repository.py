"""What the tests of the repository itself share: its root, and the files that git tracks."""

from __future__ import annotations

import re
import subprocess
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Final

ROOT: Final = Path(__file__).resolve().parents[2]
SOURCE_ROOTS: Final = ("proto", "registry", "server", "client")
GENERATED: Final = re.compile(r"_pb2(_grpc)?\.pyi?$|\.binpb$")


def tracked() -> list[Path]:
    """Return every file that is or is about to be part of the repository, relative to its root."""
    listed = subprocess.run(
        ["git", "ls-files", "--cached", "--others", "--exclude-standard", "-z"],
        cwd=ROOT,
        capture_output=True,
        check=True,
    )
    found = [Path(name) for name in listed.stdout.decode().split("\0") if name]
    assert len(found) > 100, "git lists too few files: is this a checkout?"
    return [path for path in found if (ROOT / path).is_file()]


def text_of(path: Path) -> str | None:
    """Return a tracked file's text, or None for one that is not text."""
    try:
        return (ROOT / path).read_text(encoding="utf-8")
    except UnicodeDecodeError:
        return None


@dataclass(frozen=True, slots=True)
class Block:
    """A fenced block of code in a page."""

    language: str
    code: str


def blocks(page: str) -> Iterator[Block]:
    """Yield the fenced blocks of a page, in order."""
    for match in re.finditer(r"^```(\w*)\n(.*?)^```$", (ROOT / page).read_text(), re.MULTILINE | re.DOTALL):
        yield Block(match[1], match[2])
