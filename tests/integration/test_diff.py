"""`diff` against a real server: versions that were uploaded, taken apart and proven."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np
import onnx
import pytest
from interlock.errors import AliasNotFound, ModelNotFound, VersionNotFound
from interlock.types import Array
from interlock_client import Admin, TensorStatus
from onnx import numpy_helper
from onnx.reference import ReferenceEvaluator

from tests import models
from tests.server import Server, clean_environment

CHANGED = "w2"


@pytest.fixture(scope="module")
def running(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """A server with two versions of `m` that differ in their last layer."""
    folder = tmp_path_factory.mktemp("diff")
    with Server(folder / "data") as server, server.admin() as admin:
        before = models.mlp(width=64, hidden=64, seed=1)
        for number, model in enumerate((before, tuned(before)), start=1):
            path = models.write(folder / f"{number}.onnx", model)
            admin.register("m", path, golden=proven(folder / f"{number}.npz", model), note=f"number {number}")
        admin.promote("m", 1)
        yield server


def tuned(model: bytes) -> bytes:
    found = onnx.load_from_string(model)
    (last,) = (each for each in found.graph.initializer if each.name == CHANGED)
    weights = numpy_helper.to_array(last).copy()
    weights[0, :] += 0.5
    last.CopyFrom(numpy_helper.from_array(weights, CHANGED))
    return found.SerializeToString()


def proven(path: Path, model: bytes) -> Path:
    inputs = np.random.default_rng(3).standard_normal((20, 64), dtype=np.float32)
    return models.golden_file(path, [({"x": inputs}, {"y": answer(model, inputs)})])


def answer(model: bytes, inputs: Array) -> Array:
    found: Sequence[Array] = ReferenceEvaluator(onnx.load_from_string(model)).run(None, {"x": inputs})  # type: ignore[assignment]  # its annotation is for sequences
    return np.asarray(found[0])


@pytest.fixture
def admin(running: Server) -> Iterator[Admin]:
    with running.admin() as made:
        yield made


def test_what_changed_is_measured_and_what_did_not_is_shared(admin: Admin) -> None:
    found = admin.diff("m", "stable", 2)
    assert (found.before.version, found.after.version, found.same_artifact) == (1, 2, False)
    assert found.breaking == found.breaking_back == () and found.operators == ()
    assert {each.name: each.status for each in found.tensors} == {
        "w2": TensorStatus.CHANGED,
        "w0": TensorStatus.SHARED,
        "w1": TensorStatus.SHARED,
    }
    (changed,) = (each.figures for each in found.tensors if each.status is TensorStatus.CHANGED)
    assert changed is not None
    assert (changed.elements, changed.changed) == (640, 10)
    assert changed.max_abs == pytest.approx(0.5, rel=1e-5)
    assert found.disk.shared_bytes >= 2 * 64 * 64 * 4
    for answers in (found.golden, found.replayed):
        (output,) = answers.outputs
        assert (answers.samples, output.rows, output.within_tolerance) == (1, 20, False)
        assert output.same_top is not None and output.max_abs > 0
    assert [(each.name, each.after) for each in found.metadata][:1] == [("note", "number 2")]


def test_a_version_is_like_itself(admin: Admin) -> None:
    found = admin.diff("m", 1, "stable")
    assert found.same_artifact and {each.status for each in found.tensors} == {TensorStatus.SHARED}
    assert found.disk.shared_bytes == found.disk.before_bytes == found.disk.after_bytes


def test_what_is_not_there_cannot_be_compared(admin: Admin) -> None:
    with pytest.raises(VersionNotFound):
        admin.diff("m", 1, 9)
    with pytest.raises(AliasNotFound):
        admin.diff("m", 1, "canary")
    with pytest.raises(ModelNotFound):
        admin.diff("other", 1, 2)


def test_the_command_prints_the_same_and_writes_a_page(running: Server, admin: Admin, tmp_path: Path) -> None:
    page = tmp_path / "diff.html"
    done = subprocess.run(
        [Path(sys.executable).with_name("interlock"), "diff", "m", "1", "2", "--html", page, "-o", "json"],
        env=clean_environment() | {"INTERLOCK_ADMIN": running.admin_address},
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    found = json.loads(done.stdout)
    assert found["tensors"][0]["name"] == CHANGED and found["tensors"][0]["figures"]["changed"] == 10
    assert "10 of 640" in page.read_text(encoding="utf-8")
