"""ONNX Runtime as the model tool uses it: versions it takes, one quiet CPU session, numpy in and numpy out."""

from __future__ import annotations

import ctypes
import math
import re
import resource
import statistics
import time
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any, Final, Protocol

import numpy as np
import onnxruntime as ort
from interlock.errors import InvalidModel
from interlock.types import Array, Dim, DType, Signature, TensorSpec
from onnx import TensorProto, helper

from interlock_registry.tool.job import ModelLimits

RUNTIME_VERSION: Final[str] = ort.__version__

_DTYPES: Final[Mapping[str, DType]] = {
    "tensor(bool)": DType.BOOL,
    "tensor(int8)": DType.INT8,
    "tensor(int16)": DType.INT16,
    "tensor(int32)": DType.INT32,
    "tensor(int64)": DType.INT64,
    "tensor(uint8)": DType.UINT8,
    "tensor(uint16)": DType.UINT16,
    "tensor(uint32)": DType.UINT32,
    "tensor(uint64)": DType.UINT64,
    "tensor(float16)": DType.FP16,
    "tensor(bfloat16)": DType.BF16,
    "tensor(float)": DType.FP32,
    "tensor(double)": DType.FP64,
    "tensor(string)": DType.BYTES,
}


_PLACE: Final = re.compile(r"Load model from \S+ failed: ?")
"""Where the model lies here is nothing to its sender."""


class _NodeArg(Protocol):
    name: str
    type: str
    shape: Sequence[int | str | None]


def check_versions(ir_version: int, opsets: Mapping[str, int]) -> None:
    """Refuse a model of a newer format than the installed ONNX Runtime reads; raises InvalidModel naming both.

    The runtime has no table to ask, so a one-node model of the same versions is put before its own loader.
    """
    if not _takes(ir_version, {}):
        newest = _newest(lambda ir: _takes(ir, {}), 3, ir_version)
        raise InvalidModel(
            f"the model has IR version {ir_version}; ONNX Runtime {RUNTIME_VERSION} here takes at most {newest}: "
            f"export it with an older onnx package, or set model.ir_version = {newest} if it uses nothing newer",
            check="version",
        )
    for domain, opset in opsets.items():
        if not _takes(ir_version, {domain: opset}):
            newest = _newest(partial(_takes_opset, ir_version, domain), 1, opset)
            raise InvalidModel(
                f"the model needs opset {opset} of {domain or 'ai.onnx'}; ONNX Runtime {RUNTIME_VERSION} here takes "
                f"at most {newest}: export it with opset_version={min(newest, 20) if not domain else newest}",
                check="version",
            )


def _newest(takes: Callable[[int], bool], known: int, refused: int) -> int:
    newest = known
    while newest + 1 < refused and takes(newest + 1):
        newest += 1
    return newest


def _takes_opset(ir_version: int, domain: str, opset: int) -> bool:
    return _takes(ir_version, {domain: opset})


def _takes(ir_version: int, opsets: Mapping[str, int]) -> bool:
    value = helper.make_tensor_value_info
    graph = helper.make_graph(
        [helper.make_node("Identity", ["x"], ["y"])],
        "probe",
        [value("x", TensorProto.FLOAT, [1])],
        [value("y", TensorProto.FLOAT, [1])],
    )
    imports = [helper.make_opsetid(domain, version) for domain, version in ({"": 13} | dict(opsets)).items()]
    model = helper.make_model(graph, opset_imports=imports, ir_version=ir_version)
    options = ort.SessionOptions()
    options.log_severity_level = 4
    options.intra_op_num_threads = 1
    options.graph_optimization_level = ort.GraphOptimizationLevel.ORT_DISABLE_ALL
    try:
        ort.InferenceSession(model.SerializeToString(), options, providers=["CPUExecutionProvider"])
    except Exception as error:  # noqa: BLE001 - ONNX Runtime's errors share no base class; every one means "no"
        return _is_out_of_memory(error)
    return True


MAX_DEFAULT_BYTES: Final = 4096
"""Initializers over that are weights, also where the graph lets callers override them."""


def refusal(error: Exception, doing: str, check: str) -> InvalidModel | MemoryError:
    """Return the error of ours that one of ONNX Runtime's means; its errors share no base class but Exception."""
    if _is_out_of_memory(error):
        return MemoryError(str(error))
    text = _PLACE.sub("", " ".join(str(error).split()))
    return InvalidModel(f"ONNX Runtime {RUNTIME_VERSION} fails at {doing} the model: {text[:600]}", check=check)


def _is_out_of_memory(error: Exception) -> bool:
    text = str(error)
    return (
        isinstance(error, MemoryError) or "bad_alloc" in text or "bad allocation" in text or "allocate memory" in text
    )


def session_options(limits: ModelLimits) -> ort.SessionOptions:
    """Return the options that every session here has; what shapes the graph is as in the serving workers."""
    options = ort.SessionOptions()
    options.intra_op_num_threads = 1
    options.inter_op_num_threads = 1
    options.log_severity_level = 3
    options.add_session_config_entry("session.intra_op.allow_spinning", "0")
    options.add_session_config_entry(
        "optimization.constant_folding_max_output_size_in_bytes", str(limits.max_folded_bytes)
    )
    return options


