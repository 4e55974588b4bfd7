"""The committed stubs are what the .proto files generate."""

from __future__ import annotations

import shutil
import subprocess
import sys
from pathlib import Path

from tests.meta.repository import ROOT


def _check(committed: Path | str = "proto") -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        ["tools/proto_check.sh", str(committed)],
        cwd=ROOT,
        env={"PYTHON": sys.executable, "PATH": "/usr/bin:/bin"},
        capture_output=True,
        text=True,
        check=False,
    )


def test_the_committed_stubs_are_fresh() -> None:
    done = _check()
    assert (done.returncode, done.stderr) == (0, "")


def test_a_stale_a_missing_and_a_left_over_stub_are_found(tmp_path: Path) -> None:
    copy = tmp_path / "proto"
    shutil.copytree(ROOT / "proto", copy)
    stale = copy / "interlock/v1/admin_pb2.pyi"
    stale.write_text(stale.read_text() + "\n")
    (copy / "interlock/protocols/protocols.binpb").unlink()
    (copy / "interlock/v1/gone_pb2.py").touch()

    done = _check(copy)

    assert done.returncode == 1
    assert f"{stale} is stale or missing; run: make proto" in done.stderr
    assert "protocols.binpb is stale or missing" in done.stderr
    assert "gone_pb2.py is made by no .proto file any more" in done.stderr
    assert len(done.stderr.splitlines()) == 3
