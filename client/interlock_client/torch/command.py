"""What `interlock export MODULE:ATTR` does: find the module, make its example inputs, export."""

from __future__ import annotations

import importlib
import os
import re
import sys
import zipfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Final

import numpy as np
from interlock.errors import InvalidArgument, Violation
from interlock.types import Array, Dim, DType, TensorSpec

from interlock_client.torch import _needs
from interlock_client.torch._export import export

if TYPE_CHECKING:
    from torch import Tensor, nn

_SPEC: Final = re.compile(r"(?P<name>[^=\s\[\]]+)=(?P<dtype>[A-Za-z0-9]+)(?:\[(?P<dims>[^\[\]]*)\])?")
_SIZE: Final = re.compile(r"[1-9][0-9]{0,8}")
_ROWS: Final = 8
_LENGTH: Final = 6
"""The size that a symbolic dimension after the first has in made-up inputs."""


@dataclass(frozen=True, slots=True)
class ExportReport:
    """What the command tells about an export."""

    model_path: Path
    golden_path: Path
    samples: int
    max_abs: float
    argmax_agreement: float
    opset: int


def export_command(target: str, out: Path, inputs: Sequence[str], samples: Path | None = None) -> ExportReport:
    """Export the module that MODULE:ATTR names; raises InvalidArgument, ExportRefused, GoldenMismatch.

    `inputs` are NAME=DTYPE[D1,D2,…] with sizes or symbols; `samples` is an npz of real inputs by name, whose rows
    become the example. ATTR is an nn.Module, or something that makes one when it is called.
    """
    specs = [parse_input(text) for text in inputs]
    if not specs:
        raise InvalidArgument("say what the model takes: --input NAME=DTYPE[D1,D2,...], as in --input x=FP32[batch,64]")
    _needs.require()
    model = _find(target)
    arrays = _made_up(specs) if samples is None else _read_samples(samples, specs)
    dynamic = {
        spec.name: {axis: dim if isinstance(dim, str) else None for axis, dim in enumerate(spec.shape)}
        for spec in specs
    }
    result = export(model, out, _tensors(arrays), dynamic=dynamic)
    return ExportReport(
        model_path=result.model_path,
        golden_path=result.golden_path,
        samples=result.samples,
        max_abs=result.max_abs,
        argmax_agreement=result.argmax_agreement,
        opset=result.opset,
    )


def parse_input(text: str) -> TensorSpec:
    """Read NAME=DTYPE[D1,D2,…]; raises InvalidArgument."""
    found = _SPEC.fullmatch(text.strip())
    if found is None:
        raise _bad(text, "write NAME=DTYPE[D1,D2,...], as in x=FP32[batch,64]")
    kind = found["dtype"].upper()
    if kind not in DType.__members__:
        raise _bad(text, f"there is no datatype {found['dtype']!r}; there are {', '.join(DType.__members__)}")
    if kind in ("BYTES", "BF16"):
        raise _bad(text, f"a PyTorch export cannot take {kind}")
    dims = [dim.strip() for dim in (found["dims"] or "").split(",")] if found["dims"] else []
    return TensorSpec(found["name"], DType[kind], tuple(_dim(text, dim) for dim in dims))


def _dim(text: str, dim: str) -> Dim:
    if _SIZE.fullmatch(dim):
        return int(dim)
    if dim.isidentifier():
        return dim
    raise _bad(text, f"{dim!r} is neither a size above 0 nor a symbol such as batch")


def _bad(text: str, why: str) -> InvalidArgument:
    return InvalidArgument(f"cannot read --input {text[:200]!r}: {why}", violations=[Violation("input", why)])


def _find(target: str) -> nn.Module:
    from torch import nn

    module_name, colon, attribute = target.partition(":")
    if not (module_name and colon and attribute):
        raise InvalidArgument(f"{target!r} names no model: write MODULE:ATTR, as in training.nets:model")
    if module_name.endswith(".py"):
        dotted = module_name.removesuffix(".py").strip("./").replace("/", ".")
        raise InvalidArgument(f"{module_name!r} is a file; name the module: {dotted}:{attribute}")
    if os.getcwd() not in sys.path:
        sys.path.insert(0, os.getcwd())
    try:
        found: object = importlib.import_module(module_name)
    except ModuleNotFoundError as error:
        raise InvalidArgument(f"cannot import {module_name!r}: {error}; run this where the module lies") from error
    for part in attribute.split("."):
        if not hasattr(found, part):
            raise InvalidArgument(f"{module_name!r} has no attribute {attribute!r}")
        found = getattr(found, part)
    if not isinstance(found, nn.Module) and callable(found):
        found = found()
    if not isinstance(found, nn.Module):
        raise InvalidArgument(f"{target} is a {type(found).__name__}, not an nn.Module or a function that makes one")
    return found


def _sizes(spec: TensorSpec) -> list[int]:
    return [dim if isinstance(dim, int) else (_LENGTH if axis else _ROWS) for axis, dim in enumerate(spec.shape)]


def _made_up(specs: Sequence[TensorSpec]) -> Mapping[str, Array]:
    """Return made-up inputs: normal floats, integers 0 and 1, which any vocabulary has."""
    generator = np.random.default_rng(0)
    made: dict[str, Array] = {}
    for spec in specs:
        if spec.dtype in (DType.FP16, DType.FP32, DType.FP64):
            made[spec.name] = np.asarray(generator.standard_normal(_sizes(spec)), dtype=spec.dtype.numpy)
        else:
            made[spec.name] = np.asarray(generator.integers(0, 2, _sizes(spec)), dtype=spec.dtype.numpy)
    return made


def _read_samples(path: Path, specs: Sequence[TensorSpec]) -> Mapping[str, Array]:
    try:
        with path.open("rb") as file, np.load(file, allow_pickle=False) as archive:
            arrays: dict[str, Array] = {name: archive[name] for name in archive.files}
    except (OSError, ValueError, TypeError, AttributeError, EOFError, zipfile.BadZipFile) as error:
        raise InvalidArgument(f"{path} is not an npz of input arrays by name: {error}") from error
    wanted = {spec.name for spec in specs}
    if set(arrays) != wanted:
        raise InvalidArgument(f"{path} holds {sorted(arrays)}; arrays named {sorted(wanted)} are needed")
    for spec in specs:
        array = arrays[spec.name]
        fits = array.ndim == len(spec.shape) and all(
            not isinstance(dim, int) or dim == size for dim, size in zip(spec.shape, array.shape, strict=True)
        )
        if array.dtype != spec.dtype.numpy or not fits:
            raise InvalidArgument(f"{path}: {spec.name!r} is {array.dtype}{list(array.shape)}, --input says {spec}")
    return arrays


def _tensors(arrays: Mapping[str, Array]) -> Mapping[str, Tensor]:
    import torch

    return {name: torch.from_numpy(np.array(array)) for name, array in arrays.items()}
