"""How the command fails: one line on stderr and an exit code."""

from __future__ import annotations

import contextlib
import io
import socket
import threading
import time
from datetime import datetime, timedelta, timezone
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from interlock import convert
from interlock.errors import IncompatibleSignature, InvalidModel, ModelNotFound, NothingToRollBack
from interlock.v1 import admin_pb2 as pb

from tests.unit.client.cli.samples import (
    Command,
    Done,
)
from tests.unit.client.scripted import ScriptedServer, receive


def test_a_refusal_is_one_line_on_stderr_and_exit_1(interlock: Command, server: ScriptedServer) -> None:
    def refuse(*_: object) -> Any:
        raise NothingToRollBack("digits", "canary", 1)

    server.behaviours["Rollback"] = refuse
    assert interlock("rollback", "digits", "--alias", "canary") == Done(
        1,
        "",
        "interlock: alias 'canary' of 'digits' has served nothing before version 1; "
        "`interlock promote digits VERSION --alias canary` moves it\n",
    )


@pytest.mark.parametrize(("asked", "hint"), [("digist", "; did you mean 'digits'?\n"), ("flowers", "is registered\n")])
def test_a_model_that_is_not_there_is_met_with_one_that_is_called_like_it(
    interlock: Command, registry: ScriptedServer, asked: str, hint: str
) -> None:
    def refuse(*_: object) -> Any:
        raise ModelNotFound(asked)

    registry.behaviours["GetVersion"] = refuse
    done = interlock("show", asked)
    assert (done.code, done.err.count("\n")) == (1, 1)
    assert done.err.endswith(hint), done.err


def test_a_message_of_several_lines_becomes_one(interlock: Command, server: ScriptedServer, tmp_path: Path) -> None:
    def refuse(parts: Any, _: object) -> Any:
        receive(parts)
        raise InvalidModel("no\n  good\n", check="format")

    server.behaviours["RegisterVersion"] = refuse
    (tmp_path / "m.onnx").write_bytes(b"x")
    assert interlock("register", "m", tmp_path / "m.onnx").err == "interlock: no good\n"


def test_an_incompatible_signature_says_how_to_go_on(interlock: Command, server: ScriptedServer) -> None:
    def refuse(*_: object) -> Any:
        raise IncompatibleSignature("digits", 2, 1, ["input 'x' is gone"])

    server.behaviours["Promote"] = refuse
    done = interlock("promote", "digits", "2")
    assert done.code == 1
    assert "--allow-breaking" in done.err


