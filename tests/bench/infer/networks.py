"""A Transformer encoder with random weights, built node by node."""

from __future__ import annotations

from typing import Any, Final

import numpy as np
import onnx
from interlock.types import DType
from onnx import TensorProto, helper

from tests import models

TOKENS: Final = 64
WIDTH: Final = 256
_HEADS: Final = 4
_INNER: Final = 1024


def encoder(layers: int = 6) -> bytes:
    """x FP32[batch, 64, 256] → y of the same shape, by `layers` layers of attention and a perceptron, norms first."""
    random = np.random.default_rng(0)
    nodes: list[onnx.NodeProto] = []
    weights: list[TensorProto] = [
        models.constant("split", np.array([0, TOKENS, _HEADS, WIDTH // _HEADS], np.int64)),
        models.constant("whole", np.array([0, TOKENS, WIDTH], np.int64)),
        models.constant("scale", np.asarray(1 / np.sqrt(WIDTH // _HEADS), np.float32)),
        models.constant("one", np.ones(WIDTH, np.float32)),
        models.constant("zero", np.zeros(WIDTH, np.float32)),
    ]

    def add(kind: str, inputs: list[str], output: str, **attributes: Any) -> str:
        nodes.append(helper.make_node(kind, inputs, [output], **attributes))
        return output

    def matrix(source: str, name: str, rows: int, columns: int) -> str:
        array = random.standard_normal((rows, columns), np.float32) / np.float32(np.sqrt(rows))
        weights.append(models.constant(f"{name}.w", array))
        return add("MatMul", [source, f"{name}.w"], name)

    current = "x"
    for layer in range(layers):
        p = f"layer{layer}"
        normed = add("LayerNormalization", [current, "one", "zero"], f"{p}.norm1")
        heads = {
            part: add("Reshape", [matrix(normed, f"{p}.{part}", WIDTH, WIDTH), "split"], f"{p}.{part}.heads")
            for part in "qkv"
        }
        q = add("Transpose", [heads["q"]], f"{p}.q.t", perm=[0, 2, 1, 3])
        k = add("Transpose", [heads["k"]], f"{p}.k.t", perm=[0, 2, 3, 1])
        v = add("Transpose", [heads["v"]], f"{p}.v.t", perm=[0, 2, 1, 3])
        scores = add("Mul", [add("MatMul", [q, k], f"{p}.scores"), "scale"], f"{p}.scaled")
        mixed = add("MatMul", [add("Softmax", [scores], f"{p}.soft", axis=-1), v], f"{p}.mixed")
        joined = add("Reshape", [add("Transpose", [mixed], f"{p}.back", perm=[0, 2, 1, 3]), "whole"], f"{p}.joined")
        after = add("Add", [current, matrix(joined, f"{p}.out", WIDTH, WIDTH)], f"{p}.sum1")
        normed = add("LayerNormalization", [after, "one", "zero"], f"{p}.norm2")
        inner = add("Relu", [matrix(normed, f"{p}.up", WIDTH, _INNER)], f"{p}.relu")
        last = layer == layers - 1
        current = add("Add", [after, matrix(inner, f"{p}.down", _INNER, WIDTH)], "y" if last else f"{p}.sum2")
    shape = ("batch", TOKENS, WIDTH)
    return models.build(nodes, [models.value("x", DType.FP32, shape)], [models.value("y", DType.FP32, shape)], weights)
