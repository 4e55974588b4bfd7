"""Taking a model apart: what leaves the graph, what stays, what the manifest says, and what is told of the author."""

from __future__ import annotations

import hashlib
from pathlib import Path

import ml_dtypes
import numpy as np
import onnx
import onnxruntime as ort
import pytest
from interlock.errors import InvalidModel
from interlock.types import Array, DType
from interlock_registry.manifest import Manifest, Operator, Opset
from interlock_registry.tool import ValidateJob
from interlock_registry.tool.job import Validated
from interlock_registry.tool.validation import validate
from onnx import TensorProto, helper, numpy_helper

from tests import models

RANDOM = np.random.default_rng(5)


def check(folder: Path, model: bytes) -> Validated:
    folder.mkdir(exist_ok=True)
    return validate(ValidateJob(model=models.write(folder / "model.onnx", model)))


def stored(folder: Path, manifest: Manifest) -> onnx.ModelProto:
    return onnx.load(folder / "parts" / manifest.graph.digest)


def test_big_tensors_become_blobs_and_small_ones_stay(tmp_path: Path) -> None:
    content = models.mlp(width=64, hidden=64, classes=10, layers=2)
    manifest = check(tmp_path, content).manifest
    assert [(each.name, each.dtype, each.dims) for each in manifest.tensors] == [
        ("w0", "FLOAT", (64, 64)),
        ("w1", "FLOAT", (64, 64)),
    ]
    assert [(each.name, each.dims, each.size_bytes) for each in manifest.inline] == [("w2", (64, 10), 2560)]
    assert manifest.operators == (Operator("ai.onnx", "MatMul", 20, 3), Operator("ai.onnx", "Relu", 20, 2))
    assert (manifest.opsets, manifest.ir_version) == ((Opset("ai.onnx", 20),), models.IR_VERSION)
    model = onnx.load_from_string(content)
    for tensor in manifest.tensors:
        (original,) = (each for each in model.graph.initializer if each.name == tensor.name)
        data = (tmp_path / "parts" / tensor.blob.digest).read_bytes()
        assert data == original.raw_data
        assert tensor.blob.digest == hashlib.sha256(data).hexdigest()
    assert manifest.inline[0].sha256 == hashlib.sha256(model.graph.initializer[2].raw_data).hexdigest()
    files = {path.name for path in (tmp_path / "parts").iterdir()}
    assert files == {blob.digest for blob in manifest.blobs} - {manifest.digest}


def test_the_same_model_is_always_taken_apart_into_the_same_blobs(tmp_path: Path) -> None:
    content = models.mlp(width=64, hidden=64)
    assert check(tmp_path / "a", content).manifest == check(tmp_path / "b", content).manifest


def test_versions_that_differ_in_one_layer_share_the_others(tmp_path: Path) -> None:
    model = onnx.load_from_string(models.mlp(width=64, hidden=64, classes=64))
    one = check(tmp_path / "a", model.SerializeToString()).manifest
    model.graph.initializer[2].CopyFrom(models.constant("w2", RANDOM.standard_normal((64, 64)).astype(np.float32)))
    other = check(tmp_path / "b", model.SerializeToString()).manifest
    shared = {blob.digest for blob in one.blobs} & {blob.digest for blob in other.blobs}
    assert shared == {each.blob.digest for each in one.tensors if each.name != "w2"}


@pytest.mark.parametrize("dtype", ["float16", "bfloat16", "float8_e4m3fn", "float64", "int8", "uint8", "bool", "int64"])
def test_elements_of_every_whole_byte_leave_the_graph(tmp_path: Path, dtype: str) -> None:
    kind = getattr(ml_dtypes, dtype) if hasattr(ml_dtypes, dtype) else np.dtype(dtype)
    array = RANDOM.integers(0, 2, (64, 128)).astype(kind)
    manifest = check(tmp_path, casting(numpy_helper.from_array(array, "w"))).manifest
    (tensor,) = manifest.tensors
    assert (tmp_path / "parts" / tensor.blob.digest).read_bytes() == array.tobytes()


def casting(weights: TensorProto) -> bytes:
    """x + w as FP32, whatever w is of."""
    return models.build(
        [helper.make_node("Cast", ["w"], ["f"], to=TensorProto.FLOAT), helper.make_node("Add", ["x", "f"], ["y"])],
        [models.value("x", DType.FP32, (1,))],
        [models.value("y", DType.FP32, tuple(weights.dims))],
        [weights],
    )


