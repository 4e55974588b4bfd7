from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from interlock.envelope import REQUEST_TENSORS, tensor_spans, whole_request
from interlock.errors import InvalidInput
from interlock.protocols.open_inference_pb2 import InferParameter, ModelInferRequest, ModelInferResponse
from interlock.types import Array, DType, ModelRef, Signature, TensorSpec
from interlock_server.worker.encoding import Encoder, id_as_field
from interlock_server.worker.inputs import read_inputs, read_outputs
from interlock_server.worker.parameters import RequestOptions, SharedSlice, read_options
from interlock_server.worker.patterns import Pattern, Patterns, id_span, pattern_of

Tensor = ModelInferRequest.InferInputTensor
Output = ModelInferRequest.InferRequestedOutputTensor
PAIR = Signature(
    (TensorSpec("x", DType.FP32, ("batch", 2)), TensorSpec("n", DType.INT64, ("batch", "length"))),
    (TensorSpec("y", DType.FP32, ("batch", 2)), TensorSpec("z", DType.INT64, ("batch",))),
)


def no_shared(name: str, part: SharedSlice) -> bytes:
    raise InvalidInput("there is none", [])


def asking(rows: int = 1, length: int = 3, value: float = 1.0, **more: object) -> ModelInferRequest:
    return ModelInferRequest(
        model_name="m",
        inputs=[
            Tensor(name="x", datatype="FP32", shape=[rows, 2]),
            Tensor(name="n", datatype="INT64", shape=[rows, length]),
        ],
        raw_input_contents=[
            np.full((rows, 2), value, np.float32).tobytes(),
            np.full((rows, length), int(value), np.int64).tobytes(),
        ],
        **more,  # type: ignore[arg-type]
    )


def pattern(request: ModelInferRequest, data: bytes | None = None) -> Pattern | None:
    data = request.SerializeToString() if data is None else data
    read, wanted = read_inputs(whole_request(request), PAIR, True, no_shared), read_outputs(request, PAIR)
    return pattern_of(data, whole_request(request), ModelRef("m"), PAIR, read, wanted, read_options(request))


def test_what_was_found_out_of_one_request_holds_for_the_next_of_its_form() -> None:
    patterns, first = Patterns(), asking(rows=2, value=1.0, outputs=[Output(name="z")])
    assert patterns.find(first.SerializeToString()) is None
    found = pattern(first)
    assert found is not None
    patterns.keep(first.SerializeToString(), found)
    data = asking(rows=2, value=7.0, outputs=[Output(name="z")]).SerializeToString()
    known = patterns.find(data)
    assert known is found
    assert known.wanted.positions == (1,)
    assert known.rows == 2
    x, n = known.read(data)
    np.testing.assert_array_equal(x, np.full((2, 2), 7.0, np.float32))
    np.testing.assert_array_equal(n, np.full((2, 3), 7))


@pytest.mark.parametrize(
    ("other", "why"),
    [
        (asking(rows=2), "another length"),
        (asking(length=2), "another length"),
        (asking(model_version="3"), "another version"),
        (asking(outputs=[Output(name="y")]), "only one output"),
        (asking(parameters={"priority": InferParameter(int64_param=1)}), "a parameter"),
    ],
)
def test_a_request_of_another_form_is_not_taken_for_this_one(other: ModelInferRequest, why: str) -> None:
    patterns, first = Patterns(), asking()
    found = pattern(first)
    assert found is not None
    patterns.keep(first.SerializeToString(), found)
    assert patterns.find(other.SerializeToString()) is None, why


@pytest.mark.parametrize("request_id", ["", "r-1"])
def test_requests_of_one_length_are_told_apart_by_every_byte_outside_their_ids_and_tensors(request_id: str) -> None:
    data = asking(id=request_id).SerializeToString()
    found = pattern(asking(id=request_id))
    assert found is not None
    patterns = Patterns()
    patterns.keep(data, found)
    begin, end = id_span(data)
    spans = tensor_spans(data, REQUEST_TENSORS)
    assert spans is not None
    free = {place for span in spans for place in range(span.start, span.end)} | set(range(begin + 2, end))
    for place in range(len(data)):
        changed = data[:place] + bytes([data[place] ^ 1]) + data[place + 1 :]
        assert (patterns.find(changed) is not None) is (place in free), place


def test_an_id_and_what_is_asked_by_parameters_are_known_with_the_form() -> None:
    patterns = Patterns()
    wants = {"priority": InferParameter(int64_param=2), "timeout": InferParameter(int64_param=500_000)}
    first = asking(id="one", parameters=wants)
    found = pattern(first)
    assert found is not None
    patterns.keep(first.SerializeToString(), found)
    for request_id in ("", "2", "a longer id"):
        data = asking(id=request_id, value=3.0, parameters=wants).SerializeToString()
        known = patterns.find(data)
        assert known is found, request_id
        assert known.options == RequestOptions(2, 0.5)
        assert known.id_field(data) == id_as_field(request_id)
        np.testing.assert_array_equal(known.read(data)[0], np.full((1, 2), 3.0, np.float32))
    for request_id in ("é", "x" * 200):
        data = asking(id=request_id, parameters=wants).SerializeToString()
        assert patterns.find(data) is None, "text that is not ASCII, and a long one, are left to protobuf"
        assert pattern(asking(id=request_id, parameters=wants)) is None


TYPED = asking()
del TYPED.raw_input_contents[:]
TYPED.inputs[0].contents.fp32_contents.extend([1.0, 2.0])
TYPED.inputs[1].contents.int64_contents.extend([1, 2, 3])


