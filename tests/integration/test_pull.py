"""Versions go in as files and come out as files: one or several, whole or not at all, with the same answers."""

from __future__ import annotations

import asyncio
import hashlib
import json
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import grpc
import numpy as np
import onnx
import onnxruntime as ort
import pytest
from interlock.errors import (
    AlreadyExists,
    DataLoss,
    FailedPrecondition,
    InvalidArgument,
    InvalidModel,
    ModelNotFound,
    VersionNotFound,
)
from interlock.types import Array
from interlock.v1 import admin_pb2 as pb
from interlock.v1 import admin_pb2_grpc
from interlock_client import Admin, AsyncAdmin

from tests import models
from tests.server import Server, clean_environment
from tests.support import eventually

MODEL = models.mlp(width=64, hidden=64, classes=64)
X = np.random.default_rng(1).standard_normal((5, 64)).astype(np.float32)


@pytest.fixture(scope="module")
def running(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    with Server(tmp_path_factory.mktemp("server") / "data") as server:
        with server.admin() as admin:
            folder = tmp_path_factory.mktemp("models")
            admin.register("m", models.write(folder / "m.onnx", MODEL))
            admin.promote("m", 1)
        yield server


@pytest.fixture
def admin(running: Server) -> Iterator[Admin]:
    with running.admin() as made:
        yield made


def answers(path: Path) -> Array:
    options = ort.SessionOptions()
    options.log_severity_level = 4
    session = ort.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])
    return np.asarray(session.run(None, {"x": X})[0])


@pytest.fixture(scope="module")
def expected(tmp_path_factory: pytest.TempPathFactory) -> bytes:
    return answers(models.write(tmp_path_factory.mktemp("expected") / "m.onnx", MODEL)).tobytes()


def nothing_is_left(server: Server) -> None:
    folders = [server.data / "state" / name for name in ("uploads", "downloads")]
    eventually(lambda: [each for folder in folders for each in folder.iterdir()] == [], "nothing is left behind")


def split(folder: Path, content: bytes = MODEL) -> Path:
    """Save a model with its data in a file beside it."""
    folder.mkdir(exist_ok=True)
    model = onnx.load_from_string(content)
    onnx.save(model, folder / "m.onnx", save_as_external_data=True, location="w/m.data")
    return folder / "m.onnx"


def test_golden_samples_come_back_and_prove_the_version_elsewhere(admin: Admin, tmp_path: Path) -> None:
    path = models.write(tmp_path / "g.onnx", models.affine())
    sent = models.affine_golden(tmp_path / "sent.npz")
    admin.register("proved", path, golden=sent)
    with pytest.raises(InvalidArgument, match="cannot both be written"):
        admin.pull("proved@1", tmp_path / "back.onnx", golden=tmp_path / "back.onnx")
    pulled = admin.pull("proved@1", tmp_path / "back.onnx", golden=tmp_path / "back.npz")
    assert pulled.paths == (tmp_path / "back.onnx", tmp_path / "back.npz")
    assert (tmp_path / "back.npz").read_bytes() == sent.read_bytes()
    assert admin.register("again", pulled.paths[0], golden=pulled.paths[1]).proven
    with pytest.raises(FailedPrecondition, match="version 1 of 'm' has no golden samples"):
        admin.pull("m@1", tmp_path / "m.onnx", golden=tmp_path / "m.npz")
    assert not (tmp_path / "m.onnx").exists() and not (tmp_path / "m.npz").exists()


def test_a_version_comes_back_as_one_file_with_the_same_answers(
    running: Server, admin: Admin, tmp_path: Path, expected: bytes
) -> None:
    seen: list[tuple[int, int]] = []
    pulled = admin.pull("m:stable", tmp_path / "back.onnx", progress=lambda done, total: seen.append((done, total)))
    assert (pulled.version.version, pulled.paths) == (1, (tmp_path / "back.onnx",))
    assert answers(pulled.paths[0]).tobytes() == expected
    size = pulled.paths[0].stat().st_size
    assert seen[-1] == (size, size)
    assert [path.name for path in tmp_path.iterdir()] == ["back.onnx"]
    nothing_is_left(running)
    again = admin.register("again", pulled.paths[0])
    assert running.manifest(again).tensors == running.manifest(pulled.version).tensors
    assert running.graph(again) == running.graph(pulled.version), "what was pulled is the same version when sent back"


