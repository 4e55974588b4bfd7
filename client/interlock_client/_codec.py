"""One ref's requests and answers, with what is the same in all of them worked out once.

Callers send the same shapes over and over and are answered in the same form. What a request says beside its tensors is
kept by their shapes; an answer that says beside its tensors what the last one said is read by where they lie in it.
Everything else goes the plain way (`_infer.py`), which alone decides what is right.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np
from interlock.envelope import REQUEST_TENSORS, RESPONSE_TENSORS, Span, open_request, sealed, tensor_spans
from interlock.tensors import raw_buffer
from interlock.types import ModelRef, Signature

from interlock_client._infer import (
    InferResult,
    Inputs,
    OutputArray,
    Parameters,
    aligned,
    answered,
    infer_request,
    infer_result,
)
from interlock_client._tensor import to_array

_MOST: Final = 64
"""Envelopes that are kept; then all are forgotten and made again."""
_NO_VIEW: Final = frozenset({np.dtype(np.bool_), np.dtype(np.object_)})
"""Their bytes are looked at one by one."""


@dataclass(frozen=True, slots=True)
class _Part:
    """Where one output lies, and what stands between it and the one before."""

    name: str
    before: bytes
    start: int
    count: int
    dtype: np.dtype[np.generic]
    shape: tuple[int, ...]


@dataclass(frozen=True, slots=True)
class _Form:
    """An answer, apart from the bytes in its tensors."""

    length: int
    parts: tuple[_Part, ...]
    model: str
    version: int

    def fits(self, data: bytes) -> bool:
        return len(data) == self.length and all(
            data.startswith(part.before, part.start - len(part.before)) for part in self.parts
        )


class Codec:
    """Writes requests for one ref by one signature, and reads their answers. Safe to share between threads."""

    __slots__ = ("_envelopes", "_form", "_names", "_ref", "_signature")

    def __init__(self, ref: ModelRef, signature: Signature) -> None:
        self._ref: Final = ref
        self._signature: Final = signature
        self._names: Final = frozenset(spec.name for spec in signature.inputs)
        self._envelopes: dict[tuple[object, ...], bytes] = {}
        self._form: _Form | None = None

    def request(
        self, inputs: Inputs, *, outputs: Sequence[str] | None, parameters: Parameters | None, request_id: str
    ) -> bytes:
        """Return a serialised request; raises InvalidInput, InvalidArgument."""
        specs = self._signature.inputs
        if parameters or request_id or outputs or not self._complete(inputs):
            return infer_request(
                self._ref, self._signature, inputs, outputs=outputs, parameters=parameters, request_id=request_id
            )
        arrays = [to_array(spec, inputs[spec.name]) for spec in specs]
        key = tuple([array.shape for array in arrays])
        envelope = self._envelopes.get(key)
        if envelope is None:
            data = infer_request(self._ref, self._signature, inputs, outputs=None, parameters=None, request_id="")
            plain = open_request(data).envelope
            plain.ClearField("raw_input_contents")
            if len(self._envelopes) >= _MOST:
                self._envelopes = {}
            self._envelopes[key] = plain.SerializeToString()
            return data
        buffers = [raw_buffer(array, spec.dtype) for spec, array in zip(specs, arrays, strict=True)]
        return sealed(envelope, REQUEST_TENSORS, buffers)

    def _complete(self, inputs: object) -> bool:
        return isinstance(inputs, Mapping) and inputs.keys() == self._names

    def result(self, data: bytes, trailing: Mapping[str, str]) -> InferResult:
        """Read a serialised answer; raises InternalError where it breaks the protocol."""
        form = self._form
        if form is None or not form.fits(data):
            result = infer_result(data, trailing)
            self._form = _form_of(data, result)
            return result
        arrays: dict[str, OutputArray] = {
            part.name: aligned(np.frombuffer(data, part.dtype, part.count, part.start).reshape(part.shape))
            for part in form.parts
        }
        return answered(arrays, form.model, form.version, "", trailing)


def _form_of(data: bytes, result: InferResult) -> _Form | None:
    """Return the form of an answer; None where others like it have to be looked at as a whole."""
    arrays = result.outputs
    if result.request_id or not arrays or not all(array.size for array in arrays.values()):
        return None
    if any(array.dtype in _NO_VIEW for array in arrays.values()):
        return None
    spans = tensor_spans(data, RESPONSE_TENSORS) or ()
    if len(spans) != len(arrays) or not _last_fields(spans, len(data)):
        return None
    ends = [0, *(span.end for span in spans)]
    parts = tuple(
        _Part(name, data[end : span.start], span.start, array.size, array.dtype, array.shape)
        for end, span, (name, array) in zip(ends, spans, arrays.items(), strict=False)
    )
    return _Form(len(data), parts, result.model, result.version)


def _last_fields(spans: Sequence[Span], length: int) -> bool:
    following = [*(span.field for span in spans[1:]), length]
    return all(span.end == field for span, field in zip(spans, following, strict=True))
