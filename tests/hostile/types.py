"""Models whose inputs or outputs are of types that the protocol has no form for."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final

from interlock.types import DType
from onnx import TensorProto, TypeProto, ValueInfoProto, helper

from tests import models
from tests.hostile.cases import Case

TENSORS: Final = (
    *("COMPLEX64", "COMPLEX128", "FLOAT8E4M3FN", "FLOAT8E4M3FNUZ", "FLOAT8E5M2", "FLOAT8E5M2FNUZ", "FLOAT8E8M0"),
    *("INT4", "UINT4", "FLOAT4E2M1", "INT2", "UINT2"),
)
"""Element types of tensors that no datatype of the protocol stands for."""


def cases() -> Iterator[Case]:
    """Yield them: each as an input, sequences and the like as an output too."""
    for name in TENSORS:
        kind = TensorProto.DataType.Value(name)
        value = helper.make_tensor_value_info("x", kind, [2])
        yield Case("type", f"an input of {name}", lambda value=value: _shape_of(value), f"a tensor of {name}")  # type: ignore[misc]
    numbers = helper.make_tensor_type_proto(TensorProto.FLOAT, [2])
    for name, made in (
        ("a sequence", helper.make_sequence_type_proto(numbers)),
        ("an optional", helper.make_optional_type_proto(numbers)),
        ("a map", helper.make_map_type_proto(TensorProto.INT64, numbers)),
        ("a sparse tensor", helper.make_sparse_tensor_type_proto(TensorProto.FLOAT, [2])),
    ):
        yield Case("type", f"{name} as an input", lambda made=made: _aside(made), f"is {name} ")  # type: ignore[misc]
    yield Case("type", "a sequence as an output", _sequence_out, "a sequence of a tensor of FLOAT")
    yield Case("type", "maps as an output (ZipMap)", _zip_map, "a sequence of a map from INT64")


def _shape_of(value: ValueInfoProto) -> bytes:
    node = helper.make_node("Shape", ["x"], ["y"])
    return models.build([node], [value], [models.value("y", DType.INT64, (1,))])


def _aside(kind: TypeProto) -> bytes:
    """An input of that type, which nothing uses."""
    odd = helper.make_value_info("odd", kind)
    node = helper.make_node("Identity", ["x"], ["y"])
    return models.build([node], [models.value("x", DType.FP32, (2,)), odd], [models.value("y", DType.FP32, (2,))])


def _sequence_out() -> bytes:
    kind = helper.make_sequence_type_proto(helper.make_tensor_type_proto(TensorProto.FLOAT, [2]))
    node = helper.make_node("SequenceConstruct", ["x"], ["y"])
    return models.build([node], [models.value("x", DType.FP32, (2,))], [helper.make_value_info("y", kind)])


def _zip_map() -> bytes:
    numbers = helper.make_tensor_type_proto(TensorProto.FLOAT, [])
    kind = helper.make_sequence_type_proto(helper.make_map_type_proto(TensorProto.INT64, numbers))
    node = helper.make_node("ZipMap", ["x"], ["y"], domain="ai.onnx.ml", classlabels_int64s=[0, 1])
    value = models.value("x", DType.FP32, (None, 2))
    return models.build([node], [value], [helper.make_value_info("y", kind)], opsets={"ai.onnx.ml": 3})
