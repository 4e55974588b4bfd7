"""Recurrent modules, exported as one operator each."""

from __future__ import annotations

from pathlib import Path

import onnx
import pytest
import torch
from interlock.errors import ExportRefused
from interlock_client.torch import export
from torch import nn

from tests.unit.torch_export import nets

BOTH = {0: "batch", 1: "length"}


def operators(path: Path) -> list[str]:
    return [node.op_type for node in onnx.load(path).graph.node]


def made(kind: str, **options: object) -> nn.RNNBase:
    torch.manual_seed(3)
    cell: nn.RNNBase = getattr(nn, kind)(4, 6, **options)
    return cell


@pytest.mark.parametrize("kind", ["RNN", "LSTM", "GRU"])
@pytest.mark.parametrize(
    "options", [{}, {"bidirectional": True, "num_layers": 2, "bias": False}], ids=["plain", "deep"]
)
def test_a_recurrent_module_is_one_operator_a_layer_that_takes_any_length(
    tmp_path: Path, kind: str, options: dict[str, object]
) -> None:
    cell = made(kind, batch_first=True, **options)
    model = nets.Steps(cell).eval()
    known = set(model.state_dict())
    result = export(model, tmp_path / "m.onnx", torch.randn(3, 5, 4), dynamic={"x": BOTH})
    assert operators(result.model_path).count(kind) == cell.num_layers
    assert not {"Loop", "Scan", "If"} & set(operators(result.model_path))
    assert result.max_abs < 1e-5 and result.sizes["length"] == (2, 4, 5, 6, 10)
    assert set(model.state_dict()) == known and not list(model.buffers()) and "forward" not in vars(cell)


@pytest.mark.parametrize("kind", ["RNN", "LSTM"])
def test_states_may_be_given(tmp_path: Path, kind: str) -> None:
    states = {"h": torch.randn(1, 3, 6)} | ({"c": torch.randn(1, 3, 6)} if kind == "LSTM" else {})
    dynamic = {"x": BOTH} | {name: {1: "batch"} for name in states}
    model = nets.Continued(made(kind, batch_first=True)).eval()
    assert export(model, tmp_path / "m.onnx", {"x": torch.randn(3, 5, 4)} | states, dynamic=dynamic).max_abs < 1e-5


def test_sequences_come_first_and_relu_and_single_sequences_hold_too(tmp_path: Path) -> None:
    model = nets.Steps(made("RNN", nonlinearity="relu", bidirectional=True)).eval()
    result = export(model, tmp_path / "m.onnx", torch.randn(5, 3, 4), dynamic={"x": {0: "length", 1: "batch"}})
    assert result.max_abs < 1e-5
    single = nets.Steps(made("GRU")).eval()
    assert export(single, tmp_path / "n.onnx", torch.randn(5, 4), dynamic={"x": {0: "length"}}).max_abs < 1e-5


def test_a_datatype_that_onnx_runtime_has_no_operator_for_is_refused_with_what_it_said(tmp_path: Path) -> None:
    model = nets.Steps(made("GRU", batch_first=True)).double().eval()
    with pytest.raises(ExportRefused, match="GRU operator does not support double yet") as caught:
        export(model, tmp_path / "m.onnx", torch.randn(2, 3, 4).double())
    assert "frozen" not in caught.value.message
