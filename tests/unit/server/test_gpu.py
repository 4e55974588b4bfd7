"""What GPUs are told, and what runs where: decided without one."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
import onnxruntime as ort
import pytest
from interlock.errors import StartupRefused
from interlock.model import ServingConfig
from interlock.types import Array, Dim, DType, Signature, TensorSpec
from interlock_server.gpu import (
    GpuOptions,
    Provider,
    cache_of,
    chain,
    environment,
    sizes_follow,
)
from interlock_server.placing import Placement, on_gpus
from interlock_server.settings import Settings
from interlock_server.worker.describe import model_config
from interlock_server.worker.engine import MOST_RECORDED, RecordedSession, Run
from interlock_server.worker.routes import Resolved
from interlock_server.worker.servable import Servable

from tests import models
from tests.unit.server.builders import version_spec

CUDA = {
    "device_id": "0",
    "use_tf32": "0",
    "cudnn_conv_algo_search": "HEURISTIC",
    "arena_extend_strategy": "kSameAsRequested",
}
TENSORRT = {
    "device_id": "0",
    "trt_engine_cache_enable": "1",
    "trt_engine_cache_path": "/data/tensorrt/abc",
    "trt_timing_cache_enable": "1",
    "trt_timing_cache_path": "/data/tensorrt/abc",
}


@pytest.mark.parametrize(
    ("set_", "device", "cuda"),
    [
        ({}, 0, CUDA),
        ({}, 3, {**CUDA, "device_id": "3"}),
        ({"gpu_tf32": True}, 0, {**CUDA, "use_tf32": "1"}),
        ({"gpu_memory_limit_bytes": 1 << 30}, 0, {**CUDA, "gpu_mem_limit": str(1 << 30)}),
        ({"gpu_arena": "doubling"}, 0, {**CUDA, "arena_extend_strategy": "kNextPowerOfTwo"}),
        ({"gpu_conv_search": "exhaustive"}, 0, {**CUDA, "cudnn_conv_algo_search": "EXHAUSTIVE"}),
        ({"gpu_graphs": True}, 0, {**CUDA, "enable_cuda_graph": "1"}),
        ({"gpu_conv_search": "default"}, 0, {**CUDA, "cudnn_conv_algo_search": "DEFAULT"}),
    ],
)
def test_settings_become_the_options_of_the_cuda_provider(
    set_: dict[str, object], device: int, cuda: Mapping[str, str]
) -> None:
    providers = chain(Settings.load(set_, None).gpu, device, "abc")
    assert providers == (Provider("CUDAExecutionProvider", cuda), Provider("CPUExecutionProvider"))


@pytest.mark.parametrize(
    ("set_", "tensorrt"),
    [
        ({}, TENSORRT),
        ({"gpu_memory_limit_bytes": 1 << 30}, {**TENSORRT, "trt_max_workspace_size": str(1 << 30)}),
    ],
)
def test_tensorrt_goes_before_cuda_and_keeps_its_engines_by_the_artifact_s_digest(
    set_: dict[str, object], tensorrt: Mapping[str, str]
) -> None:
    gpu = Settings.load({"tensorrt": True, "data": Path("/data"), **set_}, None).gpu
    first, second, last = chain(gpu, 0, "abc")
    assert first == Provider("TensorrtExecutionProvider", tensorrt)
    assert (second.name, last.name) == ("CUDAExecutionProvider", "CPUExecutionProvider")
    assert cache_of(gpu, "abc") != cache_of(gpu, "abd")


@pytest.mark.parametrize(("tf32", "set_"), [(False, {"NVIDIA_TF32_OVERRIDE": "0"}), (True, {})])
def test_tf32_is_off_for_every_library_unless_it_is_allowed(tf32: bool, set_: Mapping[str, str]) -> None:
    assert environment(GpuOptions(tf32=tf32)) == set_


@pytest.mark.parametrize(
    ("instances", "devices", "expected"),
    [
        (1, (0,), [Placement(0, 1)]),
        (3, (0,), [Placement(0, 1)] * 3),
        (3, (0, 2), [Placement(0, 1), Placement(2, 1), Placement(0, 1)]),
        (1, (1, 0), [Placement(1, 1)]),
    ],
)
def test_each_instance_has_a_session_on_the_gpus_in_turn(
    instances: int, devices: tuple[int, ...], expected: Sequence[Placement]
) -> None:
    assert list(on_gpus(instances, devices)) == expected


def spec(name: str, *shape: Dim, dtype: DType = DType.FP32) -> TensorSpec:
    return TensorSpec(name, dtype, shape)


@pytest.mark.parametrize(
    ("output", "shape", "follows"),
    [
        (("n", 2), (3, 2), True),
        (("n", "k"), (3, 5), True),
        ((4,), (4,), True),
        ((), (), True),
        ((None, 2), (3, 2), False),
        (("m", 2), (3, 2), False),
        (("n", 2), (4, 2), False),
        ((7, 2), (3, 2), False),
        (("n", 2, 1), (3, 2), False),
    ],
)
def test_buffers_are_kept_only_for_outputs_whose_shapes_follow_from_the_inputs(
    output: tuple[Dim, ...], shape: tuple[int, ...], follows: bool
) -> None:
    signature = Signature((spec("x", "n", "k"),), (spec("y", *output),))
    assert sizes_follow(signature, [(3, 5)], [shape]) is follows


def recorded(content: bytes, signature: Signature, folder: Path) -> RecordedSession:
    path = models.write(folder / "m.onnx", content)
    return RecordedSession(ort.InferenceSession(str(path), providers=["CPUExecutionProvider"]), signature, "cpu", 0)


def test_runs_in_buffers_that_stay_answer_what_other_runs_answer(tmp_path: Path) -> None:
    signature = Signature((spec("x", "n", 2),), (spec("y", "n", 2),))
    session = recorded(models.affine(scale=3.0), signature, tmp_path)
    kept: list[tuple[Array, Array]] = []
    run = Run()
    for turn in range(40):
        x: Array = np.full((1 + turn % 20, 2), turn, np.float32)
        kept.append((x, session.run([x if turn % 2 else np.asfortranarray(x)], run)[0]))
    for x, y in kept:  # none was overwritten by a later run
        np.testing.assert_array_equal(y, 3 * x)
    assert len(session._buffers) == MOST_RECORDED
    assert all(session._buffers.values())


def test_what_has_no_fixed_place_runs_as_ever(tmp_path: Path) -> None:
    untold = Signature((spec("x", "n", 2),), (spec("y", None, 2),))
    session = recorded(models.affine(scale=3.0), untold, tmp_path)
    for value in (1.0, 2.0):
        assert session.run([np.full((1, 2), value, np.float32)], Run())[0].tolist() == [[3 * value] * 2]
    assert list(session._buffers.values()) == [None]
    words = Signature((spec("x", "n", 2, dtype=DType.BYTES),), (spec("y", "n", 2, dtype=DType.BYTES),))
    session = recorded(models.identity(DType.BYTES), words, tmp_path)
    for word in ("a", "b"):
        assert session.run([np.full((1, 2), word, object)], Run())[0].tolist() == [[word, word]]


@pytest.mark.parametrize("wrong", ["", "0,", "a", "-1", "0 1", "0.5"])
def test_devices_that_are_no_numbers_are_refused_by_name(wrong: str) -> None:
    with pytest.raises(StartupRefused, match="gpu_devices"):
        Settings.load({"gpu_devices": wrong}, None)


@pytest.mark.parametrize(
    ("provider", "devices", "groups"),
    [
        ("CPU", (0,), [(3, "KIND_CPU", [])]),
        ("CUDA", (0, 0, 0), [(3, "KIND_GPU", [0])]),
        ("CUDA", (1, 0, 1), [(1, "KIND_GPU", [0]), (2, "KIND_GPU", [1])]),
    ],
)
def test_the_model_s_configuration_says_how_many_runs_each_device_may_have(
    tmp_path: Path, provider: str, devices: Sequence[int], groups: list[tuple[int, str, list[int]]]
) -> None:
    servable = Servable(version_spec(tmp_path, config=ServingConfig(instances=3)))
    servable.provider, servable.devices = provider, devices
    found = model_config(Resolved(servable, "stable", 1), [1]).instance_group
    assert [(each.count, each.Kind.Name(each.kind), list(each.gpus)) for each in found] == groups
