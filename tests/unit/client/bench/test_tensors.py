"""Requests from a signature, from what is given and from chance."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
import pytest
from interlock.errors import InvalidInput
from interlock.protocols import open_inference_pb2 as pb
from interlock.types import DType, ModelRef, Signature, TensorSpec
from interlock_client.bench.tensors import questions

REF = ModelRef.parse("m")
TEXT = Signature((TensorSpec("ids", DType.INT64, (None, None)), TensorSpec("x", DType.FP32, (None, 4))), ())
FIXED = Signature((TensorSpec("x", DType.FP32, (2, 3)),), ())


def sent(
    signature: Signature,
    given: Mapping[str, object] | None = None,
    shapes: Mapping[str, Sequence[int]] | None = None,
    batch: int | None = None,
) -> list[pb.ModelInferRequest]:
    made = questions(REF, signature, given or {}, shapes or {}, batch=batch, seed=1)
    return [pb.ModelInferRequest.FromString(each) for each in made.requests]


def test_random_requests_differ_and_are_the_same_again_for_the_same_seed() -> None:
    first, again = sent(FIXED), sent(FIXED)
    assert first == again
    assert len({request.raw_input_contents[0] for request in first}) == len(first) == 16


def test_the_batch_is_the_first_dimension_where_that_is_dynamic() -> None:
    shapes = [list(each.shape) for each in sent(TEXT, shapes={"ids": [5, 7]}, batch=5)[0].inputs]
    assert shapes == [[5, 7], [5, 4]]
    assert list(sent(FIXED, batch=9)[0].inputs[0].shape) == [2, 3]


def test_what_is_drawn_has_as_many_rows_as_what_is_given() -> None:
    found = questions(REF, TEXT, {"ids": np.zeros((3, 2), np.int64)}, {}, batch=None, seed=0)
    assert found.rows == 3
    assert found.shapes == ("ids INT64[3, 2]", "x FP32[3, 4]")


def test_given_inputs_alone_make_one_request() -> None:
    (request,) = sent(FIXED, {"x": [[1, 2, 3], [4, 5, 6]]})
    assert np.frombuffer(request.raw_input_contents[0], np.float32).tolist() == [1, 2, 3, 4, 5, 6]


@pytest.mark.parametrize("dtype", list(DType))
def test_every_datatype_can_be_drawn(dtype: DType) -> None:
    request = sent(Signature((TensorSpec("x", dtype, (None, 3)),), ()))[0]
    assert request.inputs[0].datatype == dtype.value
    if dtype.value.startswith(("INT", "UINT")):
        assert set(np.frombuffer(request.raw_input_contents[0], dtype.numpy).tolist()) <= {0, 1}


def test_long_requests_are_fewer() -> None:
    assert len(sent(Signature((TensorSpec("x", DType.FP32, (3_000_000,)),), ()))) == 2
    assert len(sent(Signature((TensorSpec("x", DType.FP32, (9_000_000,)),), ()))) == 1


@pytest.mark.parametrize(
    ("given", "shapes", "why"),
    [
        ({}, {}, r"input 'ids' \(ids INT64\[\?,\?\]\) has dynamic sizes besides the batch.*--shape ids=1,16"),
        ({}, {"y": [1]}, "m:stable has no input 'y'; it takes 'ids', 'x'"),
        ({"ids": [[1]]}, {"ids": [1, 1]}, "'ids' has both a value and a shape"),
        ({"ids": [[1]]}, {"x": [1, 5]}, "dimension 1 must be 4"),
        ({"z": [[1]], "ids": [[1]]}, {}, "there is no 'z'"),
    ],
)
def test_what_does_not_fit_is_refused_in_words(
    given: Mapping[str, object], shapes: Mapping[str, Sequence[int]], why: str
) -> None:
    with pytest.raises(InvalidInput, match=why):
        sent(TEXT, given, shapes)
