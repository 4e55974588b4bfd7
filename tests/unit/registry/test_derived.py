from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from interlock.errors import DataLoss
from interlock_registry.derived import Form, Held, Recipe, bytes_of, cpu_features, evictions, why_useless
from interlock_registry.manifest import Blob

RECIPE = Recipe(graph_sha256="a" * 64, runtime="onnxruntime 1.31.1", cpu="x86_64-1", provider="CPU")


def blob(name: str, size_bytes: int = 10) -> Blob:
    return Blob(name * 64, size_bytes)


def held(name: str, used_at: float, *own: Blob, shared: tuple[Blob, ...] = ()) -> Held:
    return Held(Form(recipe=recipe(name), graph=Blob(name * 64, 1), own=own, shared=shared), used_at)


def recipe(name: str) -> Recipe:
    return replace(RECIPE, graph_sha256=name.encode().hex() * 32)


def keys(names: Iterable[str]) -> list[str]:
    return [recipe(name).key for name in names]


@pytest.mark.parametrize(
    "other",
    [
        replace(RECIPE, graph_sha256="b" * 64),
        replace(RECIPE, runtime="onnxruntime 1.32.0"),
        replace(RECIPE, cpu="x86_64-2"),
        replace(RECIPE, provider="CUDA"),
        replace(RECIPE, max_folded_bytes=1),
        replace(RECIPE, layout=0),
    ],
)
def test_whatever_a_form_depends_on_makes_another_key(other: Recipe) -> None:
    assert other.key != RECIPE.key == replace(RECIPE).key


def test_a_form_comes_back_from_its_record() -> None:
    form = held("a", 0, blob("b"), shared=(blob("c"),)).form
    assert Form.from_json(form.to_json()) == form


RECORD = held("a", 0, blob("b")).form.to_json()


@pytest.mark.parametrize(
    "text",
    [
        "",
        "[]",
        "{}",
        RECORD.replace('"recipe"', '"key"'),
        RECORD.replace('"layout":2', '"layout":"2"'),
        RECORD.replace('"size_bytes":10', '"size_bytes":-1'),
        RECORD.replace("b" * 64, "../" + "b" * 61),
    ],
)
def test_a_record_that_is_none_is_refused(text: str) -> None:
    assert text != RECORD
    with pytest.raises(DataLoss, match="the record of a derived form is damaged"):
        Form.from_json(text)


# --- what goes because nobody will load it ---


@pytest.mark.parametrize(
    ("changed", "why"),
    [
        (RECIPE, ""),
        (replace(RECIPE, graph_sha256="b" * 64), "of no version that is not deleted"),
        (replace(RECIPE, runtime="onnxruntime 1.30.0"), "made by onnxruntime 1.30.0, installed is onnxruntime 1.31.1"),
        (replace(RECIPE, cpu="x86_64-2"), "made for another kind of processor"),
        (replace(RECIPE, layout=1), "made by another release of this program"),
        (replace(RECIPE, provider="CUDA"), ""),
    ],
)
def test_a_form_is_of_no_use_where(changed: Recipe, why: str) -> None:
    form = Form(recipe=changed, graph=blob("9"), own=(), shared=())
    live = frozenset({RECIPE.graph_sha256})
    assert why_useless(form, runtime=RECIPE.runtime, cpu=RECIPE.cpu, live_graphs=live) == why


# --- what goes when there is no room ---

OLD, MIDDLE, NEW = held("1", 1, blob("a")), held("2", 2, blob("b")), held("3", 3, blob("c"))


@pytest.mark.parametrize(
    ("kept", "cap_bytes", "dropped"),
    [
        ("", 33, ""),
        ("", 32, "1"),
        ("", 11, "12"),
        ("", 0, "123"),
        ("1", 32, "2"),
        ("1", 11, "23"),
        ("12", 11, "3"),
        ("123", 0, ""),
    ],
)
def test_the_longest_unused_goes_first_and_what_is_kept_never(kept: str, cap_bytes: int, dropped: str) -> None:
    assert evictions([NEW, OLD, MIDDLE], frozenset(keys(kept)), cap_bytes) == tuple(keys(dropped))


def test_a_tensor_of_two_forms_counts_once_and_is_room_only_when_both_are_gone() -> None:
    common = blob("f", 100)
    one, two, three = held("1", 1, common), held("2", 2, common), held("3", 3, blob("c", 50))
    assert bytes_of([one, two, three]) == 153
    assert evictions([one, two, three], frozenset(), 152) == (one.form.key,)
    assert evictions([one, two, three], frozenset(), 151) == (one.form.key, two.form.key)
    assert evictions([one, two, three], frozenset({two.form.key}), 120) == (one.form.key, three.form.key)


def test_the_artifacts_own_tensors_take_no_room() -> None:
    assert bytes_of([held("1", 1, shared=(blob("a", 1000),))]) == 1


@st.composite
def stores(draw: st.DrawFn) -> list[Held]:
    blobs = st.lists(st.sampled_from([blob("a", 5), blob("b", 7), blob("c", 11), blob("d", 13)]), max_size=4)
    return [
        held(name, draw(st.floats(0, 10)), *draw(blobs)) for name in draw(st.sets(st.sampled_from("123456789"))) if name
    ]


@given(stores(), st.sets(st.sampled_from("123456789")), st.integers(0, 60))
def test_the_rest_fits_or_is_all_kept_and_no_more_goes_than_must(
    found: list[Held], kept_names: set[str], cap_bytes: int
) -> None:
    kept = frozenset(keys(kept_names))
    dropped = evictions(found, kept, cap_bytes)
    rest = [each for each in found if each.form.key not in dropped]
    assert not kept & set(dropped)
    assert bytes_of(rest) <= cap_bytes or all(each.form.key in kept for each in rest)
    if dropped:  # without the last one it did not fit
        before = [each for each in found if each.form.key not in dropped[:-1]]
        assert bytes_of(before) > cap_bytes


# --- the processor ---


@pytest.fixture
def cpuinfo(tmp_path: Path) -> Iterator[Path]:
    path = tmp_path / "cpuinfo"
    path.write_text(
        "processor\t: 0\nmodel name\t: one\ncpu MHz\t: 1\nflags\t: fma avx2\n\nprocessor\t: 1\nflags\t: x\n"
    )
    yield path


def test_the_same_instructions_have_the_same_name_whatever_the_clock_and_order(cpuinfo: Path) -> None:
    name = cpu_features(cpuinfo)
    cpuinfo.write_text("processor\t: 0\nmodel name\t: two\ncpu MHz\t: 2\nflags\t: avx2 fma\n\n")
    assert cpu_features(cpuinfo) == name
    cpuinfo.write_text("processor\t: 0\nflags\t: avx2 fma avx512f\n\n")
    assert cpu_features(cpuinfo) != name


def test_a_machine_that_does_not_tell_has_a_name_too(tmp_path: Path) -> None:
    assert cpu_features(tmp_path / "none").endswith("-unknown")
