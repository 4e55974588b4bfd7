"""The inference benchmark in its short form: that it runs and checks its answers, and no figure of time."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parents[2]


def test_every_server_that_is_compared_answers_rightly(tmp_path: Path) -> None:
    done = subprocess.run(
        [sys.executable, "-m", "tests.bench.infer", "--quick", "--out", str(tmp_path)],
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
        "interlock core",
        "interlock aio",
        "interlock native",
        "echo on core",
        "echo on aio",
        "echo on native",
        "grpc.aio + onnxruntime",
        "grpcio echo",
        "grpc.aio echo",
    ]
    assert all(each["answered"] > 0 and each["cpu_us"] > 0 for each in measured)
    assert [each["front"] for each in report["ratios"]] == ["core", "aio", "native"]
