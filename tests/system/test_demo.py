"""`make demo`, short: the main job from training to rollback on a real server."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]


@pytest.mark.timeout(180)
def test_the_demo_promotes_a_worse_version_and_rolls_back_without_a_failed_request(tmp_path: Path) -> None:
    command = [sys.executable, "-m", "examples.digits_demo", "--seconds", "2", "--out", str(tmp_path)]
    ran = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=170, check=False)
    assert ran.returncode == 0, ran.stdout + ran.stderr
    assert "no request failed, no answer was wrong, version 1 is back" in ran.stdout
    page = (tmp_path / "report.html").read_text()
    assert "no request failed" in page and "</html>" in page
    left = sorted(path.name for path in tmp_path.iterdir())
    assert left == ["digits-v1.npz", "digits-v1.onnx", "digits-v2.npz", "digits-v2.onnx", "report.html", "server.log"]
