"""Quantizing on a real server: from one version to the next, with its report, its lineage and its refusals."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from interlock.errors import (
    FailedPrecondition,
    GoldenMismatch,
    IdempotencyKeyReused,
    InvalidArgument,
    InvalidModel,
    Unavailable,
    VersionNotFound,
    VersionNotServable,
)
from interlock_client import Admin, AsyncAdmin, Form

from tests import models
from tests.server import Server, clean_environment
from tests.unit.tool.test_quantizing import answered


@pytest.fixture(scope="module")
def shared(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    with Server(tmp_path_factory.mktemp("quantize") / "data") as running:
        yield running


@pytest.fixture(scope="module")
def admin(shared: Server) -> Iterator[Admin]:
    with Admin(shared.admin_address) as opened:
        yield opened


@pytest.fixture(scope="module")
def parent(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return models.write(tmp_path_factory.mktemp("model") / "m.onnx", models.mlp(hidden=128))


def registered(admin: Admin, name: str, parent: Path) -> None:
    admin.register(name, parent, golden=answered(parent))
    admin.promote(name, 1)


def test_a_quantized_version_is_registered_served_and_left_again(shared: Server, admin: Admin, parent: Path) -> None:
    registered(admin, "m", parent)
    done = admin.quantize("m", "int8", reason="smaller", tags={"for": "edge"})
    assert (done.version.version, done.version.proven, done.version.golden_samples) == (2, True, 3)
    assert (done.version.note, done.version.signed_by) == ("int8 of version 1", ())
    assert done.version.tags == {"for": "edge", "interlock.parent": "1", "interlock.form": "int8"}
    assert done.version.config == admin.show("m@1").config and done.version.signature == admin.show("m@1").signature
    assert (done.report.form, done.report.parent, done.report.converted) == (Form.INT8, 1, 3)
    assert done.report.bytes < 0.4 * done.report.parent_bytes
    assert json.loads(done.version.report_json)["quantization"] == done.report.to_json()
    event = admin.log("m", action="quantize")[0]
    assert (event.from_version, event.to_version, event.outcome, event.reason) == (1, 2, "ok", "smaller")
    assert admin.show("m:stable").version == 1

    x = np.random.default_rng(1).standard_normal((4, 16)).astype(np.float32)
    with shared.client() as client:
        before = client.infer("m", {"x": x})
        admin.promote("m", 2)
        after = client.infer("m", {"x": x})
        assert (before.version, after.version) == (1, 2)
        tolerance = done.report.tolerance
        assert not np.array_equal(after["y"], before["y"])
        assert np.allclose(after["y"], before["y"], atol=tolerance.atol, rtol=tolerance.rtol)
        assert admin.rollback("m").to_version == 1


async def test_half_precision_through_asyncio(shared: Server, admin: Admin, parent: Path) -> None:
    registered(admin, "half", parent)
    async with AsyncAdmin(shared.admin_address) as opened:
        done = await opened.quantize("half@1", "fp16", note="for the GPU")
    assert done.version.note == "for the GPU" and done.report.form is Form.FP16
    assert 0.4 < done.report.bytes / done.report.parent_bytes < 0.6
    assert done.report.outputs[0].max_abs < 0.02


def test_the_same_key_gives_the_same_version(admin: Admin, parent: Path) -> None:
    registered(admin, "keyed", parent)
    first = admin.quantize("keyed", idempotency_key="once")
    assert admin.quantize("keyed", idempotency_key="once") == first
    assert len(admin.versions("keyed")) == 2
    with pytest.raises(IdempotencyKeyReused):
        admin.quantize("keyed", "fp16", idempotency_key="once")


def test_refusals_register_nothing_and_are_in_the_history(shared: Server, admin: Admin, parent: Path) -> None:
    registered(admin, "strict", parent)
    uploads = shared.data / "state" / "uploads"
    elsewhere = uploads.rename(uploads.with_name("elsewhere"))
    with (
        Admin(shared.admin_address, retries=0) as once,
        pytest.raises(Unavailable, match=r"the folder of uploads .* cannot be used"),
    ):
        once.quantize("strict")
    elsewhere.rename(uploads)
    with pytest.raises(GoldenMismatch, match="output 'y' is off by"):
        admin.quantize("strict", atol=1e-7, rtol=0.0)
    with pytest.raises(InvalidArgument, match=r"quantize_max_share of the server is 0\.25"):
        admin.quantize("strict", rtol=0.5)
    with pytest.raises(InvalidArgument, match="written by the server"):
        admin.quantize("strict", tags={"interlock.parent": "9"})
    with pytest.raises(VersionNotFound):
        admin.quantize("strict@4")
    assert len(admin.versions("strict")) == 1
    outcomes = [event.outcome for event in admin.log("strict", action="quantize")]
    assert outcomes == ["VERSION_NOT_FOUND", "INVALID_ARGUMENT", "INVALID_ARGUMENT", "GOLDEN_MISMATCH", "UNAVAILABLE"]


def test_what_cannot_be_judged_or_narrowed_or_served_is_refused(admin: Admin, tmp_path: Path, parent: Path) -> None:
    admin.register("bare", parent)
    with pytest.raises(FailedPrecondition, match="has no golden samples"):
        admin.quantize("bare@1")
    plain = models.write(tmp_path / "m.onnx", models.affine(width=16))
    admin.register("plain", plain, golden=answered(plain))
    with pytest.raises(InvalidModel, match="int8 would change nothing"):
        admin.quantize("plain@1")
    admin.retire("plain", 1)
    with pytest.raises(VersionNotServable):
        admin.quantize("plain@1", "fp16")


def test_the_command_prints_what_it_cost(shared: Server, admin: Admin, parent: Path) -> None:
    registered(admin, "told", parent)
    command = [str(Path(sys.executable).with_name("interlock")), "quantize", "told", "--to", "int8"]
    environment = clean_environment(INTERLOCK_ADMIN=shared.admin_address, COLUMNS="200")
    said = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=120, check=True).stdout
    for words in (
        "told@2, int8 of version 1",
        "same choice",
        "3 golden samples met within",
        "interlock promote told 2",
    ):
        assert words in said
    command += ["--atol", "0", "--rtol", "0"]
    refused = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=120, check=False)
    assert refused.returncode == 1 and "too far from golden sample" in refused.stderr


def test_nothing_is_left_behind(shared: Server) -> None:
    uploads = shared.data / "state" / "uploads"
    assert uploads.is_dir() and not list(uploads.iterdir())
