"""ONNX Runtime: the only module of the server that imports it."""

from __future__ import annotations

import ctypes
import os
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final, Literal

import numpy as np
import onnxruntime as ort
from interlock.errors import InterlockError, InternalError, MemoryExceeded, OutputMismatch, StartupRefused
from interlock.types import Array, DType, Signature, TensorSpec
from interlock_registry.derived import MAX_FOLDED_BYTES

from interlock_server.gpu import (
    CPU_PROVIDER,
    CUDA_PROVIDER,
    TENSORRT_PROVIDER,
    GpuOptions,
    Provider,
    cache_of,
    chain,
    environment,
    sizes_follow,
)
from interlock_server.placing import Placement, on_cpu, on_gpus, share
from interlock_server.worker.allocator import keep_for_requests

CPU: Final = "CPU"
CUDA: Final = "CUDA"
_PROBE: Final = Path(__file__).with_name("probe.onnx")
"""An Add of two floats: enough to learn whether a provider really works."""


@dataclass(frozen=True, slots=True)
class EngineChoice:
    """What was asked for, what was taken, and why."""

    provider: str
    reason: str


class RunTerminated(Exception):
    """A run was stopped because nobody waits for it any more."""


NO_OPTIONAL: Final[Mapping[str, Array]] = {}


class Run:
    """The handle of a run, by which another thread can end it between two nodes; one that was ended is used up."""

    __slots__ = ("options", "terminated_at")

    def __init__(self) -> None:
        self.options = ort.RunOptions()
        self.terminated_at: float | None = None
        """When it was asked to stop, on the monotonic clock."""

    def terminate(self) -> None:
        """Ask the run to stop; one long kernel is not interrupted."""
        self.terminated_at = time.monotonic()
        self.options.terminate = True


class Session:
    """One loaded graph."""

    proofs: int = 1
    """How often its golden samples have to be run until it runs as it will when it serves."""

    def __init__(self, session: ort.InferenceSession, signature: Signature) -> None:
        self._session = session
        # What the public `run` calls after it looked at the names of inputs, which were compared when the graph was
        # loaded, and before it offers to fall back to another provider. Where it is not there, `run` does.
        self._run = getattr(session, "_sess", session).run
        self._inputs = [spec.name for spec in signature.inputs]
        self._outputs = [spec.name for spec in signature.outputs]
        self._optional = {spec.name: spec for spec in signature.optional}
        self._bf16 = any(
            spec.dtype is DType.BF16 for spec in (*signature.inputs, *signature.outputs, *signature.optional)
        )
        self._signature = signature
        self._expected = [_Expected.of(spec) for spec in signature.outputs]

    def run(self, inputs: Sequence[Array], run: Run, optional: Mapping[str, Array] = NO_OPTIONAL) -> list[Array]:
        """Run on inputs in signature order and on optional ones by name, outputs in signature order.

        Raises RunTerminated, InternalError (OutputMismatch where an output is not as the signature says),
        MemoryExceeded.
        """
        try:
            outputs = self._execute(inputs, run, optional)
        except Exception as error:
            if run.terminated_at is not None:
                raise RunTerminated from error
            raise _failure(error) from error
        for expected, output in zip(self._expected, outputs, strict=True):
            if output.dtype is not expected.dtype or output.ndim != expected.rank or expected.sizes:
                expected.check(output)
        return outputs

    def _execute(self, inputs: Sequence[Array], run: Run, optional: Mapping[str, Array]) -> list[Array]:
        if self._bf16:
            return self._run_ort_values(inputs, run, optional)
        feed = dict(zip(self._inputs, inputs, strict=True))
        if optional:
            feed |= optional
        return [np.asarray(array) for array in self._run(self._outputs, feed, run.options)]

    def _run_ort_values(self, inputs: Sequence[Array], run: Run, optional: Mapping[str, Array]) -> list[Array]:
        """Numpy has no bfloat16: its bits go in and out as uint16 through OrtValues."""
        given = [*zip(self._signature.inputs, inputs, strict=True)]
        given += [(self._optional[name], array) for name, array in optional.items()]
        feed = {
            spec.name: ort.OrtValue.ortvalue_from_numpy_with_onnx_type(_in_order(array), _BFLOAT16)
            if spec.dtype is DType.BF16
            else ort.OrtValue.ortvalue_from_numpy(array)
            for spec, array in given
        }
        values = self._session.run_with_ort_values(self._outputs, feed, run.options)
        return [
            _bf16_bits(value) if spec.dtype is DType.BF16 else np.asarray(value.numpy())
            for spec, value in zip(self._signature.outputs, values, strict=True)
        ]


