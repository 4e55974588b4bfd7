from __future__ import annotations

import shutil
import uuid
from pathlib import Path

from interlock_server.control.identity import replica_id


def test_a_replica_keeps_its_id(tmp_path: Path) -> None:
    made = replica_id(tmp_path)
    assert str(uuid.UUID(made)) == made
    assert [replica_id(tmp_path) for _ in range(3)] == [made] * 3


def test_a_copy_of_a_data_directory_is_another_replica(tmp_path: Path) -> None:
    original, copy = tmp_path / "original", tmp_path / "copy"
    original.mkdir()
    made = replica_id(original)
    shutil.copytree(original, copy)
    renewed = replica_id(copy)
    assert renewed != made
    assert (replica_id(original), replica_id(copy)) == (made, renewed)


def test_a_directory_that_is_moved_stays_the_same_replica(tmp_path: Path) -> None:
    (tmp_path / "before").mkdir()
    made = replica_id(tmp_path / "before")
    (tmp_path / "before").rename(tmp_path / "after")
    assert replica_id(tmp_path / "after") == made


def test_the_id_of_an_earlier_release_is_kept(tmp_path: Path) -> None:
    (tmp_path / "replica-id").write_text("0f8fad5b-d9cb-469f-a165-70867728950e\n")
    assert [replica_id(tmp_path) for _ in range(2)] == ["0f8fad5b-d9cb-469f-a165-70867728950e"] * 2


def test_a_file_that_says_nothing_is_written_anew(tmp_path: Path) -> None:
    (tmp_path / "replica-id").write_text("")
    made = replica_id(tmp_path)
    assert str(uuid.UUID(made)) == made == replica_id(tmp_path)
