"""The SDK and the command against a real server."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from interlock.errors import (
    GenerationConflict,
    IdempotencyKeyReused,
    IncompatibleSignature,
    InvalidInput,
    InvalidModel,
    ModelNotFound,
    NothingToRollBack,
    Unimplemented,
    VersionInUse,
    VersionNotFound,
    VersionNotLoaded,
)
from interlock.types import Array, DType
from interlock_client import Admin, AsyncAdmin, AsyncClient, ChainHead, Client, VersionState

from tests import models
from tests.server import Server, clean_environment
from tests.support import eventually

X = np.ones((1, 2), np.float32)


@pytest.fixture(scope="module")
def running(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """One server for the module: each test uses model names of its own."""
    with Server(tmp_path_factory.mktemp("server") / "data") as server:
        yield server


@pytest.fixture
def admin(running: Server) -> Iterator[Admin]:
    with running.admin() as made:
        yield made


@pytest.fixture
def client(running: Server) -> Iterator[Client]:
    with running.client() as made:
        yield made


def affine(folder: Path, scale: float) -> Path:
    return models.write(folder / f"times-{scale:g}.onnx", models.affine(scale=scale))


def test_an_answer_names_version_alias_generation_and_digest(admin: Admin, client: Client, tmp_path: Path) -> None:
    version = admin.register("facts", affine(tmp_path, 2), note="n", tags={"a": "b"})
    switch = admin.promote("facts", version.version)
    result = client.infer("facts", {"x": X}, request_id="r1")
    np.testing.assert_array_equal(result["y"], 2 * X)
    assert (result.model, result.version, result.alias, result.request_id) == ("facts", 1, "stable", "r1")
    assert (result.generation, result.digest) == (switch.generation, admin.show("facts").digest)
    assert result.queue_s is not None
    assert result.run_s is not None
    by_number = client.infer("facts@1", {"x": X})
    assert (by_number.version, by_number.alias) == (1, "")
    assert client.metadata("facts").version == 1
    assert client.server_live()
    assert client.server_ready()
    assert client.model_ready("facts")
    shown = admin.show("facts:stable")
    assert (shown.note, shown.tags, shown.aliases) == ("n", {"a": "b"}, ("stable",))


@pytest.mark.parametrize(
    ("dtype", "array"),
    [
        (DType.BOOL, np.array([[True, False]])),
        (DType.UINT8, np.array([[0, 255]], np.uint8)),
        (DType.INT64, np.array([[-(2**63), 2**63 - 1]])),
        (DType.FP16, np.array([[1.5, -65504]], np.float16)),
        (DType.BF16, np.array([[0x3F80, 0xC000]], np.uint16)),
        (DType.FP64, np.array([[1e300, -0.0]])),
        (DType.BYTES, np.array([["é", "b"]], dtype=object)),
    ],
    ids=lambda value: value.value if isinstance(value, DType) else "",
)
def test_every_datatype_goes_there_and_back(
    admin: Admin, client: Client, tmp_path: Path, dtype: DType, array: Array
) -> None:
    name = f"identity-{dtype.value}"
    admin.register(name, models.write(tmp_path / "identity.onnx", models.identity(dtype)))
    admin.promote(name, 1)
    answer = client.infer(name, {"x": array})["y"]
    if dtype is DType.BYTES:
        assert answer.tolist() == [["é".encode(), b"b"]]
    else:
        assert answer.dtype == array.dtype
        np.testing.assert_array_equal(answer, array)


def test_lists_go_on_working_over_a_switch_that_changes_the_datatype(
    admin: Admin, client: Client, tmp_path: Path
) -> None:
    for index, dtype in enumerate((DType.FP32, DType.INT64), start=1):
        admin.register("retyped", models.write(tmp_path / f"{index}.onnx", models.identity(dtype)))
    admin.promote("retyped", 1)
    assert client.infer("retyped", {"x": [[1, 2]]})["y"].dtype == np.float32
    with pytest.raises(IncompatibleSignature, match="--allow-breaking, allow_breaking=True"):
        admin.promote("retyped", 2)
    assert admin.promote("retyped", 2, allow_breaking=True).breaking
    assert client.infer("retyped", {"x": [[1, 2]]})["y"].dtype == np.int64
    with pytest.raises(InvalidInput, match=r"expects INT64 \(numpy int64\), got float32"):
        client.infer("retyped", {"x": X})


def test_what_is_wrong_has_a_type_of_its_own(admin: Admin, client: Client, tmp_path: Path) -> None:
    with pytest.raises(ModelNotFound):
        client.infer("nobody", {"x": X})
    with pytest.raises(ModelNotFound):
        admin.promote("nobody", 1)
    (tmp_path / "text.onnx").write_text("no model")
    with pytest.raises(InvalidModel):
        admin.register("errors", tmp_path / "text.onnx")
    for scale in (2, 3, 4):
        admin.register("errors", affine(tmp_path, scale))
    with pytest.raises(VersionNotFound):
        admin.promote("errors", 9)
    switch = admin.promote("errors", 1)
    with pytest.raises(NothingToRollBack):
        admin.rollback("errors")
    with pytest.raises(GenerationConflict):
        admin.promote("errors", 2, expect=switch.generation + 5)
    with pytest.raises(VersionNotLoaded, match="interlock pin errors 3"):
        client.infer("errors@3", {"x": X})
    with pytest.raises(VersionNotFound, match="interlock versions errors"):
        client.infer("errors@4", {"x": X})
    with pytest.raises(VersionInUse):
        admin.retire("errors", 1)


def test_a_pinned_version_can_be_asked_and_a_retired_one_deleted(admin: Admin, client: Client, tmp_path: Path) -> None:
    for scale in (2, 3):
        admin.register("pinned", affine(tmp_path, scale))
    admin.promote("pinned", 1)
    admin.pin("pinned", 2)
    eventually(lambda: client.model_ready("pinned@2"), "the pinned version is loaded")
    assert client.infer("pinned@2", {"x": X}).version == 2
    assert admin.show("pinned@2").pinned
    admin.unpin("pinned", 2)
    assert admin.retire("pinned", 2).state is VersionState.RETIRED
    assert admin.delete("pinned", 2).state is VersionState.DELETED
    admin.remove_alias("pinned", "stable")
    assert [each.aliases for each in admin.models() if each.name == "pinned"] == [()]


def test_the_same_key_does_the_same_thing_once(admin: Admin, tmp_path: Path) -> None:
    first, second = affine(tmp_path, 2), affine(tmp_path, 3)
    one = admin.register("keyed", first, idempotency_key="up")
    assert admin.register("keyed", first, idempotency_key="up") == one
    with pytest.raises(IdempotencyKeyReused):
        admin.register("keyed", second, idempotency_key="up")
    assert len(admin.versions("keyed")) == 1
    moved = admin.promote("keyed", 1, idempotency_key="move")
    assert admin.promote("keyed", 1, idempotency_key="move").generation == moved.generation


def test_history_tells_what_was_served_when(admin: Admin, tmp_path: Path) -> None:
    for scale in (2, 3):
        admin.register("past", affine(tmp_path, scale))
    before = datetime.now(UTC)
    admin.promote("past", 1)
    between = datetime.now(UTC)
    admin.promote("past", 2, reason="better")
    events = admin.log("past", limit=1)
    assert [(each.action, each.to_version, each.reason, each.outcome) for each in events] == [
        ("promote", 2, "better", "ok")
    ]
    assert "@" in events[0].actor
    assert admin.aliases_at(before, model="past") == []
    assert [each.version for each in admin.aliases_at(between, model="past")] == [1]
    (now,) = admin.aliases_at(datetime.now(UTC), model="past")
    assert (now.version, now.action, now.reason, now.since) == (2, "promote", "better", events[0].time)
    with pytest.raises(VersionNotFound):
        admin.promote("past", 99)
    assert [each.to_version for each in admin.log("past", outcome="refused", since=between)] == [99]
    assert [each.to_version for each in admin.log("past", action="promote", outcome="ok", oldest_first=True)] == [1, 2]
    report = admin.verify_log()
    assert report.is_whole and report.events >= 5
    assert admin.verify_log(known=ChainHead(report.events, report.head)).is_whole


def test_the_ports_mistaken_for_one_another_are_told_apart(running: Server) -> None:
    with Admin(running.grpc) as wrong, pytest.raises(Unimplemented, match="is that the admin port"):
        wrong.models()
    with Client(running.admin_address) as wrong_too, pytest.raises(Unimplemented, match="is that the inference port"):
        wrong_too.server_live()


async def test_the_async_clients_tell_the_same_story(running: Server, tmp_path: Path) -> None:
    async with AsyncAdmin(running.admin_address) as admin, AsyncClient(running.grpc) as client:
        for scale in (2, 3):
            await admin.register("async", affine(tmp_path, scale))
            await admin.promote("async", scale - 1)
        assert (await client.infer("async", {"x": X}))["y"].tolist() == [[3.0, 3.0]]
        assert (await admin.rollback("async")).to_version == 1
        assert (await client.infer("async", {"x": X})).version == 1


# --- the command ---


def interlock(server: Server, *args: object, code: int = 0) -> str:
    done = subprocess.run(
        [str(Path(sys.executable).with_name("interlock")), *map(str, args)],
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
        env=clean_environment(INTERLOCK_SERVER=server.grpc, INTERLOCK_ADMIN=server.admin_address),
    )
    assert done.returncode == code, done.stderr
    return done.stdout if code == 0 else done.stderr


def test_a_first_promote_and_rollback_from_the_shell(running: Server, tmp_path: Path) -> None:
    def ask(*args: object) -> Any:
        return json.loads(interlock(running, *args, "-o", "json"))

    one, two = affine(tmp_path, 2), affine(tmp_path, 3)
    golden = models.affine_golden(tmp_path / "golden.npz", scale=2)
    (tmp_path / "serving.toml").write_text("max_batch_size = 8\n")
    assert "registered shell@1, proven by " in interlock(
        running, "register", "shell", one, "--golden", golden, "--config", tmp_path / "serving.toml", "--promote"
    )
    assert "NOT proven" in interlock(running, "register", "shell", two, "--note", "second", "--tag", "k=v")
    assert ask("show", "shell")["config"]["max_batch_size"] == 8
    assert ask("promote", "shell", 2, "--dry-run")["dry_run"]
    assert ask("promote", "shell", 2, "--reason", "better")["from_version"] == 1
    assert ask("infer", "shell", "--input", "x=[[1, 2]]")["outputs"] == {"y": [[3.0, 6.0]]}
    assert "moved from version 2 to version 1 (was loaded already)" in interlock(running, "rollback", "shell")
    assert ask("infer", "shell", "--input", "x=[[1, 2]]")["version"] == 1
    assert [each["version"] for each in ask("versions", "shell")] == [2, 1]
    assert [each["action"] for each in ask("log", "shell")][:3] == ["rollback", "promote", "register"]
    assert {each["model"] for each in ask("status")["aliases"]} >= {"shell"}
    refusal = interlock(running, "rollback", "shell", code=1)
    assert refusal.startswith("interlock: alias 'stable' of 'shell' has served nothing before version 1")


# --- beside others ---

TOGETHER = """
import sys, numpy as np
for name in sys.argv[3:]:
    __import__(name)
