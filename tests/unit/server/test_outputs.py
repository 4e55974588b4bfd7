"""What a model gives back is held against its signature, and what it cannot get is said to be memory."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from interlock.errors import InternalError, MemoryExceeded, OutputMismatch
from interlock.types import DType, Signature, TensorSpec
from interlock_server.worker.engine import Engine, Run, Session
from onnx import helper

from tests import models

ENGINE = Engine("cpu", 1)
SHAPE = TensorSpec("shape", DType.INT64, (None,))


@pytest.fixture(scope="module")
def zeros(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """shape INT64[rank] → y FP32 of that shape: of any rank, so that nothing is known before it runs."""
    node = helper.make_node("ConstantOfShape", ["shape"], ["y"])
    given = helper.make_tensor_value_info("shape", 7, ["rank"])
    data = models.build([node], [given], [helper.make_tensor_value_info("y", 1, None)], [])
    return models.write(tmp_path_factory.mktemp("outputs") / "zeros.onnx", data)


def session(path: Path, said: TensorSpec) -> Session:
    return ENGINE.load(str(path), Signature((SHAPE,), (said,)))


def run(path: Path, said: TensorSpec, *shape: int) -> tuple[int, ...]:
    (output,) = session(path, said).run([np.array(shape, np.int64)], Run())
    return output.shape


SAID = [
    (TensorSpec("y", DType.FP32, (None, 3)), (2, 3), ""),
    (TensorSpec("y", DType.FP32, ("n", 3)), (0, 3), ""),
    (TensorSpec("y", DType.FP32, ()), (), ""),
    (
        TensorSpec("y", DType.FP32, (None, 3)),
        (2, 4),
        r"output 'y' is float32\[2,4\], and .* FP32\[\?,3\]",
    ),
    (TensorSpec("y", DType.FP32, ("n", 3)), (3,), r"float32\[3\].*FP32\[n,3\]"),
    (TensorSpec("y", DType.FP32, (1,)), (), r"float32\[\].*FP32\[1\]"),
    (TensorSpec("y", DType.INT64, (None,)), (2,), r"float32\[2\].*INT64\[\?\]"),
    (TensorSpec("y", DType.BYTES, (None,)), (2,), r"float32\[2\].*BYTES\[\?\]"),
]


@pytest.mark.parametrize(("said", "shape", "why"), SAID)
def test_an_output_is_as_the_signature_says_or_the_run_has_failed(
    zeros: Path, said: TensorSpec, shape: tuple[int, ...], why: str
) -> None:
    if not why:
        assert run(zeros, said, *shape) == shape
        return
    with pytest.raises(OutputMismatch, match=why) as refused:
        run(zeros, said, *shape)
    assert isinstance(refused.value, InternalError)
    assert refused.value.facts["output"] == "y"


def test_a_run_that_asks_for_more_memory_than_there_is_says_so_and_the_next_one_is_answered(zeros: Path) -> None:
    hungry = session(zeros, TensorSpec("y", DType.FP32, (None, None)))
    with pytest.raises(MemoryExceeded, match="more memory than there is"):
        hungry.run([np.array([1 << 22, 1 << 22], np.int64)], Run())
    (output,) = hungry.run([np.array([2, 2], np.int64)], Run())
    assert output.shape == (2, 2)
