"""The `interlock` command against a server: what it prints, on which stream, and with which exit code."""

from __future__ import annotations

import io
import json
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, fields
from datetime import datetime, timedelta, timezone
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from interlock import convert
from interlock.errors import IncompatibleSignature, InvalidModel, NothingToRollBack
from interlock.model import (
    Alias,
    Event,
    Model,
    ReplicaStatus,
    ServableState,
    ServableStatus,
    Switch,
    Version,
    WorkerStatus,
)
from interlock.types import DType, Signature, TensorSpec
from interlock.v1 import admin_pb2 as pb
from interlock_client import AliasAt
from interlock_client.cli.entry import run

from tests.unit.client.scripted import NOON, ScriptedServer, a_version, receive, registered


@dataclass(frozen=True)
class Done:
    code: int
    out: str
    err: str

    @property
    def json(self) -> Any:
        return json.loads(self.out)


Command = Callable[..., Done]


@pytest.fixture
def server(monkeypatch: pytest.MonkeyPatch) -> Iterator[ScriptedServer]:
    made = ScriptedServer()
    monkeypatch.setenv("INTERLOCK_SERVER", made.address)
    monkeypatch.setenv("INTERLOCK_ADMIN", made.address)
    monkeypatch.setenv("TZ", "UTC")
    time.tzset()
    monkeypatch.delenv("INTERLOCK_DEBUG", raising=False)
    yield made
    made.stop()
    monkeypatch.undo()
    time.tzset()


@pytest.fixture
def interlock(capsys: pytest.CaptureFixture[str]) -> Command:
    def command(*args: object) -> Done:
        code = run([str(each) for each in args])
        captured = capsys.readouterr()
        return Done(code, captured.out, captured.err)

    return command


ALIAS = Alias("digits", "stable", 3, 4, (1, 2), NOON)
MODEL = Model("digits", NOON, 3, 3, (ALIAS,))
EVENT = Event(7, NOON, "ann@host", "promote", "digits", "stable", 2, 3, "better", "r1", "ok", "", "ff")
SWITCH = Switch("digits", "stable", 2, 3, 4, (1, 2), (), (), False, True, 0.25, 0.0031)
STATUS = ReplicaStatus(
    replica="r1",
    server_version="0.1.0",
    ready=True,
    epoch=9,
    degraded=(),
    workers=(
        WorkerStatus(
            0, 42, True, 9, "CPU", "aio", (ServableStatus("digits", 3, ServableState.READY, "", "CPU", 2, 0.012),)
        ),
        WorkerStatus(1, 43, False, 8, "CPU", "aio"),
    ),
    aliases=(ALIAS,),
    sandbox=("rlimits",),
    inference_address="127.0.0.1:8001",
    http_address="127.0.0.1:8000",
    admin_address="127.0.0.1:8002",
)


@pytest.fixture
def registry(server: ScriptedServer) -> ScriptedServer:
    server.behaviours |= {  # type: ignore[misc]
        "ListModels": lambda *_: pb.ListModelsResponse(models=[convert.model(MODEL)]),
        "ListVersions": lambda *_: pb.ListVersionsResponse(versions=[convert.version(a_version())]),
        "GetVersion": lambda *_: pb.GetVersionResponse(version=convert.version(a_version())),
        "ListEvents": lambda *_: pb.ListEventsResponse(events=[convert.event(EVENT)]),
        "GetStatus": lambda *_: convert.status(STATUS),
        "Promote": lambda *_: pb.PromoteResponse(result=convert.switch(SWITCH)),
        "Rollback": lambda *_: pb.RollbackResponse(result=convert.switch(SWITCH)),
        "RemoveAlias": lambda *_: pb.RemoveAliasResponse(),
        "PinVersion": lambda *_: pb.PinVersionResponse(),
        "UnpinVersion": lambda *_: pb.UnpinVersionResponse(),
        "RetireVersion": lambda *_: pb.RetireVersionResponse(version=convert.version(a_version())),
        "DeleteVersion": lambda *_: pb.DeleteVersionResponse(version=convert.version(a_version())),
    }
    server.serve_model()
    return server


# --- JSON is the SDK's dataclasses ---

