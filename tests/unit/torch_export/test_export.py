"""Real modules through torch's exporter and ONNX Runtime."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import onnx
import pytest
import torch
from interlock import golden
from interlock.errors import ExportRefused, GoldenMismatch, InvalidArgument
from interlock.golden import Tolerance
from interlock_client.torch import export
from torch import nn

from tests.unit.torch_export import nets


def images(rows: int) -> torch.Tensor:
    return torch.randn(rows, 1, 8, 8, generator=torch.Generator().manual_seed(1))


def tokens(rows: int, length: int) -> torch.Tensor:
    return torch.randn(rows, length, 4, generator=torch.Generator().manual_seed(1))


def shapes(path: Path) -> dict[str, list[int | str]]:
    graph = onnx.load(path).graph
    return {
        value.name: [dim.dim_param or dim.dim_value for dim in value.type.tensor_type.shape.dim]
        for value in (*graph.input, *graph.output)
    }


def test_an_mlp_is_exported_with_a_dynamic_batch_and_proven(tmp_path: Path) -> None:
    result = export(nets.seeded(nets.Mlp), tmp_path / "m.onnx", torch.randn(4, 8))
    assert shapes(result.model_path) == {"x": ["batch", 8], "y": ["batch", 3]}
    assert result.max_abs < 1e-5 and result.argmax_agreement == 1.0
    found = golden.read(result.golden_path)
    assert len(found.samples) == result.samples == 5
    assert [sample.inputs["x"].shape[0] for sample in found.samples] == [4, 1, 2, 3, 8]
    assert result.compared == 9
    assert found.environment["torch"] == torch.__version__
    model = onnx.load(result.model_path)
    assert (model.ir_version, model.opset_import[0].version) == (10, 20)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["m.npz", "m.onnx"]


def test_a_convolutional_network_is_exported_from_one_example_row(tmp_path: Path) -> None:
    result = export(nets.seeded(nets.Cnn), tmp_path / "m.onnx", {"image": images(1)}, output_names=["digit"])
    assert shapes(result.model_path) == {"image": ["batch", 1, 8, 8], "digit": ["batch", 5]}
    assert result.max_abs < 1e-5


@pytest.mark.parametrize("kind", [nn.GRU, nn.LSTM])
def test_recurrent_networks_take_sequences_of_any_length(tmp_path: Path, kind: type[nn.GRU] | type[nn.LSTM]) -> None:
    model = nets.seeded(nets.Reader, kind)
    dynamic = {"tokens": {0: "batch", 1: "length"}}
    result = export(model, tmp_path / "m.onnx", tokens(3, 5), dynamic=dynamic)
    assert shapes(result.model_path)["tokens"] == ["batch", "length", 4]
    lengths = {sample.inputs["tokens"].shape[1] for sample in golden.read(result.golden_path).samples}
    assert lengths == {2, 4, 5, 6, 10}
    assert result.sizes == {"batch": (1, 2, 3, 8), "length": (2, 4, 5, 6, 10)}


def test_inputs_by_keyword_share_a_dimension_and_a_dict_names_the_outputs(tmp_path: Path) -> None:
    ids = torch.randint(0, 20, (4, 7), generator=torch.Generator().manual_seed(0))
    mask = (torch.arange(7) < torch.tensor([[7], [3], [5], [1]])).long()
    axes = {0: "batch", 1: "length"}
    result = export(
        nets.seeded(nets.Pooled),
        tmp_path / "m.onnx",
        {"mask": mask, "ids": ids},
        dynamic={"ids": axes, "mask": axes},
    )
    assert set(shapes(result.model_path)) == {"ids", "mask", "mean", "count"}
    # Rows stay together: no made-up sample has an id row with a stranger's mask.
    known = {(tuple(a), tuple(b)) for a, b in zip(ids.tolist(), mask.tolist(), strict=True)}
    for sample in golden.read(result.golden_path).samples:
        if sample.inputs["ids"].shape[1] == 7:
            rows = zip(sample.inputs["ids"].tolist(), sample.inputs["mask"].tolist(), strict=True)
            assert all((tuple(a), tuple(b)) in known for a, b in rows)


def test_given_samples_are_compared_and_kept(tmp_path: Path) -> None:
    x = np.full((2, 8), 0.25, np.float32)
    result = export(nets.seeded(nets.Mlp), tmp_path / "m.onnx", torch.randn(2, 8), samples=[{"x": x}])
    assert any(np.array_equal(sample.inputs["x"], x) for sample in golden.read(result.golden_path).samples)


def test_a_model_of_a_fixed_batch_is_exported_with_no_dynamic_axes(tmp_path: Path) -> None:
    result = export(nets.seeded(nets.Mlp), tmp_path / "m.onnx", torch.randn(2, 8), dynamic={})
    assert shapes(result.model_path)["x"] == [2, 8]


@pytest.mark.parametrize(
    ("dynamic", "shape"),
    [
        ({"tokens": {1: "length"}}, ["batch", "length", 4]),
        ({"tokens": {0: None, 1: "length"}}, [3, "length", 4]),
    ],
)
def test_the_batch_stays_dynamic_unless_it_is_said_to_be_fixed(
    tmp_path: Path, dynamic: dict[str, dict[int, str | None]], shape: list[object]
) -> None:
    result = export(nets.seeded(nets.Reader, nn.LSTM), tmp_path / "m.onnx", tokens(3, 5), dynamic=dynamic)
    assert shapes(result.model_path)["tokens"] == shape


def test_training_mode_is_refused_before_anything_is_done(tmp_path: Path) -> None:
    model = nets.Mlp().eval()
    model.layers[2].train()
    with pytest.raises(ExportRefused, match=r"layers\.2 is in training mode.*model\.eval\(\)"):
        export(model, tmp_path / "m.onnx", torch.randn(2, 8))
    assert not list(tmp_path.iterdir())


def test_answers_that_differ_are_refused_and_nothing_is_written(tmp_path: Path) -> None:
    (tmp_path / "m.onnx").write_bytes(b"the one before")
    with pytest.raises(GoldenMismatch, match="does not answer as PyTorch does") as caught:
        export(nets.TwoFaced().eval(), tmp_path / "m.onnx", torch.randn(2, 8))
    assert caught.value.facts["output"] == "y"
    assert [path.name for path in tmp_path.iterdir()] == ["m.onnx"]
    assert (tmp_path / "m.onnx").read_bytes() == b"the one before"


def test_the_tolerance_is_the_callers_and_is_recorded(tmp_path: Path) -> None:
    wide = {"CPU": Tolerance(10.0, 1.0)}
    result = export(nets.TwoFaced().eval(), tmp_path / "m.onnx", torch.randn(2, 8), tolerances=wide)
    assert golden.read(result.golden_path).tolerances == wide
    with pytest.raises(GoldenMismatch):
        export(nets.seeded(nets.Mlp), tmp_path / "n.onnx", torch.randn(2, 8), tolerances={"CPU": Tolerance(0.0, 0.0)})


def test_a_half_precision_model_has_half_precision_tolerances(tmp_path: Path) -> None:
    result = export(nets.seeded(nets.Mlp).half(), tmp_path / "m.onnx", torch.randn(4, 8).half())
    assert result.tolerance.atol == 1e-2
    assert golden.read(result.golden_path).dtypes["in/x"].value == "FP16"


def test_a_model_that_rolls_dice_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ExportRefused, match="answers the same inputs differently"):
        export(nets.Rolling().eval(), tmp_path / "m.onnx", torch.randn(2, 8))


def test_bfloat16_at_the_edge_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ExportRefused, match="bfloat16"):
        export(nets.seeded(nets.Mlp).bfloat16(), tmp_path / "m.onnx", torch.randn(2, 8).bfloat16())


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ({"inputs": {}}, "at least one example input"),
        ({"inputs": {"x": [1.0]}}, "is a list, not a torch.Tensor; torch.as_tensor makes one"),
        ({"inputs": torch.zeros(0, 8)}, "is empty"),
        ({"dynamic": {"z": {0: "batch"}}}, "'z', which is none of the inputs x"),
        ({"dynamic": {"x": {2: "batch"}}}, "none numbered 2"),
        ({"dynamic": {"x": {0: "a b"}}}, "cannot name a dimension"),
        ({"batch_sizes": ()}, "at least one is needed"),
        ({"samples": [{"z": np.zeros(3)}]}, "sample 0 has inputs"),
        ({"samples": [{"x": np.zeros((2, 8))}]}, "is torch.float64, the example is torch.float32"),
        ({"golden": "m.onnx"}, "cannot both be written"),
    ],
)
def test_unusable_arguments_are_explained(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, arguments: dict[str, object], words: str
) -> None:
    monkeypatch.chdir(tmp_path)
    settings: dict[str, object] = {"inputs": torch.randn(2, 8)} | arguments
    with pytest.raises(InvalidArgument, match=words):
        export(nets.seeded(nets.Mlp), "m.onnx", **settings)  # type: ignore[arg-type]  # wrong on purpose


def test_wrong_output_names_are_refused(tmp_path: Path) -> None:
    with pytest.raises(ExportRefused, match="has 1 outputs"):
        export(nets.seeded(nets.Mlp), tmp_path / "m.onnx", torch.randn(2, 8), output_names=["a", "b"])


_SCRIPT = """
import sys, torch
from interlock_client.torch import export
from tests.unit.torch_export import nets
export(nets.seeded(nets.Cnn), sys.argv[1], torch.ones(2, 1, 8, 8))
"""


def test_two_processes_write_the_same_bytes_which_name_no_path_and_print_nothing(tmp_path: Path) -> None:
    root = Path(__file__).parents[3]
    export(nets.seeded(nets.Cnn), tmp_path / "here.onnx", torch.ones(2, 1, 8, 8))
    command = [sys.executable, "-c", _SCRIPT, str(tmp_path / "there.onnx")]
    ran = subprocess.run(command, cwd=root, capture_output=True, text=True, check=True, timeout=120)
    assert (ran.stdout, ran.stderr) == ("", "")
    found = [
        (tmp_path / f"{name}.onnx").read_bytes() + (tmp_path / f"{name}.npz").read_bytes() for name in ("here", "there")
    ]
    assert found[0] == found[1]
    for hint in (str(root), os.path.dirname(torch.__file__), "site-packages", "stack_trace", ".py", "nets"):
        assert hint.encode() not in found[0]


def test_importing_the_package_does_not_import_torch() -> None:
    code = "import sys, interlock_client.torch, interlock_client.torch.command; print('torch' in sys.modules)"
    ran = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, timeout=120)
    assert ran.stdout.strip() == "False"


def test_nested_outputs_are_named_in_order(tmp_path: Path) -> None:
    result = export(nets.seeded(nets.Stateful), tmp_path / "m.onnx", torch.randn(2, 5, 4))
    assert [name for name in shapes(result.model_path) if name != "x"] == ["y0", "y1", "y2"]


def test_an_input_that_nothing_depends_on_stays_in_the_signature(tmp_path: Path) -> None:
    result = export(nets.Deaf().eval(), tmp_path / "m.onnx", [torch.randn(2, 8), torch.randn(2, 3)])
    assert list(shapes(result.model_path)) == ["x", "ignored", "y"]


def test_outputs_that_are_no_tensors_are_refused(tmp_path: Path) -> None:
    with pytest.raises(ExportRefused, match="output 'y1' is a str"):
        export(nets.Chatty().eval(), tmp_path / "m.onnx", torch.randn(2, 8))


def test_a_batch_that_the_module_itself_cannot_take_is_named(tmp_path: Path) -> None:
    with pytest.raises(
        ExportRefused, match=r"the model itself fails on inputs of shape \{'x': \[1, 8\]\}.*\{name: \{0: None\}\}"
    ):
        export(nets.Evens().eval(), tmp_path / "m.onnx", torch.randn(2, 8))


def test_bare_sequential_modules_take_any_input_name(tmp_path: Path) -> None:
    model = nn.Sequential(nn.Linear(8, 3)).eval()
    result = export(model, tmp_path / "m.onnx", {"pixels": torch.randn(2, 8)}, golden=tmp_path / "samples.npz")
    assert list(shapes(result.model_path)) == ["pixels", "y"]
    assert (tmp_path / "samples.npz").exists()
