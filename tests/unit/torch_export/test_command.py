"""`interlock export MODULE:ATTR`, below the command line."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from interlock import golden
from interlock.errors import ExportRefused, InterlockError, InvalidArgument
from interlock.types import DType, TensorSpec
from interlock_client.torch import _needs
from interlock_client.torch.command import export_command, parse_input

NETS = "tests.unit.torch_export.nets"


@pytest.mark.parametrize(
    ("text", "spec"),
    [
        ("x=FP32[batch,64]", TensorSpec("x", DType.FP32, ("batch", 64))),
        ("ids=int64[n, 7]", TensorSpec("ids", DType.INT64, ("n", 7))),
        ("t=BOOL", TensorSpec("t", DType.BOOL, ())),
        ("t=BOOL[]", TensorSpec("t", DType.BOOL, ())),
    ],
)
def test_inputs_are_written_as_name_datatype_and_shape(text: str, spec: TensorSpec) -> None:
    assert parse_input(text) == spec


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("", "write NAME=DTYPE"),
        ("x", "write NAME=DTYPE"),
        ("x=FP32[3", "write NAME=DTYPE"),
        ("x=FLOAT[3]", "no datatype 'FLOAT'"),
        ("x=FP32[0]", "'0' is neither a size"),
        ("x=FP32[-1]", "'-1' is neither a size"),
        ("x=FP32[3,]", "'' is neither a size"),
        ("x=BYTES[3]", "cannot take BYTES"),
    ],
)
def test_inputs_that_cannot_be_read_are_explained(text: str, words: str) -> None:
    with pytest.raises(InvalidArgument, match=words):
        parse_input(text)


@given(st.text(max_size=40))
def test_any_text_is_read_or_refused(text: str) -> None:
    try:
        spec = parse_input(text)
    except InterlockError:
        return
    assert spec.name and spec.name in text


@pytest.mark.parametrize("attribute", ["ready", "instance"])
def test_a_module_or_what_makes_one_is_exported(tmp_path: Path, attribute: str) -> None:
    report = export_command(f"{NETS}:{attribute}", tmp_path / "m.onnx", ["x=FP32[batch,8]"])
    assert report.model_path.exists() and report.samples == len(golden.read(report.golden_path).samples)


def test_samples_of_an_npz_become_the_example(tmp_path: Path) -> None:
    x = np.random.default_rng(0).standard_normal((5, 8)).astype(np.float32)
    np.savez(tmp_path / "real.npz", x=x)
    report = export_command(f"{NETS}:ready", tmp_path / "m.onnx", ["x=FP32[batch,8]"], tmp_path / "real.npz")
    assert np.array_equal(golden.read(report.golden_path).samples[0].inputs["x"], x)


@pytest.mark.parametrize(
    ("arrays", "words"),
    [
        ({"z": np.zeros((2, 8), np.float32)}, r"holds \['z'\]; arrays named \['x'\]"),
        ({"x": np.zeros((2, 8))}, "float64"),
        ({"x": np.zeros((2, 7), np.float32)}, r"\[2, 7\], --input says x FP32\[batch,8\]"),
    ],
)
def test_samples_that_do_not_fit_are_refused(tmp_path: Path, arrays: dict[str, np.ndarray], words: str) -> None:
    np.savez(tmp_path / "real.npz", allow_pickle=False, **arrays)
    with pytest.raises(InvalidArgument, match=words):
        export_command(f"{NETS}:ready", tmp_path / "m.onnx", ["x=FP32[batch,8]"], tmp_path / "real.npz")


def test_a_file_that_is_no_npz_is_refused(tmp_path: Path) -> None:
    (tmp_path / "real.npz").write_bytes(b"no")
    with pytest.raises(InvalidArgument, match="is not an npz"):
        export_command(f"{NETS}:ready", tmp_path / "m.onnx", ["x=FP32[batch,8]"], tmp_path / "real.npz")


@pytest.mark.parametrize(
    ("target", "words"),
    [
        (NETS, "write MODULE:ATTR"),
        ("training/nets.py:model", "'training/nets.py' is a file; name the module: training.nets:model"),
        ("no.such.module:x", "cannot import 'no.such.module'"),
        (f"{NETS}:absent", "has no attribute 'absent'"),
        (f"{NETS}:number", "is a int"),
    ],
)
def test_a_target_that_is_no_model_is_explained(tmp_path: Path, target: str, words: str) -> None:
    with pytest.raises(InvalidArgument, match=words):
        export_command(target, tmp_path / "m.onnx", ["x=FP32[batch,8]"])


def test_the_command_refuses_training_mode_too(tmp_path: Path) -> None:
    with pytest.raises(ExportRefused, match="training mode"):
        export_command(f"{NETS}:forgotten", tmp_path / "m.onnx", ["x=FP32[batch,8]"])


def test_inputs_that_the_model_does_not_take_are_refused_with_their_shape(tmp_path: Path) -> None:
    words = (
        r"itself fails on the example inputs, of shape \{'x': \[8, 9\]\}: .*cannot be multiplied.* Check their names"
    )
    with pytest.raises(ExportRefused, match=words):
        export_command(f"{NETS}:ready", tmp_path / "m.onnx", ["x=FP32[batch,9]"])


def test_a_place_that_cannot_be_written_is_refused_by_name(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(InvalidArgument, match=r"m.onnx' cannot be written: "):
        export_command(f"{NETS}:ready", tmp_path / "file" / "m.onnx", ["x=FP32[batch,8]"])


def test_without_inputs_the_command_shows_how(tmp_path: Path) -> None:
    with pytest.raises(InvalidArgument, match="--input x=FP32"):
        export_command(f"{NETS}:ready", tmp_path / "m.onnx", [])


def test_missing_packages_name_the_command_that_installs_them(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(_needs, "_PACKAGES", ("torch", "a_package_that_nobody_has"))
    with pytest.raises(ExportRefused, match=r"a_package_that_nobody_has.*pip install 'interlock\[torch,cpu\]'"):
        _needs.require()
