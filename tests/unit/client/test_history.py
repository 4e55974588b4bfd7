"""The history over the wire: filters, aliases at a time, and the chain verified by the client's own hashing."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from interlock import convert, convert_history
from interlock.chain import ChainHead, Link
from interlock.errors import InvalidArgument
from interlock.model import AliasAt, EventFilter
from interlock.v1 import admin_pb2 as pb
from interlock_registry.chain import Draft, seal

from tests.unit.client.kinds import Kind
from tests.unit.client.scripted import NOON, ScriptedServer


def test_every_filter_reaches_the_server(kind: Kind, server: ScriptedServer) -> None:
    server.behaviours["ListEvents"] = lambda *_: pb.ListEventsResponse()
    where: dict[str, Any] = {
        "alias": "canary",
        "version": 3,
        "action": "promote",
        "actor": "ann",
        "outcome": "refused",
        "since": NOON,
        "until": NOON + timedelta(hours=1),
        "before": 99,
        "after": 7,
        "oldest_first": True,
    }
    assert kind.admin(server.address).log("digits", **where, limit=5) == []
    assert convert_history.from_events_request(server.requests[0]) == EventFilter(model="digits", **where)


def test_a_name_that_could_never_exist_can_be_asked_for(kind: Kind, server: ScriptedServer) -> None:
    server.behaviours["ListEvents"] = lambda *_: pb.ListEventsResponse()
    kind.admin(server.address).log("no/model")
    assert server.requests[0].model == "no/model", "attempts on it were refused, and are events"


@pytest.mark.parametrize("wrong", [{"version": -1}, {"before": 1.5}, {"after": True}, {"since": datetime(2026, 1, 1)}])
def test_a_filter_that_makes_no_sense_is_refused_locally(
    kind: Kind, server: ScriptedServer, wrong: dict[str, Any]
) -> None:
    with pytest.raises(InvalidArgument):
        kind.admin(server.address).log(**wrong)
    assert server.calls == []


def past(model: str, alias: str) -> AliasAt:
    return AliasAt(model, alias, 3, NOON, 7, "promote", "ann", "better")


def test_past_aliases_of_all_pages_come_with_stable_first(kind: Kind, server: ScriptedServer) -> None:
    pages = [[past("a", "canary"), past("a", "stable")], [past("b", "blue")]]

    def page(request: pb.ListAliasesAtRequest, _: object) -> pb.ListAliasesAtResponse:
        index = int(request.page_token or 0)
        return pb.ListAliasesAtResponse(
            aliases=map(convert_history.alias_at, pages[index]), next_page_token="" if index else "1"
        )

    server.behaviours["ListAliasesAt"] = page
    found = kind.admin(server.address).aliases_at(NOON, model="a")
    assert found == [past("a", "stable"), past("a", "canary"), past("b", "blue")]
    assert convert.from_timestamp(server.requests[0].at) == NOON
    with pytest.raises(InvalidArgument, match="has no zone"):
        kind.admin(server.address).aliases_at(datetime(2026, 1, 1))


# --- verifying ---


def chain_of(length: int) -> list[Link]:
    links: list[Link] = []
    head = ChainHead(0, "0" * 64)
    for number in range(length):
        draft = Draft(
            time=datetime(2026, 3, 1, tzinfo=UTC),
            actor="ann",
            action="pin",
            model="digits",
            alias="",
            from_version=0,
            to_version=number,
            reason="",
            request_id="r",
            outcome="ok",
            detail="",
        )
        links.append(seal(draft, after=head))
        head = ChainHead(links[-1].seq, links[-1].hash)
    return links


def hand_out(links: list[Link], *, size: int = 3, head: ChainHead | None = None) -> Callable[..., pb.ReadChainResponse]:
    end = head or ChainHead(len(links), links[-1].hash)

    def page(request: pb.ReadChainRequest, _: object) -> pb.ReadChainResponse:
        part = [each for each in links if each.seq > request.after_seq][:size]
        return pb.ReadChainResponse(links=map(convert_history.link, part), head_seq=end.seq, head_hash=end.hash)

    return page


def test_a_whole_history_is_verified_in_parts(kind: Kind, server: ScriptedServer) -> None:
    links = chain_of(7)
    server.behaviours["ReadChain"] = hand_out(links)
    report = kind.admin(server.address).verify_log()
    assert (report.is_whole, report.events, report.head) == (True, 7, links[-1].hash)
    assert [request.after_seq for request in server.requests] == [0, 3, 6]


def test_the_client_hashes_for_itself(kind: Kind, server: ScriptedServer) -> None:
    links = chain_of(7)
    links[4] = replace(links[4], body=links[4].body.replace(b'"ann"', b'"eve"'))
    server.behaviours["ReadChain"] = hand_out(links)
    report = kind.admin(server.address).verify_log()
    assert (report.broken_at, report.events) == (5, 4)
    assert "do not have the hash" in report.why


def test_a_history_without_its_end_and_one_written_anew_are_found(kind: Kind, server: ScriptedServer) -> None:
    links = chain_of(5)
    server.behaviours["ReadChain"] = hand_out(links[:3], head=ChainHead(5, links[4].hash))
    assert kind.admin(server.address).verify_log().broken_at == 4
    server.behaviours["ReadChain"] = hand_out(links)
    assert kind.admin(server.address).verify_log(known=ChainHead(2, "ab" * 32)).broken_at == 2
    assert kind.admin(server.address).verify_log(known=ChainHead(2, links[1].hash)).is_whole


def test_an_empty_history_is_whole(kind: Kind, server: ScriptedServer) -> None:
    server.behaviours["ReadChain"] = lambda *_: pb.ReadChainResponse(head_hash="0" * 64)
    assert kind.admin(server.address).verify_log().is_whole


def test_a_server_that_hands_out_the_same_part_forever_is_found(kind: Kind, server: ScriptedServer) -> None:
    links = chain_of(3)
    server.behaviours["ReadChain"] = lambda *_: pb.ReadChainResponse(
        links=[convert_history.link(links[0])], head_seq=3, head_hash=links[2].hash
    )
    report = kind.admin(server.address).verify_log()
    assert report.broken_at == 2 and "event 1 stands in its place" in report.why
