"""What the child decides about models: format, versions, dangers, golden samples, determinism, joining."""

from __future__ import annotations

import io
import pickle
import zipfile
from collections.abc import Callable
from pathlib import Path

import numpy as np
import onnx
import pytest
from interlock.errors import GoldenMismatch, InvalidGolden, InvalidModel
from interlock.golden import Tolerance
from interlock.types import DType, TensorSpec
from interlock_registry.tool import ModelLimits, ToolLimits, ValidateJob, ValidateReport
from interlock_registry.tool.structure import parse
from interlock_registry.tool.validation import validate
from onnx import TensorProto, helper

from tests import models

Judge = Callable[..., ValidateReport]


def check(tmp_path: Path, model: bytes, golden: Path | None = None, **limits: int) -> ValidateReport:
    """Run the child's work in this process: for what needs no walls."""
    path = models.write(tmp_path / "model.onnx", model)
    return validate(ValidateJob(model=path, golden=golden, limits=ModelLimits(**limits))).report


def zipped() -> bytes:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        archive.writestr("archive/data.pkl", b"x")
    return buffer.getvalue()


@pytest.mark.parametrize(
    ("data", "words"),
    [
        (b"", "is empty"),
        (b"this is my model\n", "plain text"),
        (b"<!DOCTYPE html><html>404</html>", "HTML"),
        (pickle.dumps({"weights": [1.0]}), "pickle"),
        (zipped(), "PyTorch checkpoint"),
        (b"version https://git-lfs.github.com/spec/v1\noid sha256:0\n", "git lfs pull"),
        (b"\x00" * 4 + b"ORTM" + b"\x00" * 64, "ONNX Runtime's own format"),
        ((64).to_bytes(8, "little") + b'{"w":{"dtype":"F32"}}', "safetensors"),
        (b"\xde\xad\xbe\xef" * 50, "cannot be parsed"),
        (models.mlp()[:-100], "breaks off or is damaged"),
        (models.mlp()[:1000], "breaks off or is damaged"),
    ],
)
def test_what_is_no_whole_onnx_file_is_refused_by_what_it_is(tmp_path: Path, data: bytes, words: str) -> None:
    with pytest.raises(InvalidModel, match=words) as caught:
        check(tmp_path, data)
    assert caught.value.facts["check"] == "format"
    assert str(tmp_path) not in caught.value.message


@pytest.mark.parametrize("text", [b"MatMul", b"batch", b"h0", b"w1", b"test"])
def test_a_text_that_is_not_utf8_is_refused_wherever_it_is(tmp_path: Path, text: bytes) -> None:
    assert text in models.mlp()
    with pytest.raises(InvalidModel, match=r"not UTF-8: \w+ '\\xff") as caught:
        check(tmp_path, models.mlp().replace(text, b"\xff" + text[1:]))
    assert caught.value.facts["check"] == "names"


def test_a_graph_over_two_gigabytes_is_refused_before_it_is_read(tmp_path: Path) -> None:
    with (tmp_path / "m.onnx").open("wb") as file:
        file.truncate(1 << 31)
    with pytest.raises(InvalidModel, match="cannot exceed 2 GiB"):
        parse(tmp_path / "m.onnx")


def test_a_newer_ir_version_is_refused_with_both_numbers(tmp_path: Path) -> None:
    model = onnx.load_from_string(models.affine())
    model.ir_version = 99
    with pytest.raises(
        InvalidModel, match=r"IR version 99; ONNX Runtime \S+ here takes at most \d+: .*ir_version = \d+"
    ):
        check(tmp_path, model.SerializeToString())


def test_a_newer_opset_is_refused_with_both_numbers(tmp_path: Path) -> None:
    model = onnx.load_from_string(models.affine())
    model.opset_import[0].version = 99
    with pytest.raises(InvalidModel, match=r"opset 99 of ai.onnx; .* at most \d+: export it with opset_version=20"):
        check(tmp_path, model.SerializeToString())


def in_subgraph() -> bytes:
    model = onnx.load_from_string(models.affine())
    weights = models.constant("w", np.ones(4, np.float32))
    branch = helper.make_graph([], "b", [], [models.value("w", DType.FP32, (4,))], [weights])
    model.graph.node.append(helper.make_node("If", ["x"], ["z"], then_branch=branch, else_branch=branch))
    return model.SerializeToString()


