"""The switch benchmark in its short form: what must hold on any machine, and no figure of time."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]


@pytest.mark.timeout(180)
def test_no_request_fails_and_none_is_answered_wrongly_while_versions_switch(tmp_path: Path) -> None:
    done = subprocess.run(
        [sys.executable, "-m", "tests.bench.switch", "--quick", "--only", "tiny", "--out", str(tmp_path)],
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=150,
        check=False,
    )

    report = json.loads((tmp_path / "switch.json").read_text())
    (outcome,) = report["outcomes"]
    for load in ("closed_loop", "half_load"):
        figures = outcome[load]
        assert figures["answered"] > 0, done.stderr
        assert [figures[name] for name in ("failed", "wrong", "stale", "lagging")] == [0, 0, 0, 0], done.stderr
        assert (figures["promotes"], figures["rollbacks"], figures["not_resident"]) == (1, 1, 0)
