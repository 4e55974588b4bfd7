"""The `interlock` command as a process: signals, pipes, added commands and missing packages."""

from __future__ import annotations

import contextlib
import json
import os
import pty
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import click
import pytest
from interlock import __version__, convert
from interlock.v1 import admin_pb2 as pb
from interlock_client.cli import entry, group

from tests.unit.client.cli.samples import EVENT, STATUS
from tests.unit.client.scripted import ScriptedServer, receive, registered

COMMAND = "from interlock_client.cli import main; main()"


@pytest.fixture
def server() -> Iterator[ScriptedServer]:
    made = ScriptedServer()
    made.behaviours["GetStatus"] = lambda *_: convert.status(STATUS)
    yield made
    made.stop()


def interlock(*args: str, code: str = COMMAND) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-c", code, *args]
    return subprocess.run(command, capture_output=True, text=True, timeout=120, check=False)


def test_the_version_is_printed() -> None:
    done = interlock("--version")
    assert (done.returncode, done.stdout, done.stderr) == (0, f"interlock {__version__}\n", "")


def test_help_lists_every_command() -> None:
    done = interlock("--help")
    assert done.returncode == 0
    for name in ("serve", "export", "register", "models", "promote", "rollback", "alias", "infer", "status"):
        assert f"\n  {name} " in done.stdout


def test_a_line_of_help_is_known_of_every_command_and_fits_beside_its_name() -> None:
    ctx = click.Context(entry.interlock)
    written = click.HelpFormatter(width=80)
    entry.interlock.format_commands(ctx, written)
    heading, *lines = written.getvalue().splitlines()
    assert heading == "Commands:"
    assert [line.split()[0] for line in lines] == entry.interlock.list_commands(ctx)
    commands = [entry.interlock.get_command(ctx, line.split()[0]) for line in lines]
    assert all(command is not None and command.help for command in commands)
    assert set(group._added_lines()) == set(group._added())
    groups = [command for command in commands if isinstance(command, click.Group)]
    assert {"key", "token", "trust"} <= {each.name for each in groups}
    for each in groups:
        written = click.HelpFormatter(width=80)
        each.format_commands(click.Context(each), written)
        assert "..." not in written.getvalue(), "a line of it is cut off"


def test_no_command_is_wrong_usage() -> None:
    done = interlock()
    assert done.returncode == 2
    assert "Usage: interlock" in done.stderr


def without(*modules: str) -> str:
    return f"import sys; sys.modules.update(dict.fromkeys({modules!r})); {COMMAND}"


def test_serve_without_the_server_extra_says_what_to_install() -> None:
    light = without("pydantic", "pydantic_settings", "sqlalchemy", "onnx", "onnxruntime", "uvicorn", "starlette")
    done = interlock("serve", "--data", "x", code=light)
    assert (done.returncode, done.stdout, done.stderr.count("\n")) == (1, "", 1)
    assert "pip install 'interlock[server,cpu]'" in done.stderr
    listed = interlock("--help", code=light)
    assert listed.returncode == 0
    assert "Not installed: needs interlock[server,cpu]" in listed.stdout


def test_a_watch_that_is_no_terminal_prints_each_look_and_ctrl_c_ends_it_with_130(server: ScriptedServer) -> None:
    command = [sys.executable, "-c", COMMAND, "status", "--watch", "--admin", server.address]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as process:
        assert process.stdout
        lines = iter(process.stdout.readline, "")
        for _ in range(2):
            assert any(line.split()[:2] == ["replica", "r1"] for line in lines)
        process.send_signal(signal.SIGINT)
        _, err = process.communicate(timeout=60)
    assert process.returncode == 130
    assert "Traceback" not in err


def test_a_watch_outlives_the_server_and_sees_it_come_back(server: ScriptedServer) -> None:
    command = [sys.executable, "-c", COMMAND, "status", "--watch", "-o", "json", "--admin", server.address]
    again: list[ScriptedServer] = []
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True) as process:
        assert process.stdout
        try:
            assert json.loads(process.stdout.readline())["ready"]
            server.stop()
            lines = iter(process.stdout.readline, "")
            assert any(json.loads(line).get("reason") == "SERVER_UNREACHABLE" for line in lines)
            again.append(ScriptedServer(server.port))
            again[0].behaviours["GetStatus"] = server.behaviours["GetStatus"]
            assert any(json.loads(line).get("ready") for line in lines)
        finally:
            process.send_signal(signal.SIGINT)
            process.wait(60)
            for each in again:
                each.stop()


def test_a_reader_that_has_enough_causes_no_noise(server: ScriptedServer) -> None:
    server.behaviours["ListEvents"] = lambda *_: pb.ListEventsResponse(events=[convert.event(EVENT)])
    command = [sys.executable, "-c", COMMAND, "log", "--limit", "1", "--admin", server.address]
    reader, writer = os.pipe()
    process = subprocess.Popen(command, stdout=writer, stderr=subprocess.PIPE, text=True)
    os.close(writer)
    os.close(reader)
    _, err = process.communicate(timeout=60)
    assert err == ""
    assert process.returncode == 1


@pytest.mark.parametrize("terminal", [True, False])
def test_an_upload_shows_a_bar_on_a_terminal_and_nothing_in_a_log(
    server: ScriptedServer, tmp_path: Path, terminal: bool
) -> None:
    def register(parts: Any, _: object) -> pb.RegisterVersionResponse:
        receive(parts)
        return registered()

    server.behaviours["RegisterVersion"] = register
    (tmp_path / "m.onnx").write_bytes(bytes(4096))
    command = [sys.executable, "-c", COMMAND, "register", "m", str(tmp_path / "m.onnx"), "--admin", server.address]
    watched, screen = pty.openpty() if terminal else os.pipe()
    done = subprocess.run(command, stdout=subprocess.PIPE, stderr=screen, timeout=60, check=False)
    os.close(screen)
    shown = b""
    with contextlib.suppress(OSError), open(watched, "rb", buffering=0) as file:  # a pty ends in EIO
        while part := file.read(4096):
            shown += part
    assert done.returncode == 0
    assert done.stdout == b"registered digits@3, proven by 8 samples\n"
    assert (b"m.onnx" in shown) is terminal
    assert terminal or shown == b""


def test_a_watch_on_a_terminal_redraws_the_status(server: ScriptedServer) -> None:
    watched, screen = pty.openpty()
    command = [sys.executable, "-c", COMMAND, "status", "--watch", "--admin", server.address]
    with subprocess.Popen(command, stdout=screen, stderr=subprocess.DEVNULL) as process:
        os.close(screen)
        shown = b""
        try:
            with open(watched, "rb", buffering=0) as file:
                while b"digits@3" not in shown:
                    shown += file.read(4096)
                server.stop()
                while b"no server answers" not in shown:
                    shown += file.read(4096)
                process.send_signal(signal.SIGINT)
                with contextlib.suppress(OSError):
                    while file.read(4096):
                        pass
            assert process.wait(60) == 130
        finally:
            process.kill()
