"""`export`: a PyTorch module in, a proven ONNX file and its golden samples out, or an error that says why not."""

from __future__ import annotations

import shutil
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
from interlock_client.torch._example import Dynamic, Example
from interlock_client.torch._graph import write_onnx
from interlock_client.torch._parity import Exported, Reference, compare, default_tolerances, dtypes

if TYPE_CHECKING:
    from torch import Tensor, nn

DEFAULT_OPSET: Final = 20
DEFAULT_BATCH_SIZES: Final = (1, 2, 3, 8)
_EXAMPLE_ROWS: Final = 8
"""Rows of the example that go into the golden file."""


@dataclass(frozen=True, slots=True)
class ExportResult:
    """What an export wrote and how well it agrees."""

    model_path: Path
    golden_path: Path
    data_paths: tuple[Path, ...]
    """Files beside the model that hold its weights; none unless they are over 2 GB or `external_data` asks for it."""
    samples: int
    """Golden samples written."""
    compared: int
    """Batches that PyTorch and ONNX Runtime both answered."""
    sizes: Mapping[str, tuple[int, ...]]
    """By dynamic dimension: the sizes at which both answered."""
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
    dynamic: Dynamic | None = None,
    samples: Sequence[Mapping[str, Array]] = (),
    tolerances: Mapping[str, Tolerance] | None = None,
    batch_sizes: Sequence[int] = DEFAULT_BATCH_SIZES,
    sizes: Mapping[str, Sequence[int]] | None = None,
    opset: int = DEFAULT_OPSET,
    golden: str | Path | None = None,
    external_data: bool | None = None,
) -> ExportResult:
    """Export a module to ONNX, prove that ONNX Runtime answers as PyTorch does, and write both model and golden file.

    Args:
        model: a module in eval mode; nothing of it is changed.
        out: the ONNX file to write. Neither file is touched unless everything agrees.
        inputs: example inputs, real ones if possible: by name, in the order of `forward`, or the only one. Names that
            are not parameters of `forward` are given to the inputs in order.
        output_names: names for the outputs; by default y, or y0, y1, …, or the keys of a returned dict.
        dynamic: by input, axis → symbol or torch.export.Dim. By default the first axis of every input is `batch`, and
            every other axis in which one of `samples` differs from `inputs` is dynamic as well. The batch stays so
            where `dynamic` says nothing of a first axis; None for a symbol fixes an axis, and {} all of them.
        samples: more real inputs by name, which are compared and kept in the golden file as they are.
        tolerances: by provider ("CPU", "CUDA"); by default what fits the narrowest datatype.
        batch_sizes: batches that are compared, made of the example's rows.
        sizes: by symbol, the sizes at which other dynamic dimensions are compared; by default one less and one more
            than the example has, double and half, as far as the module takes them.
        opset: the ONNX operator set.
        golden: the golden file to write; by default `out` with the suffix .npz.
        external_data: write the weights to a file of their own, `out` with .data appended; by default only where one
            ONNX file cannot hold them.

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
    example = _example.read(model, inputs, dynamic, samples)
    plan = _Plan(example, batch_sizes, sizes or {})
    reference = Reference(model, example, output_names)
    wanted = dict(tolerances or default_tolerances(model, example.tensors))
    tolerance = wanted.get("CPU") or default_tolerances(model, example.tensors)["CPU"]
    answers = _ask(reference, example, plan, samples, tolerance)
    with _Staging(model_path) as staging:
        staged = staging.folder / model_path.name
        data = write_onnx(model, example, reference.names, opset, staged, external_data)
        agreement = compare(Exported(staged), answers.all, tolerance, example)
        environment = _needs.environment()
        kept = Golden(answers.kept, dtypes(answers.kept[0]), wanted, environment)
        golden_file.write(kept, staging.folder / "golden")
        # The model comes last: whoever finds a new one finds all that belongs to it.
        data_paths = tuple(staging.commit(path, model_path.with_name(path.name)) for path in data)
        staging.commit(staging.folder / "golden", golden_path)
        staging.commit(staged, model_path)
    return ExportResult(
        model_path=model_path,
        golden_path=golden_path,
        data_paths=data_paths,
        samples=len(answers.kept),
        compared=len(answers.all),
        sizes=plan.sizes(answers.all),
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
        more = f" (and {len(training) - 1} more of its modules)" if len(training) > 1 else ""
        raise ExportRefused(
            f"{training[0]}{more} is in training mode: Dropout would stay random and BatchNorm use the batch; "
            "call model.eval() first",
            facts={"module": training[0]},
        )


@dataclass(frozen=True, slots=True)
class _Answers:
    """What PyTorch answered."""

    kept: Sequence[Sample]
    """What goes into the golden file: the example, the samples that were given, and the example's rows at each size."""
    moved: Sequence[Sample]
    """Other rows at each size, which are compared only."""

    @property
    def all(self) -> Sequence[Sample]:
        """Everything that ONNX Runtime has to answer alike."""
        return [*self.kept, *self.moved]


