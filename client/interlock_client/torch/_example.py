"""Example inputs: their names, their dynamic axes, and batches of other sizes made from them."""

from __future__ import annotations

import inspect
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from interlock.errors import ExportRefused, InvalidArgument
from interlock.types import Array

if TYPE_CHECKING:
    from torch import Tensor, nn
    from torch.export import Dim

BATCH: Final = "batch"
"""The symbol of the first dimension, unless the caller names it."""

LENGTH: Final = "length"
"""The symbol of an axis after the first that was seen to vary."""

Tensors = Mapping[str, "Tensor"]
"""Inputs by name."""
Dynamic = Mapping[str, Mapping[int, "str | Dim | None"]]
"""By input: axis → symbol, or torch's own Dim, whose name counts, or None for an axis that is fixed."""


@dataclass(frozen=True, slots=True)
class Example:
    """Named example inputs of a module, and which of their axes may vary."""

    tensors: Tensors
    by_keyword: bool
    """The names are parameters of `forward`; otherwise the order counts."""
    dynamic: Mapping[str, Mapping[int, str]]
    """By input: axis → symbol; axes of one symbol always have the same size."""

    def call(self, model: nn.Module, tensors: Tensors) -> object:
        """Run the module on such inputs."""
        return model(**tensors) if self.by_keyword else model(*tensors.values())

    def sizes(self) -> Mapping[str, int]:
        """Return the size that each symbol has here."""
        return {
            symbol: self.tensors[name].shape[axis]
            for name, axes in self.dynamic.items()
            for axis, symbol in axes.items()
        }

    def batch_symbol(self) -> str | None:
        """Return the symbol that the first dimension of the inputs has, or None where it is fixed."""
        return next((axes[0] for axes in self.dynamic.values() if 0 in axes), None)


def read(
    model: nn.Module,
    inputs: Tensor | Sequence[Tensor] | Mapping[str, Tensor],
    dynamic: Dynamic | None,
    others: Sequence[Mapping[str, Array]] = (),
) -> Example:
    """Name the example inputs and settle their dynamic axes; raises InvalidArgument.

    Without `dynamic`, the first axis is the batch, and any other axis in which one of `others` differs is dynamic too.
    The first axis is the batch also where `dynamic` names other axes only.
    """
    import torch

    parameters = _parameters(model)
    if isinstance(inputs, Mapping):
        tensors = dict(inputs)
        by_keyword = set(tensors) <= set(parameters)
        if not by_keyword:
            _refuse_other_places(list(tensors), parameters)
    else:
        listed = [inputs] if isinstance(inputs, torch.Tensor) else list(inputs)
        names = parameters[: len(listed)] + [f"input_{index}" for index in range(len(parameters), len(listed))]
        tensors, by_keyword = dict(zip(names, listed, strict=True)), False
    if not tensors:
        raise InvalidArgument("an export needs at least one example input, for its shape and for the parity check")
    for name, tensor in tensors.items():
        if not isinstance(tensor, torch.Tensor):
            raise InvalidArgument(
                f"example input {name!r} is a {type(tensor).__name__}, not a torch.Tensor; torch.as_tensor makes one"
            )
        if tensor.dtype is torch.bfloat16 or tensor.is_complex():
            raise ExportRefused(
                f"example input {name!r} is {tensor.dtype}, which ONNX Runtime on a CPU cannot take: "
                "take float32 at the model's edge and cast inside"
            )
        if tensor.numel() == 0:
            raise InvalidArgument(f"example input {name!r} is empty; its shape is {list(tensor.shape)}")
    axes = _seen(tensors, others) if dynamic is None else _dynamic(tensors, dynamic)
    example = Example({name: tensor.detach() for name, tensor in tensors.items()}, by_keyword, axes)
    return _at_least_two_rows(example)


def _refuse_other_places(names: Sequence[str], parameters: Sequence[str]) -> None:
    """Refuse a name that some parameter has, in the place of another: the others are not in the order of `forward`."""
    for place, name in enumerate(names):
        if name in parameters and parameters.index(name) != place:
            strange = ", ".join(repr(each) for each in names if each not in parameters)
            raise InvalidArgument(
                f"`forward` takes {', '.join(parameters)}, and no {strange}; so inputs are given to it in order, in "
                f"which {name!r} comes as number {place + 1}: correct the name, or put them in the order of `forward`"
            )


def _parameters(model: nn.Module) -> list[str]:
    kinds = (inspect.Parameter.POSITIONAL_OR_KEYWORD, inspect.Parameter.KEYWORD_ONLY)
    return [each.name for each in inspect.signature(model.forward).parameters.values() if each.kind in kinds]


def _seen(tensors: Tensors, others: Sequence[Mapping[str, Array]]) -> Mapping[str, Mapping[int, str]]:
    """Name the axes that vary over the examples; axes that always vary together get one name."""
    symbols: dict[Sequence[int], str] = {}
    found: dict[str, dict[int, str]] = {}
    for name, tensor in tensors.items():
        same_rank = [other[name].shape for other in others if name in other and other[name].ndim == tensor.ndim]
        found[name] = {0: BATCH} if tensor.ndim else {}
        for axis in range(1, tensor.ndim):
            sizes = (tensor.shape[axis], *(shape[axis] for shape in same_rank))
            if len(set(sizes)) > 1:
                found[name][axis] = symbols.setdefault(sizes, f"{LENGTH}{len(symbols) + 1}" if symbols else LENGTH)
    return {name: axes for name, axes in found.items() if axes}


