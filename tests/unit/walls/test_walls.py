"""The sandbox, from inside: a program goes behind the walls and tries what a hostile model might."""

from __future__ import annotations

import asyncio
import json
import platform
import socket
import struct
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

import pytest
from interlock_registry.tool import Sandbox, probe
from interlock_registry.walls import enclosure, landlock, seccomp

from tests.server import clean_environment, serve_command

HERE = Path(__file__).parent
ALLOWED = {
    "read the upload",
    "write into the scratch directory",
    "read what it wrote",
    "rename what it wrote",
    "remove what it wrote",
    "start a thread",
    "import a library",
}


@dataclass(frozen=True)
class Trespass:
    held: list[str]
    acts: dict[str, str]
    secret: Path
    oom_score_adj: int


@pytest.fixture(scope="module")
def trespass(tmp_path_factory: pytest.TempPathFactory) -> Trespass:
    home = tmp_path_factory.mktemp("home")
    (home / "upload" / "scratch").mkdir(parents=True)
    (home / "upload" / "model").write_bytes(b"model")
    (home / "secret").write_bytes(b"secret")
    with socket.create_server(("127.0.0.1", 0)) as listener:
        done = subprocess.run(
            [sys.executable, "-I", str(HERE / "trespasser.py"), str(home), str(listener.getsockname()[1])],
            env=enclosure.clean_environment({}),
            capture_output=True,
            text=True,
            timeout=120,
            check=False,
        )
    assert done.returncode == 0, done.stderr
    found = json.loads(done.stdout)
    return Trespass(found["held"], found["acts"], home / "secret", found["oom_score_adj"])


def test_this_machine_has_every_wall(trespass: Trespass) -> None:
    """Else the rest here would prove nothing: these tests need Linux 6.12 or newer."""
    assert landlock.abi() >= landlock.SIGNALS_SINCE and seccomp.is_known()
    assert enclosure.missing(tuple(trespass.held)) == ()
    assert {enclosure.TCP, enclosure.SIGNALS} <= set(trespass.held)


def test_a_model_may_do_its_work_and_nothing_else(trespass: Trespass) -> None:
    assert {name for name, outcome in trespass.acts.items() if outcome == "done"} == ALLOWED
    assert {outcome for name, outcome in trespass.acts.items() if name not in ALLOWED} == {"refused"}
    assert trespass.secret.read_bytes() == b"secret"
    assert trespass.secret.stat().st_mode & 0o777 != 0o777 and trespass.secret.stat().st_mtime > 0


def test_the_kernel_ends_it_before_the_server_where_memory_runs_out(trespass: Trespass) -> None:
    assert trespass.oom_score_adj == 1000


def test_the_probe_reports_what_held_and_what_is_off() -> None:
    walls = asyncio.run(probe(Sandbox.STRICT))
    assert walls.missing == () and {*enclosure.STRICT, "wall-clock", "disk-limit"} <= set(walls.held)
    off = asyncio.run(probe(Sandbox.OFF))
    assert off.missing == (enclosure.FILES, enclosure.CALLS) and set(enclosure.ALWAYS) <= set(off.held)


def older_kernel(*command: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, str(HERE / "older_kernel.py"), *command],
        capture_output=True,
        text=True,
        timeout=120,
        env=clean_environment(),
        check=False,
    )


WITHOUT = """
import asyncio
from interlock.errors import StartupRefused
from interlock_registry.tool import Sandbox, probe
from interlock_server.control.sandboxing import Sandboxing
walls = asyncio.run(probe(Sandbox.AUTO))
print(walls.missing, "seccomp" in walls.held)
try:
    asyncio.run(Sandboxing(Sandbox.STRICT).check())
except StartupRefused as refusal:
    print(refusal.message)
"""


def test_on_a_kernel_without_landlock_it_is_not_reported_and_strict_refuses_by_its_name() -> None:
    done = older_kernel(sys.executable, "-c", WITHOUT)
    found, refusal = done.stdout.splitlines()
    assert found == "('landlock-files',) True"
    assert "this machine lacks landlock-files: landlock-files needs Landlock: Linux 6.2" in refusal
    assert "set sandbox to 'auto'" in refusal


@pytest.mark.slow
def test_a_strict_server_does_not_start_without_a_wall_and_names_it(tmp_path: Path) -> None:
    done = older_kernel(*serve_command(tmp_path / "data", ["--sandbox", "strict"]))
    assert done.returncode != 0 and done.stdout == ""
    assert "this machine lacks landlock-files" in done.stderr


@pytest.mark.parametrize("machine", ["x86_64", "aarch64"])
def test_every_jump_of_the_filter_stays_inside_of_it(machine: str) -> None:
    lines = list(struct.iter_unpack("=HBBI", seccomp.program(machine, 1)))
    for at, (code, if_true, if_false, _) in enumerate(lines):
        if code & 0x07 == 0x05:
            assert at + 1 + max(if_true, if_false) < len(lines)
    assert lines[-1][0] == 0x06, "it ends with an answer"


def test_an_architecture_whose_calls_are_not_known_gets_no_filter() -> None:
    assert seccomp.is_known(platform.machine()) and not seccomp.is_known("riscv64")
