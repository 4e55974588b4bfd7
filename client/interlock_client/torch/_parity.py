"""The proof: PyTorch and ONNX Runtime side by side on the same inputs."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import numpy as np
from interlock import golden
from interlock.errors import ExportRefused, GoldenMismatch
from interlock.golden import DEFAULT_TOLERANCES, Sample, Tolerance
from interlock.types import Array, DType, dtype_of

if TYPE_CHECKING:
    from torch import Tensor, nn

    from interlock_client.torch._example import Example, Tensors

HALF_TOLERANCES: Final[Mapping[str, Tolerance]] = {
    "CPU": Tolerance(atol=1e-2, rtol=1e-2),
    "CUDA": Tolerance(atol=2e-2, rtol=2e-2),
}
"""Where a weight, an input or an output has 16 bits."""


@dataclass(frozen=True, slots=True)
class Agreement:
    """How far ONNX Runtime's answers were from PyTorch's, at worst."""

    max_abs: float
    max_rel: float
    argmax: float
    """The share of rows whose largest element is the same one; 1 where no output has classes."""


def default_tolerances(model: nn.Module, tensors: Tensors) -> Mapping[str, Tolerance]:
    """Return the tolerances that fit a module's narrowest datatype."""
    used = (*model.parameters(), *model.buffers(), *tensors.values())
    return HALF_TOLERANCES if any(t.is_floating_point() and t.element_size() < 4 for t in used) else DEFAULT_TOLERANCES


def flatten(output: object) -> Mapping[str, Tensor]:
    """Name the tensors of what a module returned: y, or y0, y1, …, or the keys of a dict; raises ExportRefused."""
    import torch

    if isinstance(output, torch.Tensor):
        found: Mapping[Any, Any] = {"y": output}
    elif isinstance(output, Mapping):
        found = output
    elif isinstance(output, tuple | list):
        found = {f"y{index}": each for index, each in enumerate(_leaves(output))}
    else:
        raise ExportRefused(f"the model returns a {type(output).__name__}; return tensors, or a tuple or dict of them")
    for name, tensor in found.items():
        if not isinstance(tensor, torch.Tensor):
            raise ExportRefused(f"output {name!r} is a {type(tensor).__name__}; return tensors only")
        if tensor.dtype is torch.bfloat16 or tensor.is_complex():
            raise ExportRefused(f"output {name!r} is {tensor.dtype}, which cannot be served: return y.float()")
    return {str(name): tensor for name, tensor in found.items()}


def _leaves(output: Sequence[object]) -> list[object]:
    """Flatten tuples in tuples, such as the states of an LSTM, in the order that torch's exporter does."""
    found: list[object] = []
    for each in output:
        found += _leaves(each) if isinstance(each, tuple | list) else [each]
    return found


class Reference:
    """The PyTorch side: a module's answers as numpy arrays by output name."""

    def __init__(self, model: nn.Module, example: Example, output_names: Sequence[str] | None) -> None:
        self._model = model
        self._example = example
        try:
            found = flatten(self._call(example.tensors))
        except (RuntimeError, ValueError, IndexError) as error:
            shapes = {name: list(tensor.shape) for name, tensor in example.tensors.items()}
            raise ExportRefused(
                f"the model itself fails on the example inputs, of shape {shapes}: {str(error)[:300]}. "
                "Check their names, datatypes and shapes"
            ) from error
        self.names: Final = tuple(output_names or found)
        if len(self.names) != len(found) or len(set(self.names)) != len(found):
            raise ExportRefused(f"the model has {len(found)} outputs; output_names are {list(self.names)}")
        both = [name for name in self.names if name in example.tensors]
        if both:
            raise ExportRefused(
                f"{both[0]!r} names an input and an output; give the outputs names of their own with output_names"
            )

    def sample(self, tensors: Tensors) -> Sample:
        """Return inputs with PyTorch's outputs."""
        outputs = dict(zip(self.names, map(_numpy, flatten(self._call(tensors)).values()), strict=True))
        return Sample({name: _numpy(tensor) for name, tensor in tensors.items()}, outputs)

    def _call(self, tensors: Tensors) -> object:
        import torch

        with torch.no_grad():
            return self._example.call(self._model, tensors)


def _numpy(tensor: Tensor) -> Array:
    return tensor.detach().cpu().contiguous().numpy()


