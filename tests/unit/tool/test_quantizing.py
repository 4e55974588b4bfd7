"""The model tool's verb `quantize`, in a real child, and the rules about tolerances."""

from __future__ import annotations

import asyncio
import json
from pathlib import Path

import numpy as np
import onnx
import onnxruntime as ort
import pytest
from interlock import golden
from interlock.errors import GoldenMismatch, InvalidArgument, InvalidModel
from interlock.golden import Tolerance
from interlock.quantization import Form, Quantization, allowed, form_named
from interlock.types import DType
from interlock_registry.tool import GOLDEN, MODEL, QuantizeJob, ToolLimits, quantize
from onnx import helper

from tests import models


def answered(path: Path, rows: tuple[int, ...] = (1, 3, 8), width: int = 16, scale: float = 1.0) -> Path:
    """Write golden samples of a model that takes x, as it answers itself."""
    session = ort.InferenceSession(str(path), providers=["CPUExecutionProvider"])
    names = [output.name for output in session.get_outputs()]
    generator = np.random.default_rng(5)
    batches = [generator.standard_normal((count, width)).astype(np.float32) * np.float32(scale) for count in rows]
    pairs = [({"x": x}, dict(zip(names, session.run(names, {"x": x}), strict=True))) for x in batches]
    kinds = {f"out/{name}": DType.INT64 for name in names if pairs[0][1][name].dtype == np.int64}
    return models.golden_file(path.with_suffix(".npz"), pairs, dtypes=kinds)


class Bench:
    """A model, its golden samples, and a place to work in."""

    def __init__(self, folder: Path, model: bytes, width: int = 16, scale: float = 1.0) -> None:
        self.path = models.write(folder / "parent.onnx", model)
        self.golden = answered(self.path, width=width, scale=scale)
        self.out = folder / "out"
        self.out.mkdir()

    def quantize(self, form: Form, atol: float | None = None, rtol: float | None = None) -> Quantization:
        job = QuantizeJob(
            model=self.path,
            golden=self.golden,
            out=self.out,
            form=form,
            parent=7,
            parent_bytes=self.path.stat().st_size,
            max_share=0.25,
            atol=atol,
            rtol=rtol,
        )
        assert QuantizeJob.from_json(json.loads(json.dumps(job.to_json()))) == job
        return asyncio.run(quantize(job, ToolLimits()))


@pytest.mark.parametrize(("form", "share"), [(Form.INT8, 0.4), (Form.FP16, 0.6)])
def test_a_narrower_form_is_smaller_and_close_and_the_report_says_how(tmp_path: Path, form: Form, share: float) -> None:
    bench = Bench(tmp_path, models.mlp(hidden=64))
    report = bench.quantize(form)
    assert (report.form, report.parent, report.samples, report.converted) == (form, 7, 3, 3)
    assert report.bytes == (bench.out / MODEL).stat().st_size < share * report.parent_bytes
    (output,) = report.outputs
    session = ort.InferenceSession(str(bench.out / MODEL), providers=["CPUExecutionProvider"])
    pairs = [
        (session.run(None, dict(sample.inputs))[0], sample.outputs["y"]) for sample in golden.read(bench.golden).samples
    ]
    assert output.max_abs == pytest.approx(max(float(np.abs(a - b).max()) for a, b in pairs), rel=1e-4)
    distance = np.concatenate([(a - b).ravel() for a, b in pairs])
    size = np.concatenate([b.ravel() for _, b in pairs])
    assert output.rel_l2 == pytest.approx(np.linalg.norm(distance) / np.linalg.norm(size), rel=1e-4)
    assert 0 < output.rel_l2 < 0.05 and output.argmax is not None and output.argmax >= 0.9
    assert report.run_s > 0 and report.parent_run_s > 0
    assert Quantization.from_json(json.loads(json.dumps(report.to_json()))) == report


def test_callers_see_the_same_inputs_and_outputs(tmp_path: Path) -> None:
    bench = Bench(tmp_path, models.mlp())
    bench.quantize(Form.FP16)
    onnx.checker.check_model(str(bench.out / MODEL))
    before, after = (onnx.load(path).graph for path in (bench.path, bench.out / MODEL))
    for side in ("input", "output"):
        assert [value.SerializeToString() for value in getattr(before, side)] == [
            value.SerializeToString() for value in getattr(after, side)
        ]


