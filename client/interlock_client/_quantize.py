"""The flow of quantizing: build the request, read the answer. No I/O."""

from __future__ import annotations

import math
from collections.abc import Mapping

from interlock import convert
from interlock import model as m
from interlock.convert_quantization import from_quantization
from interlock.errors import InvalidArgument
from interlock.quantization import Quantized, form_named
from interlock.types import ModelRef
from interlock.v1 import admin_pb2 as pb

from interlock_client._flow import Flow, ask


def quantize(
    ref: ModelRef,
    to: str,
    *,
    atol: float | None,
    rtol: float | None,
    note: str,
    tags: Mapping[str, str] | None,
    mutation: m.MutationOptions,
) -> Flow[Quantized]:
    """Make a narrower form of a version."""
    for name, value in (("atol", atol), ("rtol", rtol)):
        if value is not None and not (math.isfinite(value) and value >= 0):
            raise InvalidArgument(f"{name} must be a number from 0, got {value!r}")
    request = pb.QuantizeVersionRequest(
        ref=str(ref),
        to=form_named(to).value,
        atol=atol,
        rtol=rtol,
        note=note,
        tags=dict(tags or {}),
        options=convert.options(mutation),
    )
    answer = yield from ask("QuantizeVersion", request, pb.QuantizeVersionResponse)
    return Quantized(convert.from_version(answer.message.version), from_quantization(answer.message.report))