def test_custom_operators_are_refused_by_name(tmp_path: Path) -> None:
    node = helper.make_node("Mystery", ["x"], ["y"], domain="acme.corp")
    value = models.value("x", DType.FP32, (1,))
    model = models.build([node], [value], [models.value("y", DType.FP32, (1,))], opsets={"acme.corp": 1})
    with pytest.raises(InvalidModel, match=r"Mystery is of domain 'acme.corp'"):
        check(tmp_path, model)


def test_compiled_engine_contexts_are_refused(tmp_path: Path) -> None:
    node = helper.make_node("EPContext", ["x"], ["y"], domain="com.microsoft", ep_cache_context="engine.trt")
    value = models.value("x", DType.FP32, (1,))
    model = models.build([node], [value], [models.value("y", DType.FP32, (1,))], opsets={"com.microsoft": 1})
    with pytest.raises(InvalidModel, match="compiled engine files"):
        check(tmp_path, model)


def functions(count: int, calls: int = 2) -> bytes:
    """Function k calls function k + 1 twice: 2**count nodes from some bytes each."""
    opsets = [helper.make_opsetid("", 20), helper.make_opsetid("mine", 1)]
    made = []
    for index in range(count):
        last = index == count - 1
        nodes = []
        for call in range(calls):
            source = "a" if call == 0 else f"t{call - 1}"
            target = "b" if call == calls - 1 else f"t{call}"
            name, domain = ("Neg", "") if last else (f"f{index + 1}", "mine")
            nodes.append(helper.make_node(name, [source], [target], domain=domain))
        made.append(helper.make_function("mine", f"f{index}", ["a"], ["b"], nodes, opsets))
    return models.build(
        [helper.make_node("f0", ["x"], ["y"], domain="mine")],
        [models.value("x", DType.FP32, ("batch", 2))],
        [models.value("y", DType.FP32, ("batch", 2))],
        functions=made,
        opsets={"mine": 1},
    )


def test_exponential_functions_are_counted_and_refused_before_they_expand(judge: Judge) -> None:
    with pytest.raises(InvalidModel, match="more than 200000 nodes") as caught:
        judge(functions(26), limits=ToolLimits(wall_s=20))
    assert caught.value.facts["check"] == "size"


def test_functions_of_the_model_itself_are_allowed(tmp_path: Path) -> None:
    assert check(tmp_path, functions(3)).joinable


def test_a_function_that_calls_itself_is_refused(tmp_path: Path) -> None:
    model = onnx.load_from_string(functions(2))
    model.functions[1].node[0].op_type = "f0"
    model.functions[1].node[0].domain = "mine"
    with pytest.raises(InvalidModel, match="calls itself"):
        check(tmp_path, model.SerializeToString())


def test_graphs_over_their_limits_are_refused(tmp_path: Path) -> None:
    with pytest.raises(InvalidModel, match="more than 1 nodes"):
        check(tmp_path, models.affine(), max_nodes=1)
    with pytest.raises(InvalidModel, match="more than 1 tensors"):
        check(tmp_path, models.affine(), max_tensors=1)
    with pytest.raises(InvalidModel, match="nested deeper than 1"):
        check(tmp_path, in_subgraph(), max_nesting=1)


def test_a_graph_that_the_checker_refuses_is_refused(tmp_path: Path) -> None:
    node = helper.make_node("Add", ["x"], ["y"])
    value = models.value("x", DType.FP32, (1,))
    with pytest.raises(InvalidModel) as caught:
        check(tmp_path, models.build([node], [value], [models.value("y", DType.FP32, (1,))]))
    assert caught.value.facts["check"] == "checker"


@pytest.mark.parametrize("name", ["a\nb", "x" * 300, "a\u202eb"])
def test_names_that_could_forge_log_lines_are_refused(tmp_path: Path, name: str) -> None:
    node = helper.make_node("Identity", [name], ["y"])
    model = models.build([node], [models.value(name, DType.FP32, (1,))], [models.value("y", DType.FP32, (1,))])
    with pytest.raises(InvalidModel, match="no good name"):
        check(tmp_path, model)