@pytest.mark.parametrize(
    ("request_", "why"),
    [
        (asking(parameters={"mine": InferParameter(int64_param=1)}), "a caller's own parameter may differ each time"),
        (asking(length=0), "an empty tensor has no place"),
        (TYPED, "typed contents are no view"),
    ],
)
def test_requests_with_parts_of_their_own_have_no_form(request_: ModelInferRequest, why: str) -> None:
    assert pattern(request_) is None, why


def test_fields_after_the_tensors_make_no_form() -> None:
    data = asking().SerializeToString()
    moved = data + ModelInferRequest(model_version="1").SerializeToString()
    assert pattern(ModelInferRequest.FromString(moved), moved) is None


@pytest.mark.parametrize("before", [True, False])
def test_a_request_that_names_two_ids_has_no_form(before: bool) -> None:
    one, two = asking(id="1"), ModelInferRequest(id="1").SerializeToString()
    data = two + one.SerializeToString() if before else one.SerializeToString() + two
    assert pattern(ModelInferRequest.FromString(data), data) is None


def test_forms_are_bounded() -> None:
    patterns = Patterns()
    for length in range(1, 3000):
        request = asking(length=length)
        found = pattern(request)
        assert found is not None
        patterns.keep(request.SerializeToString(), found)
    assert sum(map(len, patterns._by_length.values())) <= 1024
    assert patterns.find(asking(length=2999).SerializeToString()) is not None


REQUESTS = st.builds(
    asking,
    rows=st.integers(1, 4),
    length=st.integers(1, 4),
    value=st.integers(-3, 3).map(float),
    outputs=st.sampled_from([[], [Output(name="y")], [Output(name="z"), Output(name="y")]]),
    id=st.sampled_from(["", "1", "23", "é", "y" * 130]),
    model_version=st.sampled_from(["", "7"]),
    parameters=st.sampled_from([{}, {"priority": InferParameter(int64_param=3)}]),
)


@settings(max_examples=150, deadline=None)
@given(requests=st.lists(REQUESTS, max_size=12), spoil=st.tuples(st.integers(0, 90), st.binary(max_size=3)))
def test_a_known_form_reads_what_parsing_reads(requests: list[ModelInferRequest], spoil: tuple[int, bytes]) -> None:
    patterns = Patterns()
    for request in requests:
        right = request.SerializeToString()
        place, put = spoil
        for data in (right, right[:place] + put + right[place + len(put) :]):
            known = patterns.find(data)
            try:
                parsed = ModelInferRequest.FromString(data)
                read, wanted = read_inputs(whole_request(parsed), PAIR, True, no_shared), read_outputs(parsed, PAIR)
            except Exception:  # noqa: BLE001 - whatever parsing refuses must not be known
                assert known is None, data
                continue
            if known is not None:
                assert (known.wanted, known.rows, known.options) == (wanted, read.rows, read_options(parsed))
                assert known.id_field(data) in (id_as_field(parsed.id), b"\x1a\x00")
                for mine, theirs in zip(known.read(data), read.arrays, strict=True):
                    np.testing.assert_array_equal(mine, theirs)
            else:
                found = pattern_of(data, whole_request(parsed), ModelRef("m"), PAIR, read, wanted, read_options(parsed))
                if found is not None:
                    patterns.keep(data, found)


# --- answers ---


@settings(max_examples=100, deadline=None)
@given(
    rows=st.lists(st.integers(0, 5), min_size=1, max_size=6),
    positions=st.sampled_from([(0, 1), (1, 0), (0,), (1,)]),
    request_id=st.sampled_from(["", "r-1", "é" * 200]),
)
def test_an_answer_is_the_message_that_protobuf_reads(
    rows: list[int], positions: tuple[int, ...], request_id: str
) -> None:
    encoder = Encoder("m", "3", PAIR)
    for count in rows:
        outputs: list[Array] = [np.full((count, 2), 1.5, np.float32), np.arange(count, dtype=np.int64)]
        answer = ModelInferResponse.FromString(encoder.raw(id_as_field(request_id), outputs, positions))
        assert (answer.model_name, answer.model_version, answer.id) == ("m", "3", request_id)
        assert [each.name for each in answer.outputs] == [PAIR.outputs[index].name for index in positions]
        assert [list(each.shape) for each in answer.outputs] == [list(outputs[index].shape) for index in positions]
        assert list(answer.raw_output_contents) == [outputs[index].tobytes() for index in positions]


def test_outputs_that_lie_otherwise_in_memory_go_out_row_by_row() -> None:
    encoder = Encoder("m", "3", PAIR)
    outputs: list[Array] = [np.arange(4, dtype=np.float32).reshape(2, 2).T, np.arange(4, dtype=np.int64)[::2]]
    answer = ModelInferResponse.FromString(encoder.raw(b"", outputs, (0, 1)))
    assert np.frombuffer(answer.raw_output_contents[0], np.float32).tolist() == [0, 2, 1, 3]
    assert np.frombuffer(answer.raw_output_contents[1], np.int64).tolist() == [0, 2]


def test_text_answers_have_skeletons_by_their_size() -> None:
    text = Signature((TensorSpec("x", DType.BYTES, ("n",)),), (TensorSpec("y", DType.BYTES, ("n",)),))
    encoder = Encoder("m", "1", text)
    for words in (["a", "bc"], ["abcd", ""], ["", ""]):
        outputs: list[Array] = [np.array(words, dtype=object)]
        answer = ModelInferResponse.FromString(encoder.raw(b"", outputs, (0,)))
        assert answer.raw_output_contents[0] == b"".join(
            len(word).to_bytes(4, "little") + word.encode() for word in words
        )
