from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st
from interlock import errors
from interlock.errors import DataLoss, InterlockError, Violation, by_reason
from interlock.golden import Tolerance
from interlock.model import NonFinite, ServingConfig
from interlock.types import DType, Signature, TensorSpec
from interlock_registry import documents

dims = st.one_of(st.none(), st.integers(0, 2**40), st.text(min_size=1, max_size=5))
specs = st.builds(
    TensorSpec, name=st.text(max_size=10), dtype=st.sampled_from(DType), shape=st.lists(dims, max_size=4).map(tuple)
)
signatures = st.builds(
    Signature, inputs=st.lists(specs, max_size=3).map(tuple), outputs=st.lists(specs, max_size=3).map(tuple)
)


@given(signatures)
def test_a_signature_is_read_as_it_was_written(signature: Signature) -> None:
    assert documents.read_signature(documents.write_signature(signature)) == signature


@given(
    st.builds(
        ServingConfig,
        st.integers(0, 4096),
        st.integers(0, 10**6),
        st.integers(0, 10**6),
        non_finite=st.sampled_from(NonFinite),
    )
)
def test_a_config_is_read_as_it_was_written(config: ServingConfig) -> None:
    assert documents.read_config(documents.write_config(config)) == config


finite = st.floats(0, 1e9)


@given(st.dictionaries(st.text(max_size=8), st.builds(Tolerance, atol=finite, rtol=finite), max_size=3))
def test_tolerances_are_read_as_they_were_written(tolerances: dict[str, Tolerance]) -> None:
    assert documents.read_tolerances(documents.write_tolerances(tolerances)) == tolerances


@given(st.dictionaries(st.text(max_size=8), st.text(max_size=8), max_size=3))
def test_tags_are_read_as_they_were_written(tags: dict[str, str]) -> None:
    assert documents.read_tags(documents.write_tags(tags)) == tags


@pytest.mark.parametrize("cls", by_reason().values(), ids=lambda cls: cls.__name__)
def test_every_refusal_comes_back_as_itself(cls: type[InterlockError]) -> None:
    refusal = cls.rebuild("no, because", facts={"model": "m"}, violations=[Violation("alias", "must be short")])
    again = documents.read_refusal(documents.write_refusal(refusal))
    assert type(again) is cls
    assert (again.message, again.facts, again.violations) == (refusal.message, refusal.facts, refusal.violations)


def test_a_refusal_keeps_what_its_own_constructor_said() -> None:
    refusal = errors.NotInStack("m", "stable", 7, (1, 2))
    assert str(documents.read_refusal(documents.write_refusal(refusal))) == str(refusal)


@pytest.mark.parametrize("text", ["", "[]", "null", "{", '{"inputs":[{"name":"x","dtype":"FP99","shape":[]}]}', "7"])
def test_damaged_text_is_data_loss_wherever_it_is(text: str) -> None:
    readers = (
        documents.read_signature,
        documents.read_config,
        documents.read_refusal,
        documents.VersionAnswer.from_json,
    )
    for read in readers:
        with pytest.raises(DataLoss, match="damaged"):
            read(text)


@pytest.mark.parametrize("shape", ["7", "[true]", "[1.5]", "[[]]"])
def test_a_shape_holds_sizes_symbols_and_nulls_alone(shape: str) -> None:
    with pytest.raises(DataLoss):
        documents.read_signature('{"inputs":[{"name":"x","dtype":"FP32","shape":' + shape + '}],"outputs":[]}')
