"""Files that users name: whole or not at all, nobody else's lost, nothing left behind, in the mode that is wanted."""

from __future__ import annotations

import os
import threading
from pathlib import Path

import pytest
from interlock import convert
from interlock.errors import AlreadyExists, InvalidArgument
from interlock.model import FileRole, UploadFile
from interlock.types import ModelRef
from interlock.v1 import admin_pb2 as pb
from interlock_client._audit import opened
from interlock_client._download import Receiver
from interlock_client._whole import written

from tests.unit.client.scripted import a_version


def receiver(path: Path, *, overwrite: bool = False) -> Receiver:
    return Receiver(ModelRef.parse("m"), path, overwrite=overwrite, external_data=True, progress=None)


def header(*files: UploadFile) -> pb.DownloadVersionResponse:
    version = convert.version(a_version())
    return pb.DownloadVersionResponse(
        header=pb.DownloadVersionResponse.Header(version=version, files=map(convert.file, files))
    )


def test_a_pull_that_finds_the_second_file_taken_leaves_nothing_behind(tmp_path: Path) -> None:
    (tmp_path / "m.onnx.data").write_text("precious")
    files = (UploadFile("m.onnx", FileRole.MODEL, 1, "0" * 64), UploadFile("m.onnx.data", FileRole.DATA, 1, "0" * 64))
    with receiver(tmp_path / "m.onnx") as into, pytest.raises(AlreadyExists, match=r"m\.onnx\.data"):
        into.take([header(*files)])
    assert [each.name for each in tmp_path.iterdir()] == ["m.onnx.data"]


def test_what_is_no_file_is_not_replaced_by_one(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    with pytest.raises(InvalidArgument, match="is no file that could be overwritten"):
        receiver(tmp_path / "pipe", overwrite=True)
    read = threading.Thread(target=(tmp_path / "pipe").read_bytes)
    read.start()
    with written(tmp_path / "pipe", overwrite=True) as file:
        file.write(b"through it")
    read.join(60)
    assert (tmp_path / "pipe").is_fifo()


def test_two_that_write_the_same_new_file_do_not_meet(tmp_path: Path) -> None:
    with pytest.raises(InvalidArgument, match="is there already"), opened(tmp_path / "copy") as slow:
        slow.write(b"half of the")
        with opened(tmp_path / "copy") as quick:
            quick.write(b"whole")
    assert [(each.name, each.read_bytes()) for each in tmp_path.iterdir()] == [("copy", b"whole")]


def test_a_file_has_the_mode_that_the_umask_leaves_and_a_link_stays_one(tmp_path: Path) -> None:
    (tmp_path / "real").write_text("old")
    (tmp_path / "link").symlink_to("real")
    with written(tmp_path / "link", overwrite=True) as file:
        file.write(b"new")
    (tmp_path / "plain").touch()
    assert (tmp_path / "link").is_symlink() and (tmp_path / "real").read_text() == "new"
    assert (tmp_path / "real").stat().st_mode == (tmp_path / "plain").stat().st_mode