VERSION_JSON = {
    "model": "digits",
    "version": 3,
    "state": "VALIDATED",
    "digest": "ab" * 32,
    "size_bytes": 2048,
    "signature": {
        "inputs": [{"name": "x", "dtype": "FP32", "shape": [None, 2]}],
        "outputs": [{"name": "y", "dtype": "FP32", "shape": [None, 2]}],
    },
    "config": {"max_batch_size": 32, "max_queue_delay_us": 0, "max_queue_size": 1024},
    "proven": True,
    "golden_samples": 8,
    "note": "first",
    "tags": {"team": "vision"},
    "created_at": "2026-01-31T12:00:00Z",
    "created_by": "ann@host",
    "report_json": "{}",
    "aliases": ["stable"],
    "pinned": False,
}
ALIAS_JSON = {
    "model": "digits",
    "alias": "stable",
    "version": 3,
    "generation": 4,
    "stack": [1, 2],
    "updated_at": "2026-01-31T12:00:00Z",
}
SWITCH_JSON = {
    "model": "digits",
    "alias": "stable",
    "from_version": 2,
    "to_version": 3,
    "generation": 4,
    "stack": [1, 2],
    "lagging": [],
    "breaking": [],
    "dry_run": False,
    "resident": True,
    "prepare_s": 0.25,
    "commit_s": 0.0031,
}
EVENT_JSON = {
    "seq": 7,
    "time": "2026-01-31T12:00:00Z",
    "actor": "ann@host",
    "action": "promote",
    "model": "digits",
    "alias": "stable",
    "from_version": 2,
    "to_version": 3,
    "reason": "better",
    "request_id": "r1",
    "outcome": "ok",
    "detail": "",
    "hash": "ff",
}
PAST_JSON = {
    "model": "digits",
    "alias": "stable",
    "version": 3,
    "since": "2026-01-31T12:00:00Z",
    "seq": 7,
    "actor": "ann@host",
}
STATUS_JSON = {
    "replica": "r1",
    "server_version": "0.1.0",
    "ready": True,
    "epoch": 9,
    "degraded": [],
    "workers": [
        {
            "index": 0,
            "pid": 42,
            "reachable": True,
            "epoch": 9,
            "provider": "CPU",
            "front": "aio",
            "servables": [
                {
                    "model": "digits",
                    "version": 3,
                    "state": "READY",
                    "reason": "",
                    "provider": "CPU",
                    "in_flight": 2,
                    "load_s": 0.012,
                }
            ],
        },
        {
            "index": 1,
            "pid": 43,
            "reachable": False,
            "epoch": 8,
            "provider": "CPU",
            "front": "aio",
            "servables": [],
        },
    ],
    "aliases": [ALIAS_JSON],
    "sandbox": ["rlimits"],
    "inference_address": "127.0.0.1:8001",
    "http_address": "127.0.0.1:8000",
    "admin_address": "127.0.0.1:8002",
}


@pytest.mark.parametrize(
    ("args", "expected"),
    [
        (
            ["models"],
            [
                {
                    "name": "digits",
                    "created_at": "2026-01-31T12:00:00Z",
                    "versions": 3,
                    "newest": 3,
                    "aliases": [ALIAS_JSON],
                }
            ],
        ),
        (["versions", "digits"], [VERSION_JSON]),
        (["show", "digits@3"], VERSION_JSON),
        (["log"], [EVENT_JSON]),
        (["log", "digits", "--at", "2026-01-31T13:00:00Z"], [PAST_JSON]),
        (["promote", "digits", "3"], SWITCH_JSON),
        (["rollback", "digits"], SWITCH_JSON),
        (["retire", "digits", "3"], VERSION_JSON),
        (["delete", "digits", "3"], VERSION_JSON),
        (["status"], STATUS_JSON),
    ],
    ids=lambda value: value[0] if isinstance(value, list) and isinstance(value[0], str) else "",
)
def test_json_is_the_dataclasses_fields(
    interlock: Command, registry: ScriptedServer, args: list[str], expected: object
) -> None:
    done = interlock(*args, "-o", "json")
    assert (done.code, done.err) == (0, "")
    assert done.json == expected


def test_the_pinned_shapes_name_every_field() -> None:
    pinned: list[tuple[type, dict[str, Any]]] = [
        (Version, VERSION_JSON),
        (Alias, ALIAS_JSON),
        (Switch, SWITCH_JSON),
        (Event, EVENT_JSON),
        (AliasAt, PAST_JSON),
        (ReplicaStatus, STATUS_JSON),
    ]
    for cls, shape in pinned:
        assert [field.name for field in fields(cls)] == list(shape)