def _dynamic(tensors: Tensors, dynamic: Dynamic) -> Mapping[str, Mapping[int, str]]:
    sizes: dict[str, int] = {}
    for name, axes in dynamic.items():
        if name not in tensors:
            raise InvalidArgument(f"dynamic names {name!r}, which is none of the inputs {', '.join(tensors)}")
        for axis, given in axes.items():
            if not 0 <= axis < tensors[name].ndim:
                raise InvalidArgument(f"input {name!r} has {tensors[name].ndim} dimensions, none numbered {axis}")
            if given is None:
                continue
            symbol = _symbol(given)
            if not symbol.isidentifier():
                raise InvalidArgument(f"{symbol!r} cannot name a dimension: use a Python identifier, such as 'batch'")
            size = tensors[name].shape[axis]
            if sizes.setdefault(symbol, size) != size:
                raise InvalidArgument(
                    f"dimension {symbol!r} is {sizes[symbol]} in one input and {size} in {name!r}; "
                    "give them different names"
                )
    stated = {
        name: {axis: _symbol(given) for axis, given in axes.items() if given is not None}
        for name, axes in dynamic.items()
    }
    if dynamic and not any(0 in axes for axes in dynamic.values()):
        batch = {0: BATCH}
        stated = {name: (batch if tensor.ndim else {}) | stated.get(name, {}) for name, tensor in tensors.items()}
    return {name: axes for name, axes in stated.items() if axes}


def _symbol(given: str | Dim) -> str:
    return given if isinstance(given, str) else str(given.__name__)


def _at_least_two_rows(example: Example) -> Example:
    """Repeat a single row: some torch versions take a dimension of 1 for a constant."""
    ones = {symbol: 2 for symbol, size in example.sizes().items() if size == 1}
    return Example(resize(example, ones, 0, 0.0), example.by_keyword, example.dynamic) if ones else example


def resize(example: Example, sizes: Mapping[str, int], seed: int, noise: float) -> Tensors:
    """Return inputs of other sizes, made of the example's own rows: real values, in the combinations that occur.

    Rows are drawn at random and kept together over all inputs; other dynamic axes repeat from their start. Floats are
    moved by `noise` standard deviations of theirs; integers and booleans stay what they were.
    """
    import torch

    generator = torch.Generator().manual_seed(seed)
    present = example.sizes()
    batch = example.batch_symbol()
    picks = {}
    for symbol, size in sizes.items():
        drawn = torch.randint(present[symbol], (size,), generator=generator) if symbol == batch else torch.arange(size)
        picks[symbol] = drawn % present[symbol]
    made = {}
    for name, tensor in example.tensors.items():
        for axis, symbol in example.dynamic.get(name, {}).items():
            if symbol in picks:
                tensor = tensor.index_select(axis, picks[symbol].to(tensor.device))
        if noise and tensor.is_floating_point():
            spread = float(tensor.float().std(correction=0)) or 1.0
            moves = torch.randn(tensor.shape, generator=generator) * (noise * spread)
            tensor = tensor + moves.to(tensor.device, tensor.dtype)
        made[name] = tensor.contiguous()
    return made


@dataclass(frozen=True, slots=True)
class Variation:
    """Inputs of other sizes, and what becomes of it if the module cannot take them."""

    tensors: Tensors
    demanded: bool
    """The caller named these sizes, or only the batch differs: the module has to take them."""


def variations(
    example: Example, batch_sizes: Sequence[int], sizes: Mapping[str, Sequence[int]], seed: int
) -> Iterator[Variation]:
    """Yield inputs of every batch size, as long as the example and at other lengths, which a model may not allow.

    Seed 0 gives rows of the example as they are, others move them by a tenth of a standard deviation.
    """
    batch = example.batch_symbol()
    lengths = {
        symbol: list(sizes.get(symbol, ())) or _other_sizes(size)
        for symbol, size in example.sizes().items()
        if symbol != batch
    }
    noise = 0.1 if seed else 0.0
    rows = list(batch_sizes) if batch else [0]
    for index in range(max(len(rows), *map(len, lengths.values())) if lengths else len(rows)):
        count = rows[index % len(rows)]
        picked = {batch: count} if batch else {}
        if index < len(rows):
            yield Variation(resize(example, picked, seed * 1000 + index, noise), True)
        changed = {symbol: each[index % len(each)] for symbol, each in lengths.items()}
        if changed:
            inputs = resize(example, picked | changed, seed * 1000 + index, noise)
            yield Variation(inputs, all(symbol in sizes for symbol in changed))


def _other_sizes(size: int) -> list[int]:
    """One less and one more, double and half: a length that was frozen shows in any of them."""
    return [max(1, size - 1), size + 1, 2 * size, max(1, size // 2)]
