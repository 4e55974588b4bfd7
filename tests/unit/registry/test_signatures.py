from __future__ import annotations

import pytest
from interlock import convert
from interlock.types import DType, Signature, TensorSpec, breaking_changes
from interlock_registry.documents import read_signature, write_signature

X = TensorSpec("x", DType.FP32, ("batch", 2))
K = TensorSpec("k", DType.FP32, (1,))
WIDE = TensorSpec("k", DType.FP64, (1,))
LONG = TensorSpec("k", DType.FP32, (2,))

CHANGES = {
    "nothing": (Signature((X,), (), (K,)), Signature((X,), (), (K,)), ()),
    "a new optional input": (Signature((X,), ()), Signature((X,), (), (K,)), ()),
    "an optional input is gone": (Signature((X,), (), (K,)), Signature((X,), ()), ("input 'k' is gone",)),
    "an optional input must be given": (Signature((X,), (), (K,)), Signature((X, K), ()), ("input 'k' is new",)),
    "an input may be left out": (Signature((X, K), ()), Signature((X,), (), (K,)), ()),
    "another datatype": (Signature((X,), (), (K,)), Signature((X,), (), (WIDE,)), ("input 'k' is FP64, was FP32",)),
    "another size": (
        Signature((X,), (), (K,)),
        Signature((X,), (), (LONG,)),
        ("input 'k' dimension 0 is fixed at 2, was 1",),
    ),
}


@pytest.mark.parametrize("case", CHANGES)
def test_what_becomes_of_an_optional_input_breaks_callers_or_does_not(case: str) -> None:
    serving, candidate, found = CHANGES[case]
    assert breaking_changes(serving, candidate) == found


@pytest.mark.parametrize("signature", [Signature((X,), (X,)), Signature((X,), (X,), (K,))])
def test_a_signature_comes_back_from_its_document_and_from_its_message(signature: Signature) -> None:
    assert read_signature(write_signature(signature)) == signature
    assert convert.from_signature(convert.signature(signature)) == signature


def test_a_signature_without_optional_inputs_is_written_as_it_always_was() -> None:
    assert write_signature(Signature((), ())) == '{"inputs":[],"outputs":[]}'
