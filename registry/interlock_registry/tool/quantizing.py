"""The child's job `quantize`: a narrower form by ONNX Runtime's own tools, then both forms side by side."""

from __future__ import annotations

import logging
import tempfile
import warnings
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Final

import numpy as np
import onnx
from interlock import golden
from interlock.errors import GoldenMismatch, InvalidModel
from interlock.golden import Golden, Sample, Tolerance
from interlock.quantization import Form, OutputParity, Quantization, allowed
from interlock.types import Array
from onnx import ModelProto, TensorProto

from interlock_registry.tool.quantize_job import GOLDEN, MODEL, QuantizeJob
from interlock_registry.tool.runtime import Session

_INT8_OPERATORS: Final = ("MatMul", "Attention", "LSTM", "Gather", "EmbedLayerNormalization")
"""Not Conv: its integer form needs activations scaled ahead, and is slower than floats without."""
_INT8_MADE: Final = frozenset(
    {"MatMulInteger", "MatMulIntegerToFloat", "DynamicQuantizeMatMul", "DynamicQuantizeLSTM", "QAttention"}
    | {"QEmbedLayerNormalization", "DequantizeLinear"}
)
_MAX_BYTES: Final = (1 << 31) - (64 << 20)
_SMALL_SHARE: Final = 1e-2
"""Of an output's largest element: below that a relative error says nothing."""


def quantize(job: QuantizeJob) -> Quantization:
    """Write the new model and its golden samples into the job's directory; raises InvalidModel, GoldenMismatch.

    InvalidArgument where the tolerance is wider than the server takes.
    """
    # The tools make temporary files of their own.
    tempfile.tempdir = str(job.out)
    samples = golden.read(job.golden)
    largest = _largest(samples.samples)
    tolerance = allowed(job.form, job.atol, job.rtol, largest, job.max_share)
    target = job.out / MODEL
    converted = _convert(job, target)
    before = _answers(job.model, samples.samples, job)
    after = _answers(target, samples.samples, job)
    _hold(samples, after.outputs, tolerance, job.form)
    held = replace(samples, tolerances={provider: tolerance for provider in ("CPU", "CUDA")})
    golden.write(held, job.out / GOLDEN)
    return Quantization(
        form=job.form,
        parent=job.parent,
        samples=len(samples.samples),
        tolerance=tolerance,
        outputs=tuple(_parity(name, before.outputs, after.outputs) for name in samples.samples[0].outputs),
        parent_bytes=job.parent_bytes,
        bytes=target.stat().st_size,
        parent_run_s=before.run_s,
        run_s=after.run_s,
        converted=converted,
    )


def _largest(samples: Sequence[Sample]) -> float:
    found = [
        float(np.max(np.abs(array[np.isfinite(array)]), initial=0.0))
        for sample in samples
        for array in sample.outputs.values()
        if array.dtype.kind == "f"
    ]
    return max(found, default=0.0)


def _convert(job: QuantizeJob, target: Path) -> int:
    if job.parent_bytes > _MAX_BYTES:
        raise InvalidModel(
            f"the model has {job.parent_bytes} bytes; the tools take at most {_MAX_BYTES}: narrow it before the export",
            check="quantize",
        )
    model = onnx.load(job.model)
    logging.disable(logging.ERROR)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of the tools, about their own ways
        try:
            return _to_int8(model, target) if job.form is Form.INT8 else _to_fp16(model, target)
        except (InvalidModel, MemoryError):
            raise
        except Exception as error:
            text = " ".join(str(error).split())[:400]
            raise InvalidModel(
                f"ONNX Runtime's tool cannot make {job.form.value} of the model: {type(error).__name__}: {text}",
                check="quantize",
            ) from error


