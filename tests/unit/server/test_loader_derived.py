"""The loader and the derived form: taken when it is whole, and never a reason to fail."""

from __future__ import annotations

import hashlib
import os
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from interlock.model import LoadedFrom, ServableState
from interlock.types import Array
from interlock_registry.derived import Form, Recipe
from interlock_registry.derived_store import DerivedStore, Workplace, files_of, graph_of, root_of
from interlock_registry.manifest import Blob
from interlock_registry.tool import DeriveJob
from interlock_registry.tool.derivation import derive
from interlock_server.snapshot import VersionSpec
from interlock_server.worker.engine import Engine, Run
from interlock_server.worker.loader import Loader
from interlock_server.worker.servable import Servable

from tests import models
from tests.unit.server.builders import version_spec

Damage = Callable[[VersionSpec], None]
RECIPE = Recipe(graph_sha256="d" * 64, runtime="onnxruntime 1.31.1", cpu="x86_64-1", provider="CPU")


def with_form(spec: VersionSpec, store: DerivedStore) -> VersionSpec:
    """A spec with the form that the model tool makes of it."""
    place = store.workplace()
    made = derive(
        DeriveJob(
            model=Path(spec.graph_path),
            golden=None,
            joinable=True,
            folder=place.folder,
            graph=place.graph,
            own=store.root / "derived",
            shared=None,
        )
    )
    return named(spec, store, place, Form(recipe=RECIPE, graph=made.graph, own=made.own, shared=made.shared))


def named(spec: VersionSpec, store: DerivedStore, place: Workplace, form: Form) -> VersionSpec:
    store.add(form, place)
    place.discard()
    return replace(spec, derived_path=str(store.record_path(form.key)), derived_sha256=form.record_sha256)


def with_graph(spec: VersionSpec, store: DerivedStore, data: bytes) -> VersionSpec:
    """A spec whose form is that graph and nothing else."""
    place = store.workplace()
    place.made.write_bytes(data)
    graph = Blob(hashlib.sha256(data).hexdigest(), len(data))
    return named(spec, store, place, Form(recipe=RECIPE, graph=graph, own=(), shared=()))


def graph(spec: VersionSpec) -> Path:
    return graph_of(Path(spec.derived_path))


def tensors(spec: VersionSpec) -> list[Path]:
    record = Path(spec.derived_path)
    return [path for _, path in files_of(root_of(record), Form.from_json(record.read_text()))[1:]]


def load(engine: Engine, spec: VersionSpec) -> Servable:
    servable = Servable(spec)
    loader = Loader(engine)
    loader.load(servable)
    loader.close()
    return servable


@pytest.fixture
def spec(tmp_path: Path) -> VersionSpec:
    """A version with tensors outside of its derived graph."""
    said = version_spec(tmp_path).signature
    inputs = (replace(said.inputs[0], shape=("batch", 64)),)
    outputs = (replace(said.outputs[0], shape=("batch", 10)),)
    made = version_spec(
        tmp_path,
        content=models.mlp(width=64, hidden=64),
        said=replace(said, inputs=inputs, outputs=outputs),
    )
    return with_form(made, DerivedStore(tmp_path))


def ask(engine: Engine, spec: VersionSpec, *, optimised: bool) -> Array:
    path = str(graph(spec)) if optimised else spec.graph_path
    session = engine.load(path, spec.signature, optimised=optimised)
    return session.run([np.random.default_rng(0).standard_normal((5, 64), dtype=np.float32)], Run())[0]


def test_the_derived_form_is_loaded_and_answers_as_the_artifact_does(engine: Engine, spec: VersionSpec) -> None:
    servable = load(engine, spec)
    assert (servable.state, servable.loaded_from) == (ServableState.READY, LoadedFrom.DERIVED)
    assert (servable.status().loaded_from, servable.status().reason) == (LoadedFrom.DERIVED, "")
    assert ask(engine, spec, optimised=True).tobytes() == ask(engine, spec, optimised=False).tobytes()
    servable.drain(1.0)


def test_a_version_without_a_form_says_that_it_is_of_the_artifact(engine: Engine, tmp_path: Path) -> None:
    servable = load(engine, version_spec(tmp_path))
    assert (servable.state, servable.loaded_from) == (ServableState.READY, LoadedFrom.ARTIFACT)
    servable.drain(1.0)


def test_a_version_that_is_suspected_of_a_crash_is_loaded_from_the_artifact(engine: Engine, spec: VersionSpec) -> None:
    servable = load(engine, replace(spec, suspect=True))
    assert (servable.state, servable.loaded_from) == (ServableState.READY, LoadedFrom.ARTIFACT)
    servable.drain(1.0)


def lose_graph(spec: VersionSpec) -> None:
    graph(spec).unlink()


def lose_tensor(spec: VersionSpec) -> None:
    tensors(spec)[0].unlink()