def _ask(
    reference: Reference,
    example: Example,
    plan: _Plan,
    samples: Sequence[Mapping[str, Array]],
    tolerance: Tolerance,
) -> _Answers:
    """Have PyTorch answer all that is compared; raises ExportRefused, InvalidArgument."""
    given = [_given(reference, example, index, sample) for index, sample in enumerate(samples)]
    first = _first_rows(example, reference)
    _refuse_chance(reference, example, first, tolerance)
    return _Answers([first, *given, *plan.samples(reference, seed=0)], plan.samples(reference, seed=1))


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


@dataclass(frozen=True, slots=True)
class _Plan:
    """At which sizes the two sides are compared."""

    example: Example
    batch_sizes: Sequence[int]
    others: Mapping[str, Sequence[int]]

    def __post_init__(self) -> None:
        if not self.batch_sizes or min(self.batch_sizes) < 1:
            raise InvalidArgument(f"batch_sizes are {list(self.batch_sizes)}; at least one is needed, all >= 1")
        known = set(self.example.sizes()) - {self.example.batch_symbol()}
        for symbol, sizes in self.others.items():
            if symbol not in known:
                raise InvalidArgument(
                    f"sizes names {symbol!r}; the dynamic dimensions besides the batch are {sorted(known) or 'none'}"
                )
            if not sizes or min(sizes) < 1:
                raise InvalidArgument(f"sizes of {symbol!r} are {list(sizes)}; at least one is needed, all >= 1")

    def samples(self, reference: Reference, seed: int) -> list[Sample]:
        """Ask PyTorch at every size; raises ExportRefused where the module cannot take a size that it should."""
        found: list[Sample] = []
        tried, why = 0, ""
        for variation in _example.variations(self.example, self.batch_sizes, self.others, seed):
            tried += not variation.demanded
            try:
                found.append(reference.sample(variation.tensors))
            except (RuntimeError, ValueError, IndexError) as error:
                shapes = {name: list(tensor.shape) for name, tensor in variation.tensors.items()}
                if variation.demanded:
                    raise ExportRefused(
                        f"the model itself fails on inputs of shape {shapes}: {str(error)[:300]}. "
                        "If the batch is fixed, say so in `dynamic`: {name: {0: None}}, or {} if all sizes are"
                    ) from error
                tried, why = tried - 1, f"on inputs of shape {shapes}: {str(error)[:300]}"
        if why and not tried:
            names = ", ".join(sorted(set(self.example.sizes()) - {self.example.batch_symbol()}))
            raise ExportRefused(
                f"{names}: said to be dynamic, but the model itself takes the example's size only. It fails {why}. "
                "Leave it out of `dynamic`, or name sizes that it takes with `sizes`"
            )
        return found

    def sizes(self, samples: Sequence[Sample]) -> Mapping[str, tuple[int, ...]]:
        """Return the sizes that samples have, by symbol."""
        found: dict[str, set[int]] = {}
        for name, axes in self.example.dynamic.items():
            for axis, symbol in axes.items():
                found.setdefault(symbol, set()).update(sample.inputs[name].shape[axis] for sample in samples)
        return {symbol: tuple(sorted(seen)) for symbol, seen in found.items()}


class _Staging:
    """A hidden folder beside the target, so that files get their names only when all of them are whole."""

    def __init__(self, target: Path) -> None:
        """Make the folder; raises InvalidArgument where nothing can be written there."""
        try:
            target.parent.mkdir(parents=True, exist_ok=True)
            self._folder = tempfile.TemporaryDirectory(dir=target.parent, prefix=f".{target.name}.")
        except OSError as error:
            raise InvalidArgument(f"{str(target)!r} cannot be written: {error.strerror}") from error
        self.folder: Final = Path(self._folder.name)

    def __enter__(self) -> _Staging:
        return self

    def commit(self, path: Path, target: Path) -> Path:
        """Give a file its name, over one that was there; return it."""
        target.parent.mkdir(parents=True, exist_ok=True)
        if target.parent.stat().st_dev == path.stat().st_dev:
            path.replace(target)
        else:
            near = target.with_name(f".{target.name}.part")
            shutil.copyfile(path, near)
            near.replace(target)
        return target

    def __exit__(self, *_: object) -> None:
        self._folder.cleanup()
