from __future__ import annotations

import os
import resource
import threading
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from interlock.errors import InternalError, StartupRefused
from interlock.golden import Tolerance
from interlock.model import ServableState, ServingConfig
from interlock.types import Array, DType, Signature, TensorSpec
from interlock_server.gpu import GpuOptions
from interlock_server.placing import Placement, on_gpus
from interlock_server.snapshot import VersionSpec
from interlock_server.worker import engine as engines
from interlock_server.worker.engine import Engine, Run, RunTerminated, Session
from interlock_server.worker.loader import Loader
from interlock_server.worker.servable import Servable
from onnx import helper

from tests import models
from tests.support import eventually
from tests.unit.server.builders import signature, version_spec


def loaded(engine: Engine, spec: VersionSpec) -> Servable:
    servable = Servable(spec)
    Loader(engine).load(servable)
    assert servable.settled
    return servable


def test_a_version_that_meets_its_golden_samples_becomes_ready(engine: Engine, tmp_path: Path) -> None:
    golden = models.affine_golden(tmp_path / "g.npz", scale=2.0, rows=20)
    servable = loaded(engine, version_spec(tmp_path, 2, golden=golden))
    assert (servable.state, servable.reason, servable.provider) == (ServableState.READY, "", "CPU")
    assert servable.load_s > 0
    servable.drain(1.0)


def test_a_version_that_misses_its_golden_samples_fails_and_says_by_how_much(engine: Engine, tmp_path: Path) -> None:
    golden = models.affine_golden(tmp_path / "g.npz", scale=3.0)
    servable = loaded(engine, version_spec(tmp_path, 2, golden=golden))
    assert servable.state is ServableState.FAILED
    assert servable.reason.startswith("golden check: output 'y' is off by ")
    assert servable.lease() is None


def test_the_tolerance_of_the_provider_decides(engine: Engine, tmp_path: Path) -> None:
    golden = models.affine_golden(tmp_path / "g.npz", scale=2.001)
    spec = version_spec(tmp_path, 2, golden=golden)
    wide = replace(spec, tolerances={"CPU": Tolerance(1.0, 0.0), "CUDA": Tolerance(0.0, 0.0)})
    narrow = replace(spec, tolerances={"CPU": Tolerance(1e-6, 0.0), "CUDA": Tolerance(1.0, 0.0)})
    servable = loaded(engine, wide)
    assert servable.state is ServableState.READY
    servable.drain(1.0)
    assert loaded(engine, narrow).state is ServableState.FAILED


@pytest.mark.parametrize("which", ["graph", "golden"])
def test_changed_bytes_are_refused_before_anything_is_made_of_them(engine: Engine, tmp_path: Path, which: str) -> None:
    golden = models.affine_golden(tmp_path / "g.npz", scale=2.0)
    spec = version_spec(tmp_path, 2, golden=golden)
    path = Path(spec.graph_path if which == "graph" else spec.golden_path)
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    path.write_bytes(content)
    servable = loaded(engine, spec)
    assert servable.state is ServableState.FAILED
    digest = spec.graph_sha256 if which == "graph" else spec.golden_sha256
    assert f"blob {digest} is corrupt" in servable.reason


def test_a_missing_blob_is_told_by_its_digest(engine: Engine, tmp_path: Path) -> None:
    spec = version_spec(tmp_path, 2)
    Path(spec.graph_path).unlink()
    servable = loaded(engine, spec)
    assert servable.reason == (
        f"blob {spec.graph_sha256} cannot be read (No such file or directory); restore it from a backup"
    )


def test_what_is_no_model_fails_with_the_runtime_s_words(engine: Engine, tmp_path: Path) -> None:
    servable = loaded(engine, version_spec(tmp_path, content=b"nonsense"))
    assert servable.reason.startswith("ONNX Runtime cannot load it: ")


def test_a_graph_that_is_not_the_registered_signature_s_is_refused(engine: Engine, tmp_path: Path) -> None:
    said = Signature((TensorSpec("z", DType.FP32, ("batch", 2)),), ())
    servable = loaded(engine, version_spec(tmp_path, said=said))
    assert servable.reason == "the graph's inputs are ['x'], the registered signature says otherwise"


def test_golden_samples_that_lack_a_tensor_fail_the_version_and_not_the_loader(engine: Engine, tmp_path: Path) -> None:
    x = np.ones((1, 2), np.float32)
    golden = models.golden_file(tmp_path / "g.npz", [({"other": x}, {"y": x})])
    servable = loaded(engine, version_spec(tmp_path, golden=golden))
    assert servable.state is ServableState.FAILED
    assert "other" in servable.reason or "'x'" in servable.reason