import interlock_client, tritonclient.grpc as triton
x = np.ones((1, 2), np.float32)
with interlock_client.Client(sys.argv[1]) as client:
    ours = client.infer(sys.argv[2], {"x": x})
theirs = triton.InferenceServerClient(sys.argv[1])
tensor = triton.InferInput("x", [1, 2], "FP32")
tensor.set_data_from_numpy(x)
answer = theirs.infer(sys.argv[2], [tensor])
assert (answer.as_numpy("y") == ours["y"]).all()
assert answer.get_response().model_version == str(ours.version)
theirs.close()
print("both")
"""


@pytest.mark.parametrize(
    "order", [["tritonclient.grpc", "interlock_client"], ["interlock_client", "tritonclient.grpc"]]
)
def test_tritonclient_and_this_client_ask_from_one_process(
    running: Server, admin: Admin, tmp_path: Path, order: list[str]
) -> None:
    name = f"beside-{order[0].partition('.')[0]}"
    admin.register(name, affine(tmp_path, 2))
    admin.promote(name, 1)
    done = subprocess.run(
        [sys.executable, "-c", TOGETHER, running.grpc, name, *order],
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert (done.returncode, done.stdout) == (0, "both\n"), done.stderr


def test_bench_counts_what_the_server_counts(running: Server, admin: Admin, tmp_path: Path) -> None:
    admin.register("benched", affine(tmp_path, 2))
    admin.promote("benched", 1)
    flags = ["--concurrency", "4", "--warmup", "0", "--duration", "0.3", "--batch", "3", "-o", "json"]
    done = subprocess.run(
        [Path(sys.executable).with_name("interlock"), "bench", "benched", *flags],
        capture_output=True,
        text=True,
        timeout=120,
        env=clean_environment(INTERLOCK_SERVER=running.grpc),
        check=False,
    )

    assert done.returncode == 0, done.stderr
    (load,) = json.loads(done.stdout)["loads"]
    (version,) = load["versions"]
    assert (load["failed"], version["version"]) == (0, "1")
    assert 0 < load["answered"] == version["queue"]["count"] == version["run"]["count"]
    assert version["run"]["p50_s"] <= version["latency"]["p50_s"]
    assert load["server"]["rows_per_run"] >= 3
