"""What each process really has loaded, whatever the source says."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from pathlib import Path
from typing import Final

import numpy as np
from interlock_server.settings import Settings

from tests import models
from tests.server import Server

_SUPERVISOR_PARTS: Final = (
    "",
    ".backoff",
    ".boot",
    ".child",
    ".datadir",
    ".deaths",
    ".halt",
    ".log_sink",
    ".logs",
    ".memory",
    ".notes",
    ".ports",
    ".pulse",
    ".reload",
    ".runtime_dir",
)
_RUN_SUPERVISOR: Final = """
import json, os, runpy, sys
before = set(sys.modules)
sys.argv = ["supervisor", sys.argv[1]]
try:
    runpy.run_module("interlock_server.process.supervisor", run_name="__main__", alter_sys=True)
except SystemExit as end:
    print(json.dumps({"status": end.code, "modules": sorted(set(sys.modules) - before)}), file=sys.stderr)
"""


def _packages(pid: int) -> set[str]:
    """Return the installed packages of which a process has mapped compiled code; a test's own coverage aside."""
    maps = Path(f"/proc/{pid}/maps").read_text()
    found = re.findall(r"site-packages/([A-Za-z0-9_]+)", maps)
    return {name for name in found if name != "coverage"}


def test_supervisor_worker_and_control_load_only_their_own_share(server: Server, tmp_path: Path) -> None:
    path = models.write(tmp_path / "m.onnx", models.affine())
    with server.admin() as admin, server.client() as client:
        admin.register("m", path, golden=models.affine_golden(tmp_path / "m.npz"))
        admin.promote("m", 1)
        client.infer("m", {"x": np.ones((1, 2), np.float32)})

    assert server.process is not None
    assert _packages(server.process.pid) == set()
    worker, control = _packages(server.pid_of("worker")), _packages(server.pid_of("control"))
    assert {"grpc", "numpy", "onnxruntime"} <= worker
    assert {"grpc", "sqlalchemy"} <= control
    assert not worker & {"sqlalchemy", "onnx", "torch"}
    assert not control & {"onnxruntime", "onnx", "torch"}


def test_a_running_supervisor_has_imported_nothing_but_the_standard_library(tmp_path: Path) -> None:
    settings = Settings.load({"data": tmp_path / "data", "grpc_port": 0, "http_port": 0, "admin_port": 0}, None)
    handed = os.memfd_create("settings", 0)
    os.write(handed, settings.model_dump_json().encode())
    os.lseek(handed, 0, os.SEEK_SET)
    environment = {name: value for name, value in os.environ.items() if not name.startswith(("COVERAGE", "INTERLOCK"))}
    with subprocess.Popen(
        [sys.executable, "-c", _RUN_SUPERVISOR, str(handed)],
        pass_fds=[handed],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        env=environment,
    ) as process:
        os.close(handed)
        try:
            assert process.stdout is not None
            assert process.stdout.readline().startswith(b"interlock ready ")
            process.terminate()
            _, log = process.communicate(timeout=60)
        finally:
            process.kill()
    told = json.loads(log.decode().splitlines()[-1])

    assert told["status"] == 0
    ours = {name for name in told["modules"] if name.split(".")[0] not in sys.stdlib_module_names}
    assert ours == {
        "interlock_server",
        *(f"interlock_server.process{part}" for part in _SUPERVISOR_PARTS),
    }