@pytest.mark.parametrize("dtype", list(DType))
def test_every_datatype_of_the_protocol_is_loaded_run_and_compared(tmp_path: Path, dtype: DType) -> None:
    shape = (3, 2)
    array = np.arange(6).reshape(shape) % 2
    if dtype is DType.BYTES:
        array = np.array([[b"a", b"\xc3\xa9"], [b"", b"c"], [b"d", b"e"]], dtype=object)
    elif dtype is DType.BF16:
        array = (array * 0x3F80).astype(np.uint16)
    else:
        array = array.astype(dtype.numpy)
    golden = models.golden_file(
        tmp_path / "g.npz", [({"x": array}, {"y": array})], dtypes={"in/x": dtype, "out/y": dtype}
    )
    report = check(tmp_path, models.identity(dtype), golden)
    assert report.signature.inputs == (TensorSpec("x", dtype, ("batch", 2)),)
    assert report.proven and report.joinable and report.max_abs == 0


@pytest.mark.parametrize("dtype", list(DType))
def test_a_scalar_of_every_datatype_is_loaded_run_and_compared(tmp_path: Path, dtype: DType) -> None:
    array = np.array(b"\xc3\xa9", object) if dtype is DType.BYTES else np.array(1, dtype.numpy)
    golden = models.golden_file(
        tmp_path / "g.npz", [({"x": array}, {"y": array})], dtypes={"in/x": dtype, "out/y": dtype}
    )
    report = check(tmp_path, models.identity(dtype, ()), golden)
    assert report.signature.inputs == (TensorSpec("x", dtype, ()),)
    assert report.proven and report.max_abs == 0


def test_a_scalar_stays_one_where_bfloat16_comes_out(tmp_path: Path) -> None:
    node = helper.make_node("Cast", ["x"], ["y"], to=TensorProto.BFLOAT16)
    model = models.build([node], [models.value("x", DType.FP32, ())], [models.value("y", DType.BF16, ())])
    sample = ({"x": np.array(1, np.float32)}, {"y": np.array(0x3F80, np.uint16)})
    dtypes = {"in/x": DType.FP32, "out/y": DType.BF16}
    assert check(tmp_path, model, models.golden_file(tmp_path / "g.npz", [sample], dtypes=dtypes)).proven


@pytest.mark.parametrize("kind", [TensorProto.COMPLEX64, TensorProto.FLOAT8E4M3FN, TensorProto.INT4])
def test_datatypes_that_the_protocol_lacks_are_refused_by_name(tmp_path: Path, kind: int) -> None:
    node = helper.make_node("Shape", ["x"], ["y"])
    value = helper.make_tensor_value_info("x", kind, [2])
    with pytest.raises(InvalidModel) as caught:
        check(tmp_path, models.build([node], [value], [models.value("y", DType.INT64, (1,))]))
    assert caught.value.facts["check"] in ("signature", "load", "checker")


def test_dimensions_are_sizes_symbols_or_unnamed(tmp_path: Path) -> None:
    report = check(tmp_path, models.identity(DType.FP32, ("n", None, 3)))
    assert report.signature.inputs[0].shape == ("n", None, 3)


# --- golden samples ---


def test_golden_samples_that_unpack_without_end_are_refused_before_they_are_unpacked(tmp_path: Path) -> None:
    bomb = tmp_path / "bomb.npz"
    with zipfile.ZipFile(bomb, "w", zipfile.ZIP_DEFLATED) as archive, archive.open("in/x/0.npy", "w") as entry:
        for _ in range(17):
            entry.write(bytes(16 << 20))
    assert bomb.stat().st_size < 1 << 20
    with pytest.raises(InvalidGolden, match=f"unpacks to {17 << 24} bytes, and {1 << 28} are the most"):
        check(tmp_path, models.affine(), bomb)


def test_wrong_golden_outputs_are_a_mismatch(tmp_path: Path) -> None:
    golden = models.affine_golden(tmp_path / "g.npz", 2.0)
    with pytest.raises(GoldenMismatch, match=r"golden sample 0: output 'y' is off by") as caught:
        check(tmp_path, models.affine(2.1), golden)
    assert caught.value.facts["output"] == "y"