def test_an_unreachable_server_is_one_line_that_says_what_to_check(
    interlock: Command, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("INTERLOCK_ADMIN", "127.0.0.1:1")
    done = interlock("models")
    assert (done.code, done.out, done.err.count("\n")) == (1, "", 1)
    assert done.err.startswith("interlock: no server answers at 127.0.0.1:1 (")
    assert "INTERLOCK_ADMIN" in done.err


def test_a_port_that_speaks_http_is_recognised(interlock: Command, monkeypatch: pytest.MonkeyPatch) -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:

        def answer() -> None:
            with contextlib.suppress(OSError):  # the listener was shut down
                while True:
                    connection, _ = listener.accept()
                    with connection:
                        connection.recv(4096)
                        connection.sendall(b"HTTP/1.1 404 Not Found\r\nContent-Length: 0\r\n\r\n")

        thread = threading.Thread(target=answer)
        thread.start()
        try:
            done = interlock("models", "--admin", f"127.0.0.1:{listener.getsockname()[1]}")
        finally:
            listener.shutdown(socket.SHUT_RDWR)
            thread.join()
    assert (done.code, done.err.count("\n")) == (1, 1)
    assert "speaks HTTP/1.1" in done.err and "--admin, INTERLOCK_ADMIN" in done.err


@pytest.mark.parametrize(
    ("args", "why"),
    [
        (["frobnicate"], "No such command 'frobnicate'."),
        (["promot", "digits", "3"], "No such command 'promot': did you mean 'promote'?"),
        (["push", "m", "f"], "No such command 'push': did you mean 'register'?"),
        (["-o", "json", "status"], "No such option '-o'. It goes behind the name of a command"),
        (["models", "--server", "h:1"], "No such option '--server'. This command asks the admin port: --admin"),
        (["infer", "m", "--admin", "h:1"], "No such option '--admin'. This command asks the inference port: --server"),
        (["promote", "digits"], "Missing argument"),
        (["promote", "digits", "0"], "'0' is not a version's number"),
        (
            ["promote", "digits", "stable"],
            "is not a version's number, such as 3; `interlock versions MODEL` lists them",
        ),
        (["promote", "digits", "1", "--expect", "-1"], "is not in the range"),
        (["log", "--at", "yesterday"], "'yesterday' is not a time"),
        (["log", "--limit", "0"], "is not in the range"),
        (["infer", "m"], "Missing option '--input'"),
        (["infer", "m", "--input", "x"], "'x' is not NAME=VALUE"),
        (["infer", "m", "--input", "=1"], "is not NAME=VALUE"),
        (["infer", "m", "--input", "x=1", "--input", "x=2"], "'x' is given twice"),
        (["infer", "m", "--input", "x=[1,"], "'x' is neither FILE.npy nor a JSON literal: '[1,'"),
        (["register", "m", "f", "--tag", "a"], "'a' is not NAME=VALUE"),
        (["models", "-o", "yaml"], "'yaml' is not one of"),
        (["export", "m:a", "--out", "f"], "Missing option '--input'"),
    ],
)
def test_wrong_usage_is_exit_2(interlock: Command, server: ScriptedServer, args: list[str], why: str) -> None:
    done = interlock(*args)
    assert done.code == 2
    assert why in " ".join(done.err.split())
    assert server.calls == []


@pytest.mark.parametrize(
    ("name", "text", "why"),
    [
        ("c.toml", "max_batch = 1", "has the unknown key 'max_batch'; a serving config has max_batch_size, max_queue"),
        ("c.toml", "max_batch_size = 'x'", "max_batch_size in '.*' must be a whole number from 0, got 'x'"),
        ("c.toml", "max_batch_size = true", "must be a whole number from 0, got True"),
        ("c.json", '{"max_queue_size": -1}', "must be a whole number from 0, got -1"),
        ("c.toml", "non_finite = 'drop'", "must be one of pass, count, refuse, got 'drop'"),
        ("c.json", "[]", "must hold max_batch_size"),
        ("c.json", "{", "is not JSON"),
        ("c.toml", "=", "is not TOML"),
    ],
)
def test_a_wrong_config_file_is_refused_before_the_upload(
    interlock: Command, server: ScriptedServer, tmp_path: Path, name: str, text: str, why: str
) -> None:
    (tmp_path / name).write_text(text)
    (tmp_path / "m.onnx").write_bytes(b"x")
    done = interlock("register", "m", tmp_path / "m.onnx", "--config", tmp_path / name)
    assert done.code == 1
    with pytest.raises(AssertionError, match=why):
        raise AssertionError(done.err)
    assert server.calls == []


@pytest.mark.parametrize("content", [b"", b"not numpy", b"\x93NUMPY\x01\x00"])
def test_a_file_that_is_not_npy_is_named(
    interlock: Command, server: ScriptedServer, tmp_path: Path, content: bytes
) -> None:
    (tmp_path / "x.npy").write_bytes(content)
    done = interlock("infer", "m", "--input", f"x={tmp_path / 'x.npy'}")
    assert done.code == 1
    assert "cannot be read as an .npy file" in done.err


def test_an_npy_file_that_holds_pickles_is_not_loaded(
    interlock: Command, server: ScriptedServer, tmp_path: Path
) -> None:
    buffer = io.BytesIO()
    np.save(buffer, np.array([{"a": 1}], dtype=object), allow_pickle=True)
    (tmp_path / "x.npy").write_bytes(buffer.getvalue())
    done = interlock("infer", "m", "--input", f"x={tmp_path / 'x.npy'}")
    assert done.code == 1
    assert "cannot be read" in done.err


def test_an_unexpected_error_is_one_line_with_the_way_to_see_more(
    interlock: Command, server: ScriptedServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    server.behaviours["GetVersion"] = lambda *_: pb.GetVersionResponse()  # a state that does not exist
    done = interlock("show", "digits")
    assert done.code == 1
    assert done.err.count("\n") == 1
    assert "(set INTERLOCK_DEBUG=1 to see the traceback)" in done.err
    monkeypatch.setenv("INTERLOCK_DEBUG", "1")
    assert "Traceback" in interlock("show", "digits").err


def test_local_time_is_meant_where_a_time_has_no_zone(
    interlock: Command, registry: ScriptedServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TZ", "JST-9")
    time.tzset()
    interlock("log", "--at", "2026-01-31T12:30")
    until = convert.from_timestamp(registry.requests[-1].at)
    assert until == datetime(2026, 1, 31, 12, 30, tzinfo=timezone(timedelta(hours=9)))