class Session:
    """A model loaded on the CPU, one thread, no spinning."""

    def __init__(self, path: Path, limits: ModelLimits, *, optimised: bool = False) -> None:
        """Load a graph; one that is `optimised` already is taken as it is. Raises InvalidModel, MemoryError."""
        options = session_options(limits)
        if optimised:
            options.graph_optimization_level = ort.GraphOptimizationLevel.ORT_DISABLE_ALL
        before = _resident()
        started = time.perf_counter()
        try:
            self._session = ort.InferenceSession(
                str(path), options, providers=["CPUExecutionProvider"], enable_fallback=0
            )
        except Exception as error:
            raise refusal(error, "loading", "load") from error
        self.load_s: Final = time.perf_counter() - started
        self._resident_before = before
        self._runs_s: list[float] = []
        self.signature: Final = Signature(
            tuple(_spec("input", each) for each in self._session.get_inputs()),
            tuple(_spec("output", each) for each in self._session.get_outputs()),
            tuple(_spec("input", each) for each in self._session.get_overridable_initializers() if _worth_giving(each)),
        )
        self._names = [spec.name for spec in self.signature.outputs]
        self._bf16_out = any(spec.dtype is DType.BF16 for spec in self.signature.outputs)
        if self._bf16_out and any(spec.dtype is DType.BYTES for spec in self.signature.inputs):
            raise InvalidModel("BYTES inputs together with BF16 outputs cannot be served", check="signature")

    @property
    def run_s(self) -> float:
        """The median of the runs so far; 0 before the first."""
        return statistics.median(self._runs_s) if self._runs_s else 0.0

    @property
    def memory_bytes(self) -> int:
        """Resident memory that was added since before the load."""
        return max(0, _resident() - self._resident_before)

    def run(self, inputs: Mapping[str, Array]) -> Mapping[str, Array]:
        """Run one batch; raises InvalidModel, MemoryError.

        BF16 comes and goes as its bits in uint16; BYTES comes as `bytes` in UTF-8 or `str`, and goes as `str`.
        """
        started = time.perf_counter()
        try:
            feeds = {spec.name: _feed(spec, inputs[spec.name], self._bf16_out) for spec in self.signature.inputs}
            if self._bf16_out:
                values = self._session.run_with_ort_values(self._names, feeds)
                found = [_fetch(value) for value in values]
            else:
                found = [np.asarray(value) for value in self._session.run(self._names, feeds)]
        except Exception as error:
            raise refusal(error, "running", "run") from error
        self._runs_s.append(time.perf_counter() - started)
        return dict(zip(self._names, found, strict=True))


def _spec(side: str, arg: _NodeArg) -> TensorSpec:
    dtype = _DTYPES.get(arg.type)
    if dtype is None:
        raise InvalidModel(
            f"{side} {arg.name!r} is a {arg.type}, which the protocol cannot carry; "
            f"cast it inside the model to one of {', '.join(sorted(kind.value for kind in DType))}",
            check="signature",
        )
    return TensorSpec(arg.name, dtype, tuple(_dim(dim) for dim in arg.shape))


def _worth_giving(arg: _NodeArg) -> bool:
    """Tell an input with a default from a weight that an exporter listed among the inputs too."""
    dtype = _DTYPES.get(arg.type)
    sizes = [dim for dim in arg.shape if isinstance(dim, int)]
    if dtype is None or len(sizes) != len(arg.shape):
        return False
    return math.prod(sizes) * (dtype.itemsize or 64) <= MAX_DEFAULT_BYTES


def _dim(dim: int | str | None) -> Dim:
    if isinstance(dim, int):
        return dim if dim >= 0 else None
    return dim or None


def _feed(spec: TensorSpec, array: Array, all_ort_values: bool) -> Any:
    # np.ascontiguousarray would give a scalar a dimension.
    if spec.dtype is DType.BF16:
        return ort.OrtValue.ortvalue_from_numpy_with_onnx_type(np.asarray(array, order="C"), TensorProto.BFLOAT16)
    if spec.dtype is DType.BYTES:
        # ONNX Runtime would take a bytes object as the text of its repr.
        texts = [item.decode() if isinstance(item, bytes) else str(item) for item in array.ravel().tolist()]
        decoded = np.empty(len(texts), dtype=object)
        decoded[:] = texts
        return decoded.reshape(array.shape)
    array = np.asarray(array, dtype=spec.dtype.numpy)
    return ort.OrtValue.ortvalue_from_numpy(np.asarray(array, order="C")) if all_ort_values else array


def _fetch(value: Any) -> Array:
    if value.data_type() != "tensor(bfloat16)":
        return np.asarray(value.numpy())
    size = value.tensor_size_in_bytes()
    raw = ctypes.string_at(value.data_ptr(), size) if size else b""
    return np.frombuffer(raw, dtype=np.uint16).reshape(value.shape())


def _resident() -> int:
    fields = Path("/proc/self/statm").read_text().split()
    return int(fields[1]) * resource.getpagesize()
