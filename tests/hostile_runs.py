"""Models that pass validation and golden check, and do harm on some inputs: they end the process, or never end."""

from __future__ import annotations

from pathlib import Path
from typing import Final

import numpy as np
import onnx
from interlock.types import DType
from interlock_client import Admin
from onnx import helper

from tests import models

FATAL: Final = 1000
"""Larger inputs end the process that runs the crashing model."""
LONG: Final = 6000
"""The stuck model's input for one kernel that runs for minutes."""


def harmless() -> bytes:
    """x INT64[n, 1] → y = -x."""
    return models.build(
        [helper.make_node("Neg", ["x"], ["y"])],
        [models.value("x", DType.INT64, ("n", 1))],
        [models.value("y", DType.INT64, ("n", 1))],
        [],
    )


def crashing() -> bytes:
    """x INT64[n, 1] → y = -x, as x / -1; where x > FATAL the smallest number there is, whose quotient is a SIGFPE."""
    nodes: list[onnx.NodeProto] = [
        helper.make_node("Greater", ["x", "fatal"], ["is_fatal"]),
        helper.make_node("Where", ["is_fatal", "smallest", "x"], ["dividend"]),
        helper.make_node("Div", ["dividend", "minus_one"], ["y"]),
    ]
    return models.build(
        nodes,
        [models.value("x", DType.INT64, ("n", 1))],
        [models.value("y", DType.INT64, ("n", 1))],
        [
            models.constant("fatal", np.asarray(FATAL, np.int64)),
            models.constant("smallest", np.asarray(np.iinfo(np.int64).min, np.int64)),
            models.constant("minus_one", np.asarray(-1, np.int64)),
        ],
    )


def stuck() -> bytes:
    """n INT64[1] → y INT64[]: the sum of an n×n matrix of ones times itself, in one kernel that nothing interrupts."""
    nodes: list[onnx.NodeProto] = [
        helper.make_node("Concat", ["n", "n"], ["shape"], axis=0),
        helper.make_node("ConstantOfShape", ["shape"], ["ones"], value=helper.make_tensor("v", 7, [1], [1])),
        helper.make_node("MatMul", ["ones", "ones"], ["product"]),
        helper.make_node("ReduceSum", ["product"], ["y"], keepdims=0),
    ]
    return models.build(nodes, [models.value("n", DType.INT64, (1,))], [models.value("y", DType.INT64, ())], [])


def register(admin: Admin, folder: Path, model: str, data: bytes) -> int:
    """Register a model's next version; returns its number."""
    file = models.write(folder / f"{model}.onnx", data)
    return admin.register(model, file).version
