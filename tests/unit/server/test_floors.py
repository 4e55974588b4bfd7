from __future__ import annotations

import re
import tomllib
from pathlib import Path

import pytest
from interlock.errors import StartupRefused
from interlock_server.floors import FLOORS, check_floors

ROOT = Path(__file__).parents[3]


@pytest.mark.parametrize(
    ("name", "version", "is_refused"),
    [
        ("onnx", "1.20.1", True),
        ("onnx", "1.21", False),
        ("onnx", "1.21.0rc1", False),
        ("onnxruntime", "1.28.0", True),
        ("onnxruntime", "1.28.1", False),
        ("onnxruntime-gpu", "1.9.0", True),
        ("onnxruntime", "1.100.0", False),
        ("onnx", "unknown", True),
        ("numpy", "0.1", False),
    ],
)
def test_a_release_with_known_holes_is_refused_with_the_command_that_mends_it(
    name: str, version: str, is_refused: bool
) -> None:
    if not is_refused:
        check_floors({name: version})
        return
    with pytest.raises(StartupRefused, match=rf"{name} {version} .*pip install '{name}>={FLOORS[name]}'"):
        check_floors({name: version})


def test_the_package_asks_for_no_less() -> None:
    text = (ROOT / "pyproject.toml").read_text()
    asked = [each for group in [*tomllib.loads(text)["project"]["optional-dependencies"].values()] for each in group]
    asked += tomllib.loads(text)["project"]["dependencies"]
    for name, floor in FLOORS.items():
        found = [match.group(1) for each in asked if (match := re.match(rf"{name}(?:\[[^]]*])?>=([0-9.]+)", each))]
        assert found, name
        for minimum in found:
            check_floors({name: minimum})
            assert [*map(int, minimum.split("."))] <= [*map(int, floor.split("."))]
