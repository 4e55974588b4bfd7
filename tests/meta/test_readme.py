"""The code blocks of README and the guides run as they stand, in order, against a real server."""

from __future__ import annotations

import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Final

import numpy as np
import onnxruntime as ort
import pytest

from tests import databases, models
from tests.meta.repository import ROOT, blocks
from tests.server import Server, clean_environment

Run = Callable[..., str]

DEFAULT: Final = "127.0.0.1:8001"
_PATIENCE_S: Final = 200


@pytest.fixture
def run(server: Server, tmp_path: Path) -> Run:
    """Run a command in an empty directory, as a user with the environment on the path and this server would."""
    folder = tmp_path / "user"
    folder.mkdir()
    environment = clean_environment(
        INTERLOCK_SERVER=server.grpc,
        INTERLOCK_ADMIN=server.admin_address,
        INTERLOCK_DATA=str(server.data),
        INTERLOCK_DB=databases.setting(server.data),
        PATH=f"{Path(sys.executable).parent}:/usr/local/bin:/usr/bin:/bin",
        COLUMNS="200",
    )

    def command(*words: str) -> str:
        done = subprocess.run(
            words, cwd=folder, env=environment, capture_output=True, text=True, timeout=_PATIENCE_S, check=False
        )
        assert done.returncode == 0, f"{words}\n{done.stdout}\n{done.stderr}"
        return done.stdout

    return command


def _python(page: str, server: Server) -> Iterator[str]:
    """Yield a page's Python blocks; where one names the default address, this server's stands in for it."""
    return (block.code.replace(DEFAULT, server.grpc) for block in blocks(page) if block.language == "python")


def _make_lines() -> Iterator[str]:
    """Yield the README's `make` commands; they are not run here, since one of them would run this test."""
    return (line for block in blocks("README.md") if block.language == "bash" for line in _lines(block.code, "make"))


def _lines(code: str, command: str) -> list[str]:
    return [line for line in code.splitlines() if line.startswith(f"{command} ")]


def test_readme_leads_from_nothing_to_a_rollback(run: Run, server: Server, tmp_path: Path) -> None:
    first, triton = _python("README.md", server)
    (tmp_path / "user" / "first.py").write_text(first)
    shell = [block.code for block in blocks("README.md") if block.language == "bash" and "first.py" in block.code]
    assert len(shell) == 1 and "interlock promote" in shell[0] and "interlock rollback" in shell[0]

    said = run("bash", "-euo", "pipefail", "-c", shell[0])

    assert "registered 1, answered by 1" in said
    assert "registered 2, answered by 2" in said
    assert "flowers:stable moved from version 2 to version 1" in said
    assert "answered by flowers@1 (stable)" in said
    assert "flowers:stable moved from version 1 to version 2" in said
    assert "accuracy fell" in said
    assert run("python", "-c", triton).startswith("2 [[")


def test_the_python_example_of_readme_is_ten_lines_long() -> None:
    example = next(block for block in blocks("README.md") if block.language == "python")
    assert len(example.code.strip().splitlines()) <= 10


def test_make_commands_of_readme_are_targets() -> None:
    targets = [line.split()[1] for line in _make_lines()]
    assert targets == ["demo", "test", "serve"]
    make = shutil.which("make")
    assert make is not None, "make is not installed"
    for target in targets:
        subprocess.run([make, "--dry-run", target], cwd=ROOT, check=True, capture_output=True)


def test_every_block_of_readme_is_run_by_a_test_here() -> None:
    kinds = [block.language for block in blocks("README.md")]
    assert kinds == ["bash", "bash", "python", "bash", "python"]


def _flowers(server: Server, tmp_path: Path, versions: int) -> None:
    """Register what the guides speak of, the first version live."""
    path = models.write(tmp_path / "flowers.onnx", models.affine(width=4))
    with server.admin() as admin:
        for _ in range(versions):
            admin.register("flowers", path)
        admin.promote("flowers", 1)


@pytest.mark.parametrize(
    "pages",
    [("guide/export.md",), ("guide/sdk.md", "guide/history.md", "guide/diff.md", "errors.md", "guide/moving.md")],
)
def test_python_of_the_guides_runs(run: Run, server: Server, tmp_path: Path, pages: tuple[str, ...]) -> None:
    _flowers(server, tmp_path, versions=1)
    run("python", "-c", "\n\n".join(block for page in pages for block in _python(f"docs/{page}", server)))


def test_the_guide_to_quantizing_runs(run: Run, server: Server, tmp_path: Path) -> None:
    path = models.write(tmp_path / "flowers.onnx", models.mlp(width=4, hidden=64, classes=3))
    x = np.random.default_rng(0).standard_normal((8, 4)).astype(np.float32)
    session = ort.InferenceSession(str(path), providers=["CPUExecutionProvider"])
    golden = models.golden_file(tmp_path / "flowers.npz", [({"x": x}, {"y": session.run(None, {"x": x})[0]})])
    with server.admin() as admin:
        admin.register("flowers", path, golden=golden)
        admin.promote("flowers", 1)
    (commands,) = (block.code for block in blocks("docs/guide/quantize.md") if block.language == "bash")
    said = run("bash", "-euo", "pipefail", "-c", commands)
    assert "flowers@2, int8 of version 1" in said and "flowers@3, fp16 of version 1" in said
    assert "flowers:canary" in said
    assert run("python", "-c", "\n\n".join(_python("docs/guide/quantize.md", server))).startswith("4 0.")


def test_commands_of_the_operations_guide_run(run: Run, server: Server, tmp_path: Path) -> None:
    _flowers(server, tmp_path, versions=2)
    serve, switch, collect, save = (
        block.code for block in blocks("docs/guide/operations.md") if block.language == "bash"
    )
    assert serve == "interlock serve --data ./interlock-data\n"
    said = run("bash", "-euo", "pipefail", "-c", switch)
    assert "moved from version 1 to version 2" in said and "moved from version 2 to version 1" in said
    said = run("bash", "-euo", "pipefail", "-c", collect)
    assert "would remove 0 files" in said and "removed 0 files" in said
    assert "backed up the registry of" in run("bash", "-euo", "pipefail", "-c", save)
