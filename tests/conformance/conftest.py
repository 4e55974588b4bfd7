"""One server with small models of every kind, shared by all conformance tests: none of them may harm it."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import grpc
import numpy as np
import pytest
from interlock.protocols.open_inference_pb2_grpc import GRPCInferenceServiceStub
from interlock.types import DType
from interlock_client import Admin
from onnx import helper

from tests import models
from tests.server import Server


def pair() -> bytes:
    """a, b FP32[batch,2] → sum, difference: two inputs that share a dimension, two outputs."""
    return models.build(
        [helper.make_node("Add", ["a", "b"], ["sum"]), helper.make_node("Sub", ["a", "b"], ["difference"])],
        [models.value(name, DType.FP32, ("batch", 2)) for name in ("a", "b")],
        [models.value(name, DType.FP32, ("batch", 2)) for name in ("sum", "difference")],
    )


def scaled() -> bytes:
    """x FP32[batch,2], and scale FP32[1] which is 2 where it is left out → y = scale * x."""
    return models.build(
        [helper.make_node("Mul", ["x", "scale"], ["y"])],
        [models.value("x", DType.FP32, ("batch", 2)), models.value("scale", DType.FP32, (1,))],
        [models.value("y", DType.FP32, ("batch", 2))],
        [models.constant("scale", np.array([2.0], np.float32))],
    )


def populate(admin: Admin, folder: Path) -> None:
    """Register and promote the models that these tests ask."""

    def add(model: str, content: bytes) -> None:
        version = admin.register(model, models.write(folder / f"{model}.onnx", content))
        admin.promote(model, version.version)

    for dtype in DType:
        add(f"same_{dtype.value.lower()}", models.identity(dtype))
    add("scalar", models.identity(DType.FP32, ()))
    add("vector", models.identity(DType.FP32, ("n",)))
    add("fixed", models.identity(DType.FP32, (2, 3)))
    add("pair", pair())
    add("scaled", scaled())
    for scale in (2.0, 3.0):
        file = models.write(folder / "m.onnx", models.affine(scale=scale))
        admin.register("m", file, golden=models.affine_golden(folder / "m.npz", scale=scale))
    admin.promote("m", 1)
    admin.promote("m", 2)
    admin.promote("m", 1, alias="canary")
    admin.register("unserved", models.write(folder / "unserved.onnx", models.affine()))


@pytest.fixture(
    scope="session", params=["core", *(pytest.param(other, marks=pytest.mark.slow) for other in ("aio", "native"))]
)
def served(tmp_path_factory: pytest.TempPathFactory, request: pytest.FixtureRequest) -> Iterator[Server]:
    folder = tmp_path_factory.mktemp("conformance")
    with Server(folder / "data", "--front", request.param, env={"INTERLOCK_SHARED_MEMORY": "true"}) as server:
        (worker,) = server.status().workers
        assert worker.front == request.param
        with server.admin() as admin:
            populate(admin, folder)
        yield server


@pytest.fixture(scope="session")
def channel(served: Server) -> Iterator[grpc.Channel]:
    limits = [("grpc.max_send_message_length", -1), ("grpc.max_receive_message_length", -1)]
    with grpc.insecure_channel(served.grpc, options=limits) as opened:
        yield opened


@pytest.fixture(scope="session")
def stub(channel: grpc.Channel) -> GRPCInferenceServiceStub:
    """The protocol's own stub: nothing of the SDK stands between a test and the server."""
    return GRPCInferenceServiceStub(channel)
