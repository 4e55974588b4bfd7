"""Derived forms by the real optimiser; the child's job in the test's own process, but for one."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import onnx
import pytest
from interlock.errors import InvalidModel
from interlock.types import Array, DType
from interlock_registry import tool
from interlock_registry.derived import Form, Recipe
from interlock_registry.derived_store import DerivedStore, Workplace, graph_of
from interlock_registry.manifest import Blob
from interlock_registry.tool import DeriveJob, DeriveReport, ModelLimits, ToolLimits
from interlock_registry.tool import derivation as derivations
from interlock_registry.tool.derivation import derive
from interlock_registry.tool.runtime import Session
from onnx import TensorProto, helper, numpy_helper

from tests import models

Derive = Callable[..., DeriveReport]


def recipe(graph_sha256: str = "d" * 64) -> Recipe:
    return Recipe(graph_sha256=graph_sha256, runtime="onnxruntime 1.31.1", cpu="x86_64-1", provider="CPU")


@pytest.fixture
def store(tmp_path: Path) -> DerivedStore:
    (tmp_path / "blobs").mkdir()
    return DerivedStore(tmp_path)


def stored(store: DerivedStore, content: bytes, *, outside: bool = True) -> Path:
    """An artifact as it lies in the store: its tensors of 4 KiB and more in files named by their digests."""
    model = onnx.load_model_from_string(content)
    for tensor in model.graph.initializer if outside else ():
        raw = numpy_helper.to_array(tensor).tobytes()
        if len(raw) >= 4096:
            digest = hashlib.sha256(raw).hexdigest()
            (store.root / "blobs" / digest).write_bytes(raw)
            tensor.ClearField("raw_data")
            tensor.data_location = TensorProto.EXTERNAL
            for key, value in (("location", digest), ("offset", "0"), ("length", str(len(raw)))):
                tensor.external_data.add(key=key, value=value)
    data = model.SerializeToString()
    return models.write(store.root / "blobs" / hashlib.sha256(data).hexdigest(), data)


def job(store: DerivedStore, model: Path, golden: Path | None = None, place: Workplace | None = None) -> DeriveJob:
    place = place or store.workplace()
    return DeriveJob(
        model=model,
        golden=golden,
        joinable=True,
        folder=place.folder,
        graph=place.graph,
        own=store.root / "derived",
        shared=store.root / "blobs",
    )


@dataclass(frozen=True)
class Made:
    """A form in its place, and what the child said of it."""

    report: DeriveReport
    graph: Path


def make(store: DerivedStore, model: Path) -> Made:
    """Derive and add, as the server does."""
    place = store.workplace()
    report = derive(job(store, model, place=place))
    form = Form(recipe=recipe(report.graph.digest), graph=report.graph, own=report.own, shared=report.shared)
    store.add(form, place)
    place.discard()
    return Made(report, graph_of(store.record_path(form.key)))


def conv_net(seed: int = 0, head_seed: int = 0) -> bytes:
    """Weights that the optimiser reorders (Conv), and a head that it leaves alone (Gemm)."""
    body, head = np.random.default_rng(seed), np.random.default_rng(head_seed)
    weights = [
        models.constant("conv", body.standard_normal((64, 16, 3, 3), dtype=np.float32)),
        models.constant("head", head.standard_normal((64, 24), dtype=np.float32)),
        models.constant("bias", head.standard_normal((24,), dtype=np.float32)),
    ]
    nodes = [
        helper.make_node("Conv", ["x", "conv"], ["c"], pads=[1, 1, 1, 1]),
        helper.make_node("Relu", ["c"], ["r"]),
        helper.make_node("GlobalAveragePool", ["r"], ["p"]),
        helper.make_node("Flatten", ["p"], ["f"]),
        helper.make_node("Gemm", ["f", "head", "bias"], ["y"]),
    ]
    inputs = [models.value("x", DType.FP32, ("batch", 16, 8, 8))]
    return models.build(nodes, inputs, [models.value("y", DType.FP32, ("batch", 24))], weights)


def answers(path: Path, inputs: Mapping[str, Array], *, optimised: bool = False) -> Array:
    return Session(path, ModelLimits(), optimised=optimised).run(inputs)["y"]


def test_what_the_optimiser_changed_is_written_and_the_rest_refers_to_the_artifact(store: DerivedStore) -> None:
    model = stored(store, conv_net())
    blobs = {path.name for path in (store.root / "blobs").iterdir()}
    form = make(store, model)
    made = form.report
    (own,), (shared,) = made.own, made.shared
    assert not made.is_packed and made.compared == 1
    assert own.digest not in blobs and shared.digest in blobs
    assert hashlib.sha256((store.root / "derived" / own.digest).read_bytes()).hexdigest() == own.digest
    assert (store.root / "blobs" / shared.digest).stat().st_size == shared.size_bytes == 64 * 24 * 4
    assert made.graph == Blob(hashlib.sha256(form.graph.read_bytes()).hexdigest(), form.graph.stat().st_size)
    locations = {
        entry.value
        for tensor in onnx.load(form.graph, load_external_data=False).graph.initializer
        for entry in tensor.external_data
        if entry.key == "location"
    }
    assert locations == {f"derived/{own.digest}", f"blobs/{shared.digest}"}
    x = {"x": np.random.default_rng(1).standard_normal((3, 16, 8, 8), dtype=np.float32)}
    assert answers(form.graph, x, optimised=True).tobytes() == answers(model, x).tobytes()


def test_a_fine_tune_of_the_head_costs_no_new_tensor(store: DerivedStore) -> None:
    first = make(store, stored(store, conv_net()))
    second = make(store, stored(store, conv_net(head_seed=1)))
    assert first.report.own == second.report.own
    assert first.report.shared != second.report.shared
    assert len([path for path in (store.root / "derived").iterdir() if path.suffix != ".json"]) == 1
    x = {"x": np.random.default_rng(1).standard_normal((3, 16, 8, 8), dtype=np.float32)}
    assert answers(second.graph, x, optimised=True).tobytes() != answers(first.graph, x, optimised=True).tobytes()


def test_matrices_carry_their_packed_form_so_that_sessions_share_it(store: DerivedStore) -> None:
    content = models.mlp(width=64, hidden=96)
    model = stored(store, content)
    form = make(store, model)
    made = form.report
    assert made.is_packed and made.shared == ()
    entries = [
        {entry.key: entry.value for entry in tensor.external_data}
        for tensor in onnx.load(form.graph, load_external_data=False).graph.initializer
        if tensor.external_data
    ]
    assert entries and all("prepacked_0" in each for each in entries)
    for each in entries:
        key, offset, length = each["prepacked_0"].replace("|", ";").split(";")[:3]
        assert key.startswith("MatMul")
        assert int(offset) % 4096 == 0
        assert int(offset) + int(length) == (store.root / each["location"]).stat().st_size
    x = {"x": np.random.default_rng(1).standard_normal((5, 64), dtype=np.float32)}
    assert answers(form.graph, x, optimised=True).tobytes() == answers(model, x).tobytes()


def test_a_model_without_weights_is_derived_too(store: DerivedStore) -> None:
    form = make(store, stored(store, models.affine(3.0)))
    made = form.report
    assert (made.own, made.shared, made.is_packed) == ((), (), False)
    np.testing.assert_array_equal(answers(form.graph, {"x": np.ones((1, 2), np.float32)}, optimised=True), [[3, 3]])


def test_a_model_of_one_file_is_derived_too(store: DerivedStore) -> None:
    made = make(store, stored(store, conv_net(), outside=False)).report
    assert len(made.own) == 2 and made.shared == ()


def test_a_tensor_that_is_there_is_not_written_again_and_a_damaged_one_is_replaced(store: DerivedStore) -> None:
    model = stored(store, conv_net())
    (own,) = make(store, model).report.own
    path = store.root / "derived" / own.digest
    before = path.stat().st_ino
    make(store, model)
    assert path.stat().st_ino == before
    path.chmod(0o600)
    path.write_bytes(bytes(own.size_bytes))
    mapped = path.open("rb")
    assert make(store, model).report.own == (own,)
    assert path.stat().st_ino != before
    assert hashlib.sha256(path.read_bytes()).hexdigest() == own.digest
    assert mapped.read() == bytes(own.size_bytes)  # who had it open keeps what he had
    mapped.close()


def test_a_model_whose_blobs_lie_elsewhere_gets_copies_of_what_was_not_changed(
    store: DerivedStore, tmp_path: Path
) -> None:
    (tmp_path / "fleet" / "blobs").mkdir(parents=True)
    model = stored(DerivedStore(tmp_path / "fleet"), conv_net())
    made = derive(replace(job(store, model), shared=None))
    assert len(made.own) == 2 and made.shared == ()


def test_golden_inputs_are_what_is_compared_in_slices(store: DerivedStore, tmp_path: Path) -> None:
    golden = models.affine_golden(tmp_path / "g.npz", scale=3.0, rows=20, samples=3)
    model = stored(store, models.affine(3.0))
    assert derive(job(store, model, golden)).compared == 4
    assert derive(replace(job(store, model, golden), joinable=False)).compared == 3


def test_a_form_that_answers_otherwise_is_refused(store: DerivedStore) -> None:
    # What ONNX Runtime would have to get wrong: here the answers are of another model.
    one, other = (Session(stored(store, models.affine(scale)), ModelLimits()) for scale in (1.0, 2.0))
    inputs = {"x": np.ones((1, 2), np.float32)}
    derivations._hold(one.signature, one, [inputs], [one.run(inputs)])
    with pytest.raises(InvalidModel, match="the optimised graph gives another 'y'"):
        derivations._hold(one.signature, one, [inputs], [other.run(inputs)])


@pytest.mark.parametrize(
    ("one", "other", "same"),
    [
        (np.array([np.nan]), np.array([np.nan]), True),
        (np.array([0.0]), np.array([-0.0]), False),
        (np.array([1.0]), np.array([1.0], np.float32), False),
        (np.array([1.0]), np.array([[1.0]]), False),
        (np.array(["a"], object), np.array(["a"], object), True),
        (np.array(["a"], object), np.array(["b"], object), False),
    ],
)
def test_answers_are_the_same_to_the_bit_or_not_at_all(one: Array, other: Array, same: bool) -> None:
    assert derivations._same(one, other) is same


def test_a_model_whose_inputs_cannot_be_made_up_has_nothing_to_be_compared_by(store: DerivedStore) -> None:
    model = stored(store, models.identity(DType.FP32, ("batch", 1 << 26)))
    with pytest.raises(InvalidModel, match="nothing could be compared"):
        derive(job(store, model))


async def test_a_child_makes_a_form_that_the_store_takes(store: DerivedStore) -> None:
    place = store.workplace()
    made = await tool.derive(job(store, stored(store, conv_net()), place=place), ToolLimits())
    form = Form(recipe=recipe(), graph=made.graph, own=made.own, shared=made.shared)
    store.add(form, place)
    place.discard()
    store.sweep()
    assert store.is_whole(form)
    assert not list((store.root / "derived").glob(".making-*"))


async def test_a_child_that_cannot_says_why(store: DerivedStore, tmp_path: Path) -> None:
    broken = models.write(tmp_path / "broken.onnx", b"nonsense")
    with pytest.raises(InvalidModel, match="fails at loading the model"):
        await tool.derive(job(store, broken), ToolLimits())
