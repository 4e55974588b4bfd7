"""The cases of the installed onnx package: a model, and sets of inputs for it."""

from __future__ import annotations

import importlib
import warnings
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import numpy as np
import onnx
from interlock.types import Array
from onnx import TensorProto, numpy_helper

FOLDERS: Final = ("simple", "pytorch-converted", "pytorch-operator")


@dataclass(frozen=True)
class Case:
    """One test of onnx's suite."""

    name: str
    kind: str
    content: bytes
    """The model file."""
    inputs: Callable[[], Sequence[Sequence[Array | None]]]
    """Sets of inputs in the order of the graph's; None stands for what is no tensor."""


def every_case() -> list[Case]:
    """Return all node, simple and PyTorch cases, by kind and name; takes seconds, since onnx computes them."""
    from onnx.backend.test.loader import load_model_tests

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # numpy's, of casts that are meant to overflow
        found = [_from_node(case) for case in load_model_tests(kind="node")]
    for kind in FOLDERS:
        found += [_from_folder(kind, Path(case.model_dir)) for case in load_model_tests(kind=kind) if case.model_dir]
    return sorted(found, key=lambda case: (case.kind, case.name))


def cases_of(operators: Iterable[str], names: Iterable[str]) -> list[Case]:
    """Return the named node cases out of the given modules of onnx's suite: much faster than computing them all."""
    from onnx.backend.test.case import node

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        for operator in operators:
            importlib.import_module(f"{node.__name__}.{operator}")
    by_name = {case.name: case for case in node._NodeTestCases}
    return [_from_node(by_name[name]) for name in names]


def case_in(kind: str, name: str) -> Case:
    """Return one case of those that lie in folders."""
    from onnx.backend.test.loader import DATA_DIR

    return _from_folder(kind, Path(DATA_DIR) / kind / name)


def _from_node(case: Any) -> Case:
    sets = case.data_sets
    return Case(
        case.name,
        "node",
        case.model.SerializeToString(),
        lambda: [[_array(value) for value in inputs] for inputs, _ in sets],
    )


def _from_folder(kind: str, folder: Path) -> Case:
    def read() -> list[list[Array | None]]:
        sets = []
        for data_set in sorted(folder.glob("test_data_set_*")):
            files = sorted(data_set.glob("input_*.pb"), key=lambda path: int(path.stem.rpartition("_")[2]))
            sets.append([_tensor_in(file) for file in files])
        return sets

    return Case(folder.name, kind, (folder / "model.onnx").read_bytes(), read)


def _tensor_in(file: Path) -> Array | None:
    tensor = onnx.TensorProto()
    try:
        tensor.ParseFromString(file.read_bytes())
        return _array(tensor)
    except Exception:  # noqa: BLE001 - a sequence or a map, whose file is another message: no tensor, whatever it is
        return None


def _array(value: object) -> Array | None:
    if isinstance(value, TensorProto):
        return numpy_helper.to_array(value)
    return np.asarray(value) if isinstance(value, np.ndarray | np.generic) else None
