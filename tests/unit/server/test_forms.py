"""Which derived forms snapshots name; no process, no model."""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
from interlock_registry.derived import Form
from interlock_registry.derived_store import DerivedStore
from interlock_registry.manifest import Blob
from interlock_server.control.forms import Forms

from tests.unit.server.builders import bare_spec, snapshot

SPEC = bare_spec()
Forms_ = Callable[..., Forms]


@pytest.fixture
def forms(tmp_path: Path) -> Forms_:
    """Make forms of a store in which there is one for `SPEC` on a CPU."""
    store = DerivedStore(tmp_path)
    recipe = Forms(store, lambda: "CPU", enabled=True).recipe(SPEC)
    assert recipe is not None
    place = store.workplace()
    place.made.write_bytes(b"graph")
    graph = Blob(hashlib.sha256(b"graph").hexdigest(), 5)
    store.add(Form(recipe=recipe, graph=graph, own=(), shared=()), place)
    place.discard()

    def make(provider: Callable[[], str] = lambda: "CPU", *, enabled: bool = True) -> Forms:
        made = Forms(store, provider, enabled=enabled)
        made.take(store.held())
        return made

    return make


def test_a_snapshot_names_the_form_with_the_digest_of_its_record(forms: Forms_) -> None:
    (spec,) = forms().located(snapshot(SPEC)).keep
    assert hashlib.sha256(Path(spec.derived_path).read_bytes()).hexdigest() == spec.derived_sha256


@pytest.mark.parametrize(("provider", "enabled"), [("CUDA", True), ("CPU", False)])
def test_none_is_named_on_another_provider_or_where_it_is_switched_off(
    forms: Forms_, provider: str, enabled: bool
) -> None:
    found = forms(lambda: provider, enabled=enabled)
    assert found.located(snapshot(SPEC)).keep == (SPEC,)
    assert found.recipe(SPEC) is None


def test_a_worker_that_has_not_yet_said_what_it_runs_on_is_told_of_the_form_but_none_is_made(forms: Forms_) -> None:
    found = forms(lambda: "")
    assert found.located(snapshot(SPEC)).keep[0].derived_path
    assert found.recipe(SPEC) is None


def test_a_form_that_comes_or_goes_is_seen_in_the_same_snapshot(forms: Forms_) -> None:
    found = forms()
    same = snapshot(SPEC)
    assert found.located(same) is found.located(same)
    recipe = found.recipe(SPEC)
    assert recipe is not None
    found.forget(recipe.key)
    assert found.located(same).keep == (SPEC,)


def test_snapshots_learn_at_once_that_the_provider_is_another(forms: Forms_) -> None:
    said = ""
    found = forms(lambda: said)
    same = snapshot(SPEC)
    assert found.located(same).keep != (SPEC,)
    said = "CUDA"
    assert found.located(same).keep == (SPEC,)


def test_a_form_that_another_runtime_has_made_is_no_versions_form(tmp_path: Path) -> None:
    store = DerivedStore(tmp_path)
    found = Forms(store, lambda: "CPU", enabled=True)
    recipe = found.recipe(SPEC)
    assert recipe is not None
    place = store.workplace()
    place.made.write_bytes(b"graph")
    graph = Blob(hashlib.sha256(b"graph").hexdigest(), 5)
    other = replace(recipe, runtime="onnxruntime 1.0.0")
    store.add(Form(recipe=other, graph=graph, own=(), shared=()), place)
    place.discard()
    found.take(store.held())
    assert found.get(other) is not None
    assert found.located(snapshot(SPEC)).keep == (SPEC,), (
        "it is loaded as it was registered until its form is made anew"
    )
    assert found.of(SPEC) is None
