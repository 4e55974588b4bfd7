"""NaN and infinity: passed, counted or refused, as the version says."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from interlock.errors import InvalidInput, NonFiniteOutput
from interlock.model import NonFinite, ServingConfig
from interlock.protocols.open_inference_pb2 import ModelInferRequest
from interlock.types import Array, DType, Signature, TensorSpec
from interlock_server.worker.catalog import Catalog
from interlock_server.worker.finiteness import is_finite
from interlock_server.worker.metrics import WorkerMetrics
from interlock_server.worker.predict import Predictor
from interlock_server.worker.shared_memory import SharedMemory
from interlock_server.worker.tracing import Tracer
from onnx import helper

from tests import models
from tests.support import eventually
from tests.unit.server.builders import RecordingCall, snapshot, version_spec

NARROWED = Signature(
    (TensorSpec("x", DType.FP32, ("batch", 2)),),
    (TensorSpec("y", DType.FP32, ("batch", 2)), TensorSpec("h", DType.FP16, ("batch", 2))),
)
BAD, BIG = float("nan"), 1e6
"""What goes in wrong, and what goes in right and comes out of `h` as infinity."""


def narrowing() -> bytes:
    """x FP32 → y = x and h = x as FP16."""
    return models.build(
        [helper.make_node("Identity", ["x"], ["y"]), helper.make_node("Cast", ["x"], ["h"], to=10)],
        [models.value("x", DType.FP32, ("batch", 2))],
        [models.value("y", DType.FP32, ("batch", 2)), models.value("h", DType.FP16, ("batch", 2))],
    )


@pytest.mark.parametrize("policy", NonFinite)
def test_numbers_that_are_not_finite_pass_or_are_counted_or_refused_as_the_version_says(
    catalog: Catalog, tmp_path: Path, policy: NonFinite
) -> None:
    config = ServingConfig(max_batch_size=4, non_finite=policy)
    spec = version_spec(tmp_path, content=narrowing(), said=NARROWED, config=config)
    catalog.apply(snapshot(spec))
    eventually(lambda: catalog.settled, "it is loaded")
    metrics = WorkerMetrics(catalog)
    predictor = Predictor(catalog, metrics, SharedMemory(enabled=False), Tracer())

    def ask(number: float, *outputs: str) -> type[Exception] | None:
        request = ModelInferRequest(
            model_name="m",
            inputs=[ModelInferRequest.InferInputTensor(name="x", datatype="FP32", shape=[1, 2])],
            outputs=[ModelInferRequest.InferRequestedOutputTensor(name=name) for name in outputs],
            raw_input_contents=[np.array([1.0, number], np.float32).tobytes()],
        )
        call = RecordingCall("/inference.GRPCInferenceService/ModelInfer", request.SerializeToString())
        predictor.start(call)
        predictor.settle()
        eventually(lambda: call.ended > 0, "the call was answered")
        return None if call.error is None else type(call.error)

    refuses = policy is NonFinite.REFUSE
    for _ in range(2):  # the second time by what the first has taught of such requests
        assert ask(1.0) is None
        assert ask(BAD) is (InvalidInput if refuses else None)
        assert ask(BIG) is (NonFiniteOutput if refuses else None)
        assert ask(BIG, "y") is None, "an output that nobody asked for is not looked at"
    counted = {side: count for (_, _, side), count in metrics.non_finites().items()}
    # What is not refused on its way in is counted on its way out as well.
    assert (
        counted
        == {
            NonFinite.PASS: {},
            NonFinite.COUNT: {"input": 2, "output": 4},
            NonFinite.REFUSE: {"input": 2, "output": 2},
        }[policy]
    )
    (servable,) = catalog.servables()
    assert servable.status().in_flight == 0
    line = b'interlock_inference_non_finite_total{model="m",side="output",version="1"}'
    assert (line in metrics.text()) is (policy is not NonFinite.PASS)


def bits(*values: int) -> Array:
    return np.array(values, np.uint16)


@pytest.mark.parametrize(
    ("dtype", "array", "finite"),
    [
        (DType.FP32, np.array([0.0, -0.0, 1e-40, 3e38], np.float32), True),
        (DType.FP32, np.array([[1.0, -np.inf]], np.float32), False),
        (DType.FP32, np.frombuffer(b"\0" + np.array([1.0, np.nan], "<f4").tobytes(), "<f4", offset=1), False),
        (DType.FP64, np.array(np.nan), False),
        (DType.FP64, np.zeros((0, 3)), True),
        (DType.FP16, np.array([65504.0], np.float16), True),
        (DType.FP16, np.array([np.inf], np.float16), False),
        (DType.BF16, bits(0x0000, 0x3F80, 0x7F7F, 0xFF7F, 0x0001), True),
        (DType.BF16, bits(0x3F80, 0x7F80), False),
        (DType.BF16, bits(0xFF80), False),
        (DType.BF16, bits(0x7FC0), False),
        (DType.BF16, bits(0xFFFF), False),
    ],
)
def test_nan_and_infinity_are_found_in_every_kind_of_float(dtype: DType, array: Array, finite: bool) -> None:
    assert is_finite(dtype, array) is finite
