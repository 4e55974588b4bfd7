"""`export`: a PyTorch module in, a proven ONNX file and its golden samples out, or an error that says why not."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Final

from interlock import golden as golden_file
from interlock.errors import ExportRefused, InvalidArgument
from interlock.golden import Golden, Sample, Tolerance
from interlock.types import Array

from interlock_client.torch import _example, _needs
from interlock_client.torch._graph import to_onnx
from interlock_client.torch._parity import Exported, Reference, compare, default_tolerances, dtypes

if TYPE_CHECKING:
    from torch import Tensor, nn

    from interlock_client.torch._example import Example

DEFAULT_OPSET: Final = 20
DEFAULT_BATCH_SIZES: Final = (1, 2, 3, 8)
_EXAMPLE_ROWS: Final = 8
"""Rows of the example that go into the golden file."""


@dataclass(frozen=True, slots=True)
class ExportResult:
    """What an export wrote and how well it agrees."""

    model_path: Path
    golden_path: Path
    samples: int
    """Golden samples written."""
    compared: int
    """Batches that PyTorch and ONNX Runtime both answered."""
    max_abs: float
    max_rel: float
    argmax_agreement: float
    tolerance: Tolerance
    """What was demanded on the CPU."""
    opset: int
    environment: Mapping[str, str]


def export(
    model: nn.Module,
    out: str | Path,
    inputs: Tensor | Sequence[Tensor] | Mapping[str, Tensor],
    *,
    output_names: Sequence[str] | None = None,
    dynamic: Mapping[str, Mapping[int, str]] | None = None,
    samples: Sequence[Mapping[str, Array]] = (),
    tolerances: Mapping[str, Tolerance] | None = None,
    batch_sizes: Sequence[int] = DEFAULT_BATCH_SIZES,
    opset: int = DEFAULT_OPSET,
    golden: str | Path | None = None,
) -> ExportResult:
    """Export a module to ONNX, prove that ONNX Runtime answers as PyTorch does, and write both model and golden file.

    Args:
        model: a module in eval mode; nothing of it is changed.
        out: the ONNX file to write. Neither file is touched unless everything agrees.
        inputs: example inputs, real ones if possible: by name, in the order of `forward`, or the only one. Names that
            are not parameters of `forward` are given to the inputs in order.
        output_names: names for the outputs; by default y, or y0, y1, …, or the keys of a returned dict.
        dynamic: by input, axis → symbol; by default the first axis of every input is `batch`.
        samples: more real inputs by name, which are compared and kept in the golden file as they are.
        tolerances: by provider ("CPU", "CUDA"); by default what fits the narrowest datatype.
        batch_sizes: batches that are compared, made of the example's rows.
        opset: the ONNX operator set.
        golden: the golden file to write; by default `out` with the suffix .npz.

    Raises:
        ExportRefused: training mode, or torch or ONNX Runtime cannot do it.
        GoldenMismatch: the answers differ beyond the tolerance.
        InvalidArgument: the example inputs are not usable.
    """
    _needs.require()
    _refuse_training(model)
    model_path = Path(out)
    golden_path = model_path.with_suffix(".npz") if golden is None else Path(golden)
    if golden_path == model_path:
        raise InvalidArgument(f"the model and its golden samples cannot both be written to {model_path.name}")
    example = _example.read(model, inputs, dynamic)
    reference = Reference(model, example, output_names)
    wanted = dict(tolerances or default_tolerances(model, example.tensors))
    tolerance = wanted.get("CPU") or default_tolerances(model, example.tensors)["CPU"]
    given = [_given(reference, example, index, sample) for index, sample in enumerate(samples)]
    real = [_first_rows(example, reference), *given]
    _refuse_chance(reference, example, real[0], tolerance)
    plain = _varied(reference, example, batch_sizes, seed=0)
    moved = _varied(reference, example, batch_sizes, seed=1)
    data = to_onnx(model, example, reference.names, opset)
    model_path.parent.mkdir(parents=True, exist_ok=True)
    with _Pending(model_path) as new_model, _Pending(golden_path) as new_golden:
        new_model.path.write_bytes(data)
        agreement = compare(Exported(new_model.path), [*real, *plain, *moved], tolerance)
        environment = _needs.environment()
        golden_file.write(Golden([*real, *plain], dtypes(real[0]), wanted, environment), new_golden.path)
        new_golden.commit()
        new_model.commit()
    return ExportResult(
        model_path=model_path,
        golden_path=golden_path,
        samples=len(real) + len(plain),
        compared=len(real) + len(plain) + len(moved),
        max_abs=agreement.max_abs,
        max_rel=agreement.max_rel,
        argmax_agreement=agreement.argmax,
        tolerance=tolerance,
        opset=opset,
        environment=environment,
    )


def _refuse_training(model: nn.Module) -> None:
    training = [name or type(model).__name__ for name, module in model.named_modules() if module.training]
    if training:
        more = f" and {len(training) - 1} more" if len(training) > 1 else ""
        raise ExportRefused(
            f"{training[0]}{more} is in training mode: Dropout would stay random and BatchNorm use the batch; "
            "call model.eval() first",
            facts={"module": training[0]},
        )


def _first_rows(example: Example, reference: Reference) -> Sample:
    batch = example.batch_symbol()
    rows = _EXAMPLE_ROWS if batch and example.sizes()[batch] > _EXAMPLE_ROWS else None
    tensors = {
        name: tensor.narrow(axis, 0, rows) if rows is not None and axis is not None else tensor
        for name, tensor in example.tensors.items()
        for axis in [next((a for a, s in example.dynamic.get(name, {}).items() if s == batch), None)]
    }
    return reference.sample(tensors)


def _given(reference: Reference, example: Example, index: int, sample: Mapping[str, Array]) -> Sample:
    import torch

    if set(sample) != set(example.tensors):
        raise InvalidArgument(f"sample {index} has inputs {sorted(sample)}, the example {sorted(example.tensors)}")
    tensors = {}
    for name, like in example.tensors.items():
        tensor = torch.as_tensor(sample[name])
        if tensor.dtype is not like.dtype:
            raise InvalidArgument(f"sample {index}: {name!r} is {tensor.dtype}, the example is {like.dtype}")
        tensors[name] = tensor.to(like.device)
    return reference.sample(tensors)


def _refuse_chance(reference: Reference, example: Example, first: Sample, tolerance: Tolerance) -> None:
    again = _first_rows(example, reference)
    kinds = dtypes(first)
    for name, expected in first.outputs.items():
        found = golden_file.compare(name, kinds[f"out/{name}"], again.outputs[name], expected, tolerance)
        if not found.within:
            raise ExportRefused(
                f"PyTorch itself answers the same inputs differently (output {name!r}, by {found.max_abs:.3g}): "
                "the model draws random numbers or keeps state; a version has to be a function of its inputs"
            )


def _varied(reference: Reference, example: Example, batch_sizes: Sequence[int], seed: int) -> list[Sample]:
    if not batch_sizes or min(batch_sizes) < 1:
        raise InvalidArgument(f"batch_sizes are {list(batch_sizes)}; at least one is needed, all >= 1")
    found: list[Sample] = []
    for tensors, other_sizes in _example.variations(example, batch_sizes, seed):
        try:
            found.append(reference.sample(tensors))
        except (RuntimeError, ValueError, IndexError) as error:
            if not other_sizes:
                shapes = {name: list(tensor.shape) for name, tensor in tensors.items()}
                raise ExportRefused(
                    f"the model itself fails on inputs of shape {shapes}: {str(error)[:300]}. "
                    "If the batch is fixed, pass dynamic={}"
                ) from error
    return found


class _Pending:
    """A file that appears under its name only when it is whole: written beside it, then renamed."""

    def __init__(self, target: Path) -> None:
        self._target = target
        handle, name = tempfile.mkstemp(dir=target.parent, prefix=f".{target.name}.", suffix=target.suffix)
        os.close(handle)
        self.path: Final = Path(name)

    def __enter__(self) -> _Pending:
        return self

    def commit(self) -> None:
        """Give the file its name."""
        mask = os.umask(0)
        os.umask(mask)
        self.path.chmod(0o666 & ~mask)
        self.path.replace(self._target)

    def __exit__(self, *_: object) -> None:
        self.path.unlink(missing_ok=True)