@dataclass(frozen=True, slots=True)
class _Expected:
    """What the signature says of an output, ready to be compared."""

    spec: TensorSpec
    dtype: np.dtype[np.generic]
    rank: int
    sizes: tuple[tuple[int, int], ...]
    """Axes of a fixed size, with that."""

    @classmethod
    def of(cls, spec: TensorSpec) -> _Expected:
        fixed = tuple((axis, size) for axis, size in enumerate(spec.shape) if isinstance(size, int))
        return cls(spec, spec.dtype.numpy, len(spec.shape), fixed)

    def check(self, output: Array) -> None:
        """Raise OutputMismatch unless it is."""
        if output.dtype == self.dtype and output.ndim == self.rank:
            shape = output.shape
            if all(shape[axis] == size for axis, size in self.sizes):
                return
        shape_said = ",".join("?" if size is None else str(size) for size in self.spec.shape)
        shape_found = ",".join(map(str, output.shape))
        raise OutputMismatch(self.spec.name, f"{self.spec.dtype.value}[{shape_said}]", f"{output.dtype}[{shape_found}]")


_NO_MEMORY: Final = ("bad allocation", "bad_alloc", "Failed to allocate memory", "Available memory of", "out of memory")
"""What ONNX Runtime's errors say of an allocation that failed, on the CPU and on GPUs."""


def _failure(error: Exception) -> InterlockError:
    """Say how a run failed."""
    text = _first_line(error)
    if isinstance(error, MemoryError) or any(each in str(error) for each in _NO_MEMORY):
        return MemoryExceeded(
            f"the run asked for more memory than there is ({text}); send less at once, or give the server more "
            "(setting max_data_bytes)"
        )
    return InternalError(f"the model failed while running: {text}")


@dataclass(frozen=True, slots=True)
class _Buffers:
    """Memory on a device for runs of one set of shapes; a recorded graph reads and writes it and nothing else."""

    graph: str
    """The number that ONNX Runtime knows the recording by."""
    inputs: Sequence[ort.OrtValue]
    outputs: Sequence[ort.OrtValue]
    binding: ort.IOBinding


class RecordedSession(Session):
    """A session on a GPU whose kernels are recorded once for each set of shapes and started all at once from then on.

    One run at a time. Shapes beyond the first `MOST_RECORDED`, and those that the inputs' shapes do not tell, are run
    as in any session.
    """

    proofs: int = 4
    """ONNX Runtime records at the third run of a set of buffers."""

    def __init__(self, session: ort.InferenceSession, signature: Signature, device_type: str, device: int) -> None:
        super().__init__(session, signature)
        self._device_type = device_type
        self._device = device
        self._buffers: dict[tuple[tuple[int, ...], ...], _Buffers | None] = {}

    def _execute(self, inputs: Sequence[Array], run: Run, optional: Mapping[str, Array]) -> list[Array]:
        key = tuple(array.shape for array in inputs)
        found = None if optional else self._buffers.get(key)
        run.options.add_run_config_entry(_GRAPH_ENTRY, _NO_GRAPH if found is None else found.graph)
        if found is None:
            outputs = super()._execute(inputs, run, optional)
            if not optional and key not in self._buffers and len(self._buffers) < MOST_RECORDED:
                self._buffers[key] = self._bind(inputs, outputs)
            return outputs
        for buffer, array in zip(found.inputs, inputs, strict=True):
            buffer.update_inplace(_in_order(array))
        self._session.run_with_iobinding(found.binding, run.options)
        # On the CPU this is a view of the buffer, which the next run writes to.
        return [np.array(buffer.numpy()) for buffer in found.outputs]

    def _bind(self, inputs: Sequence[Array], outputs: Sequence[Array]) -> _Buffers | None:
        if self._bf16 or any(array.dtype.hasobject or not array.size for array in (*inputs, *outputs)):
            return None
        shapes = [array.shape for array in inputs], [array.shape for array in outputs]
        if not sizes_follow(self._signature, *shapes):
            return None
        binding = self._session.io_binding()
        given, made = ([self._buffer(array) for array in side] for side in (inputs, outputs))
        for name, buffer in zip(self._inputs, given, strict=True):
            binding.bind_ortvalue_input(name, buffer)
        for name, buffer in zip(self._outputs, made, strict=True):
            binding.bind_ortvalue_output(name, buffer)
        return _Buffers(str(len(self._buffers) + 1), given, made, binding)

    def _buffer(self, like: Array) -> ort.OrtValue:
        return ort.OrtValue.ortvalue_from_shape_and_type(like.shape, like.dtype, self._device_type, self._device)


