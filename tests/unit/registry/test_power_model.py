"""The model of a disk that `make crashpoints` takes the power from: it loses what was not synced, and nothing else."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.crashpoints.powerloss import Call, Disk


def call(name: str, file: Path | str = "", *strings: bytes | Path, arguments: str = "") -> Call:
    return Call(0.0, name, str(file), tuple(bytes(each) for each in strings), arguments)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    made = tmp_path / "work"
    made.mkdir()
    (made / "old").write_bytes(b"old bytes")
    return made


def left(disk: Disk, folder: Path) -> dict[str, bytes]:
    disk.leave(folder.with_name("left"))
    return {path.name: path.read_bytes() for path in folder.with_name("left").iterdir()}


def test_what_was_there_stays_and_what_was_written_is_lost_until_it_is_synced(folder: Path) -> None:
    disk = Disk(folder)
    disk.play(call("pwrite64", folder / "old", b"NEW", arguments='3</x>, "", 3, 0'))
    assert left(disk, folder) == {"old": b"old bytes"}
    assert disk.play(call("fdatasync", folder / "old"))
    assert left(disk, folder) == {"old": b"NEW bytes"}


def test_a_file_needs_its_own_sync_and_its_directorys(folder: Path) -> None:
    disk = Disk(folder)
    disk.play(call("openat", folder / "new", arguments="O_WRONLY|O_CREAT|O_EXCL"))
    disk.play(call("write", folder / "new", b"bytes"))
    disk.play(call("rename", "", folder / "new", folder / "named"))
    disk.play(call("fsync", folder))
    assert left(disk, folder) == {"old": b"old bytes", "named": b""}
    disk.play(call("unlink", "", folder / "old"))
    disk.play(call("fsync", folder / "named"))
    assert left(disk, folder) == {"old": b"old bytes", "named": b"bytes"}
    disk.play(call("fsync", folder))
    assert left(disk, folder) == {"named": b"bytes"}


def test_a_name_without_its_directorys_sync_is_lost(folder: Path) -> None:
    disk = Disk(folder)
    disk.play(call("openat", folder / "new", arguments="O_WRONLY|O_CREAT"))
    disk.play(call("write", folder / "new", b"bytes"))
    disk.play(call("fsync", folder / "new"))
    disk.play(call("ftruncate", folder / "old", arguments="3</x>, 3"))
    assert left(disk, folder) == {"old": b"old bytes"}
    disk.play(call("fsync", folder / "old"))
    assert left(disk, folder) == {"old": b"old"}