def test_an_answer_as_json_holds_the_whole_arrays(interlock: Command, registry: ScriptedServer) -> None:
    done = interlock("infer", "digits", "--input", "x=[[1, 2.5]]", "-o", "json")
    assert done.json == {
        "outputs": {"y": [[3.0, 7.5]]},
        "model": "digits",
        "version": 3,
        "alias": "stable",
        "request_id": "",
        "generation": 7,
        "digest": "ab" * 32,
        "queue_s": 0.00025,
        "run_s": 0.0015,
    }


def test_numbers_that_json_lacks_are_words(interlock: Command, registry: ScriptedServer) -> None:
    done = interlock("infer", "digits", "--input", "x=[[NaN, -Infinity]]", "-o", "json")
    assert done.json["outputs"] == {"y": [["NaN", "-Infinity"]]}


# --- tables ---


@pytest.mark.parametrize(
    ("args", "words"),
    [
        (["models"], ["digits", "stable → 3", "2026-01-31"]),
        (
            ["versions", "digits"],
            ["VALIDATED", "stable", "yes, 8 samples", "2.0 KiB", "abababababab", "ann@host", "first"],
        ),
        (["show", "digits"], ["digits@3", "x FP32[?,2]", "max_batch_size=32", "team=vision", "ab" * 32]),
        (["log"], ["promote", "digits:stable", "ok", "better", "ann@host"]),
        (["log", "--at", "2026-01-31T13:00Z"], ["digits", "stable", "3", "ann@host"]),
        (["log", "--at", "2020-01-01"], ["no alias existed at 2020-01-01 00:00:00"]),
        (
            ["promote", "digits", "3"],
            [
                "digits:stable moved from version 2 to version 3 (was loaded already), committed in 3.1 ms",
                "generation 4",
                "`interlock rollback` goes back to version 2",
            ],
        ),
        (["status"], ["ready", "digits@3", "READY", "12 ms", "worker 1 (pid 43) has nothing loaded", "2 1"]),
        (
            ["infer", "digits", "--input", "x=[[1, 2]]"],
            ["answered by digits@3 (stable), run in 1.50 ms", "[[3. 6.]]", "float32"],
        ),
        (["alias", "rm", "digits", "canary"], ["removed digits:canary"]),
        (["pin", "digits", "3"], ["pinned digits@3"]),
        (["unpin", "digits", "3"], ["unpinned digits@3"]),
        (["retire", "digits", "3"], ["retired digits@3"]),
        (["delete", "digits", "3"], ["deleted digits@3"]),
    ],
    ids=lambda value: " ".join(value[:3]),
)
def test_tables_say_it_in_words(
    interlock: Command, registry: ScriptedServer, args: list[str], words: list[str]
) -> None:
    done = interlock(*args)
    assert (done.code, done.err) == (0, "")
    for word in words:
        assert word in done.out


def test_a_strangers_note_cannot_drive_the_terminal(interlock: Command, server: ScriptedServer) -> None:
    nasty = convert.version(a_version(note="\x1b[31mred [bold]x[/bold] :smile:"))
    server.behaviours["ListVersions"] = lambda *_: pb.ListVersionsResponse(versions=[nasty])
    out = interlock("versions", "digits").out
    assert "\x1b" not in out
    assert r"\x1b[31mred [bold]x[/bold] :smile:" in out


def test_a_dry_run_with_breaking_changes_and_lagging_workers_is_spelled_out(
    interlock: Command, server: ScriptedServer
) -> None:
    done = Switch("digits", "stable", 0, 3, 1, (), ("w0",), ("input 'x' is gone",), True, False, 0.5, 0.0)
    server.behaviours["Promote"] = lambda *_: pb.PromoteResponse(result=convert.switch(done))
    out = interlock("promote", "digits", "3", "--dry-run", "--allow-breaking").out
    assert "digits:stable would move to version 3 (prepared in 0.50 s)" in out
    assert "breaks callers: input 'x' is gone" in out
    assert "not confirmed in time, restarted: w0" in out


# --- what is sent ---


def test_every_option_of_a_switch_is_sent(interlock: Command, registry: ScriptedServer) -> None:
    options = ["--alias", "canary", "--reason", "why", "--expect", "0", "--allow-breaking", "--dry-run"]
    assert interlock("promote", "digits", "3", *options, "--idempotency-key", "k").code == 0
    assert interlock("rollback", "digits", "--to", "1", *options, "--idempotency-key", "k").code == 0
    for request in registry.requests:
        assert request.alias == "canary"
        sent = convert.from_options(request.options)
        assert (sent.reason, sent.expected_generation, sent.idempotency_key) == ("why", 0, "k")
        assert sent.allow_breaking
        assert sent.dry_run
    assert registry.requests[1].to_version == 1


