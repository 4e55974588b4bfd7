"""The server's decoder and the plain one agree on every request: on what is refused, and on what the rest means."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TypeVar

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st
from interlock.envelope import whole_request
from interlock.errors import InvalidInput
from interlock.types import Array, DType, Signature, TensorSpec
from interlock_server.worker.inputs import read_inputs
from interlock_server.worker.shared_memory import SharedMemory

from tests import reference_decoder
from tests.request_mutations import mutated

T = TypeVar("T")
no_shared = SharedMemory(enabled=False).read


@dataclass(frozen=True)
class Drawing:
    """Choices that hypothesis makes, and shrinks."""

    source: st.DataObject

    def integer(self, least: int, most: int) -> int:
        return self.source.draw(st.integers(least, most))

    def one(self, options: Sequence[T]) -> T:
        return options[self.integer(0, len(options) - 1)]

    def data(self, length: int) -> bytes:
        return self.source.draw(st.binary(min_size=length, max_size=length))


def _spec(name: str, dtype: DType, *shape: int | str | None) -> TensorSpec:
    return TensorSpec(name, dtype, shape)


SIGNATURES = [
    *(Signature((_spec("x", dtype, "batch", 2),), ()) for dtype in DType),
    Signature((_spec("x", DType.FP32),), ()),
    Signature((_spec("x", DType.BYTES, None),), ()),
    Signature((_spec("x", DType.INT8, "n", "k"), _spec("y", DType.FP64, "k", "n")), ()),
    Signature((_spec("x", DType.UINT16, 2, 0), _spec("y", DType.BOOL, "n"), _spec("z", DType.BF16, None, None)), ()),
]


def elements(spec: TensorSpec, array: Array) -> tuple[bytes, ...]:
    if spec.dtype is DType.BYTES:
        return tuple(str(item).encode() for item in array.ravel())
    data = np.ascontiguousarray(array).tobytes()
    size = spec.dtype.itemsize or 1
    return tuple(data[start : start + size] for start in range(0, len(data), size))


@settings(max_examples=1500, deadline=None)
@given(source=st.data())
def test_both_decoders_agree(source: st.DataObject) -> None:
    choose = Drawing(source)
    signature = choose.one(SIGNATURES)
    request = mutated(choose, "m", signature)
    try:
        expected = reference_decoder.decode(request, signature)
    except reference_decoder.NotValid as rule:
        try:
            read_inputs(whole_request(request), signature, True, no_shared)
        except InvalidInput as error:
            assert error.violations and all(each.field for each in error.violations)
            return
        raise AssertionError(f"the server took a request that breaks a rule: {rule}") from rule
    read = read_inputs(whole_request(request), signature, True, no_shared)
    for spec, array in zip(signature.inputs, read.arrays, strict=True):
        assert array.shape == expected[spec.name].shape
        assert elements(spec, array) == expected[spec.name].elements
    assert read.typed is (not request.raw_input_contents)
