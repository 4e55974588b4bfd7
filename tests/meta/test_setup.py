"""`make setup` says what is missing, and has nothing to do the second time."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from tests.meta.repository import ROOT


@pytest.fixture
def checkout(tmp_path: Path) -> Path:
    """The part of a checkout that the set-up reads, without an environment."""
    (tmp_path / "tools").mkdir()
    (tmp_path / "proto/interlock").mkdir(parents=True)
    for name in ("tools/setup.sh", "pyproject.toml", "constraints.txt", "proto/interlock/__init__.py", "Makefile"):
        shutil.copy(ROOT / name, tmp_path / name)
    return tmp_path


def _python(folder: Path, script: str) -> Path:
    """An interpreter that behaves as `script` says."""
    path = folder / "python"
    path.write_text(f"#!/bin/sh\n{script}\n")
    path.chmod(0o755)
    return path


def _make(checkout: Path, *words: str) -> subprocess.CompletedProcess[str]:
    environment = {name: os.environ[name] for name in ("PATH", "HOME") if name in os.environ}
    return subprocess.run(
        ["make", "--no-print-directory", *words],
        cwd=checkout,
        env=environment,
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )


def test_help_lists_every_target(checkout: Path) -> None:
    done = _make(checkout)
    listed = [line.split()[1] for line in done.stdout.splitlines()]
    (declared,) = (line for line in (checkout / "Makefile").read_text().splitlines() if line.startswith(".PHONY:"))
    assert listed == declared.split()[1:]
    assert {"setup", "lint", "test", "demo", "serve"} < set(listed)


def test_a_missing_interpreter_is_named(checkout: Path) -> None:
    done = _make(checkout, "setup", "PYTHON=python-of-nobody")
    assert done.returncode != 0
    assert "there is no 'python-of-nobody'; on Debian: sudo apt-get install python3 python3-venv" in done.stderr


def test_an_old_interpreter_is_refused(checkout: Path) -> None:
    old = _python(checkout, 'case "$2" in *print*) echo 3.9 ;; *) exit 1 ;; esac')
    done = _make(checkout, "setup", f"PYTHON={old}")
    assert done.returncode != 0
    assert f"'{old}' is Python 3.9; 3.11 or newer is needed" in done.stderr


def test_a_missing_venv_module_is_named_with_its_debian_package(checkout: Path) -> None:
    bare = _python(checkout, f'case "$*" in *ensurepip*) exit 1 ;; *) exec {sys.executable} "$@" ;; esac')
    done = _make(checkout, "setup", f"PYTHON={bare}")
    version = f"{sys.version_info.major}.{sys.version_info.minor}"
    assert done.returncode != 0
    assert f"Python {version} lacks its venv module" in done.stderr
    assert f"sudo apt-get install python3-venv (or python{version}-venv)" in done.stderr


def test_an_unknown_engine_is_refused(checkout: Path) -> None:
    done = _make(checkout, "setup", "ENGINE=tpu")
    assert done.returncode != 0
    assert "ENGINE is 'tpu'; it is cpu or gpu" in done.stderr


def _pretend_installer(checkout: Path) -> Path:
    """An interpreter that makes environments whose pip only writes down how it was called."""
    inner = checkout / "inner"
    inner.write_text(
        "#!/bin/sh\n"
        f'case "$*" in *"pip install"*) echo "$*" >>{checkout}/calls ;; *) exec {sys.executable} "$@" ;; esac\n'
    )
    inner.chmod(0o755)
    return _python(
        checkout,
        'if [ "$1 $2" = "-m venv" ]; then\n'
        f'  echo "venv $3" >>{checkout}/calls; mkdir -p "$4/bin"; cp {inner} "$4/bin/python"\n'
        f'else exec {sys.executable} "$@"; fi',
    )


def test_only_what_has_changed_is_done_again(checkout: Path) -> None:
    python = _pretend_installer(checkout)
    calls = checkout / "calls"

    def setup(*words: str) -> list[str]:
        calls.write_text("")
        done = _make(checkout, "setup", f"PYTHON={python}", "ENGINE=cpu", *words)
        assert done.returncode == 0, done.stderr
        return calls.read_text().splitlines()

    made, installed = setup()
    assert made == "venv --clear"
    assert installed.endswith("-c constraints.txt -e .[server,cpu,torch,dev]")
    assert setup() == []

    (checkout / "constraints.txt").write_text("# others\n")
    assert [call.split()[0] for call in setup()] == ["-m"]
    indexed = setup("TORCH_INDEX=https://torch.example/cpu")
    assert len(indexed) == 1 and "--extra-index-url https://torch.example/cpu" in indexed[0]
    assert [call.split()[0] for call in setup("ENGINE=gpu")] == ["venv", "-m"]
    (checkout / ".venv/bin/python").write_text("#!/bin/sh\nexit 1\n")
    assert [call.split()[0] for call in setup("ENGINE=gpu")] == ["venv", "-m"]