def _to_int8(model: ModelProto, target: Path) -> int:
    from onnxruntime.quantization import QuantType, quantize_dynamic

    before = _operators(model)
    # Shapes that the exporter noted contradict those of the quantized graph.
    del model.graph.value_info[:]
    quantize_dynamic(
        model, target, op_types_to_quantize=list(_INT8_OPERATORS), per_channel=True, weight_type=QuantType.QInt8
    )
    found = _operators(onnx.load(target)) - before
    made = sum(count for name, count in found.items() if name in _INT8_MADE)
    if not made:
        raise InvalidModel(
            "int8 would change nothing: the model has no matrix product, LSTM or embedding with constant 32-bit "
            f"weights, only {', '.join(sorted(before)[:12])}. Try --to fp16",
            check="quantize",
        )
    return made


def _operators(model: ModelProto) -> Counter[str]:
    return Counter(node.op_type for node in model.graph.node)


def _to_fp16(model: ModelProto, target: Path) -> int:
    from onnxruntime.quantization.onnx_model import ONNXModel
    from onnxruntime.transformers.float16 import convert_float_to_float16

    before = _halves(model)
    narrow = convert_float_to_float16(model, keep_io_types=True)
    made = _halves(narrow) - before
    if made <= 0:
        raise InvalidModel("fp16 would change nothing: the model has no 32-bit weights", check="quantize")
    # The tool appends the casts of inputs at the end, after the nodes that take them.
    ONNXModel(narrow).topological_sort()
    onnx.save(narrow, target)
    return made


def _halves(model: ModelProto) -> int:
    return sum(tensor.data_type == TensorProto.FLOAT16 for tensor in model.graph.initializer)


@dataclass(frozen=True, slots=True)
class _Answers:
    outputs: Sequence[Mapping[str, Array]]
    run_s: float


def _answers(path: Path, samples: Sequence[Sample], job: QuantizeJob) -> _Answers:
    session = Session(path, job.limits)
    session.run(samples[0].inputs)  # the first run also makes buffers, and would be counted
    outputs = [session.run(sample.inputs) for sample in samples]
    return _Answers(outputs, session.run_s)


def _hold(samples: Golden, answers: Sequence[Mapping[str, Array]], tolerance: Tolerance, form: Form) -> None:
    for index, (sample, answer) in enumerate(zip(samples.samples, answers, strict=True)):
        for name, expected in sample.outputs.items():
            found = golden.compare(name, samples.dtypes[f"out/{name}"], answer[name], expected, tolerance)
            if not found.within:
                raise GoldenMismatch(
                    f"the {form.value} form is too far from golden sample {index}: {found.why}. Nothing was "
                    "registered; a wider --atol or --rtol accepts it if that is close enough",
                    output=name,
                    max_abs=found.max_abs,
                )


def _parity(name: str, before: Sequence[Mapping[str, Array]], after: Sequence[Mapping[str, Array]]) -> OutputParity:
    pairs = [(a[name], b[name]) for a, b in zip(after, before, strict=True)]
    if pairs[0][0].dtype.kind not in "fiub":
        return OutputParity(name, 0.0, 0.0, 0.0, None)  # text: equal, or the golden samples were not met
    got = np.concatenate([a.ravel() for a, _ in pairs]).astype(np.float64)
    was = np.concatenate([b.ravel() for _, b in pairs]).astype(np.float64)
    finite = np.isfinite(got) & np.isfinite(was)
    got, was = got[finite], was[finite]
    distance = np.abs(got - was)
    size = np.abs(was)
    counted = size > _SMALL_SHARE * float(np.max(size, initial=0.0))
    length = float(np.linalg.norm(was))
    return OutputParity(
        output=name,
        max_abs=float(np.max(distance, initial=0.0)),
        max_rel=float(np.max(distance[counted] / size[counted], initial=0.0)),
        rel_l2=float(np.linalg.norm(distance)) / length if length else 0.0,
        argmax=_same_choice(pairs),
    )


def _same_choice(pairs: Sequence[tuple[Array, Array]]) -> float | None:
    chosen = [
        a.argmax(-1).ravel() == b.argmax(-1).ravel()
        for a, b in pairs
        if a.dtype.kind == "f" and a.ndim > 1 and a.shape[-1] > 1
    ]
    return float(np.mean(np.concatenate(chosen))) if chosen else None
