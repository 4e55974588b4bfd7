"""`interlock log`: what it sends, what it prints, and which options go together."""

from __future__ import annotations

import json
from datetime import UTC, datetime, timedelta

import pytest
from interlock import convert, convert_history
from interlock.model import EventFilter
from interlock.v1 import admin_pb2 as pb
from interlock.v1 import model_pb2

from tests.unit.client.cli.samples import EVENT, EVENT_JSON, Command
from tests.unit.client.scripted import NOON, ScriptedServer
from tests.unit.client.test_history import chain_of, hand_out


def test_every_filter_is_sent(interlock: Command, registry: ScriptedServer) -> None:
    done = interlock(
        *("log", "digits", "--alias", "canary", "--version", 3, "--action", "promote", "--actor", "ann"),
        *("--outcome", "refused", "--since", "2026-01-31T12:00", "--until", "2026-01-31T13:00+01:00"),
        *("--before", 9, "--reverse", "--limit", 5),
    )
    assert (done.code, done.err) == (0, "")
    (request,) = registry.requests
    assert request.page_size == 5
    assert convert_history.from_events_request(request) == EventFilter(
        model="digits",
        alias="canary",
        version=3,
        action="promote",
        actor="ann",
        outcome="refused",
        since=NOON,
        until=NOON,
        before=9,
        oldest_first=True,
    )


@pytest.mark.parametrize(
    ("text", "ago_s"), [("10 minutes ago", 600), ("1 minute ago", 60), ("an hour ago", 3600), ("2 weeks ago", 1209600)]
)
def test_a_time_may_be_said_in_words(interlock: Command, registry: ScriptedServer, text: str, ago_s: int) -> None:
    assert interlock("log", "--since", text).code == 0
    sent = convert.from_timestamp(registry.requests[0].since)
    assert abs(datetime.now(UTC) - timedelta(seconds=ago_s) - sent) < timedelta(minutes=1)


@pytest.mark.parametrize("text", ["soon", "5 apples ago", " ago", "31.1.2026", "99999999 years ago"])
def test_what_is_no_time_is_wrong_usage(interlock: Command, text: str) -> None:
    done = interlock("log", "--at", text)
    assert done.code == 2
    assert "is not a time" in done.err and "'10 minutes ago'" in done.err


@pytest.mark.parametrize(
    "options",
    [
        ["--known", "1:" + "0" * 64],
        ["--verify", "--follow"],
        ["--at", "2026-01-31", "--verify"],
        ["--verify", "--actor", "ann"],
        ["digits", "--verify"],
        ["--at", "2026-01-31", "--limit", "3"],
        ["--at", "2026-01-31", "--outcome", "ok"],
        ["--follow", "--until", "2026-01-31"],
        ["--follow", "--before", "3"],
        ["--action", "explode"],
        ["--verify", "--known", "7"],
    ],
    ids=" ".join,
)
def test_options_that_make_no_sense_together_are_wrong_usage(
    interlock: Command, server: ScriptedServer, options: list[str]
) -> None:
    assert interlock("log", *options).code == 2
    assert server.calls == []


def test_a_full_page_says_how_to_see_the_next_one(interlock: Command, registry: ScriptedServer) -> None:
    assert interlock("log", "--limit", "1").err == "there may be more; --before 7 shows them\n"
    assert interlock("log", "--limit", "2").err == ""


def test_nothing_found_is_said(interlock: Command, server: ScriptedServer) -> None:
    server.behaviours["ListEvents"] = lambda *_: pb.ListEventsResponse()
    assert interlock("log").out == "nothing has happened yet\n"
    assert interlock("log", "--actor", "eve").out == "no event fits; `interlock log` shows all of them\n"


def test_a_refusal_shows_both_reasons(interlock: Command, server: ScriptedServer) -> None:
    refused = convert.event(EVENT)
    refused.outcome, refused.detail = "PREPARE_FAILED", "it does not load"
    server.behaviours["ListEvents"] = lambda *_: pb.ListEventsResponse(events=[refused])
    assert "better; it does not load" in interlock("log").out


def test_a_whole_history_is_said_to_be_whole_and_what_to_keep(interlock: Command, server: ScriptedServer) -> None:
    links = chain_of(4)
    server.behaviours["ReadChain"] = hand_out(links)
    done = interlock("log", "--verify")
    assert done.code == 0
    assert "4 events are whole" in done.out and f"--known 4:{links[-1].hash}" in done.out
    assert interlock("log", "--verify", "--known", f"4:{links[-1].hash}").code == 0
    assert interlock("log", "--verify", "-o", "json").json == {
        "events": 4,
        "head": links[-1].hash,
        "broken_at": 0,
        "why": "",
    }


def test_a_broken_history_is_an_error_that_names_the_place(interlock: Command, server: ScriptedServer) -> None:
    links = chain_of(4)
    server.behaviours["ReadChain"] = hand_out([links[0], *links[2:]])
    done = interlock("log", "--verify", "-o", "json")
    assert done.code == 1
    assert "the history is broken at event 2: event 2 is missing" in done.err
    assert done.json["broken_at"] == 2


@pytest.fixture
def three_looks(monkeypatch: pytest.MonkeyPatch) -> None:
    """Following that is interrupted at its third pause, and does not wait until then."""
    pauses = iter(range(2))

    def pause(_: float) -> None:
        if next(pauses, None) is None:
            raise KeyboardInterrupt

    monkeypatch.setattr("interlock_client.cli.history.time.sleep", pause)


@pytest.mark.usefixtures("three_looks")
@pytest.mark.parametrize("output", ["table", "json"])
def test_following_shows_each_event_once(interlock: Command, server: ScriptedServer, output: str) -> None:
    def look(request: pb.ListEventsRequest, context: object) -> pb.ListEventsResponse:
        if len(server.calls) == 1:
            return pb.ListEventsResponse(events=[_event(7), _event(6)])
        assert (request.after_seq, request.oldest_first) == (7, True)
        return pb.ListEventsResponse(events=[_event(8)] if len(server.calls) > 2 else [])

    server.behaviours["ListEvents"] = look
    done = interlock("log", "--follow", "-o", output)
    assert done.code == 130
    lines = done.out.splitlines()
    if output == "json":
        assert [json.loads(line)["seq"] for line in lines] == [6, 7, 8]
        assert json.loads(lines[1]) == EVENT_JSON
    else:
        assert [line.split()[0] for line in lines] == ["seq", "6", "7", "8"]
        assert {line.index("promote") for line in lines[1:]} == {lines[0].index("action")}


def _event(seq: int) -> model_pb2.Event:
    message = convert.event(EVENT)
    message.seq = seq
    return message
