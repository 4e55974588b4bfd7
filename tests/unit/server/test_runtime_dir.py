"""The directory of the sockets goes with its server, and if that was killed, with the next one."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest
from interlock_server.process.runtime_dir import RuntimeDir


@pytest.fixture
def scratch() -> Iterator[Path]:
    # Not under pytest's own directory: the paths of sockets are short, or refused.
    with tempfile.TemporaryDirectory() as made:
        yield Path(made)


def killed(scratch: Path, note: Path) -> Path:
    """Return what a server leaves that was killed: the kernel has let go of its lock."""
    left = RuntimeDir.make(1, note, parent=scratch)
    os.close(left._lock)
    Path(left.path, "worker-0.sock").touch()
    return Path(left.path)


def test_it_is_gone_when_it_is_closed(scratch: Path, tmp_path: Path) -> None:
    made = RuntimeDir.make(1, tmp_path / "note", parent=scratch)
    assert Path(made.path).stat().st_mode & 0o777 == 0o700
    made.close()
    made.close()
    assert list(scratch.iterdir()) == [] and not (tmp_path / "note").exists()


def test_what_a_killed_server_left_goes_at_the_next_start(scratch: Path, tmp_path: Path) -> None:
    left = killed(scratch, tmp_path / "note")
    made = RuntimeDir.make(1, tmp_path / "note", parent=scratch)
    assert [str(each) for each in scratch.iterdir()] == [made.path] and made.path != str(left)
    made.close()


def test_a_copied_note_does_not_take_the_directory_of_a_server_that_lives(scratch: Path, tmp_path: Path) -> None:
    living = RuntimeDir.make(1, tmp_path / "note", parent=scratch)
    (tmp_path / "copy").write_text(living.path)
    other = RuntimeDir.make(1, tmp_path / "copy", parent=scratch)
    assert Path(living.path).is_dir()
    other.close()
    living.close()


@pytest.mark.parametrize("kind", ["another name", "no lock in it", "a link", "a file", "nothing", "no text"])
def test_nothing_else_is_ever_removed(scratch: Path, tmp_path: Path, kind: str) -> None:
    note = tmp_path / "note"
    precious = tmp_path / "precious"
    precious.mkdir()
    (precious / "lock").touch()
    named = scratch / "interlock-x"
    if kind == "another name":
        named = precious
    elif kind == "no lock in it":
        named.mkdir()
    elif kind == "a link":
        named.symlink_to(precious)
    elif kind == "a file":
        named.touch()
    note.write_bytes(b"\xff\xfe" if kind == "no text" else str(named).encode())
    RuntimeDir.make(1, note, parent=scratch).close()
    assert (precious / "lock").exists()
    assert named.exists() or kind in ("nothing", "no text")