def test_tensors_come_in_a_second_file_where_that_is_asked_for(admin: Admin, tmp_path: Path, expected: bytes) -> None:
    pulled = admin.pull("m@1", tmp_path / "back.onnx", external_data=True)
    assert [path.name for path in pulled.paths] == ["back.onnx", "back.onnx.data"]
    assert answers(pulled.paths[0]).tobytes() == expected
    onnx.checker.check_model(str(pulled.paths[0]))
    offsets = [
        int(entry.value)
        for tensor in onnx.load(pulled.paths[0], load_external_data=False).graph.initializer
        for entry in tensor.external_data
        if entry.key == "offset"
    ]
    assert offsets and all(offset % 4096 == 0 for offset in offsets), "so that they can be mapped"


def test_the_asyncio_client_pulls_too(running: Server, tmp_path: Path, expected: bytes) -> None:
    async def pull() -> Path:
        async with AsyncAdmin(running.admin_address) as admin:
            return (await admin.pull("m", tmp_path / "back.onnx")).paths[0]

    assert answers(asyncio.run(pull())).tobytes() == expected


def test_the_command_pulls_and_does_not_overwrite_unless_forced(
    running: Server, tmp_path: Path, expected: bytes
) -> None:
    def command(*words: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [str(Path(sys.executable).with_name("interlock")), "pull", "m", "back.onnx", *words],
            cwd=tmp_path,
            env=clean_environment(INTERLOCK_ADMIN=running.admin_address),
            capture_output=True,
            text=True,
            timeout=120,
            check=False,
        )

    (tmp_path / "back.onnx").write_text("precious")
    refused = command()
    assert refused.returncode == 1
    assert "'back.onnx' is there already" in refused.stderr and "--force" in refused.stderr
    assert (tmp_path / "back.onnx").read_text() == "precious"
    done = command("--force", "-o", "json")
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout)["paths"] == ["back.onnx"]
    assert answers(tmp_path / "back.onnx").tobytes() == expected


@pytest.mark.parametrize(
    ("ref", "error"), [("absent", ModelNotFound), ("m@99", VersionNotFound), ("m@1", InvalidArgument)]
)
def test_what_cannot_be_pulled_leaves_no_file(
    running: Server, admin: Admin, tmp_path: Path, ref: str, error: type[Exception]
) -> None:
    target = tmp_path / ("absent/back.onnx" if error is InvalidArgument else "back.onnx")
    with pytest.raises(error):
        admin.pull(ref, target)
    assert list(tmp_path.iterdir()) == []
    nothing_is_left(running)


@pytest.mark.parametrize("name", ["", "../up.onnx", "a/b.onnx", "x" * 201, "a\nb"])
def test_names_that_are_no_file_names_are_refused_by_the_server(running: Server, name: str) -> None:
    with grpc.insecure_channel(running.admin_address) as channel:
        stub = admin_pb2_grpc.AdminServiceStub(channel)
        with pytest.raises(grpc.RpcError) as caught:
            list(stub.DownloadVersion(pb.DownloadVersionRequest(ref="m", file_name=name), timeout=60))
    status: Any = caught.value
    assert status.code() is grpc.StatusCode.INVALID_ARGUMENT


def test_a_caller_that_leaves_half_way_leaves_nothing_behind(running: Server, admin: Admin, tmp_path: Path) -> None:
    big = models.write(tmp_path / "big.onnx", models.mlp(width=64, hidden=1500, classes=8))
    admin.register("big", big)
    with grpc.insecure_channel(running.admin_address) as channel:
        stub = admin_pb2_grpc.AdminServiceStub(channel)
        for _ in range(5):  # more than may go on at once
            call = stub.DownloadVersion(pb.DownloadVersionRequest(ref="big@1", file_name="b.onnx"), timeout=60)
            assert next(iter(call)).WhichOneof("part") == "header"
            call.cancel()
    nothing_is_left(running)
    assert admin.pull("big@1", tmp_path / "back.onnx").paths[0].stat().st_size > 9_000_000


