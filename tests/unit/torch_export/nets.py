"""Modules to export; `tests.unit.torch_export.nets:ready` is what the command's tests name."""

from __future__ import annotations

import torch
from torch import Tensor, nn


class Mlp(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.layers = nn.Sequential(nn.Linear(8, 16), nn.ReLU(), nn.Dropout(0.5), nn.Linear(16, 3))

    def forward(self, x: Tensor) -> Tensor:
        y: Tensor = self.layers(x)
        return y


class Cnn(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.body = nn.Sequential(nn.Conv2d(1, 4, 3, padding=1), nn.BatchNorm2d(4), nn.ReLU(), nn.AdaptiveAvgPool2d(2))
        self.head = nn.Linear(16, 5)

    def forward(self, image: Tensor) -> Tensor:
        y: Tensor = self.head(self.body(image).flatten(1))
        return y


class Reader(nn.Module):
    """A recurrent network over sequences of any length, which also returns its state."""

    def __init__(self, kind: type[nn.GRU] | type[nn.LSTM]) -> None:
        super().__init__()
        self.cell = kind(4, 6, batch_first=True, bidirectional=True)
        self.head = nn.Linear(12, 2)

    def forward(self, tokens: Tensor) -> Tensor:
        found, _ = self.cell(tokens)
        y: Tensor = self.head(found)
        return y


class Pooled(nn.Module):
    """Token ids and a mask of them → dict of outputs."""

    def __init__(self) -> None:
        super().__init__()
        self.table = nn.Embedding(20, 6)

    def forward(self, ids: Tensor, mask: Tensor) -> dict[str, Tensor]:
        found = self.table(ids) * mask.unsqueeze(-1)
        return {"mean": found.sum(1) / mask.sum(1, keepdim=True).clamp(min=1), "count": mask.sum(1)}


class Rolling(nn.Module):
    """Draws random numbers also in eval mode."""

    def forward(self, x: Tensor) -> Tensor:
        return x + torch.rand_like(x)


class TwoFaced(nn.Module):
    """Answers otherwise when it is traced than when it is run: a stand-in for an exporter's bug."""

    def forward(self, x: Tensor) -> Tensor:
        return x * 1.5 if torch.compiler.is_exporting() else x


class Picky(nn.Module):
    """Branches on its data, which no export can follow."""

    def forward(self, x: Tensor) -> Tensor:
        return x if float(x.sum()) > 0 else -x


def seeded(module: type[nn.Module], *args: object) -> nn.Module:
    torch.manual_seed(3)
    return module(*args).eval()


def ready() -> nn.Module:
    return seeded(Mlp)


def forgotten() -> nn.Module:
    return Mlp()


instance = seeded(Mlp)
number = 3


class Stateful(nn.Module):
    """Nested outputs: the sequence, and the two states of an LSTM."""

    def __init__(self) -> None:
        super().__init__()
        self.cell = nn.LSTM(4, 3, batch_first=True)

    def forward(self, x: Tensor) -> tuple[Tensor, tuple[Tensor, Tensor]]:
        found: tuple[Tensor, tuple[Tensor, Tensor]] = self.cell(x)
        return found


class Packed(nn.Module):
    """Reads sequences that it packs, which ONNX has no form for."""

    def __init__(self) -> None:
        super().__init__()
        self.cell = nn.LSTM(4, 3, batch_first=True)

    def forward(self, x: Tensor) -> Tensor:
        lengths = torch.full((x.shape[0],), x.shape[1])
        packed = nn.utils.rnn.pack_padded_sequence(x, lengths, batch_first=True)
        last: Tensor = self.cell(packed)[1][0]
        return last[0]


class Deaf(nn.Module):
    """Takes an input that it does not use."""

    def forward(self, x: Tensor, ignored: Tensor) -> Tensor:
        return x * 2


class Chatty(nn.Module):
    """Returns something besides tensors."""

    def forward(self, x: Tensor) -> tuple[Tensor, str]:
        return x, "fine"


class Evens(nn.Module):
    """Works for an even number of rows only."""

    def forward(self, x: Tensor) -> Tensor:
        return x.reshape(2, -1, 8).sum(0)


class Steps(nn.Module):
    """A recurrent module alone, so that its states are seen too."""

    def __init__(self, cell: nn.RNNBase) -> None:
        super().__init__()
        self.cell = cell

    def forward(self, x: Tensor) -> object:
        return self.cell(x)


class Continued(nn.Module):
    """A recurrent module that starts from given states."""

    def __init__(self, cell: nn.RNNBase) -> None:
        super().__init__()
        self.cell = cell

    def forward(self, x: Tensor, h: Tensor, c: Tensor | None = None) -> object:
        return self.cell(x, h if c is None else (h, c))


class Bessel(nn.Module):
    """Uses an operator that ONNX lacks."""

    def forward(self, x: Tensor) -> Tensor:
        found: Tensor = torch.special.bessel_j0(x * 2)
        return found


class Nested(nn.Module):
    """Has the trouble in a part of a part."""

    def __init__(self, part: nn.Module) -> None:
        super().__init__()
        self.parts = nn.Sequential(nn.Linear(8, 8), part)

    def forward(self, x: Tensor) -> Tensor:
        y: Tensor = self.parts(x)
        return y


class TwoRows(nn.Module):
    """Takes two rows only, and says so nowhere."""

    def forward(self, x: Tensor) -> Tensor:
        return x.reshape(2, 8) + 1


class Embedder(nn.Module):
    """Names a part as callers may want to name its output."""

    def __init__(self) -> None:
        super().__init__()
        self.embedding = nn.Embedding(10, 4)
        self.out = nn.Linear(4, 4)

    def forward(self, ids: Tensor) -> tuple[Tensor, Tensor]:
        found: Tensor = self.out(self.embedding(ids))
        return found, found.mean(1)


class Positions(nn.Module):
    """Knows positions up to 6, as models with a table of positions do."""

    def __init__(self) -> None:
        super().__init__()
        self.table = nn.Parameter(torch.randn(6, 4))

    def forward(self, x: Tensor) -> Tensor:
        return x + self.table[: x.shape[1]]


class Fickle(nn.Module):
    """Is exported wrong for more than four rows: a stand-in for a bug that one batch size would not show."""

    def forward(self, x: Tensor) -> Tensor:
        if torch.compiler.is_exporting():
            return torch.where(torch.arange(x.shape[0]).unsqueeze(1) > 3, x * 1.5, x)
        return x