MOST_RECORDED: Final = 16
_GRAPH_ENTRY: Final = "gpu_graph_id"
_NO_GRAPH: Final = "-1"
_BFLOAT16: Final = 16
"""TensorProto.BFLOAT16."""


def _in_order(array: Array) -> Array:
    """Return an array whose elements lie one after the other; `np.ascontiguousarray` gives a scalar a dimension."""
    return np.asarray(array, order="C")


def _bf16_bits(value: ort.OrtValue) -> Array:
    size = value.tensor_size_in_bytes()
    bits = np.frombuffer(ctypes.string_at(value.data_ptr(), size), dtype=np.uint16)
    return bits.reshape(value.shape())


def _nothing() -> None:
    """Do nothing."""


def for_engine(spec: TensorSpec, array: Array) -> Array:
    """Turn BYTES into text, which is what ONNX strings are; everything else stays as it is."""
    if spec.dtype is not DType.BYTES:
        return array
    texts = np.empty(array.size, dtype=object)
    texts[:] = [item.decode() if isinstance(item, bytes) else str(item) for item in array.ravel()]
    return texts.reshape(array.shape)


class Engine:
    """Loads graphs on the provider that was chosen at start."""

    def __init__(
        self, asked: Literal["auto", "cpu", "cuda"], intra_op_threads: int, gpu: GpuOptions | None = None
    ) -> None:
        """Take a provider, the threads of a session, and how GPUs are used. Raises StartupRefused."""
        ort.set_default_logger_severity(3)
        keep_for_requests()
        self._threads: Final = intra_op_threads
        self._gpu: Final = gpu or GpuOptions()
        self.choice: Final = _choose(asked, self._gpu)

    def placements(self, instances: int) -> Sequence[Placement]:
        """Return the sessions that a version with so many instances has."""
        if self.choice.provider == CPU:
            return on_cpu(instances, self._threads)
        return on_gpus(instances, self._gpu.devices)

    def load(
        self,
        path: str,
        signature: Signature,
        *,
        optimised: bool = False,
        then: Callable[[], None] = _nothing,
        device: int = 0,
        lanes: int = 1,
        digest: str = "",
    ) -> Session:
        """Load a graph from a path (from bytes it would hold the GIL); raises InternalError.

        One that is `optimised` already is taken as it is. `then` is called on this thread once the session's own
        threads run and before the work begins: what it does to this thread, such as lowering its priority, they do
        not inherit. `lanes` is how many runs it has at a time: each has its share of the threads. `device` and `digest`
        (the artifact's) matter on a GPU only.
        """
        wanted: Sequence[Provider] = (Provider(CPU_PROVIDER),)
        try:
            if self.choice.provider != CPU:
                wanted = chain(self._gpu, device, digest)
                if self._gpu.tensorrt:
                    Path(cache_of(self._gpu, digest)).mkdir(parents=True, exist_ok=True)
            session = _open(Path(path), wanted, share(self._threads, lanes), optimised=optimised, then=then)
        except Exception as error:
            raise InternalError(f"ONNX Runtime cannot load it: {_first_line(error)}") from error
        names = {item.name for item in session.get_inputs()}
        if names != {spec.name for spec in signature.inputs}:
            raise InternalError(f"the graph's inputs are {sorted(names)}, the registered signature says otherwise")
        if self._gpu.graphs and self.choice.provider != CPU:
            return RecordedSession(session, signature, "cuda", device)
        return Session(session, signature)