def test_a_damaged_blob_is_not_handed_out(running: Server, admin: Admin, tmp_path: Path) -> None:
    file = models.write(tmp_path / "m.onnx", models.mlp(width=64, hidden=64, seed=9))
    version = admin.register("rotten", file)
    blob = running.data / "blobs" / running.manifest(version).tensors[0].blob.digest
    content = bytearray(blob.read_bytes())
    content[7] ^= 1
    blob.unlink()
    blob.write_bytes(content)
    with pytest.raises(DataLoss, match=blob.name):
        admin.pull("rotten@1", tmp_path / "back.onnx")
    assert not (tmp_path / "back.onnx").exists()
    admin.register("rotten", file)
    admin.pull("rotten@1", tmp_path / "back.onnx")


def test_a_model_of_several_files_is_the_same_version_as_one_of_one(
    running: Server, admin: Admin, tmp_path: Path, expected: bytes
) -> None:
    (tmp_path / "several" / "w").mkdir(parents=True)
    path = split(tmp_path / "several")
    assert (path.parent / "w" / "m.data").stat().st_size > path.stat().st_size
    version = admin.register("several", path)
    manifest = running.manifest(version)
    one = running.manifest(admin.show("m@1"))
    assert (manifest.graph, manifest.tensors) == (one.graph, one.tensors)
    assert [source.name for source in manifest.sources] == ["m.onnx", "w/m.data"]
    assert manifest.sources[1].sha256 == hashlib.sha256((path.parent / "w" / "m.data").read_bytes()).hexdigest()
    assert answers(admin.pull("several@1", tmp_path / "back.onnx").paths[0]).tobytes() == expected
    nothing_is_left(running)


def test_a_model_whose_data_was_changed_since_is_refused(running: Server, admin: Admin, tmp_path: Path) -> None:
    (tmp_path / "w").mkdir()
    path = split(tmp_path)
    data = tmp_path / "w" / "m.data"
    data.write_bytes(data.read_bytes()[:-100])
    with pytest.raises(InvalidModel, match="cut off or of another export"):
        admin.register("short", path)
    nothing_is_left(running)


def header(model: bytes, *files: tuple[str, bytes]) -> pb.RegisterVersionRequest:
    announced = [("m.onnx", pb.FILE_ROLE_MODEL, model), *((name, pb.FILE_ROLE_DATA, data) for name, data in files)]
    return pb.RegisterVersionRequest(
        header=pb.RegisterVersionRequest.Header(
            model="tricks",
            files=[
                pb.UploadFile(name=name, role=role, size_bytes=len(content), sha256=hashlib.sha256(content).hexdigest())
                for name, role, content in announced
            ],
        )
    )


@pytest.mark.parametrize(
    ("files", "words"),
    [
        ([("../escape", b"x")], "plain path"),
        ([("/etc/cron.d/x", b"x")], "plain path"),
        ([("a", b"x"), ("a", b"y")], "two data files"),
        ([("unused.bin", b"x")], "no tensor of the model refers to"),
        ([(f"{index}", b"") for index in range(5000)], "at most 4096"),
    ],
)
def test_data_files_of_a_hostile_client_are_refused(
    running: Server, files: list[tuple[str, bytes]], words: str
) -> None:
    chunks = [pb.RegisterVersionRequest(chunk=content) for content in (MODEL, *(data for _, data in files))]
    with grpc.insecure_channel(running.admin_address) as channel:
        stub = admin_pb2_grpc.AdminServiceStub(channel)
        with pytest.raises(grpc.RpcError) as caught:
            stub.RegisterVersion(iter([header(MODEL, *files), *chunks]), timeout=60)
    status: Any = caught.value
    assert status.code() is grpc.StatusCode.INVALID_ARGUMENT
    assert words in status.details()
    assert not (running.data / "state" / "escape").exists()
    nothing_is_left(running)


def test_a_file_that_appears_meanwhile_is_not_overwritten(admin: Admin, tmp_path: Path) -> None:
    target = tmp_path / "back.onnx"

    def somebody_else(done: int, total: int) -> None:
        target.write_text("precious")

    with pytest.raises(AlreadyExists, match="somebody else"):
        admin.pull("m", target, progress=somebody_else)
    assert [(path.name, path.read_text()) for path in tmp_path.iterdir()] == [("back.onnx", "precious")]
