"""A model whose requests run for as long as they ask for, and end at once when nobody waits for them any more."""

from __future__ import annotations

import time
import urllib.request
from collections.abc import Callable
from pathlib import Path
from typing import Final

import numpy as np
import onnx
from interlock.model import ServingConfig
from interlock.types import DType
from interlock_client import Admin, Client
from onnx import TensorProto, helper

from tests import models
from tests.server import Server
from tests.support import eventually

FOR_EVER: Final = 1 << 60
"""Rounds that no test outlives."""


def stalling(bias: int = 0, always: int = 0) -> bytes:
    """n INT64[] → y INT64[] = n + bias, after n + `always` rounds of a loop whose steps are short, so that it can be
    ended. With `always` its warm-up takes time too, and so does every PREPARE of it."""
    carried = helper.make_tensor_value_info("state", TensorProto.FLOAT, [32, 32])
    body = helper.make_graph(
        [
            helper.make_node("MatMul", ["state", "weights"], ["next"]),
            helper.make_node("Identity", ["go"], ["go_on"]),
        ],
        "round",
        [
            helper.make_tensor_value_info("i", TensorProto.INT64, []),
            helper.make_tensor_value_info("go", TensorProto.BOOL, []),
            carried,
        ],
        [
            helper.make_tensor_value_info("go_on", TensorProto.BOOL, []),
            helper.make_tensor_value_info("next", TensorProto.FLOAT, [32, 32]),
        ],
    )
    nodes: list[onnx.NodeProto] = [
        helper.make_node("Add", ["n", "always"], ["rounds"]),
        helper.make_node("Loop", ["rounds", "yes", "start"], ["end"], body=body),
        # The answer depends on the loop's end, or ONNX Runtime would leave the loop out.
        helper.make_node("ReduceSum", ["end"], ["sum"], keepdims=0),
        helper.make_node("Cast", ["sum"], ["zero"], to=TensorProto.INT64),
        helper.make_node("Add", ["n", "zero"], ["same"]),
        helper.make_node("Add", ["same", "bias"], ["y"]),
    ]
    return models.build(
        nodes,
        [models.value("n", DType.INT64, ())],
        [models.value("y", DType.INT64, ())],
        [
            models.constant("always", np.asarray(always, np.int64)),
            models.constant("yes", np.asarray(True)),
            models.constant("start", np.zeros((32, 32), np.float32)),
            models.constant("weights", np.eye(32, dtype=np.float32)),
            models.constant("bias", np.asarray(bias, np.int64)),
        ],
    )


def register(
    admin: Admin, folder: Path, model: str, *, bias: int = 0, always: int = 0, max_queue_size: int = 1024
) -> None:
    """Register a stalling model as the next version of a name."""
    file = models.write(folder / f"{model}-{bias}.onnx", stalling(bias, always))
    admin.register(model, file, config=ServingConfig(max_queue_size=max_queue_size))


def rounds_for(connect: Callable[[], Client], ref: str, *, seconds: float) -> int:
    """Measure how many rounds take about so long on this machine."""
    with connect() as client:
        rounds = 1000
        while True:
            began = time.monotonic()
            client.infer(ref, {"n": np.int64(rounds)}, timeout=60)
            took = time.monotonic() - began
            if took > 0.1:
                return int(rounds * seconds / took)
            rounds *= 4


def sample(server: Server, name: str, **labels: str) -> float:
    """Return the sum of a metric's samples that have these labels."""
    with urllib.request.urlopen(f"http://{server.http}/metrics", timeout=60) as response:
        lines = response.read().decode().splitlines()
    wanted = [f'{key}="{value}"' for key, value in labels.items()]
    return sum(
        float(line.rpartition(" ")[2])
        for line in lines
        if line.partition("{")[0].partition(" ")[0] == name and all(each in line for each in wanted)
    )


def until_running(server: Server, model: str, count: int, *, queued: int = 0) -> None:
    """Wait until so many requests of a model are in flight, so many of them in the queue."""
    eventually(
        lambda: (
            sample(server, "interlock_inference_in_flight", model=model) == count
            and sample(server, "interlock_queue_depth", model=model) == queued
        ),
        f"{count} requests of {model} in flight, {queued} of them queued",
    )
