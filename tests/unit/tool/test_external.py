"""Data that a model keeps in files beside it: what is taken, and every trick that is not."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

import numpy as np
import onnx
import pytest
from hypothesis import given
from hypothesis import strategies as st
from interlock.errors import InvalidModel
from interlock.locations import is_plain_location
from interlock.types import DType
from interlock_registry.tool import SideFile, ValidateJob
from interlock_registry.tool.job import Validated
from interlock_registry.tool.validation import validate
from onnx import TensorProto, helper

from tests import models

WEIGHTS = np.random.default_rng(3).standard_normal((64, 64)).astype(np.float32)
DATA = WEIGHTS.tobytes()
OPSETS = [helper.make_opsetid("", models.OPSET)]


def outside(entries: Mapping[str, str] | None = None, *, dims: Sequence[int] = (64, 64)) -> TensorProto:
    """A tensor whose data is in `weights.bin`, or where `entries` say."""
    tensor = TensorProto(name="w", data_type=TensorProto.FLOAT, dims=dims, data_location=TensorProto.EXTERNAL)
    for key, value in ({"location": "weights.bin"} | dict(entries or {})).items():
        tensor.external_data.add(key=key, value=value)
    return tensor


def model_with(tensor: TensorProto) -> bytes:
    return models.build(
        [helper.make_node("MatMul", ["x", "w"], ["y"])],
        [models.value("x", DType.FP32, ("batch", 64))],
        [models.value("y", DType.FP32, ("batch", 64))],
        [tensor],
    )


def check(folder: Path, model: bytes, files: Mapping[str, bytes]) -> Validated:
    """Validate a model whose files have arrived as control keeps them: under names of its own."""
    sides = []
    for index, (location, content) in enumerate(files.items()):
        path = folder / f"data-{index}"
        path.write_bytes(content)
        sides.append(SideFile(location, path))
    job = ValidateJob(model=models.write(folder / "model.onnx", model), files=tuple(sides))
    return validate(job)


@pytest.mark.parametrize(
    ("entries", "files"),
    [
        ({}, {"weights.bin": DATA}),
        ({"length": str(len(DATA))}, {"weights.bin": DATA + b"more"}),
        ({"offset": "64", "length": str(len(DATA))}, {"weights.bin": b"\1" * 64 + DATA}),
        ({"location": "sub/dir/w.bin"}, {"sub/dir/w.bin": DATA}),
        ({"location": "a b\u00e4.data"}, {"a b\u00e4.data": DATA}),
        ({"checksum": hashlib.sha1(DATA).hexdigest()}, {"weights.bin": DATA}),
    ],
)
def test_whole_data_in_plain_files_is_taken(tmp_path: Path, entries: dict[str, str], files: dict[str, bytes]) -> None:
    manifest = check(tmp_path, model_with(outside(entries)), files).manifest
    (tensor,) = manifest.tensors
    assert (tensor.name, tensor.dims) == ("w", (64, 64))
    assert (tmp_path / "parts" / tensor.blob.digest).read_bytes() == DATA
    inline = models.constant("w", WEIGHTS)
    (tmp_path / "one").mkdir()
    assert check(tmp_path / "one", model_with(inline), {}).manifest == manifest, "where it lay makes no difference"


REFUSED: list[tuple[dict[str, str], str]] = [
    ({"location": "../weights.bin"}, "only files in the model's own directory"),
    ({"location": "sub/../../weights.bin"}, "only files in the model's own directory"),
    ({"location": "/etc/passwd"}, "only files in the model's own directory"),
    ({"location": "./weights.bin"}, "only files in the model's own directory"),
    ({"location": "..\\weights.bin"}, "only files in the model's own directory"),
    ({"location": ""}, "only files in the model's own directory"),
    ({"location": "weights.bin\0"}, "only files in the model's own directory"),
    ({"location": "*/_ORT_MEM_ADDR_/*", "offset": "140000000000000"}, "an address in memory"),
    ({"location": "other.bin"}, r"'other.bin', which was not uploaded"),
    ({"length": "100"}, "takes 16384 bytes by its shape, its length in 'weights.bin' is 100"),
    ({"offset": "1"}, "ends at byte 16385 of 'weights.bin', which has 16384"),
    ({"offset": "-1"}, "offset '-1', which is no number"),
    ({"offset": str(2**62)}, "ends at byte"),
    ({"offset": "9" * 30}, "is no number"),
    ({"length": "0x10"}, "length '0x10', which is no number"),
    ({"offset": "\u0663"}, "is no number"),
    ({"checksum": "0" * 40}, "has the SHA-1"),
    ({"secret": "1"}, "'secret', which means nothing in ONNX"),
]


@pytest.mark.parametrize(("entries", "words"), REFUSED)
def test_tricks_with_locations_and_lengths_are_refused(tmp_path: Path, entries: dict[str, str], words: str) -> None:
    with pytest.raises(InvalidModel, match=words) as caught:
        check(tmp_path, model_with(outside(entries)), {"weights.bin": DATA})
    assert caught.value.facts["check"] == "external-data"
    assert str(tmp_path) not in caught.value.message


@pytest.mark.parametrize("dims", [(2**40,), (2**62, 8), (64, 65)])
def test_shapes_that_the_file_does_not_fill_are_refused(tmp_path: Path, dims: tuple[int, ...]) -> None:
    with pytest.raises(InvalidModel, match="ends at byte"):
        check(tmp_path, model_with(outside(dims=dims)), {"weights.bin": DATA})


def test_a_negative_dimension_is_refused(tmp_path: Path) -> None:
    with pytest.raises(InvalidModel, match=r"has the shape \[-64, 64\]"):
        check(tmp_path, model_with(outside(dims=(-64, 64))), {"weights.bin": DATA})


def test_data_both_inside_and_outside_is_refused(tmp_path: Path) -> None:
    tensor = outside()
    tensor.raw_data = DATA
    with pytest.raises(InvalidModel, match="both in the model and in another file"):
        check(tmp_path, model_with(tensor), {"weights.bin": DATA})
    tensor.data_location = TensorProto.DEFAULT
    with pytest.raises(InvalidModel, match="contradicts itself"):
        check(tmp_path, model_with(tensor), {"weights.bin": DATA})


def test_a_repeated_key_is_refused(tmp_path: Path) -> None:
    tensor = outside()
    tensor.external_data.add(key="location", value="other.bin")
    with pytest.raises(InvalidModel, match="contradicts itself"):
        check(tmp_path, model_with(tensor), {"weights.bin": DATA, "other.bin": DATA})


def test_a_file_that_no_tensor_refers_to_is_refused(tmp_path: Path) -> None:
    with pytest.raises(InvalidModel, match=r"no tensor of the model refers to the file 'stale.bin'"):
        check(tmp_path, model_with(outside()), {"weights.bin": DATA, "stale.bin": b"x"})


def test_text_is_kept_inside_the_model(tmp_path: Path) -> None:
    tensor = outside()
    tensor.data_type = TensorProto.STRING
    with pytest.raises(InvalidModel, match="of text"):
        check(tmp_path, model_with(tensor), {"weights.bin": DATA})


# --- wherever a tensor may be ---


def in_constant() -> bytes:
    return models.build(
        [helper.make_node("Constant", [], ["w"], value=outside()), helper.make_node("MatMul", ["x", "w"], ["y"])],
        [models.value("x", DType.FP32, ("batch", 64))],
        [models.value("y", DType.FP32, ("batch", 64))],
    )


def in_subgraph() -> bytes:
    output = models.value("z", DType.FP32, ("batch", 64))
    branches = [
        helper.make_graph([helper.make_node("MatMul", ["x", "w"], ["z"])], "then", [], [output], [outside()]),
        helper.make_graph([helper.make_node("Identity", ["x"], ["z"])], "else", [], [output]),
    ]
    return models.build(
        [
            helper.make_node("ReduceSum", ["x"], ["sum"], keepdims=0),
            helper.make_node("Cast", ["sum"], ["positive"], to=TensorProto.BOOL),
            helper.make_node("If", ["positive"], ["y"], "choice", then_branch=branches[0], else_branch=branches[1]),
        ],
        [models.value("x", DType.FP32, ("batch", 64))],
        [models.value("y", DType.FP32, ("batch", 64))],
    )


def in_function() -> bytes:
    body = [helper.make_node("Constant", [], ["w"], value=outside()), helper.make_node("MatMul", ["a", "w"], ["b"])]
    return models.build(
        [helper.make_node("dense", ["x"], ["y"], domain="mine")],
        [models.value("x", DType.FP32, ("batch", 64))],
        [models.value("y", DType.FP32, ("batch", 64))],
        functions=[helper.make_function("mine", "dense", ["a"], ["b"], body, OPSETS)],
        opsets={"mine": 1},
    )


@pytest.mark.parametrize(
    ("make", "name"),
    [(in_constant, "w"), (in_subgraph, "choice/then_branch/w"), (in_function, "mine/dense/w")],
)
def test_a_tensor_has_a_blob_wherever_it_is(tmp_path: Path, make: Callable[[], bytes], name: str) -> None:
    validated = check(tmp_path, make(), {"weights.bin": DATA})
    (tensor,) = validated.manifest.tensors
    assert tensor.name == name
    assert tensor.blob.digest == hashlib.sha256(DATA).hexdigest()
    assert validated.report.run_s > 0, "ONNX Runtime ran it from its stored form"


@pytest.mark.parametrize("make", [in_constant, in_subgraph, in_function])
def test_data_that_was_not_uploaded_is_missed_wherever_it_is(tmp_path: Path, make: Callable[[], bytes]) -> None:
    with pytest.raises(InvalidModel, match="was not uploaded"):
        check(tmp_path, make(), {})


def test_what_only_training_needs_is_not_even_read(tmp_path: Path) -> None:
    model = onnx.load_from_string(models.affine())
    model.training_info.add().initialization.initializer.append(outside({"location": "../../etc/passwd"}))
    validated = check(tmp_path, model.SerializeToString(), {})
    assert any("for training alone was left out" in text for text in validated.report.warnings)
    stored = (tmp_path / "parts" / validated.manifest.graph.digest).read_bytes()
    assert not onnx.load_from_string(stored).training_info
    assert b"passwd" not in stored


@given(st.text(max_size=40))
def test_a_plain_location_stays_below_its_directory(location: str) -> None:
    base = Path("/base")
    if is_plain_location(location):
        target = base / location
        assert base in target.parents
        assert ".." not in target.parts
