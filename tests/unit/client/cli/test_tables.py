"""`-o table`: words for people."""

from __future__ import annotations

import pytest
from interlock import convert
from interlock.model import (
    Switch,
)
from interlock.v1 import admin_pb2 as pb

from tests.unit.client.cli.samples import (
    Command,
)
from tests.unit.client.scripted import ScriptedServer, a_version


@pytest.mark.parametrize(
    ("args", "words"),
    [
        (["models"], ["digits", "stable → 3", "2026-01-31"]),
        (
            ["versions", "digits"],
            ["VALIDATED", "stable", "yes, 8 samples", "2.0 KiB", "abababababab", "ann@host", "first"],
        ),
        (
            ["show", "digits"],
            [
                "digits@3",
                "worker 0: READY, 12 ms from derived",
                "x FP32[?,2]",
                "max_batch_size=32",
                "team=vision",
                "ab" * 32,
            ],
        ),
        (["log"], ["promote", "digits:stable", "ok", "better", "ann@host"]),
        (["log", "--at", "2026-01-31T13:00Z"], ["digits", "stable", "3", "promote", "ann@host", "better"]),
        (["log", "--at", "2020-01-01"], ["no alias existed at 2020-01-01 00:00:00"]),
        (
            ["promote", "digits", "3"],
            [
                "digits:stable moved from version 2 to version 3 (was loaded already), committed in 3.1 ms",
                "generation 4",
                "`interlock rollback digits` goes back to version 2",
            ],
        ),
        (
            ["status"],
            [
                "ready",
                "2 (8 cores, of whose",
                "digits@3",
                "READY",
                "12 ms",
                "worker 1 (pid 43) has nothing loaded",
                "2 1",
            ],
        ),
        (
            ["infer", "digits", "--input", "x=[[1, 2]]"],
            ["answered by digits@3 (stable), run in 1.50 ms", "[[3. 6.]]", "float32"],
        ),
        (["approve", "digits", "3"], ["approved: digits@3 as stable, by token:bob"]),
        (["approve", "digits", "3", "--withdraw"], ["withdrawn: digits@3 as stable, by token:bob"]),
        (["approvals", "digits"], ["digits:stable", "EXPIRED", "token:bob", "abababababab", "looks right"]),
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


def test_a_promote_to_the_live_version_is_not_called_a_move(interlock: Command, server: ScriptedServer) -> None:
    done = Switch("digits", "stable", 3, 3, 4, (2,), resident=True)
    server.behaviours["Promote"] = lambda *_: pb.PromoteResponse(result=convert.switch(done))
    first, second = interlock("promote", "digits", "3").out.splitlines()
    assert first == "digits:stable is at version 3 already, so nothing was changed, generation 4"
    assert second == "`interlock rollback digits` goes back to version 2"


def test_a_status_lists_the_replicas_of_a_fleet(interlock: Command, registry: ScriptedServer) -> None:
    lines = interlock("status").out.splitlines()
    found = [line.split("│") if "│" in line else line.split() for line in lines if "127.0.0.2:8002" in line]
    assert len(found) == 1
    assert "LOST" in " ".join(found[0]) and "61.2 s ago" in " ".join(found[0])


def test_who_waits_for_the_fleet_learns_who_is_late_and_fails(interlock: Command, server: ScriptedServer) -> None:
    asked: list[float] = []

    def promote(request: pb.PromoteRequest, _: object) -> pb.PromoteResponse:
        asked.append(request.options.wait_s)
        late = ("replica b:8002 (4711)",) if request.options.wait_s else ()
        return pb.PromoteResponse(result=convert.switch(Switch("digits", "stable", 2, 3, 4, (2,), late=late)))

    server.behaviours["Promote"] = promote
    assert interlock("promote", "digits", "3").code == 0
    done = interlock("promote", "digits", "3", "--wait")
    assert asked == [0.0, 60.0]
    assert done.code == 1
    assert "not served yet by replica b:8002 (4711)" in done.out
    assert "at version 3 and stays there, but after 60 s it is not served by replica b:8002 (4711)" in done.err


def test_a_report_is_told_fact_by_fact_and_no_line_in_a_pipe_ends_in_spaces(
    interlock: Command, registry: ScriptedServer
) -> None:
    report = '{"opset": 20, "load_s": 0.000771879, "joinable": true, "signature": {}, "environment": {"torch": "2.13"}}'
    found = a_version(report_json=report)
    registry.behaviours["GetVersion"] = lambda *_: pb.GetVersionResponse(version=convert.version(found))
    lines = interlock("show", "digits").out.splitlines()
    assert [" ".join(line.split()) for line in lines][-4:] == [
        "report opset 20",
        "load_s 0.0007719",
        "joinable yes",
        "environment torch 2.13",
    ]
    assert lines == [line.rstrip() for line in lines]