def test_a_version_whose_threads_cannot_be_started_fails_and_the_next_one_is_loaded(
    engine: Engine, tmp_path: Path
) -> None:
    spec = version_spec(tmp_path, config=ServingConfig(instances=8))
    loader = Loader(engine)
    threads = threading.active_count()
    used = int(Path("/proc/self/statm").read_text().split()[0]) * os.sysconf("SC_PAGE_SIZE")
    before = resource.getrlimit(resource.RLIMIT_AS)
    threading.stack_size(1 << 29)
    resource.setrlimit(resource.RLIMIT_AS, (used + (3 << 29), before[1]))
    try:
        failing = Servable(spec)
        loader.load(failing)
    finally:
        resource.setrlimit(resource.RLIMIT_AS, before)
        threading.stack_size(0)
    assert (failing.state, failing.reason) == (ServableState.FAILED, "RuntimeError: can't start new thread")
    eventually(lambda: threading.active_count() <= threads, "those that were started have ended")
    working = Servable(spec)
    loader.load(working)
    assert working.state is ServableState.READY
    working.drain(1.0)


def test_a_version_dropped_before_its_turn_is_left_alone(engine: Engine, tmp_path: Path) -> None:
    servable = Servable(version_spec(tmp_path))
    assert servable.advance(ServableState.NEW, ServableState.UNLOADED)
    Loader(engine).load(servable)
    assert servable.state is ServableState.UNLOADED


def test_a_model_that_cannot_run_on_zeros_is_warmed_by_its_first_request(engine: Engine, tmp_path: Path) -> None:
    # Reshape to (-1, 3) cannot take the 2 elements of a zero batch of one row.
    content = models.build(
        [helper.make_node("Reshape", ["x", "shape"], ["y"])],
        [models.value("x", DType.FP32, ("batch", 2))],
        [models.value("y", DType.FP32, ("n", 3))],
        [models.constant("shape", np.array([-1, 3], np.int64))],
    )
    servable = loaded(engine, version_spec(tmp_path, content=content))
    assert servable.state is ServableState.READY
    servable.drain(1.0)


CASES: list[tuple[DType, Array]] = [
    (DType.BOOL, np.array([[True, False]])),
    (DType.INT8, np.array([[-1, 2]], np.int8)),
    (DType.UINT64, np.array([[1, 2**63]], np.uint64)),
    (DType.FP16, np.array([[0.5, -2.0]], np.float16)),
    (DType.BF16, np.array([[0x3F80, 0xC000]], np.uint16)),
    (DType.FP64, np.array([[1e300, -0.0]])),
    (DType.BYTES, np.array([["grüße", ""]], object)),
]


@pytest.mark.parametrize("dtype", list(DType))
def test_a_scalar_of_every_datatype_comes_through_a_session_as_one(
    engine: Engine, tmp_path: Path, dtype: DType
) -> None:
    spec = version_spec(tmp_path, content=models.identity(dtype, ()), said=signature(dtype, ()))
    array = np.array("grüße", object) if dtype is DType.BYTES else np.array(1, dtype.numpy)
    (output,) = engine.load(spec.graph_path, spec.signature).run([array], Run())
    assert output.shape == () and output == array


@pytest.mark.parametrize(("dtype", "array"), CASES, ids=[dtype.value for dtype, _ in CASES])
def test_every_datatype_passes_its_golden_check_and_comes_through_a_session(
    engine: Engine, tmp_path: Path, dtype: DType, array: Array
) -> None:
    stored = np.vectorize(str.encode, otypes=[object])(array) if dtype is DType.BYTES else array
    golden = models.golden_file(
        tmp_path / "g.npz", [({"x": stored}, {"y": stored})], dtypes={"in/x": dtype, "out/y": dtype}
    )
    content = models.identity(dtype)
    spec = version_spec(tmp_path, content=content, said=signature(dtype), golden=golden)
    servable = loaded(engine, spec)
    assert (servable.state, servable.reason) == (ServableState.READY, "")
    servable.drain(1.0)
    (output,) = engine.load(spec.graph_path, spec.signature).run([array], Run())
    np.testing.assert_array_equal(output, array)