def test_a_difference_in_the_last_rows_is_found_though_they_run_in_slices(tmp_path: Path) -> None:
    x = np.random.default_rng(0).standard_normal((50, 2), dtype=np.float32)
    y = x.copy()
    y[49, 1] += 1
    golden = models.golden_file(tmp_path / "g.npz", [({"x": x}, {"y": y})])
    with pytest.raises(GoldenMismatch):
        check(tmp_path, models.affine(), golden)


def test_the_server_caps_the_tolerance_that_a_golden_file_asks_for(tmp_path: Path) -> None:
    x = np.ones((2, 2), np.float32)
    wide = {"CPU": Tolerance(100.0, 100.0), "CUDA": Tolerance(100.0, 100.0)}
    golden = models.golden_file(tmp_path / "g.npz", [({"x": x}, {"y": x + 1})], tolerances=wide)
    with pytest.raises(GoldenMismatch):
        check(tmp_path, models.affine(), golden)
    fine = models.golden_file(tmp_path / "g.npz", [({"x": x}, {"y": x})], tolerances=wide)
    assert check(tmp_path, models.affine(), fine).tolerances["CPU"].atol < 1


@pytest.mark.parametrize("bad", [float("nan"), float("inf"), -1.0])
def test_a_tolerance_that_is_no_distance_is_refused(tmp_path: Path, bad: float) -> None:
    x = np.ones((1, 2), np.float32)
    golden = models.golden_file(tmp_path / "g.npz", [({"x": x}, {"y": x})], tolerances={"CPU": Tolerance(bad, 0)})
    with pytest.raises(InvalidGolden):
        check(tmp_path, models.affine(), golden)


def test_golden_samples_of_other_names_datatypes_or_shapes_are_invalid(tmp_path: Path) -> None:
    x = np.ones((1, 2), np.float32)
    path = tmp_path / "g.npz"
    cases = [
        (models.golden_file(path, [({"z": x}, {"y": x})]), r"has inputs \['z'\], the model \['x'\]"),
        (models.golden_file(tmp_path / "b.npz", [({"x": x}, {"z": x})]), r"has outputs \['z'\]"),
        (
            models.golden_file(tmp_path / "c.npz", [({"x": x.astype("<f8")}, {"y": x})], dtypes={"in/x": DType.FP64}),
            "FP64, but FP32 in the model",
        ),
        (models.golden_file(tmp_path / "d.npz", [({"x": x[:, :1]}, {"y": x})]), r"has shape \[1, 1\]"),
        (models.golden_file(tmp_path / "e.npz", [({"x": x[:0]}, {"y": x[:0]})]), "nothing could be compared"),
    ]
    for golden, words in cases:
        with pytest.raises(InvalidGolden, match=words):
            check(tmp_path, models.affine(), golden)


@pytest.mark.parametrize("data", [b"", b"nonsense", b"PK\x03\x04broken"])
def test_a_file_that_is_no_golden_file_is_invalid(tmp_path: Path, data: bytes) -> None:
    path = tmp_path / "g.npz"
    path.write_bytes(data)
    with pytest.raises(InvalidGolden, match=r"g.npz is not a golden file"):
        check(tmp_path, models.affine(), path)


def test_without_golden_samples_a_model_is_not_proven_and_says_so(tmp_path: Path) -> None:
    report = check(tmp_path, models.affine())
    assert not report.proven and report.golden_samples == 0
    assert any("no golden samples" in text for text in report.warnings)


# --- behaviour ---


def test_dropout_left_in_training_mode_is_refused(tmp_path: Path) -> None:
    model = models.build(
        [helper.make_node("Dropout", ["x", "ratio", "training"], ["y"])],
        [models.value("x", DType.FP32, ("batch", 64))],
        [models.value("y", DType.FP32, ("batch", 64))],
        [models.constant("ratio", np.asarray(0.5, np.float32)), models.constant("training", np.asarray(True))],
    )
    with pytest.raises(InvalidModel, match=r"Dropout\. Call model\.eval\(\) before the export") as caught:
        check(tmp_path, model)
    assert caught.value.facts["check"] == "determinism"


