"""`pip install PATH` in an environment of its own gives a light client that is whole and typed."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Final

import numpy as np
import pytest

from tests import models
from tests.meta.repository import GENERATED, ROOT, SOURCE_ROOTS, tracked
from tests.server import Server, clean_environment

_HEAVY: Final = ("onnx", "onnxruntime", "torch", "sqlalchemy", "alembic", "pydantic", "starlette", "uvicorn")
_INSTALL_S: Final = 600.0

pytestmark = pytest.mark.timeout(_INSTALL_S + 120)


@pytest.fixture(scope="module")
def python(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The interpreter of a fresh environment outside the repository, with the project installed and no extras."""
    environment = tmp_path_factory.mktemp("elsewhere") / "environment"
    subprocess.run([sys.executable, "-m", "venv", "--without-pip", environment], check=True)
    found = environment / "bin" / "python"
    # What is imported here is little of what is installed: the rest need not be compiled.
    done = subprocess.run(
        [sys.executable, "-m", "pip", "--python", found, "install", "--quiet", "--no-input", "--no-compile", str(ROOT)],
        capture_output=True,
        text=True,
        timeout=_INSTALL_S,
        check=False,
    )
    assert done.returncode == 0, f"pip install PATH failed; it needs a package index:\n{done.stderr[-3000:]}"
    return found


def _ask(python: Path, code: str, *arguments: str) -> object:
    """Run code there, outside the repository, and return the JSON that it prints."""
    done = subprocess.run(
        [python, "-I", "-c", code, *arguments],
        cwd=python.parent,
        env=clean_environment(),
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


def _sources() -> Iterator[str]:
    """Yield what a wheel has to hold: every file of the packages, generated ones included."""
    for path in tracked():
        if path.parts[0] in SOURCE_ROOTS:
            yield str(Path(*path.parts[1:]))


def test_the_wheel_holds_every_file_of_the_packages_and_nothing_else(python: Path) -> None:
    listed = _ask(
        python,
        "import json, importlib.metadata as m; print(json.dumps([str(f) for f in m.files('interlock')]))",
    )
    assert isinstance(listed, list)
    installed = {name for name in listed if not name.startswith(("interlock-", "../")) and not name.endswith(".pyc")}
    assert installed == set(_sources())
    assert {name for name in installed if GENERATED.search(name)} >= {
        "interlock/v1/admin_pb2.py",
        "interlock/v1/admin_pb2.pyi",
        "interlock/v1/admin_pb2_grpc.pyi",
        "interlock/protocols/protocols.binpb",
    }
    assert installed >= {
        "interlock/py.typed",
        "interlock_client/py.typed",
        "interlock_registry/py.typed",
        "interlock_server/py.typed",
        "interlock_registry/sql/migrations/versions/0001_initial.py",
        "interlock_server/worker/probe.onnx",
    }


def test_no_heavy_package_comes_with_it(python: Path) -> None:
    code = "import json, importlib.util as u; print(json.dumps({n: u.find_spec(n) is not None for n in %r}))"
    assert _ask(python, code % (_HEAVY,)) == dict.fromkeys(_HEAVY, False)


def test_its_client_works_against_a_server(python: Path, server: Server, tmp_path: Path) -> None:
    path = models.write(tmp_path / "m.onnx", models.affine(scale=2.0))
    with server.admin() as admin:
        admin.register("m", path)
        admin.promote("m", 1)
    code = (
        "import json, sys, numpy as np\n"
        "from interlock_client import Client\n"
        "with Client(sys.argv[1]) as client:\n"
        "    result = client.infer('m', {'x': np.ones((1, 2), np.float32)})\n"
        "print(json.dumps([result.version, result['y'].tolist()]))\n"
    )
    assert _ask(python, code, server.grpc) == [1, (2 * np.ones((1, 2))).tolist()]


def test_its_command_says_what_the_missing_parts_need(python: Path, tmp_path: Path) -> None:
    def interlock(*words: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [python.with_name("interlock"), *words],
            cwd=tmp_path,
            env=clean_environment(),
            capture_output=True,
            text=True,
            timeout=120,
            check=False,
        )

    assert interlock("--help").returncode == 0
    serve = interlock("serve")
    assert serve.returncode == 1 and "pip install 'interlock[server,cpu]'" in serve.stderr
    export = interlock("export", "nets:model", "--out", "m.onnx", "--input", "x=FP32[batch,4]")
    assert export.returncode == 1 and "pip install 'interlock[torch,cpu]'" in export.stderr
    assert len(serve.stderr.splitlines()) == len(export.stderr.splitlines()) == 1
