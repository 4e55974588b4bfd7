"""nn.RNN, nn.LSTM and nn.GRU as the one ONNX operator that each of them is.

Left alone, torch's exporter unrolls an nn.RNN for the length of the example, so that no other length can be asked; an
nn.LSTM or nn.GRU becomes a loop of small operators, which ONNX Runtime runs one by one. The operators take any length
and run fused.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from torch import Tensor, nn
    from torch.nn.utils.rnn import PackedSequence

_GATES: Final = {"RNN": (0,), "LSTM": (0, 3, 1, 2), "GRU": (1, 0, 2)}
"""torch's gates in ONNX's order: i o f c from i f g o, and z r h from r z n."""
Attribute = int | float | str | bool | Sequence[int] | Sequence[float] | Sequence[str] | Sequence[bool]
_OPSET: Final = 17
"""The operators are the same from opset 14 to 21; torch counts what is written here as of the model's own opset."""


@contextmanager
def whole(model: nn.Module) -> Iterator[None]:
    """Export the recurrent modules of a model as single operators while this is open; the model itself is restored."""
    from torch import nn

    with ExitStack() as undo:
        for module in model.modules():
            # Not subclasses: they may compute something else.
            if isinstance(module, nn.RNNBase) and type(module) in (nn.RNN, nn.LSTM, nn.GRU) and _can_be_whole(module):
                undo.enter_context(_replaced(module))
        yield


def _can_be_whole(module: nn.RNNBase) -> bool:
    import torch

    # ONNX has no projection, and ONNX Runtime's operators compute in 32 bits only.
    return module.proj_size == 0 and all(each.dtype is torch.float32 for each in module.parameters())


@contextmanager
def _replaced(module: nn.RNNBase) -> Iterator[None]:
    layers = [_layer(module, index) for index in range(module.num_layers)]
    added = [name for index, layer in enumerate(layers) for name in layer.register(module, index)]
    module.__dict__["forward"] = _forward(module, layers)
    try:
        yield
    finally:
        del module.__dict__["forward"]
        for name in added:
            delattr(module, name)


@dataclass(frozen=True, slots=True)
class _Layer:
    """One layer's weights as ONNX wants them: directions first, gates in its order, both biases in one."""

    weights: Tensor
    recurrence: Tensor
    biases: Tensor | None

    def register(self, module: nn.RNNBase, index: int) -> Sequence[str]:
        """Make them buffers of the module, so that the graph's initializers have names that tell what they are."""
        named = {f"W_l{index}": self.weights, f"R_l{index}": self.recurrence}
        if self.biases is not None:
            named[f"B_l{index}"] = self.biases
        for name, tensor in named.items():
            module.register_buffer(name, tensor, persistent=False)
        return list(named)


def _layer(module: nn.RNNBase, index: int) -> _Layer:
    import torch

    ends = ["", "_reverse"] if module.bidirectional else [""]

    def gathered(kind: str) -> list[Tensor]:
        order = _GATES[_operator(module)]
        parts = [getattr(module, f"{kind}_l{index}{end}").detach().chunk(len(order)) for end in ends]
        return [torch.cat([part[gate] for gate in order]) for part in parts]

    biases = None
    if module.bias:
        pairs = zip(gathered("bias_ih"), gathered("bias_hh"), strict=True)
        biases = torch.stack([torch.cat(pair) for pair in pairs])
    return _Layer(torch.stack(gathered("weight_ih")), torch.stack(gathered("weight_hh")), biases)


def _operator(module: nn.RNNBase) -> str:
    return "RNN" if module.mode.startswith("RNN") else module.mode


def _forward(module: nn.RNNBase, layers: Sequence[_Layer]) -> Callable[..., object]:
    import torch

    def forward(input: Tensor | PackedSequence, hx: Tensor | tuple[Tensor, Tensor] | None = None) -> object:
        if not isinstance(input, torch.Tensor):
            return type(module).forward(module, input, hx)  # torch says what it thinks of packed sequences
        single = input.ndim == 2
        states = [] if hx is None else list(hx) if isinstance(hx, tuple) else [hx]
        if single:
            input = input.unsqueeze(0 if module.batch_first else 1)
            states = [state.unsqueeze(1) for state in states]
        answers = input.transpose(0, 1) if module.batch_first else input
        lasts: list[Sequence[Tensor]] = []
        for index in range(len(layers)):
            answers, *last = _run(module, index, answers, states)
            lasts.append(last)
        out = answers.transpose(0, 1) if module.batch_first else answers
        final = [torch.cat(list(each)) for each in zip(*lasts, strict=True)]
        if single:
            out = out.squeeze(0 if module.batch_first else 1)
            final = [state.squeeze(1) for state in final]
        return out, (final[0], final[1]) if len(final) == 2 else final[0]

    return forward


def _run(module: nn.RNNBase, index: int, steps: Tensor, states: Sequence[Tensor]) -> Sequence[Tensor]:
    """Run one layer over [steps, batch, features]: its answers in the same layout, then its last states."""
    import torch

    operator = _operator(module)
    directions = 2 if module.bidirectional else 1
    length, batch, hidden = steps.shape[0], steps.shape[1], module.hidden_size
    first = [state.narrow(0, index * directions, directions) for state in states]
    attributes: dict[str, Attribute] = {
        "hidden_size": hidden,
        "direction": "bidirectional" if module.bidirectional else "forward",
    }
    if operator == "GRU":
        attributes["linear_before_reset"] = 1
    if module.mode == "RNN_RELU":
        attributes["activations"] = ["Relu"] * directions
    states_out = 2 if operator == "LSTM" else 1
    answers, *last = torch.onnx.ops.symbolic_multi_out(
        operator,
        (steps, getattr(module, f"W_l{index}"), getattr(module, f"R_l{index}"), getattr(module, f"B_l{index}", None))
        + ((None, *first) if first else ()),
        attributes,
        dtypes=[steps.dtype] * (1 + states_out),
        shapes=[[length, directions, batch, hidden]] + [[directions, batch, hidden]] * states_out,
        version=_OPSET,
    )
    # [steps, directions, batch, hidden] → [steps, batch, both directions side by side]
    return [answers.transpose(1, 2).reshape(length, batch, directions * hidden), *last]