@pytest.fixture
def uploads(registry: ScriptedServer) -> list[pb.RegisterVersionRequest.Header]:
    found: list[pb.RegisterVersionRequest.Header] = []

    def register(parts: Any, _: object) -> pb.RegisterVersionResponse:
        found.append(receive(parts)[0])
        return registered(3)

    registry.behaviours["RegisterVersion"] = register
    return found


def test_register_sends_config_note_and_tags(
    interlock: Command, uploads: list[pb.RegisterVersionRequest.Header], tmp_path: Path
) -> None:
    model, config = tmp_path / "m.onnx", tmp_path / "serving.toml"
    model.write_bytes(b"onnx")
    config.write_text("max_batch_size = 8\n")
    done = interlock(
        "register", "digits", model, "--config", config, "--note", "n", "--tag", "a=b", "--tag", "c=d=e",
        "--idempotency-key", "k",
    )  # fmt: skip
    assert done == Done(0, "registered digits@3, proven by 8 samples\n", "")
    header = convert.from_header(uploads[0])
    assert header.config is not None
    assert header.config.max_batch_size == 8
    assert (header.note, header.tags, header.options.idempotency_key) == ("n", {"a": "b", "c": "d=e"}, "k")


def test_register_and_promote_prints_both_and_uses_two_keys(
    interlock: Command, registry: ScriptedServer, uploads: list[pb.RegisterVersionRequest.Header], tmp_path: Path
) -> None:
    model = tmp_path / "m.onnx"
    model.write_bytes(b"onnx")
    done = interlock("register", "digits", model, "--promote", "--idempotency-key", "k")
    assert "registered digits@3" in done.out
    assert "digits:stable moved" in done.out
    assert uploads[0].options.idempotency_key == "k"
    assert registry.requests[-1].options.idempotency_key == "k/promote"
    assert interlock("register", "digits", model, "--promote", "-o", "json").json == VERSION_JSON


def test_inputs_come_from_npy_files_and_outputs_go_to_npz(
    interlock: Command, registry: ScriptedServer, tmp_path: Path
) -> None:
    np.save(tmp_path / "x.npy", np.array([[1, 2]], np.float32))
    done = interlock("infer", "digits", "--input", f"x={tmp_path / 'x.npy'}", "--out", tmp_path / "out.npz")
    assert done.code == 0
    with np.load(tmp_path / "out.npz", allow_pickle=False) as found:
        assert found["y"].tolist() == [[3.0, 6.0]]


def test_addresses_may_stand_before_or_after_the_command(
    interlock: Command, registry: ScriptedServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("INTERLOCK_ADMIN", "127.0.0.1:1")
    monkeypatch.setenv("INTERLOCK_SERVER", "127.0.0.1:1")
    assert interlock("--admin", registry.address, "models").code == 0
    assert interlock("models", "--admin", registry.address).code == 0
    assert interlock("--admin", "127.0.0.1:1", "models", "--admin", registry.address).code == 0
    assert interlock("infer", "digits", "--input", "x=[[1, 2]]", "--server", registry.address).code == 0


def test_a_bool_output_prints(interlock: Command, server: ScriptedServer) -> None:
    server.serve_model(Signature((TensorSpec("x", DType.FP32, (None,)),), (TensorSpec("ok", DType.BOOL, (None,)),)))
    done = interlock("infer", "m", "--input", "x=[0, 1]", "-o", "json")
    assert done.json["outputs"] == {"ok": [False, True]}


# --- errors ---


def test_a_refusal_is_one_line_on_stderr_and_exit_1(interlock: Command, server: ScriptedServer) -> None:
    def refuse(*_: object) -> Any:
        raise NothingToRollBack("digits", "stable", 1)

    server.behaviours["Rollback"] = refuse
    assert interlock("rollback", "digits") == Done(
        1,
        "",
        "interlock: alias 'stable' of 'digits' has served nothing before version 1; "
        "`interlock promote digits VERSION` moves it\n",
    )


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


@pytest.mark.parametrize(
    ("args", "why"),
    [
        (["frobnicate"], "No such command"),
        (["promote", "digits"], "Missing argument"),
        (["promote", "digits", "0"], "is not in the range"),
        (["promote", "digits", "two"], "not a valid integer"),
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
    until = convert.from_timestamp(registry.requests[-1].until)
    assert until == datetime(2026, 1, 31, 12, 30, tzinfo=timezone(timedelta(hours=9)))
