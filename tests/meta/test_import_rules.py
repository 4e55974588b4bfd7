"""The import rules hold, and each of them bites."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
import tomllib
from pathlib import Path
from typing import Final

from tests.meta.repository import ROOT, SOURCE_ROOTS

_VIOLATIONS: Final = {
    "server, then registry, then the contract: each knows only what is below it": (
        "registry/interlock_registry/keep.py",
        "import interlock_server.snapshot",
    ),
    "the client knows the contract only": ("client/interlock_client/_admin.py", "import interlock_registry.keep"),
    "nobody imports the client: users do": ("server/interlock_server/settings.py", "import interlock_client"),
    "grpc stays at the wire": ("registry/interlock_registry/stack.py", "import grpc"),
    "the words and the errors know no wire": ("proto/interlock/types.py", "import google.protobuf"),
    "SQL stays in interlock_registry.sql": ("server/interlock_server/control/standing.py", "import sqlalchemy"),
    "onnx stays in the model tool and the export": ("server/interlock_server/worker/loader.py", "import onnx"),
    "ONNX Runtime stays in the engine, the model tool and the export": (
        "server/interlock_server/worker/loader.py",
        "import onnxruntime",
    ),
    "keys are read, used and verified in one place": (
        "registry/interlock_registry/stack.py",
        "import cryptography",
    ),
    "torch stays in the export": ("client/interlock_client/_tensor.py", "import torch"),
    "workers never touch the registry's database, not even through others": (
        "server/interlock_server/worker/routes.py",
        "import interlock_registry.registry",
    ),
    "control and workers share values, not parts": (
        "server/interlock_server/worker/routes.py",
        "import interlock_server.control.metrics",
    ),
    "REST asks the workers through a seam of its own": (
        "server/interlock_server/rest/app.py",
        "import interlock_server.control.workers",
    ),
    "the walls import the standard library alone": ("registry/interlock_registry/walls/limits.py", "import numpy"),
    "the supervisor's modules import nothing of ours and no package": (
        "server/interlock_server/process/backoff.py",
        "import pydantic",
    ),
}
"""By contract: a module, and the import that must not be in it."""


def _lint(folder: Path) -> subprocess.CompletedProcess[str]:
    """Check the packages under a folder; PYTHONPATH goes before the installed ones."""
    path = os.pathsep.join(str(folder / root) for root in SOURCE_ROOTS)
    return subprocess.run(
        [Path(sys.executable).with_name("lint-imports"), "--config", ROOT / "pyproject.toml", "--no-cache"],
        cwd=folder,
        env=os.environ | {"PYTHONPATH": path},
        capture_output=True,
        text=True,
        check=False,
    )


def _verdicts(report: str, verdict: str) -> set[str]:
    return set(re.findall(rf"^(.+?) {verdict}\b", report, re.MULTILINE))


def test_every_rule_is_kept() -> None:
    done = _lint(ROOT)
    assert done.returncode == 0, done.stdout + done.stderr


def test_every_rule_is_broken_by_the_import_that_it_forbids(tmp_path: Path) -> None:
    for root in SOURCE_ROOTS:
        shutil.copytree(ROOT / root, tmp_path / root, ignore=shutil.ignore_patterns("__pycache__"))
    for file, line in _VIOLATIONS.values():
        module = tmp_path / file
        module.write_text(f"{module.read_text()}\n{line}\n")

    done = _lint(tmp_path)

    assert done.returncode == 1, done.stdout + done.stderr
    assert _verdicts(done.stdout, "BROKEN") == set(_VIOLATIONS)


def test_every_rule_has_its_violation_here() -> None:
    config = tomllib.loads((ROOT / "pyproject.toml").read_text())
    contracts = config["tool"]["importlinter"]["contracts"]
    assert {contract["name"] for contract in contracts} == set(_VIOLATIONS)