@pytest.mark.parametrize(("joinable", "rows"), [(True, 20), (False, 20), (True, 8), (True, 1)])
def test_golden_samples_of_any_size_are_replayed(engine: Engine, tmp_path: Path, joinable: bool, rows: int) -> None:
    golden = models.affine_golden(tmp_path / "g.npz", scale=2.0, rows=rows)
    servable = loaded(engine, version_spec(tmp_path, 2, golden=golden, joinable=joinable))
    assert (servable.state, servable.reason) == (ServableState.READY, "")
    servable.drain(1.0)


# --- the engine ---


def test_a_run_that_was_ended_before_it_began_is_told_so(engine: Engine, tmp_path: Path) -> None:
    spec = version_spec(tmp_path)
    session = engine.load(spec.graph_path, spec.signature)
    run = Run()
    run.terminate()
    with pytest.raises(RunTerminated):
        session.run([np.ones((1, 2), np.float32)], run)


def test_a_run_that_fails_says_why_in_one_line(engine: Engine, tmp_path: Path) -> None:
    spec = version_spec(tmp_path)
    session = engine.load(spec.graph_path, spec.signature)
    with pytest.raises(InternalError, match="the model failed while running") as failed:
        session.run([np.ones((1, 3, 3), np.float32)], Run())
    assert "\n" not in failed.value.message


def test_the_cpu_is_taken_where_it_is_asked_for() -> None:
    choice = engines._choose("cpu", GpuOptions())
    assert (choice.provider, choice.reason) == ("CPU", "asked for")


class TwoDevices(Engine):
    """The CPU as if it were two GPUs: a session for each instance."""

    def __init__(self) -> None:
        super().__init__("cpu", 1)
        self.asked: list[tuple[int, str]] = []

    def placements(self, instances: int) -> Sequence[Placement]:
        return on_gpus(instances, (0, 1))

    def load(
        self,
        path: str,
        signature: Signature,
        *,
        optimised: bool = False,
        then: Callable[[], None] = lambda: None,
        device: int = 0,
        lanes: int = 1,
        digest: str = "",
    ) -> Session:
        self.asked.append((device, digest))
        return super().load(path, signature, optimised=optimised, then=then, device=device, lanes=lanes, digest=digest)


def test_each_instance_on_a_gpu_has_a_session_of_its_own_on_the_devices_in_turn(tmp_path: Path) -> None:
    engine = TwoDevices()
    spec = version_spec(tmp_path, 2, config=ServingConfig(instances=3))
    servable = loaded(engine, spec)
    assert servable.state is ServableState.READY, servable.reason
    assert servable.devices == (0, 1, 0)
    assert engine.asked == [(0, spec.digest), (1, spec.digest), (0, spec.digest)]
    batcher = servable.lease()
    assert batcher is not None
    assert len({id(lane.session) for lane in batcher._lanes}) == 3
    servable.release()
    servable.drain(1.0)


def threads_of(session: object) -> int:
    assert isinstance(session, Session)
    return int(session._session.get_session_options().intra_op_num_threads)


@pytest.mark.parametrize(
    ("threads", "instances", "each", "sessions"), [(1, 3, 1, 1), (4, 2, 2, 2), (3, 2, 1, 2), (2, 1, 2, 1)]
)
def test_instances_on_the_cpu_share_a_session_and_its_threads_and_one_for_runs_that_are_alone(
    tmp_path: Path, threads: int, instances: int, each: int, sessions: int
) -> None:
    servable = loaded(Engine("cpu", threads), version_spec(tmp_path, 2, config=ServingConfig(instances=instances)))
    assert servable.devices == (0,)
    batcher = servable.lease()
    assert batcher is not None
    first = batcher._lanes[0]
    assert [(lane.session, lane.alone) for lane in batcher._lanes] == [(first.session, first.alone)] * instances
    assert (threads_of(first.session), threads_of(first.alone)) == (each, threads)
    assert len({id(first.session), id(first.alone)}) == sessions
    servable.release()
    servable.drain(1.0)


@pytest.mark.skipif(engines._why_no_cuda(GpuOptions()) is None, reason="CUDA works here")
def test_cuda_that_does_not_work_is_refused_with_the_reason() -> None:
    with pytest.raises(StartupRefused, match=r"--providers cuda: .*CUDA|NVIDIA") as refused:
        engines._choose("cuda", GpuOptions())
    assert refused.value.message.endswith("Start with --providers cpu, or auto to take what works")


@pytest.mark.skipif(engines._why_no_cuda(GpuOptions()) is None, reason="CUDA works here")
def test_auto_takes_the_cpu_and_says_why() -> None:
    choice = engines._choose("auto", GpuOptions())
    assert choice.provider == "CPU"
    assert choice.reason.startswith("auto: ") and len(choice.reason) > len("auto: ")
