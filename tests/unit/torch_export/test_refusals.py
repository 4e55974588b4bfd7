"""What cannot be exported is refused with the operator, the dimension and the line of the model."""

from __future__ import annotations

import inspect
from pathlib import Path

import pytest
import torch
from interlock.errors import ExportRefused, GoldenMismatch, InvalidArgument
from interlock_client.torch import export
from torch import nn

from tests.unit.torch_export import nets


def line_of(module: type[nn.Module], code: str) -> str:
    lines, first = inspect.getsourcelines(module)
    return f"nets.py:{first + next(at for at, line in enumerate(lines) if code in line)}"


def refused(model: nn.Module, tmp_path: Path, x: torch.Tensor, **options: object) -> ExportRefused:
    with pytest.raises(ExportRefused) as caught:
        export(model.eval(), tmp_path / "m.onnx", x, **options)  # type: ignore[arg-type]  # options of several kinds
    assert not list(tmp_path.iterdir()) and len(caught.value.message) < 900
    return caught.value


@pytest.mark.parametrize("model", [nets.Picky(), nets.Nested(nets.Picky())], ids=["itself", "in a part"])
def test_a_branch_on_data_is_named_with_its_line(
    tmp_path: Path, capfd: pytest.CaptureFixture[str], model: nn.Module
) -> None:
    error = refused(model, tmp_path, torch.ones(2, 8))
    assert (
        f"torch cannot export {type(model).__name__}: its control flow depends on the values of a tensor"
        in error.message
    )
    assert line_of(nets.Picky, "float(x.sum())") in error.message and "Picky.forward" in error.message
    assert "return x if float(x.sum()) > 0 else -x" in error.message and "torch.where" in error.message
    assert error.facts["line"] == line_of(nets.Picky, "float(x.sum())").partition(":")[2]
    assert capfd.readouterr() == ("", "")


@pytest.mark.parametrize("model", [nets.Bessel(), nets.Nested(nets.Bessel())], ids=["itself", "in a part"])
def test_an_operator_without_an_onnx_form_is_named_with_its_line(tmp_path: Path, model: nn.Module) -> None:
    error = refused(model, tmp_path, torch.ones(2, 8))
    assert "operator prims.bessel_j0 has no ONNX form" in error.message
    assert line_of(nets.Bessel, "bessel_j0") in error.message
    assert error.facts["operator"] == "prims.bessel_j0"


def test_a_packed_sequence_is_named_with_what_to_do_instead(tmp_path: Path) -> None:
    error = refused(nets.Packed(), tmp_path, torch.ones(2, 5, 4))
    assert "packed sequences have no ONNX form" in error.message and "mask" in error.message
    assert line_of(nets.Packed, "self.cell(packed)") in error.message


def test_a_mistyped_name_that_would_shift_the_inputs_is_refused(tmp_path: Path) -> None:
    inputs = {"ignored": torch.ones(2, 3), "X": torch.ones(2, 8)}
    with pytest.raises(InvalidArgument, match=r"takes x, ignored, and no 'X'.*'ignored' comes as number 1"):
        export(nets.Deaf().eval(), tmp_path / "m.onnx", inputs)


def test_a_size_that_the_model_fixes_is_named(tmp_path: Path) -> None:
    error = refused(nets.TwoRows(), tmp_path, torch.ones(2, 8), batch_sizes=[2])
    assert "dimension 0 of input 'x' (batch) is to be dynamic, but the model fixes it at 2" in error.message
    assert "leaving it out of `dynamic`" in error.message


def test_a_difference_tells_the_output_the_batch_size_and_how_far(tmp_path: Path) -> None:
    with pytest.raises(
        GoldenMismatch, match=r"at batch 8 \(inputs 'x' \[8, 8\]\): output 'y' is off by 0\.5; "
    ) as caught:
        export(nets.Fickle().eval(), tmp_path / "m.onnx", torch.ones(4, 8))
    assert caught.value.facts["output"] == "y"
    assert not list(tmp_path.iterdir())


def test_a_length_that_the_model_itself_cannot_vary_is_no_dynamic_one(tmp_path: Path) -> None:
    both = {"x": {0: "batch", 1: "length"}}
    error = refused(
        nn.Sequential(nn.Flatten(), nn.Linear(12, 2)), tmp_path, torch.ones(2, 3, 4), dynamic={"input": both["x"]}
    )
    assert "length: said to be dynamic, but the model itself takes the example's size only" in error.message


def test_sizes_that_are_asked_for_have_to_be_taken(tmp_path: Path) -> None:
    both = {"x": {0: "batch", 1: "length"}}
    model = nets.seeded(nets.Positions)
    error = refused(model, tmp_path, torch.ones(2, 5, 4), dynamic=both, sizes={"length": [3, 9]})
    assert "the model itself fails on inputs of shape {'x': [2, 9, 4]}" in error.message
    done = export(model, tmp_path / "m.onnx", torch.ones(2, 5, 4), dynamic=both, sizes={"length": [1, 3, 6]})
    assert done.sizes["length"] == (1, 3, 5, 6)
    with pytest.raises(InvalidArgument, match="sizes names 'width'; the dynamic dimensions besides the batch are"):
        export(model, tmp_path / "m.onnx", torch.ones(2, 5, 4), dynamic=both, sizes={"width": [1]})
    with pytest.raises(InvalidArgument, match=r"sizes of 'length' are \[0\]"):
        export(model, tmp_path / "m.onnx", torch.ones(2, 5, 4), dynamic=both, sizes={"length": [0]})


def test_one_name_for_an_input_and_an_output_is_refused(tmp_path: Path) -> None:
    error = refused(nets.seeded(nets.Mlp), tmp_path, torch.ones(2, 8), output_names=["x"])
    assert "'x' names an input and an output" in error.message
