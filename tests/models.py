"""Tiny ONNX models and their golden samples, for any test: built by hand, so that no test needs torch for them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import pairwise
from pathlib import Path
from typing import Final

import numpy as np
import onnx
from interlock import golden
from interlock.golden import DEFAULT_TOLERANCES, Golden, Sample, Tolerance
from interlock.types import Array, Dim, DType
from onnx import TensorProto, helper, numpy_helper

IR_VERSION: Final = 10
OPSET: Final = 20
ONNX_TYPES: Final[Mapping[DType, int]] = {
    DType.BOOL: TensorProto.BOOL,
    DType.INT8: TensorProto.INT8,
    DType.INT16: TensorProto.INT16,
    DType.INT32: TensorProto.INT32,
    DType.INT64: TensorProto.INT64,
    DType.UINT8: TensorProto.UINT8,
    DType.UINT16: TensorProto.UINT16,
    DType.UINT32: TensorProto.UINT32,
    DType.UINT64: TensorProto.UINT64,
    DType.FP16: TensorProto.FLOAT16,
    DType.BF16: TensorProto.BFLOAT16,
    DType.FP32: TensorProto.FLOAT,
    DType.FP64: TensorProto.DOUBLE,
    DType.BYTES: TensorProto.STRING,
}


def value(name: str, dtype: DType, shape: Sequence[Dim]) -> onnx.ValueInfoProto:
    """An input or output of a graph."""
    return helper.make_tensor_value_info(name, ONNX_TYPES[dtype], list(shape))


def build(
    nodes: Sequence[onnx.NodeProto],
    inputs: Sequence[onnx.ValueInfoProto],
    outputs: Sequence[onnx.ValueInfoProto],
    initializers: Sequence[onnx.TensorProto] = (),
    *,
    functions: Sequence[onnx.FunctionProto] = (),
    opsets: Mapping[str, int] | None = None,
    ir_version: int = IR_VERSION,
) -> bytes:
    """An ONNX file of these parts."""
    graph = helper.make_graph(list(nodes), "test", list(inputs), list(outputs), list(initializers))
    imports = [helper.make_opsetid(domain, version) for domain, version in ({"": OPSET} | dict(opsets or {})).items()]
    model = helper.make_model(graph, opset_imports=imports, ir_version=ir_version, functions=list(functions))
    return model.SerializeToString()


def affine(scale: float = 1.0, bias: float = 0.0, width: int = 2, rows: Dim = "batch") -> bytes:
    """x FP32[rows, width] → y = scale * x + bias. Its answers name the version that gave them."""
    return build(
        [helper.make_node("Mul", ["x", "scale"], ["scaled"]), helper.make_node("Add", ["scaled", "bias"], ["y"])],
        [value("x", DType.FP32, (rows, width))],
        [value("y", DType.FP32, (rows, width))],
        [constant("scale", np.asarray(scale, np.float32)), constant("bias", np.asarray(bias, np.float32))],
    )


def identity(dtype: DType, shape: Sequence[Dim] = ("batch", 2)) -> bytes:
    """x → y = x."""
    node = helper.make_node("Identity", ["x"], ["y"])
    return build([node], [value("x", dtype, shape)], [value("y", dtype, shape)])


def mlp(width: int = 16, hidden: int = 32, classes: int = 10, layers: int = 2, seed: int = 0) -> bytes:
    """x FP32[batch, width] → y FP32[batch, classes], by `layers` hidden layers: make them wide for a big file."""
    generator = np.random.default_rng(seed)
    sizes = [width, *([hidden] * layers), classes]
    nodes: list[onnx.NodeProto] = []
    weights: list[onnx.TensorProto] = []
    current = "x"
    for index, (rows, columns) in enumerate(pairwise(sizes)):
        scale = np.float32(1 / np.sqrt(rows))
        weights.append(constant(f"w{index}", generator.standard_normal((rows, columns), dtype=np.float32) * scale))
        last = index == len(sizes) - 2
        product = "y" if last else f"h{index}"
        nodes.append(helper.make_node("MatMul", [current, f"w{index}"], [product]))
        if not last:
            nodes.append(helper.make_node("Relu", [product], [f"a{index}"]))
            current = f"a{index}"
    return build(
        nodes, [value("x", DType.FP32, ("batch", width))], [value("y", DType.FP32, ("batch", classes))], weights
    )


def constant(name: str, array: Array) -> onnx.TensorProto:
    """An initializer."""
    return numpy_helper.from_array(array, name)


def write(path: Path, model: bytes) -> Path:
    """Write a model file and return its path."""
    path.write_bytes(model)
    return path


def affine_golden(
    path: Path, scale: float = 1.0, bias: float = 0.0, width: int = 2, rows: int = 20, samples: int = 2
) -> Path:
    """Write the golden file of `affine(scale, bias, width)` and return its path."""
    generator = np.random.default_rng(7)
    batches = [generator.standard_normal((rows, width), dtype=np.float32) for _ in range(samples)]
    return golden_file(path, [({"x": x}, {"y": (x * np.float32(scale) + np.float32(bias))}) for x in batches])


def golden_file(
    path: Path,
    samples: Sequence[tuple[Mapping[str, Array], Mapping[str, Array]]],
    *,
    dtypes: Mapping[str, DType] | None = None,
    tolerances: Mapping[str, Tolerance] = DEFAULT_TOLERANCES,
) -> Path:
    """Write a golden file of pairs of inputs and outputs; FP32 where `dtypes` ("in/x") says nothing else."""
    names = [f"in/{name}" for name in samples[0][0]] + [f"out/{name}" for name in samples[0][1]]
    kinds = {name: (dtypes or {}).get(name, DType.FP32) for name in names}
    found = [Sample(dict(inputs), dict(outputs)) for inputs, outputs in samples]
    golden.write(Golden(found, kinds, tolerances, {"made_by": "tests"}), path)
    return path