def test_rows_that_depend_on_their_neighbours_are_not_joined(tmp_path: Path) -> None:
    model = models.build(
        [helper.make_node("ReduceMean", ["x", "axes"], ["mean"]), helper.make_node("Sub", ["x", "mean"], ["y"])],
        [models.value("x", DType.FP32, ("batch", 2))],
        [models.value("y", DType.FP32, ("batch", 2))],
        [models.constant("axes", np.asarray([0]))],
    )
    report = check(tmp_path, model)
    assert not report.joinable
    assert any("depends on its neighbours" in text for text in report.warnings)
    x = np.random.default_rng(0).standard_normal((20, 2)).astype(np.float32)
    golden = models.golden_file(tmp_path / "g.npz", [({"x": x}, {"y": x - x.mean(0)})])
    report = check(tmp_path, model, golden)
    assert report.proven and not report.joinable


@pytest.mark.parametrize("shape", [(1, 2), (2,), ()])
def test_fixed_first_dimensions_are_not_joined(tmp_path: Path, shape: tuple[int, ...]) -> None:
    assert not check(tmp_path, models.identity(DType.FP32, shape)).joinable


def test_inputs_of_different_first_dimensions_are_not_joined(tmp_path: Path) -> None:
    model = models.build(
        [helper.make_node("MatMul", ["a", "b"], ["y"])],
        [models.value("a", DType.FP32, ("n", "k")), models.value("b", DType.FP32, ("k", 3))],
        [models.value("y", DType.FP32, ("n", 3))],
    )
    assert not check(tmp_path, model).joinable


def test_a_model_that_made_up_inputs_do_not_fit_is_registered_with_a_warning(tmp_path: Path) -> None:
    model = models.build(
        [helper.make_node("Reshape", ["x", "shape"], ["y"])],
        [models.value("x", DType.FP32, ("batch", "length"))],
        [models.value("y", DType.FP32, (None, 7))],
        [models.constant("shape", np.asarray([-1, 7]))],
    )
    report = check(tmp_path, model)
    assert any("made-up inputs failed" in text for text in report.warnings)
    assert not report.joinable


def test_rows_of_golden_samples_of_one_row_each_are_paired(tmp_path: Path) -> None:
    rows = [np.full((1, 2), value, np.float32) for value in (1.0, 2.0)]
    golden = models.golden_file(tmp_path / "g.npz", [({"x": x}, {"y": x * 2}) for x in rows])
    assert check(tmp_path, models.affine(2.0), golden).joinable


def test_outputs_without_a_row_for_each_input_row_are_not_joined(tmp_path: Path) -> None:
    model = models.build(
        [helper.make_node("Concat", ["x", "x"], ["y"], axis=0)],
        [models.value("x", DType.FP32, ("batch", 2))],
        [models.value("y", DType.FP32, ("rows", 2))],
    )
    report = check(tmp_path, model)
    assert not report.joinable
    assert any("one row for each row" in text for text in report.warnings)


def test_a_model_that_takes_no_single_row_is_not_joined(tmp_path: Path) -> None:
    model = models.build(
        [
            helper.make_node("Reshape", ["x", "pairs"], ["paired"]),
            helper.make_node("Reshape", ["paired", "flat"], ["y"]),
        ],
        [models.value("x", DType.FP32, ("batch", 3))],
        [models.value("y", DType.FP32, ("rows", 3))],
        [models.constant("pairs", np.asarray([-1, 2])), models.constant("flat", np.asarray([-1, 3]))],
    )
    report = check(tmp_path, model)
    assert not report.joinable
    assert any("batches of 1 and 2" in text for text in report.warnings)


def test_inputs_too_big_to_make_up_leave_the_model_untried(tmp_path: Path) -> None:
    report = check(tmp_path, models.identity(DType.FP32, ("batch", 1 << 25)))
    assert not report.joinable and report.run_s == 0
    assert any("too big to make up" in text for text in report.warnings)
    assert check(tmp_path, models.identity(DType.FP32, ())).warnings