def test_a_typed_field_gives_the_same_blob_as_raw_bytes(tmp_path: Path) -> None:
    array = RANDOM.standard_normal((64, 64)).astype(np.float32)
    typed = helper.make_tensor("w", TensorProto.FLOAT, (64, 64), array.ravel().tolist())
    assert not typed.raw_data
    one = check(tmp_path / "a", casting(typed)).manifest
    assert one == check(tmp_path / "b", casting(models.constant("w", array))).manifest


def test_elements_smaller_than_a_byte_stay_inside(tmp_path: Path) -> None:
    packed = RANDOM.integers(0, 256, 5000, dtype=np.uint8)
    tensor = TensorProto(name="w", data_type=TensorProto.UINT4, dims=[100, 100], raw_data=packed.tobytes())
    model = models.build(
        [helper.make_node("DequantizeLinear", ["w", "scale"], ["f"]), helper.make_node("Add", ["x", "f"], ["y"])],
        [models.value("x", DType.FP32, (1,))],
        [models.value("y", DType.FP32, (100, 100))],
        [tensor, models.constant("scale", np.asarray(0.5, np.float32))],
        opsets={"": 21},
    )
    manifest = check(tmp_path, model).manifest
    assert manifest.tensors == ()
    inline = next(each for each in manifest.inline if each.name == "w")
    assert (inline.dtype, inline.size_bytes, inline.sha256) == (
        "UINT4",
        5000,
        hashlib.sha256(packed.tobytes()).hexdigest(),
    )


def test_text_stays_inside_and_is_hashed_unambiguously(tmp_path: Path) -> None:
    def model(*words: str) -> bytes:
        tensor = TensorProto(
            name="w", data_type=TensorProto.STRING, dims=[len(words)], string_data=[word.encode() for word in words]
        )
        return models.build(
            [helper.make_node("Gather", ["w", "x"], ["y"])],
            [models.value("x", DType.INT64, ("batch",))],
            [models.value("y", DType.BYTES, ("batch",))],
            [tensor],
        )

    one = check(tmp_path / "a", model("ab", "c", *["long" * 10] * 200)).manifest
    other = check(tmp_path / "b", model("a", "bc", *["long" * 10] * 200)).manifest
    assert one.tensors == other.tensors == ()
    assert one.inline[0].size_bytes == 200 * 44 + 11
    assert one.inline[0].sha256 != other.inline[0].sha256


def test_lists_of_sizes_stay_inside_for_shape_inference_reads_them(tmp_path: Path) -> None:
    parts = 600
    manifest = check(
        tmp_path,
        models.build(
            [
                helper.make_node("Split", ["x", "sizes"], [f"part{index}" for index in range(parts)], axis=1),
                helper.make_node("Add", ["part0", f"part{parts - 1}"], ["y"]),
            ],
            [models.value("x", DType.FP32, ("batch", parts))],
            [models.value("y", DType.FP32, ("batch", 1))],
            [models.constant("sizes", np.ones(parts, np.int64))],
        ),
    ).manifest
    assert manifest.tensors == () and manifest.inline[0].size_bytes == 4800


def test_equal_tensors_are_one_blob(tmp_path: Path) -> None:
    array = RANDOM.standard_normal((64, 64)).astype(np.float32)
    manifest = check(
        tmp_path,
        models.build(
            [helper.make_node("MatMul", ["x", "a"], ["h"]), helper.make_node("MatMul", ["h", "b"], ["y"])],
            [models.value("x", DType.FP32, ("batch", 64))],
            [models.value("y", DType.FP32, ("batch", 64))],
            [models.constant("a", array), models.constant("b", array)],
        ),
    ).manifest
    assert [each.name for each in manifest.tensors] == ["a", "b"]
    assert len(manifest.blobs) == 3


def test_tensors_of_the_same_name_in_sibling_subgraphs_are_told_apart(tmp_path: Path) -> None:
    output = models.value("z", DType.FP32, ("batch", 64))

    def branch(name: str) -> onnx.GraphProto:
        weights = models.constant("w", RANDOM.standard_normal((64, 64)).astype(np.float32))
        return helper.make_graph([helper.make_node("MatMul", ["x", "w"], ["z"])], name, [], [output], [weights])

    model = models.build(
        [helper.make_node("If", ["which"], ["y"], then_branch=branch("t"), else_branch=branch("e"))],
        [models.value("x", DType.FP32, ("batch", 64)), models.value("which", DType.BOOL, ())],
        [models.value("y", DType.FP32, ("batch", 64))],
    )
    manifest = check(tmp_path, model).manifest
    assert [each.name for each in manifest.tensors] == ["y/else_branch/w", "y/then_branch/w"]
    assert manifest.operators == (Operator("ai.onnx", "If", 20, 1), Operator("ai.onnx", "MatMul", 20, 2))