def lose_record(spec: VersionSpec) -> None:
    Path(spec.derived_path).unlink()


def flip(path: Path) -> None:
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 1
    path.chmod(0o600)
    path.write_bytes(data)


def flip_record(spec: VersionSpec) -> None:
    flip(Path(spec.derived_path))


def flip_graph(spec: VersionSpec) -> None:
    flip(graph(spec))


def flip_tensor(spec: VersionSpec) -> None:
    flip(tensors(spec)[-1])


def cut_tensor(spec: VersionSpec) -> None:
    tensors(spec)[0].chmod(0o600)
    os.truncate(tensors(spec)[0], 100)


@pytest.mark.parametrize(
    "damage", [lose_record, lose_graph, lose_tensor, flip_record, flip_graph, flip_tensor, cut_tensor]
)
def test_a_damaged_form_is_not_used_and_the_version_is_loaded_all_the_same(
    engine: Engine, spec: VersionSpec, damage: Damage, caplog: pytest.LogCaptureFixture
) -> None:
    damage(spec)
    servable = load(engine, spec)
    assert (servable.state, servable.loaded_from) == (ServableState.READY, LoadedFrom.FALLBACK)
    assert "its derived form is not used: " in caplog.text and "made again" in caplog.text
    assert servable.status().reason.startswith("its derived form is not used: ")
    servable.drain(1.0)


def test_a_form_that_is_no_model_is_not_used(
    engine: Engine, spec: VersionSpec, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    servable = load(engine, with_graph(spec, DerivedStore(tmp_path), b"nonsense"))
    assert (servable.state, servable.loaded_from) == (ServableState.READY, LoadedFrom.FALLBACK)
    assert "ONNX Runtime cannot load it" in caplog.text
    servable.drain(1.0)


def test_a_form_that_misses_the_golden_samples_is_not_used(engine: Engine, tmp_path: Path) -> None:
    golden = models.affine_golden(tmp_path / "g.npz", scale=2.0)
    spec = version_spec(tmp_path, 2, golden=golden)
    servable = load(engine, with_graph(spec, DerivedStore(tmp_path), models.affine(scale=3.0)))
    assert (servable.state, servable.loaded_from) == (ServableState.READY, LoadedFrom.FALLBACK)
    batcher = servable.lease()
    assert batcher is not None
    servable.release()
    servable.drain(1.0)


def test_a_version_of_which_nothing_is_whole_fails_with_what_is_wrong_with_the_artifact(
    engine: Engine, spec: VersionSpec
) -> None:
    lose_graph(spec)
    Path(spec.graph_path).unlink()
    servable = load(engine, spec)
    assert servable.state is ServableState.FAILED
    assert servable.reason.startswith(f"blob {spec.graph_sha256} cannot be read")


def test_a_file_is_hashed_before_its_first_load_only(engine: Engine, spec: VersionSpec) -> None:
    loader = Loader(engine)
    first, second = Servable(spec), Servable(spec)
    loader.load(first)
    assert first.loaded_from is LoadedFrom.DERIVED
    # Whoever can write here could as well do so after the check; what matters is that no load reads all again.
    flip_tensor(spec)
    loader.load(second)
    loader.close()
    assert second.state is ServableState.READY
    assert "is corrupt" not in second.fell_back  # ONNX Runtime may see it, or not: it compares packed weights
    third = load(engine, spec)
    assert "is corrupt" in third.fell_back
    for each in (first, second, third):
        each.drain(1.0)


def test_a_session_s_own_threads_keep_the_priority_that_the_one_who_makes_it_gives_up(
    tmp_path: Path, engine: Engine
) -> None:
    wide = Engine("cpu", 3)
    spec = version_spec(tmp_path)
    before = {int(thread) for thread in os.listdir("/proc/self/task")}
    ordinary = os.getpriority(os.PRIO_PROCESS, 0)
    found: list[int] = []

    def low() -> None:
        threads = {int(thread) for thread in os.listdir("/proc/self/task")} - before - {threading.get_native_id()}
        found.append(len(threads))
        os.setpriority(os.PRIO_PROCESS, threading.get_native_id(), 19)

    def make() -> None:
        session = wide.load(spec.graph_path, spec.signature, then=low)
        made = {int(thread) for thread in os.listdir("/proc/self/task")} - before - {threading.get_native_id()}
        priorities = {os.getpriority(os.PRIO_PROCESS, thread) for thread in made}
        found.append(len(made))
        assert priorities == {ordinary}
        assert os.getpriority(os.PRIO_PROCESS, threading.get_native_id()) == 19
        del session

    with ThreadPoolExecutor(1) as once:
        once.submit(make).result(30.0)
    assert found[0] == found[1] >= 2  # ONNX Runtime starts its threads first: see engine._Between