def dtypes(sample: Sample) -> Mapping[str, DType]:
    """Return the datatypes of a sample as a golden file names them; raises ExportRefused."""
    found: dict[str, DType] = {}
    for side, tensors in (("in", sample.inputs), ("out", sample.outputs)):
        for name, array in tensors.items():
            dtype = dtype_of(array)
            if dtype is None:
                raise ExportRefused(f"tensor {name!r} is {array.dtype}, which cannot be served; cast it")
            found[f"{side}/{name}"] = dtype
    return found


class Exported:
    """The ONNX Runtime side: an exported file on the CPU."""

    def __init__(self, path: Path) -> None:
        # Its wheels report their use to their maker from the import on, unless the trainer has decided already.
        os.environ.setdefault("ORT_DISABLE_TELEMETRY", "1")
        import onnxruntime as ort

        options = ort.SessionOptions()
        options.log_severity_level = 3
        options.add_session_config_entry("session.intra_op.allow_spinning", "0")
        try:
            self._session = ort.InferenceSession(
                str(path), options, providers=["CPUExecutionProvider"], enable_fallback=0
            )
        except Exception as error:
            raise ExportRefused(
                f"torch exported the model, but ONNX Runtime {ort.__version__} on the CPU cannot load it: "
                f"{' '.join(str(error).split())[:500]}"
            ) from error
        self._names = [output.name for output in self._session.get_outputs()]

    def run(self, inputs: Mapping[str, Array]) -> Mapping[str, Array]:
        """Return the outputs by name; raises ExportRefused."""
        try:
            found = self._session.run(self._names, dict(inputs))
        except Exception as error:
            shapes = {name: list(array.shape) for name, array in inputs.items()}
            text = " ".join(str(error).split())[:500]
            lacking = "not support" in text or "NOT_IMPLEMENTED" in text
            advice = "Use another datatype or operator" if lacking else "A size may be frozen into it: see `dynamic`"
            raise ExportRefused(
                f"ONNX Runtime cannot run the exported model on inputs of shape {shapes}, PyTorch can: {text}. {advice}"
            ) from error
        return dict(zip(self._names, map(np.asarray, found), strict=True))


def compare(exported: Exported, samples: Sequence[Sample], tolerance: Tolerance, example: Example) -> Agreement:
    """Hold ONNX Runtime against PyTorch on every sample; raises GoldenMismatch beyond the tolerance."""
    max_abs, max_rel, same, rows = 0.0, 0.0, 0, 0
    for sample in samples:
        answers = exported.run(sample.inputs)
        for name, expected in sample.outputs.items():
            dtype = dtype_of(expected)
            if dtype is None or name not in answers:
                raise ExportRefused(f"output {name!r} is missing from the exported model, which has {list(answers)}")
            found = golden.compare(name, dtype, answers[name], expected, tolerance)
            if not found.within:
                raise GoldenMismatch(
                    f"ONNX Runtime does not answer as PyTorch does at {_sizes(sample, example)}: "
                    f"{found.why.replace('the golden sample', 'PyTorch')}. Nothing was written; "
                    "wider `tolerances` accept it if that is close enough",
                    output=name,
                    max_abs=found.max_abs,
                )
            max_abs, max_rel = max(max_abs, found.max_abs), max(max_rel, found.max_rel)
            if expected.dtype.kind == "f" and expected.ndim > 1 and expected.shape[-1] > 1:
                agree = answers[name].argmax(-1) == expected.argmax(-1)
                same, rows = same + int(agree.sum()), rows + agree.size
    return Agreement(max_abs, max_rel, same / rows if rows else 1.0)


def _sizes(sample: Sample, example: Example) -> str:
    """Tell the sizes of a sample's dynamic dimensions, and the shapes of its inputs."""
    axes = ((name, axis, symbol) for name, each in example.dynamic.items() for axis, symbol in each.items())
    sizes = {symbol: sample.inputs[name].shape[axis] for name, axis, symbol in axes}
    shapes = ", ".join(f"{name!r} {list(array.shape)}" for name, array in sample.inputs.items())
    named = ", ".join(f"{symbol} {size}" for symbol, size in sizes.items())
    return f"{named} (inputs {shapes})" if named else f"inputs {shapes}"