def _choose(asked: Literal["auto", "cpu", "cuda"], gpu: GpuOptions) -> EngineChoice:
    if asked == "cpu":
        return EngineChoice(CPU, "asked for")
    why_not = _why_no_cuda(gpu)
    if why_not is None:
        how = "asked for" if asked == "cuda" else "auto: CUDA works here"
        return EngineChoice(CUDA, f"{how}, TensorRT before it" if gpu.tensorrt else how)
    if asked == "cuda":
        raise StartupRefused(f"--providers cuda: {why_not}. Start with --providers cpu, or auto to take what works")
    return EngineChoice(CPU, f"auto: {why_not}")


def _why_no_cuda(gpu: GpuOptions) -> str | None:
    """Say why GPUs cannot be used as the settings say; each of them is tried. None where they can."""
    if not any(Path("/dev").glob("nvidia[0-9]*")):
        return "no NVIDIA device is visible (/dev/nvidia0 is missing)"
    if CUDA_PROVIDER not in ort.get_available_providers():
        return (
            f"the installed onnxruntime {ort.__version__} has no CUDA provider; run: pip uninstall -y onnxruntime && "
            "pip install 'interlock[server,gpu]'"
        )
    os.environ.update(environment(gpu))
    ort.preload_dlls()
    for device in sorted(set(gpu.devices)):
        providers = chain(gpu, device, "probe")
        what = "TensorRT" if providers[0].name == TENSORRT_PROVIDER else "the CUDA provider"
        try:
            if gpu.tensorrt:
                Path(cache_of(gpu, "probe")).mkdir(parents=True, exist_ok=True)
            session = _open(_PROBE, providers, 1)
            one = np.ones(1, np.float32)
            session.run(None, {"a": one, "b": one})
        except Exception as error:  # noqa: BLE001 - whatever stops CUDA from working is the answer
            return f"{what} does not work here on device {device}: {_first_line(error)}"
    return None


class _Between:
    """The names of no optimiser, and a chance to act between the two phases of making a session.

    ONNX Runtime reads `disabled_optimizers` after it has started the session's threads and before it does the work.
    """

    def __init__(self, then: Callable[[], None]) -> None:
        self._then = then

    def __iter__(self) -> Iterator[str]:
        self._then()
        return iter(())


def _open(
    path: Path,
    providers: Sequence[Provider],
    threads: int,
    *,
    optimised: bool = False,
    then: Callable[[], None] = _nothing,
) -> ort.InferenceSession:
    options = ort.SessionOptions()
    if optimised:
        options.graph_optimization_level = ort.GraphOptimizationLevel.ORT_DISABLE_ALL
    # As in the model tool, which has compared what comes out of it.
    options.add_session_config_entry("optimization.constant_folding_max_output_size_in_bytes", str(MAX_FOLDED_BYTES))
    # A server shares its cores: threads that spin while they wait take them from other models and from the front.
    # The process-wide pool cannot be told so from Python (it took 4 times the CPU per run), a session's own can.
    options.intra_op_num_threads = threads
    options.inter_op_num_threads = 1
    options.add_session_config_entry("session.intra_op.allow_spinning", "0")
    options.add_session_config_entry("session.inter_op.allow_spinning", "0")
    session = ort.InferenceSession(
        str(path),
        options,
        providers=[(each.name, dict(each.options)) for each in providers],
        enable_fallback=0,
        disabled_optimizers=_Between(then),
    )
    # ONNX Runtime falls back to the CPU in silence; what it took is to be seen here only.
    wanted, taken = providers[0].name, session.get_providers()
    if taken[0] != wanted:
        raise RuntimeError(f"ONNX Runtime took {taken[0]} instead of {wanted}")
    return session


def _first_line(error: Exception) -> str:
    return (str(error).strip().splitlines() or [type(error).__name__])[0][:400]
