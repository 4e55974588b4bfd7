"""Example inputs: their names, their dynamic axes, and batches of other sizes made from them."""

from __future__ import annotations

import inspect
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from interlock.errors import ExportRefused, InvalidArgument

if TYPE_CHECKING:
    from torch import Tensor, nn

BATCH: Final = "batch"
"""The symbol of the first dimension, unless the caller names it."""

Tensors = Mapping[str, "Tensor"]
"""Inputs by name."""


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
    dynamic: Mapping[str, Mapping[int, str]] | None,
) -> Example:
    """Name the example inputs and settle their dynamic axes; raises InvalidArgument."""
    import torch

    parameters = _parameters(model)
    if isinstance(inputs, Mapping):
        tensors = dict(inputs)
        by_keyword = set(tensors) <= set(parameters)
    else:
        listed = [inputs] if isinstance(inputs, torch.Tensor) else list(inputs)
        names = parameters[: len(listed)] + [f"input_{index}" for index in range(len(parameters), len(listed))]
        tensors, by_keyword = dict(zip(names, listed, strict=True)), False
    if not tensors:
        raise InvalidArgument("an export needs at least one example input, for its shape and for the parity check")
    for name, tensor in tensors.items():
        if not isinstance(tensor, torch.Tensor):
            raise InvalidArgument(f"example input {name!r} is a {type(tensor).__name__}, not a torch.Tensor")
        if tensor.dtype is torch.bfloat16 or tensor.is_complex():
            raise ExportRefused(
                f"example input {name!r} is {tensor.dtype}, which ONNX Runtime on a CPU cannot take: "
                "take float32 at the model's edge and cast inside"
            )
        if tensor.numel() == 0:
            raise InvalidArgument(f"example input {name!r} is empty; its shape is {list(tensor.shape)}")
    axes = _dynamic(tensors, dynamic)
    example = Example({name: tensor.detach() for name, tensor in tensors.items()}, by_keyword, axes)
    return _at_least_two_rows(example)


def _parameters(model: nn.Module) -> list[str]:
    kinds = (inspect.Parameter.POSITIONAL_OR_KEYWORD, inspect.Parameter.KEYWORD_ONLY)
    return [each.name for each in inspect.signature(model.forward).parameters.values() if each.kind in kinds]


def _dynamic(tensors: Tensors, dynamic: Mapping[str, Mapping[int, str]] | None) -> Mapping[str, Mapping[int, str]]:
    if dynamic is None:
        return {name: {0: BATCH} for name, tensor in tensors.items() if tensor.ndim}
    sizes: dict[str, int] = {}
    for name, axes in dynamic.items():
        if name not in tensors:
            raise InvalidArgument(f"dynamic names {name!r}, which is none of the inputs {', '.join(tensors)}")
        for axis, symbol in axes.items():
            if not 0 <= axis < tensors[name].ndim:
                raise InvalidArgument(f"input {name!r} has {tensors[name].ndim} dimensions, none numbered {axis}")
            if not symbol.isidentifier():
                raise InvalidArgument(f"{symbol!r} cannot name a dimension: use a Python identifier, such as 'batch'")
            size = tensors[name].shape[axis]
            if sizes.setdefault(symbol, size) != size:
                raise InvalidArgument(
                    f"dimension {symbol!r} is {sizes[symbol]} in one input and {size} in {name!r}; "
                    "give them different names"
                )
    return {name: dict(axes) for name, axes in dynamic.items() if axes}


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


def variations(example: Example, batch_sizes: Sequence[int], seed: int) -> Iterator[tuple[Tensors, bool]]:
    """Yield inputs of every batch size, and whether it also changes other sizes, which a model may not allow.

    Seed 0 gives rows of the example as they are, others move them by a tenth of a standard deviation.
    """
    batch = example.batch_symbol()
    others = {symbol: size for symbol, size in example.sizes().items() if symbol != batch}
    noise = 0.1 if seed else 0.0
    for index, rows in enumerate(batch_sizes if batch else [0]):
        sizes = {batch: rows} if batch else {}
        yield resize(example, sizes, seed * 1000 + index, noise), False
        # One more and one less in turn: a length that was frozen shows in either.
        changed = {symbol: max(1, size + (1 if index % 2 else -1)) for symbol, size in others.items()}
        if changed:
            yield resize(example, sizes | changed, seed * 1000 + index, noise), True