@pytest.mark.parametrize(
    ("tensor", "words"),
    [
        (TensorProto(name="w", data_type=1, dims=[4], raw_data=b"123"), "which 3 bytes do not fill"),
        (TensorProto(name="w", data_type=1, dims=[4], float_data=[1.0]), "do not fill"),
        (TensorProto(name="w", data_type=8, dims=[4], string_data=[b"a"]), "which 1 strings do not fill"),
        (TensorProto(name="w", data_type=99, dims=[1], raw_data=b"1"), "unknown element type"),
        (TensorProto(name="w", data_type=1, dims=[1 << 40], raw_data=b"1"), "do not fill"),
    ],
)
def test_tensors_that_are_not_what_they_say_are_refused(tmp_path: Path, tensor: TensorProto, words: str) -> None:
    with pytest.raises(InvalidModel, match=words) as caught:
        check(tmp_path, casting(tensor))
    assert caught.value.facts["check"] == "size"


# --- what is not told ---


def test_paths_and_stack_traces_of_the_author_are_not_stored(tmp_path: Path) -> None:
    model = onnx.load_from_string(models.mlp(width=64, hidden=64))
    trace = 'File "/data/ada/secret-project/net.py", line 7, in forward'
    model.doc_string = model.graph.doc_string = trace
    model.graph.metadata_props.add(key="source", value=trace)
    model.graph.input[0].doc_string = trace
    model.graph.initializer[0].doc_string = trace
    model.graph.initializer[0].metadata_props.add(key="from", value="/data/ada/secret-project/w.pt")
    node = model.graph.node[0]
    node.name, node.doc_string = "encoder/fc1", trace
    node.metadata_props.add(key="pkg.torch.onnx.stack_trace", value=trace)
    node.metadata_props.add(key="pkg.torch.onnx.name_scopes", value="['', 'encoder', 'encoder.fc1']")
    for key, value in (
        ("classes", "cat,dog"),
        ("homepage", "https://example.com/models/digits"),
        ("checkpoint", "/data/ada/secret-project/last.pt"),
        ("windows", "C:\\Users\\ada\\secret-project"),
    ):
        model.metadata_props.add(key=key, value=value)
    validated = check(tmp_path, model.SerializeToString())
    graph = tmp_path / "parts" / validated.manifest.graph.digest
    assert b"ada" not in graph.read_bytes()
    kept = onnx.load(graph)
    assert {entry.key: entry.value for entry in kept.metadata_props} == {
        "classes": "cat,dog",
        "homepage": "https://example.com/models/digits",
    }
    assert kept.graph.node[0].name == "encoder/fc1"
    assert [entry.key for entry in kept.graph.node[0].metadata_props] == ["pkg.torch.onnx.name_scopes"]
    assert any("'checkpoint', 'windows'" in text for text in validated.report.warnings)


def test_where_it_was_exported_makes_no_other_version(tmp_path: Path) -> None:
    model = onnx.load_from_string(models.mlp(width=64, hidden=64))
    one = check(tmp_path / "a", model.SerializeToString()).manifest
    model.graph.node[0].doc_string = "/elsewhere/net.py"
    assert check(tmp_path / "b", model.SerializeToString()).manifest == one


# --- the stored form ---


def run(path: Path, x: Array) -> Array:
    options = ort.SessionOptions()
    options.log_severity_level = 4
    return np.asarray(
        ort.InferenceSession(str(path), options, providers=["CPUExecutionProvider"]).run(None, {"x": x})[0]
    )


def test_the_stored_form_answers_as_the_upload_bit_for_bit(tmp_path: Path) -> None:
    validated = check(tmp_path, models.mlp(width=64, hidden=128))
    x = RANDOM.standard_normal((7, 64)).astype(np.float32)
    stored = run(tmp_path / "parts" / validated.manifest.graph.digest, x)
    assert stored.tobytes() == run(tmp_path / "model.onnx", x).tobytes()


def test_a_stored_form_whose_blob_is_cut_short_is_not_loaded(tmp_path: Path) -> None:
    manifest = check(tmp_path, models.mlp(width=64, hidden=64)).manifest
    blob = tmp_path / "parts" / manifest.tensors[0].blob.digest
    blob.write_bytes(blob.read_bytes()[:-1])
    with pytest.raises(Exception, match=r"out of bounds|size"):
        run(tmp_path / "parts" / manifest.graph.digest, np.ones((1, 64), np.float32))
