"""How far the weights and the answers of two versions are from each other, measured in a real child."""

from __future__ import annotations

import asyncio
import hashlib
import io
from collections.abc import Callable
from pathlib import Path

import ml_dtypes
import numpy as np
import onnx
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from interlock.golden import DEFAULT_TOLERANCES, Tolerance
from interlock.types import Array, DType
from interlock_registry.comparison import Measured
from interlock_registry.manifest import Blob, InlineTensor, Manifest, TensorBlob
from interlock_registry.tool import DiffJob, DiffSide, ToolLimits, diff, weights
from interlock_registry.tool.weights import distance
from onnx import TensorProto, helper

from tests import models

MEASURE_S = 30.0
LIMITS = ToolLimits(file_bytes=1 << 20)


class Store:
    """Blobs, and versions made of them."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._versions = 0

    def add(self, data: bytes) -> Blob:
        digest = hashlib.sha256(data).hexdigest()
        (self.folder / digest).write_bytes(data)
        return Blob(digest, len(data))

    def version(self, model: bytes, golden: Path | None = None, *, smallest: int = 64) -> DiffSide:
        """Store a model, tensors of at least so many bytes as blobs of their own."""
        found = onnx.load_from_string(model)
        tensors: list[TensorBlob] = []
        inline: list[InlineTensor] = []
        for tensor in found.graph.initializer:
            data = tensor.raw_data or b"".join(tensor.string_data)
            name, dtype, dims = tensor.name, TensorProto.DataType.Name(tensor.data_type), tuple(tensor.dims)
            if len(data) < smallest:
                inline.append(InlineTensor(name, dtype, dims, hashlib.sha256(data).hexdigest(), len(data)))
                continue
            blob = self.add(data)
            tensors.append(TensorBlob(name, dtype, dims, blob))
            tensor.ClearField("raw_data")
            tensor.data_location = TensorProto.EXTERNAL
            for key, value in (("location", blob.digest), ("length", str(len(data)))):
                tensor.external_data.add(key=key, value=value)
        manifest = Manifest(self.add(found.SerializeToString()), tuple(tensors), tuple(inline))
        self._versions += 1
        document = self.folder.parent / f"{self._versions}.json"
        document.write_text(manifest.to_json())
        return DiffSide(
            version=self._versions,
            manifest=document,
            golden=self.add(golden.read_bytes()).digest if golden else "",
            joinable=True,
        )


@pytest.fixture
def store(tmp_path: Path) -> Store:
    folder = tmp_path / "blobs"
    folder.mkdir()
    return Store(folder)


Compare = Callable[..., Measured]


@pytest.fixture
def compare(store: Store) -> Compare:
    def run(
        before: DiffSide,
        after: DiffSide,
        *,
        tolerance: Tolerance = DEFAULT_TOLERANCES["CPU"],
        weights_s: float = MEASURE_S,
        answers_s: float = MEASURE_S,
    ) -> Measured:
        job = DiffJob(
            folder=store.folder,
            before=before,
            after=after,
            tolerance=tolerance,
            weights_s=weights_s,
            answers_s=answers_s,
        )
        return asyncio.run(diff(job, LIMITS))

    return run


# --- weights ---


def of(kind: type[np.generic], values: object) -> Array:
    return np.array(values, kind)


def f32(values: object) -> Array:
    return of(np.float32, values)


def stream(array: Array) -> io.BytesIO:
    return io.BytesIO(array.tobytes())


numbers = hnp.arrays(np.float32, st.integers(1, 40), elements=st.floats(-1e6, 1e6, width=32))


@given(numbers, st.data())
def test_figures_are_those_of_the_whole_whatever_the_size_of_a_piece(before: Array, data: st.DataObject) -> None:
    after = data.draw(hnp.arrays(np.float32, before.shape, elements=st.floats(-1e6, 1e6, width=32)))
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(weights, "_PIECE", data.draw(st.integers(1, 50)))
        found = distance(stream(before), before.dtype, stream(after), after.dtype, before.size)
    assert found is not None
    x, y = before.astype(np.float64), after.astype(np.float64)
    assert found.elements == x.size
    assert found.changed == int(np.count_nonzero(before.view(np.uint32) != after.view(np.uint32)))
    assert found.max_abs == np.max(np.abs(x - y))
    if np.linalg.norm(x):
        assert found.relative_l2 == pytest.approx(np.linalg.norm(y - x) / np.linalg.norm(x), rel=1e-9, abs=1e-300)


@pytest.mark.parametrize(
    ("before", "after", "changed", "max_abs", "relative"),
    [
        (f32([1, 2]), f32([1, 2]), 0, 0.0, 0.0),
        (f32([3, 4]), f32([3, 4.5]), 1, 0.5, 0.1),
        (f32([0, 0]), f32([0, 1]), 1, 1.0, np.inf),
        (f32([np.nan, 1]), f32([np.nan, 1]), 0, 0.0, 0.0),
        (f32([np.nan, 1]), f32([0, 1]), 1, np.inf, np.inf),
        (f32([np.inf, 1]), f32([np.inf, 1]), 0, 0.0, 0.0),
        (f32([np.inf, 1]), f32([-np.inf, 1]), 1, np.inf, np.inf),
        (f32([0.0]), f32([-0.0]), 1, 0.0, 0.0),
        (f32([3, 4]), of(np.float16, [3, 4]), 0, 0.0, 0.0),
        (f32([3, 4]), np.array([3, 5], ml_dtypes.bfloat16), 1, 1.0, 0.2),
        (of(np.int64, [3, 4]), of(np.int64, [3, 9]), 1, 5.0, 1.0),
        (np.array([True, False]), np.array([True, True]), 1, 1.0, 1.0),
        (of(np.float64, [1e308]), of(np.float64, [-1e308]), 1, np.inf, np.inf),
        (f32([]), f32([]), 0, 0.0, 0.0),
    ],
)
def test_figures_of_odd_numbers(before: Array, after: Array, changed: int, max_abs: float, relative: float) -> None:
    found = distance(stream(before), before.dtype, stream(after), after.dtype, before.size)
    assert found is not None
    assert (found.changed, found.max_abs) == (changed, max_abs)
    assert found.relative_l2 == pytest.approx(relative)


def test_a_tensor_that_is_too_short_is_no_zero() -> None:
    short = f32([1])
    with pytest.raises(EOFError):
        distance(stream(short), short.dtype, stream(short), short.dtype, 2)


def test_only_what_changed_is_measured_and_what_cannot_be_says_why(store: Store, compare: Compare) -> None:
    def model(**tensors: Array) -> bytes:
        node = helper.make_node("Identity", ["x"], ["y"])
        x, y = (models.value(name, DType.FP32, (None,)) for name in "xy")
        return models.build([node], [x], [y], [models.constant(name, array) for name, array in tensors.items()])

    big = np.arange(1000, dtype=np.float32)
    before = model(
        same=big,
        moved=big,
        tiny=f32([1, 2]),
        shape=big,
        dtype=big,
        text=np.array(["a"], object),
        z=of(np.complex64, [1]),
    )
    after = model(
        same=big,
        moved=np.where(big == 7, 8, big).astype(np.float32),
        tiny=f32([1, 3]),
        shape=big[:500],
        dtype=big.astype(np.float16),
        text=np.array(["b"], object),
        z=of(np.complex64, [2]),
    )
    found = compare(store.version(before), store.version(after))
    assert {name: (each.changed, each.max_abs) for name, each in found.figures.items()} == {
        "moved": (1, 1.0),
        "tiny": (1, 1.0),
        "dtype": (0, 0.0),
    }
    assert found.unmeasured == {
        "shape": "its shape was [1000] and is [500]",
        "text": "no numbers are made of STRING",
        "z": "no numbers are made of COMPLEX64",
    }


def test_weights_for_which_there_is_no_time_are_left_unmeasured(store: Store, compare: Compare) -> None:
    sides = [store.version(models.mlp(seed=seed)) for seed in (1, 2)]
    found = compare(*sides, weights_s=0.0)
    assert found.figures == {}
    assert set(found.unmeasured) == {"w0", "w1", "w2"}
    assert "was over" in found.unmeasured["w0"]


# --- answers ---


def test_without_golden_samples_no_answers_are_compared(store: Store, compare: Compare, tmp_path: Path) -> None:
    bare, proven = store.version(models.affine()), store.version(models.affine(), models.affine_golden(tmp_path / "g"))
    found = compare(bare, proven)
    assert (found.golden.why, found.replayed.why) == ("version 1 has no golden samples",) * 2
    found = compare(proven, bare)
    assert found.golden.why == "version 1 has no golden samples"
    assert found.replayed.samples == 2


def test_golden_answers_stand_side_by_side_and_are_replayed(store: Store, compare: Compare, tmp_path: Path) -> None:
    before = store.version(models.affine(2.0), models.affine_golden(tmp_path / "a", 2.0))
    after = store.version(models.affine(2.0, 0.5), models.affine_golden(tmp_path / "b", 2.0, 0.5))
    found = compare(before, after)
    for comparison in (found.golden, found.replayed):
        assert (comparison.samples, comparison.why) == (2, "")
        (output,) = comparison.outputs
        assert (output.output, output.rows, output.differing, output.why) == ("y", 40, 40, "")
        assert output.max_abs == pytest.approx(0.5, rel=1e-5)
        assert not output.within_tolerance
        assert output.same_top == 1.0, "both values of a row are moved alike"
        assert len(output.before) == len(output.after) == 2
        assert float(output.after[0]) - float(output.before[0]) == pytest.approx(0.5, rel=1e-3)
    wide = compare(before, after, tolerance=Tolerance(atol=1.0, rtol=0.0))
    assert wide.replayed.outputs[0].within_tolerance


def test_the_same_answers_are_the_same(store: Store, compare: Compare, tmp_path: Path) -> None:
    golden = models.affine_golden(tmp_path / "a", 2.0)
    found = compare(store.version(models.affine(2.0), golden), store.version(models.affine(2.0), golden))
    (output,) = found.replayed.outputs
    assert (output.differing, output.max_abs, output.relative_l2, output.within_tolerance) == (0, 0.0, 0.0, True)


def test_samples_are_matched_by_their_inputs(store: Store, compare: Compare, tmp_path: Path) -> None:
    def golden(name: str, *starts: float) -> Path:
        inputs = [f32([[start, start + 1]]) for start in starts]
        return models.golden_file(tmp_path / name, [({"x": x}, {"y": x}) for x in inputs])

    before = store.version(models.affine(), golden("a", 1, 2, 3))
    assert compare(before, store.version(models.affine(), golden("b", 9, 3, 2))).golden.samples == 2
    none = compare(before, store.version(models.affine(), golden("c", 8, 9))).golden
    assert (none.samples, none.why) == (0, "no golden sample of one has the inputs of one of the other")


def test_a_version_that_takes_other_inputs_is_not_asked(store: Store, compare: Compare, tmp_path: Path) -> None:
    before = store.version(models.affine(), models.affine_golden(tmp_path / "a"))
    other = models.build(
        [helper.make_node("Identity", ["z"], ["y"])],
        [models.value("z", DType.FP32, ("n", 2))],
        [models.value("y", DType.FP32, ("n", 2))],
    )
    for model, why in (
        (other, "version 2 takes the input 'z', which they do not have"),
        (models.affine(width=3), "version 3 takes x FP32[batch,3], and they have [20, 2]"),
        (models.identity(DType.FP64), "version 4 takes x FP64[batch,2], and they have FP32"),
    ):
        assert compare(before, store.version(model)).replayed.why == why


def test_outputs_that_came_went_or_changed_shape_say_so(store: Store, compare: Compare, tmp_path: Path) -> None:
    x = f32([[1, 2], [3, 4]])
    golden = models.golden_file(tmp_path / "a", [({"x": x}, {"y": x, "old": x})])
    value = models.value
    after = models.build(
        [
            helper.make_node("ReduceSum", ["x"], ["y"], keepdims=0),
            helper.make_node("Identity", ["x"], ["new"]),
        ],
        [value("x", DType.FP32, ("n", 2))],
        [value("y", DType.FP32, ()), value("new", DType.FP32, ("n", 2))],
    )
    found = compare(store.version(models.affine(), golden), store.version(after)).replayed
    assert {each.output: each.why for each in found.outputs} == {
        "y": "its shape was [2, 2] and is []",
        "old": "it is gone",
        "new": "it is new",
    }
    assert not any(each.within_tolerance for each in found.outputs)


def test_texts_are_compared_as_texts(store: Store, compare: Compare, tmp_path: Path) -> None:
    x = np.array([["a", "b"], ["ü", ""]], dtype=object)
    y = np.array([["a", "b"], ["ü", "-"]], dtype=object)
    kinds = {"in/x": DType.BYTES, "out/y": DType.BYTES}
    golden = models.golden_file(tmp_path / "a", [({"x": x}, {"y": y})], dtypes=kinds)
    model = models.identity(DType.BYTES)
    (found,) = compare(store.version(model, golden), store.version(model)).replayed.outputs
    assert (found.rows, found.differing, found.within_tolerance, found.same_top) == (2, 1, False, None)
    assert found.before == found.after == ("a", "b")


def test_other_datatypes_are_compared_by_value(store: Store, compare: Compare, tmp_path: Path) -> None:
    x = f32([[1, 2]])
    golden = models.golden_file(tmp_path / "a", [({"x": x}, {"y": x})])
    after = models.build(
        [helper.make_node("Cast", ["x"], ["y"], to=TensorProto.BFLOAT16)],
        [models.value("x", DType.FP32, ("n", 2))],
        [models.value("y", DType.BF16, ("n", 2))],
    )
    (found,) = compare(store.version(models.affine(), golden), store.version(after)).replayed.outputs
    assert (found.max_abs, found.differing, found.within_tolerance) == (0.0, 0, True)


def test_a_replay_stops_when_its_time_is_over_and_says_so(store: Store, compare: Compare, tmp_path: Path) -> None:
    before = store.version(models.affine(), models.affine_golden(tmp_path / "a", samples=5))
    found = compare(before, store.version(models.affine(2.0)), answers_s=1e-9).replayed
    assert found.samples == 1 and "only 1 of 5 samples" in found.why
    assert found.outputs[0].rows == 20
