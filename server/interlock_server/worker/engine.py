"""ONNX Runtime: the only module of the server that imports it. All provider names and options are here."""

from __future__ import annotations

import ctypes
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

CPU: Final = "CPU"
CUDA: Final = "CUDA"
_CPU_PROVIDER: Final = "CPUExecutionProvider"
_CUDA_PROVIDER: Final = "CUDAExecutionProvider"
_CUDA_OPTIONS: Final = {
    "use_tf32": "0",  # parity with PyTorch's FP32 before speed
    "cudnn_conv_algo_search": "HEURISTIC",  # EXHAUSTIVE would search at the first run of every batch size
    "arena_extend_strategy": "kSameAsRequested",
}
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
            if self._bf16:
                outputs = self._run_ort_values(inputs, run, optional)
            else:
                feed = dict(zip(self._inputs, inputs, strict=True))
                if optional:
                    feed |= optional
                outputs = [np.asarray(array) for array in self._run(self._outputs, feed, run.options)]
        except Exception as error:
            if run.terminated_at is not None:
                raise RunTerminated from error
            raise _failure(error) from error
        for expected, output in zip(self._expected, outputs, strict=True):
            if output.dtype is not expected.dtype or output.ndim != expected.rank or expected.sizes:
                expected.check(output)
        return outputs

    def _run_ort_values(self, inputs: Sequence[Array], run: Run, optional: Mapping[str, Array]) -> list[Array]:
        """Numpy has no bfloat16: its bits go in and out as uint16 through OrtValues."""
        given = [*zip(self._signature.inputs, inputs, strict=True)]
        given += [(self._optional[name], array) for name, array in optional.items()]
        feed = {
            spec.name: ort.OrtValue.ortvalue_from_numpy_with_onnx_type(np.ascontiguousarray(array), _BFLOAT16)
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


_BFLOAT16: Final = 16
"""TensorProto.BFLOAT16."""


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

    def __init__(self, asked: Literal["auto", "cpu", "cuda"], intra_op_threads: int) -> None:
        """Take a provider and the threads of a session. Raises StartupRefused."""
        ort.set_default_logger_severity(3)
        _bound_freed_memory()
        self._threads: Final = intra_op_threads
        self.choice: Final = _choose(asked)

    def load(
        self, path: str, signature: Signature, *, optimised: bool = False, then: Callable[[], None] = _nothing
    ) -> Session:
        """Load a graph from a path (from bytes it would hold the GIL); raises InternalError.

        One that is `optimised` already is taken as it is. `then` is called on this thread once the session's own
        threads run and before the work begins: what it does to this thread, such as lowering its priority, they do
        not inherit.
        """
        try:
            session = _open(Path(path), self.choice.provider, self._threads, optimised=optimised, then=then)
        except Exception as error:
            raise InternalError(f"ONNX Runtime cannot load it: {_first_line(error)}") from error
        names = {item.name for item in session.get_inputs()}
        if names != {spec.name for spec in signature.inputs}:
            raise InternalError(f"the graph's inputs are {sorted(names)}, the registered signature says otherwise")
        return Session(session, signature)


def _choose(asked: Literal["auto", "cpu", "cuda"]) -> EngineChoice:
    if asked == "cpu":
        return EngineChoice(CPU, "asked for")
    why_not = _why_no_cuda()
    if why_not is None:
        return EngineChoice(CUDA, "asked for" if asked == "cuda" else "auto: CUDA works here")
    if asked == "cuda":
        raise StartupRefused(f"--providers cuda: {why_not}. Start with --providers cpu, or auto to take what works")
    return EngineChoice(CPU, f"auto: {why_not}")


def _why_no_cuda() -> str | None:
    if not any(Path("/dev").glob("nvidia[0-9]*")):
        return "no NVIDIA device is visible (/dev/nvidia0 is missing)"
    if _CUDA_PROVIDER not in ort.get_available_providers():
        return (
            f"the installed onnxruntime {ort.__version__} has no CUDA provider; run: pip uninstall -y onnxruntime && "
            "pip install 'interlock[server,gpu]'"
        )
    ort.preload_dlls()
    try:
        session = _open(_PROBE, CUDA, 1)
        one = np.ones(1, np.float32)
        session.run(None, {"a": one, "b": one})
    except Exception as error:  # noqa: BLE001 - whatever stops CUDA from working is the answer
        return f"the CUDA provider does not work here: {_first_line(error)}"
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
    path: Path, provider: str, threads: int, *, optimised: bool = False, then: Callable[[], None] = _nothing
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
    wanted = [(_CUDA_PROVIDER, _CUDA_OPTIONS), _CPU_PROVIDER] if provider == CUDA else [_CPU_PROVIDER]
    session = ort.InferenceSession(
        str(path), options, providers=wanted, enable_fallback=0, disabled_optimizers=_Between(then)
    )
    # ONNX Runtime falls back to the CPU in silence; what it took is to be seen here only.
    taken = session.get_providers()
    if provider == CUDA and taken[0] != _CUDA_PROVIDER:
        raise RuntimeError(f"ONNX Runtime took {taken[0]} instead of {_CUDA_PROVIDER}")
    return session


def _first_line(error: Exception) -> str:
    return (str(error).strip().splitlines() or [type(error).__name__])[0][:400]


_M_TRIM_THRESHOLD: Final = -1
_M_MMAP_THRESHOLD: Final = -3
_MIB: Final = 1 << 20


def _bound_freed_memory() -> None:
    """Have the allocator return large blocks at once.

    Each session is made on a thread of its own, and so in one of many arenas. Left to itself glibc learns from the
    first freed weights to keep blocks of up to 32 MiB, in every arena, where not even malloc_trim finds the last one.
    """
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None)
    if mallopt is not None:
        mallopt(_M_MMAP_THRESHOLD, 4 * _MIB)
        mallopt(_M_TRIM_THRESHOLD, 8 * _MIB)


def give_back_memory() -> None:
    """Return freed memory to the system: without this RSS does not fall after a session is dropped."""
    trim = getattr(ctypes.CDLL(None), "malloc_trim", None)
    if trim is not None:
        trim(0)
