"""Uploads that are refused: a clear error, one event, and nothing left behind."""

from __future__ import annotations

import hashlib
import subprocess
import sys
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import grpc
import onnx
import pytest
from interlock.errors import (
    AlreadyExists,
    GoldenMismatch,
    IdempotencyKeyReused,
    InvalidArgument,
    InvalidGolden,
    InvalidModel,
    PrepareFailed,
)
from interlock.model import Event
from interlock.v1 import admin_pb2 as pb
from interlock.v1 import admin_pb2_grpc
from interlock_client import Admin

from tests import models
from tests.hostile.graphs import bomb
from tests.load import Load
from tests.server import Server, clean_environment
from tests.support import eventually

MODEL_ROLE, GOLDEN_ROLE = pb.FILE_ROLE_MODEL, pb.FILE_ROLE_GOLDEN


@pytest.fixture(scope="module")
def running(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    with Server(tmp_path_factory.mktemp("server") / "data") as server:
        yield server


@pytest.fixture
def admin(running: Server) -> Iterator[Admin]:
    with running.admin() as made:
        yield made


@pytest.fixture
def stub(running: Server) -> Iterator[admin_pb2_grpc.AdminServiceStub]:
    with grpc.insecure_channel(running.admin_address) as channel:
        yield admin_pb2_grpc.AdminServiceStub(channel)


def events(admin: Admin, model: str) -> list[Event]:
    return admin.log(model, limit=100)


def litter(server: Server) -> list[str]:
    """Return what an upload that is over should not have left."""
    uploads = [path.name for path in (server.data / "state" / "uploads").iterdir()]
    return uploads + [path.name for path in (server.data / "blobs").iterdir() if path.name.startswith(".")]


def refused_once(server: Server, admin: Admin, model: str, *reasons: str) -> Event:
    """Demand that a model has one event only, a refusal for one of these reasons, and that nothing is left."""
    eventually(lambda: len(events(admin, model)) >= 1, "the refusal is in the history")
    (event,) = events(admin, model)
    assert event.action == "register" and event.outcome in reasons, event
    assert event.detail
    eventually(lambda: litter(server) == [], "nothing is left behind")
    assert model not in [each.name for each in admin.models()]
    return event


# --- files that are no good ---


def newer(content: bytes, *, ir: int = 0, opset: int = 0) -> bytes:
    model = onnx.load_from_string(content)
    model.ir_version = ir or model.ir_version
    if opset:
        model.opset_import[0].version = opset
    return model.SerializeToString()


FILES = {
    "text": (b"this is no model\n" * 20, ["not"]),
    "nothing": (b"", ["empty"]),
    "truncated": (models.mlp()[:-200], []),
    "newer-ir": (newer(models.affine(), ir=99), ["99"]),
    "100-gib": (bomb(25 << 30), ["validate_memory_bytes"]),
    "newer-opset": (newer(models.affine(), opset=99), ["99"]),
}


@pytest.mark.parametrize("case", FILES)
def test_a_file_that_cannot_be_served_is_refused(running: Server, admin: Admin, tmp_path: Path, case: str) -> None:
    content, words = FILES[case]
    with pytest.raises(InvalidModel) as refused:
        admin.register(f"bad-{case}", models.write(tmp_path / "bad.onnx", content))
    for word in words:
        assert word in refused.value.message
    refused_once(running, admin, f"bad-{case}", "INVALID_MODEL")


def test_the_walls_that_uploads_are_read_behind_are_in_the_status(running: Server) -> None:
    walls = set(running.status().sandbox)
    assert {"rlimits", "no-new-privs", "landlock-files", "seccomp", "wall-clock"} <= walls


def test_golden_samples_that_disagree_are_refused(running: Server, admin: Admin, tmp_path: Path) -> None:
    file = models.write(tmp_path / "m.onnx", models.affine(scale=2.0))
    with pytest.raises(GoldenMismatch) as refused:
        admin.register("bad-golden", file, golden=models.affine_golden(tmp_path / "g.npz", scale=2.1))
    assert "y" in refused.value.message
    refused_once(running, admin, "bad-golden", "GOLDEN_MISMATCH")


def test_golden_samples_of_another_model_are_refused(running: Server, admin: Admin, tmp_path: Path) -> None:
    file = models.write(tmp_path / "m.onnx", models.affine(width=3))
    with pytest.raises(InvalidGolden):
        admin.register("other-golden", file, golden=models.affine_golden(tmp_path / "g.npz", width=2))
    refused_once(running, admin, "other-golden", "INVALID_GOLDEN")


def test_the_command_says_it_in_one_line(running: Server, tmp_path: Path) -> None:
    file = models.write(tmp_path / "bad.onnx", b"no model")
    done = subprocess.run(
        [str(Path(sys.executable).with_name("interlock")), "register", "bad-command", str(file)],
        env=clean_environment(INTERLOCK_ADMIN=running.admin_address),
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert done.returncode == 1
    (line,) = done.stderr.splitlines()
    assert line.startswith("interlock: ")


# --- streams that are no good ---


def upload_file(content: bytes, *, role: pb.FileRole.ValueType = MODEL_ROLE, **changes: Any) -> pb.UploadFile:
    fields = {"size_bytes": len(content), "sha256": hashlib.sha256(content).hexdigest(), "name": "f", **changes}
    return pb.UploadFile(role=role, **fields)


def stream(
    model: str, files: list[pb.UploadFile], *chunks: bytes, **options: Any
) -> Iterator[pb.RegisterVersionRequest]:
    header = pb.RegisterVersionRequest.Header(model=model, files=files, options=pb.MutationOptions(**options))
    yield pb.RegisterVersionRequest(header=header)
    for chunk in chunks:
        yield pb.RegisterVersionRequest(chunk=chunk)


GOOD = models.affine()
STREAMS: dict[str, tuple[list[pb.UploadFile], list[bytes], str]] = {
    "wrong-digest": ([upload_file(GOOD, sha256="0" * 64)], [GOOD], "hashes to"),
    "no-digest": ([upload_file(GOOD, sha256="")], [GOOD], "sha256"),
    "too-few": ([upload_file(GOOD)], [GOOD[:-1]], "1 bytes before"),
    "too-many": ([upload_file(GOOD)], [GOOD, b"x"], "more bytes"),
    "too-many-at-once": ([upload_file(GOOD)], [GOOD + b"x"], "more bytes"),
    "none": ([upload_file(GOOD)], [], "before"),
    "no-model": ([upload_file(GOOD, role=GOLDEN_ROLE)], [GOOD], "one model file"),
    "two-models": ([upload_file(GOOD), upload_file(GOOD)], [GOOD, GOOD], "one model file"),
    "no-files": ([], [], "one model file"),
    "negative-size": ([upload_file(GOOD, size_bytes=-1)], [GOOD], "size"),
}


@pytest.mark.parametrize("case", STREAMS)
def test_a_stream_that_is_not_what_it_announced_is_refused(
    running: Server, admin: Admin, stub: admin_pb2_grpc.AdminServiceStub, case: str
) -> None:
    files, chunks, words = STREAMS[case]
    with pytest.raises(grpc.RpcError) as caught:
        stub.RegisterVersion(stream(f"stream-{case}", files, *chunks), timeout=60)
    status: Any = caught.value
    assert (status.code(), words in status.details()) == (grpc.StatusCode.INVALID_ARGUMENT, True), status
    refused_once(running, admin, f"stream-{case}", "INVALID_ARGUMENT")


def test_a_stream_without_a_header_is_refused(running: Server, stub: admin_pb2_grpc.AdminServiceStub) -> None:
    for messages in ([], [pb.RegisterVersionRequest(chunk=b"x")], [pb.RegisterVersionRequest()]):
        with pytest.raises(grpc.RpcError) as caught:
            stub.RegisterVersion(iter(messages), timeout=60)
        status: Any = caught.value
        assert status.code() is grpc.StatusCode.INVALID_ARGUMENT, status
    assert litter(running) == []


def test_an_announced_size_over_the_limit_is_refused_before_a_byte_is_taken(
    running: Server, admin: Admin, stub: admin_pb2_grpc.AdminServiceStub
) -> None:
    with pytest.raises(grpc.RpcError) as caught:
        stub.RegisterVersion(stream("giant", [upload_file(GOOD, size_bytes=1 << 50)]), timeout=60)
    status: Any = caught.value
    assert status.code() is grpc.StatusCode.RESOURCE_EXHAUSTED and "max_upload_bytes" in status.details()
    refused_once(running, admin, "giant", "TOO_LARGE")
    with pytest.raises(grpc.RpcError) as caught:
        stub.RegisterVersion(stream("large", [upload_file(GOOD, size_bytes=1 << 31)]), timeout=30)
    status = caught.value
    assert status.code() is grpc.StatusCode.INVALID_ARGUMENT and "cannot exceed 2 GiB" in status.details()
    refused_once(running, admin, "large", "INVALID_MODEL")


@pytest.mark.parametrize("attempt", range(5))
def test_a_caller_that_goes_away_in_the_middle_leaves_one_event_and_no_files(
    running: Server, admin: Admin, stub: admin_pb2_grpc.AdminServiceStub, attempt: int
) -> None:
    model = f"half-{attempt}"
    more = threading.Event()

    def halting() -> Iterator[pb.RegisterVersionRequest]:
        yield from stream(model, [upload_file(b"\0" * 4_000_000)], b"\0" * 1_000_000)
        more.wait(60)

    call: Any = stub.RegisterVersion.future(halting(), timeout=60)
    eventually(lambda: litter(running) != [], "the upload has begun")
    call.cancel()
    more.set()
    # What ends a call may look like the end of its stream.
    refused_once(running, admin, model, "CANCELLED", "INVALID_ARGUMENT")


def size(path: Path) -> int:
    """Return how long a file is; 0 where there is none."""
    try:
        return path.stat().st_size
    except FileNotFoundError:
        return 0


def test_a_caller_that_goes_away_during_validation_does_not_stop_it(
    running: Server, admin: Admin, stub: admin_pb2_grpc.AdminServiceStub
) -> None:
    call: Any = stub.RegisterVersion.future(stream("impatient", [upload_file(GOOD)], GOOD), timeout=60)
    uploads = running.data / "state" / "uploads"
    eventually(
        lambda: call.done() or any(size(path / "model.onnx") == len(GOOD) for path in uploads.iterdir()),
        "all of it has arrived",
    )
    call.cancel()
    eventually(lambda: len(events(admin, "impatient")) == 1, "it ends")
    (event,) = events(admin, "impatient")
    assert event.outcome in ("ok", "CANCELLED"), event
    if event.outcome == "ok":
        assert admin.show("impatient@1").version == 1
    eventually(lambda: litter(running) == [], "nothing is left behind")


# --- names, twins, keys ---


@pytest.mark.parametrize("name", ["../up", "a/b", " m", "", "-m", "m\n", "m@1", "m:x", "x" * 129, "\u00e4"])
def test_a_bad_name_is_refused(running: Server, stub: admin_pb2_grpc.AdminServiceStub, name: str) -> None:
    with pytest.raises(grpc.RpcError) as caught:
        stub.RegisterVersion(stream(name, [upload_file(GOOD)], GOOD), timeout=60)
    status: Any = caught.value
    assert status.code() is grpc.StatusCode.INVALID_ARGUMENT, status
    assert litter(running) == []


def test_names_that_differ_only_in_case_are_refused(running: Server, admin: Admin, tmp_path: Path) -> None:
    file = models.write(tmp_path / "m.onnx", GOOD)
    admin.register("Twin", file)
    with pytest.raises(AlreadyExists, match="'Twin'"):
        admin.register("tWIN", file)
    refused_once(running, admin, "tWIN", "ALREADY_EXISTS")


def test_equal_uploads_at_once_become_versions_that_share_their_blobs(
    running: Server, admin: Admin, tmp_path: Path
) -> None:
    file = models.write(tmp_path / "m.onnx", models.affine(scale=7.25))
    before = set((running.data / "blobs").iterdir())
    with ThreadPoolExecutor(4) as pool:
        made = list(pool.map(lambda _: admin.register("crowd", file), range(4)))
    assert sorted(version.version for version in made) == [1, 2, 3, 4]
    assert len({version.digest for version in made}) == 1
    added = {path.name for path in set((running.data / "blobs").iterdir()) - before}
    assert added == {blob.digest for blob in running.manifest(made[0]).blobs}
    assert litter(running) == []


def test_one_key_at_once_is_one_version(running: Server, admin: Admin, tmp_path: Path) -> None:
    file = models.write(tmp_path / "m.onnx", models.affine(scale=7.5))
    with ThreadPoolExecutor(3) as pool:
        made = list(pool.map(lambda _: admin.register("keyed", file, idempotency_key="k-1"), range(3)))
    assert [version.version for version in made] == [1, 1, 1]
    assert [event.outcome for event in events(admin, "keyed")] == ["ok"]
    assert admin.register("keyed", file, idempotency_key="k-1").version == 1, "also later"
    other = models.write(tmp_path / "o.onnx", models.affine(scale=7.75))
    with pytest.raises(IdempotencyKeyReused):
        admin.register("keyed", other, idempotency_key="k-1")
    assert [version.version for version in admin.versions("keyed")] == [1]
    assert litter(running) == []


def test_a_note_or_tags_over_their_limits_are_refused(running: Server, admin: Admin, tmp_path: Path) -> None:
    file = models.write(tmp_path / "m.onnx", GOOD)
    with pytest.raises(InvalidArgument, match="note"):
        admin.register("wordy", file, note="x" * 9000)
    refused_once(running, admin, "wordy", "INVALID_ARGUMENT")
    with pytest.raises(InvalidArgument, match="tags"):
        admin.register("tagged", file, tags={f"k{index}": "v" for index in range(65)})
    refused_once(running, admin, "tagged", "INVALID_ARGUMENT")


# --- bytes that rot ---


@pytest.mark.parametrize(
    "harm",
    [
        "a flipped bit",
        pytest.param("cut short", marks=pytest.mark.slow),
        pytest.param("gone", marks=pytest.mark.slow),
    ],
)
def test_a_rotten_blob_is_never_served_and_the_old_version_goes_on(server: Server, tmp_path: Path, harm: str) -> None:
    files = [models.write(tmp_path / f"{scale}.onnx", models.affine(scale=scale)) for scale in (2.0, 3.0)]
    with server.admin() as admin:
        blob = [server.graph(admin.register("m", file)) for file in files][1]
        admin.promote("m", 1)
    assert server.stop() == 0
    content = bytearray(blob.read_bytes())
    blob.unlink()
    if harm == "a flipped bit":
        content[len(content) // 2] ^= 1
        blob.write_bytes(content)
    elif harm == "cut short":
        blob.write_bytes(content[:-10])
    server.start()
    with server.admin() as admin, Load(server.grpc, "m", {1: 2.0, 2: 3.0}) as load:
        load.more(20)
        with pytest.raises(PrepareFailed, match=blob.name) as refused:
            admin.promote("m", 2)
        assert "restore" in refused.value.message
        load.more(20)
        assert admin.show("m").version == 1
        assert [event.outcome for event in admin.log("m")][:1] == ["PREPARE_FAILED"]
        # The same bytes, uploaded again, mend it.
        admin.register("m", files[1])
        assert admin.promote("m", 2).to_version == 2
        load.until_version(2)
    load.check(at_least=40)
