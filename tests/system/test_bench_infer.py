"""The inference benchmark in its short form: that it runs and checks its answers, and no figure of time."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

from tests.bench.infer.tiny import FRONTS

ROOT = Path(__file__).parents[2]


@pytest.mark.parametrize("fronts", [("core",), pytest.param(FRONTS, marks=pytest.mark.slow)], ids=["core", "all"])
def test_every_server_that_is_compared_answers_rightly(tmp_path: Path, fronts: tuple[str, ...]) -> None:
    chosen = [word for front in fronts for word in ("--front", front)]
    done = subprocess.run(
        [sys.executable, "-m", "tests.bench.infer", "--quick", *chosen, "--out", str(tmp_path)],
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )

    assert done.returncode == 0, done.stderr
    report = json.loads((tmp_path / "infer.json").read_text())
    measured = report["measured"]
    assert [each["target"] for each in measured] == [
        *(f"interlock {front}" for front in fronts),
        *(f"echo on {front}" for front in fronts),
        "grpc.aio + onnxruntime",
        "grpcio echo",
        "grpc.aio echo",
    ]
    assert all(each["answered"] > 0 and each["cpu_us"] > 0 for each in measured)
    assert [each["front"] for each in report["ratios"]] == [*fronts]