def test_the_samples_keep_their_answers_and_get_the_tolerance_that_was_granted(tmp_path: Path) -> None:
    bench = Bench(tmp_path, models.mlp())
    report = bench.quantize(Form.INT8, atol=0.2, rtol=0.05)
    before, after = golden.read(bench.golden), golden.read(bench.out / GOLDEN)
    assert report.tolerance == Tolerance(0.2, 0.05)
    assert after.tolerances == {"CPU": report.tolerance, "CUDA": report.tolerance}
    for old, new in zip(before.samples, after.samples, strict=True):
        assert np.array_equal(old.inputs["x"], new.inputs["x"]) and np.array_equal(old.outputs["y"], new.outputs["y"])
    assert after.environment == before.environment


def test_the_usual_tolerance_grows_with_the_outputs(tmp_path: Path) -> None:
    for name, scale in (("small", 1e-3), ("large", 1e3)):
        folder = tmp_path / name
        folder.mkdir()
        bench = Bench(folder, models.mlp(), scale=scale)
        largest = max(float(np.abs(sample.outputs["y"]).max()) for sample in golden.read(bench.golden).samples)
        assert bench.quantize(Form.INT8).tolerance.atol == pytest.approx(0.05 * largest)


def test_a_form_that_is_too_far_off_is_refused_with_the_output_and_the_distance(tmp_path: Path) -> None:
    bench = Bench(tmp_path, models.mlp(hidden=64))
    with pytest.raises(
        GoldenMismatch, match=r"the int8 form is too far from golden sample \d+: output 'y' is off by"
    ) as e:
        bench.quantize(Form.INT8, atol=1e-6, rtol=0.0)
    assert "--atol" in e.value.message and e.value.facts["output"] == "y"


def test_a_form_that_changes_nothing_is_refused(tmp_path: Path) -> None:
    bench = Bench(tmp_path, models.affine(width=16))
    with pytest.raises(InvalidModel, match=r"int8 would change nothing: .*only Add, Mul\. Try --to fp16"):
        bench.quantize(Form.INT8)
    (tmp_path / "ids").mkdir()
    whole = Bench(tmp_path / "ids", models.identity(DType.FP32, ("batch", 16)))
    with pytest.raises(InvalidModel, match="fp16 would change nothing"):
        whole.quantize(Form.FP16)


def test_a_label_that_changes_is_too_far_off_whatever_the_tolerance(tmp_path: Path) -> None:
    proto = onnx.load_model_from_string(models.mlp(hidden=64))
    proto.graph.initializer.append(models.constant("thousand", np.asarray(1000, np.float32)))
    proto.graph.node.append(helper.make_node("Mul", ["y", "thousand"], ["large"]))
    proto.graph.node.append(helper.make_node("Cast", ["large"], ["label"], to=onnx.TensorProto.INT64))
    proto.graph.output.append(models.value("label", DType.INT64, ("batch", 10)))
    bench = Bench(tmp_path, proto.SerializeToString())
    with pytest.raises(GoldenMismatch, match=r"output 'label' is off by .*; integers must be equal"):
        bench.quantize(Form.INT8)


@pytest.mark.parametrize(
    ("form", "atol", "rtol", "largest", "expected"),
    [
        (Form.INT8, None, None, 2.0, Tolerance(0.1, 0.1)),
        (Form.FP16, None, None, 2.0, Tolerance(0.02, 0.01)),
        (Form.INT8, 0.5, None, 2.0, Tolerance(0.5, 0.1)),
        (Form.INT8, None, 0.25, 0.0, Tolerance(0.0, 0.25)),
        (Form.FP16, 0.0, 0.0, 2.0, Tolerance(0.0, 0.0)),
    ],
)
def test_what_is_not_stated_is_the_forms(
    form: Form, atol: float | None, rtol: float | None, largest: float, expected: Tolerance
) -> None:
    assert allowed(form, atol, rtol, largest, 0.25) == expected


@pytest.mark.parametrize(
    ("atol", "rtol", "words"),
    [
        (0.51, None, "atol is 0.51; between 0 and 0.5 is possible: quantize_max_share of the server is 0.25"),
        (None, 0.26, "rtol is 0.26"),
        (-1.0, None, "atol is -1"),
        (float("nan"), None, "atol is nan"),
        (None, float("inf"), "rtol is inf"),
    ],
)
def test_a_tolerance_that_would_accept_anything_is_refused(atol: float | None, rtol: float | None, words: str) -> None:
    with pytest.raises(InvalidArgument, match=words):
        allowed(Form.INT8, atol, rtol, 2.0, 0.25)


def test_an_unknown_form_is_refused_with_those_there_are() -> None:
    with pytest.raises(InvalidArgument, match="there is no form 'int4'; there are int8, fp16"):
        form_named("int4")
