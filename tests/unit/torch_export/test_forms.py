"""Names, dynamic axes that are seen, weights in files of their own, half precision."""

from __future__ import annotations

import shutil
from pathlib import Path

import numpy as np
import onnx
import onnxruntime as ort
import pytest
import torch
from interlock import golden
from interlock.types import DType
from interlock_client.torch import export
from torch import nn
from torch.export import Dim

from tests.unit.torch_export import nets


def test_an_output_may_be_called_as_a_part_of_the_model_is(tmp_path: Path) -> None:
    ids = torch.randint(0, 10, (3, 5), generator=torch.Generator().manual_seed(0))
    names = ["embedding", "embedding.weight"]
    result = export(nets.seeded(nets.Embedder), tmp_path / "m.onnx", ids, output_names=names)
    assert [value.name for value in onnx.load(result.model_path).graph.output] == names
    assert result.max_abs < 1e-5


def test_axes_that_differ_between_the_examples_are_dynamic(tmp_path: Path) -> None:
    ids, mask = torch.zeros(3, 5, dtype=torch.long), torch.ones(3, 5, dtype=torch.long)
    longer = {"ids": np.ones((2, 9), np.int64), "mask": np.ones((2, 9), np.int64)}
    result = export(nets.seeded(nets.Pooled), tmp_path / "m.onnx", {"ids": ids, "mask": mask}, samples=[longer])
    inputs = onnx.load(result.model_path).graph.input
    found = {value.name: [dim.dim_param for dim in value.type.tensor_type.shape.dim] for value in inputs}
    assert found == {"ids": ["batch", "length"], "mask": ["batch", "length"]}
    assert result.sizes["length"] == (2, 4, 5, 6, 9, 10)


def test_torchs_own_dims_name_the_axes(tmp_path: Path) -> None:
    dynamic = {"x": {0: Dim("rows"), 1: Dim("steps", max=6)}}
    result = export(nets.seeded(nets.Positions), tmp_path / "m.onnx", torch.ones(2, 5, 4), dynamic=dynamic)
    assert set(result.sizes) == {"rows", "steps"} and max(result.sizes["steps"]) == 6


def test_weights_go_to_a_file_of_their_own_when_asked(tmp_path: Path) -> None:
    model = nn.Sequential(nn.Linear(64, 64), nn.Linear(64, 3)).eval()
    x = torch.randn(4, 64)
    apart = export(model, tmp_path / "apart" / "m.onnx", {"x": x}, external_data=True)
    whole = export(model, tmp_path / "m.onnx", {"x": x})
    assert apart.data_paths == (tmp_path / "apart" / "m.onnx.data",) and whole.data_paths == ()
    assert sorted(path.name for path in (tmp_path / "apart").iterdir()) == ["m.npz", "m.onnx", "m.onnx.data"]
    assert apart.model_path.stat().st_size < 8000 < apart.data_paths[0].stat().st_size
    moved = shutil.move(tmp_path / "apart", tmp_path / "elsewhere")
    found = [
        ort.InferenceSession(str(path), providers=["CPUExecutionProvider"]).run(None, {"x": x.numpy()})[0]
        for path in (Path(moved, "m.onnx"), whole.model_path)
    ]
    assert np.array_equal(*found)
    onnx.checker.check_model(str(Path(moved, "m.onnx")))


def test_a_transformer_of_half_precision_holds_over_lengths(tmp_path: Path) -> None:
    torch.manual_seed(0)
    layer = nn.TransformerEncoderLayer(16, nhead=2, dim_feedforward=32, batch_first=True)
    model = nn.TransformerEncoder(layer, 1, enable_nested_tensor=False).half().eval()
    dynamic = {"src": {0: "batch", 1: "length"}}
    result = export(model, tmp_path / "m.onnx", torch.randn(2, 5, 16).half(), dynamic=dynamic)
    assert 0 < result.max_abs < 1e-2
    assert golden.read(result.golden_path).dtypes == {"in/src": DType.FP16, "out/y": DType.FP16}


@pytest.mark.slow
@pytest.mark.timeout(500)
def test_a_model_over_two_gigabytes_is_written_with_its_weights_beside_it(tmp_path: Path) -> None:
    class Big(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            # Zeros that nobody has touched take no memory: 2.2 GB on paper.
            self.table = nn.Parameter(torch.zeros(550_000_000 // 64, 64), requires_grad=False)

        def forward(self, ids: torch.Tensor) -> torch.Tensor:
            return nn.functional.embedding(ids, self.table) + ids.unsqueeze(-1)

    result = export(Big().eval(), tmp_path / "m.onnx", torch.arange(4).reshape(2, 2), batch_sizes=[1, 2])
    assert result.data_paths[0].stat().st_size == 2_200_000_000
    assert result.model_path.stat().st_size < 100_000
