"""What the admin clients send, and how they follow pages."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

import pytest
from interlock import convert
from interlock.errors import (
    GenerationConflict,
    InvalidArgument,
    InvalidName,
)
from interlock.model import Event, Model, Switch
from interlock.v1 import admin_pb2 as pb
from interlock_client import _admin

from tests.unit.client.kinds import Kind
from tests.unit.client.scripted import NOON, ScriptedServer, a_version, unavailable


def a_switch() -> Switch:
    return Switch("digits", "stable", 1, 2, 5, (1,), resident=True)


def test_a_promote_carries_every_option_and_who_asks(kind: Kind, server: ScriptedServer) -> None:
    server.behaviours["Promote"] = lambda *_: pb.PromoteResponse(result=convert.switch(a_switch()))
    done = kind.admin(server.address).promote(
        "digits", 2, alias="canary", reason="better", expect=4, allow_breaking=True, dry_run=True, idempotency_key="k"
    )
    assert done == a_switch()
    request = server.requests[0]
    assert (request.model, request.version, request.alias) == ("digits", 2, "canary")
    options = request.options
    assert (options.reason, options.expected_generation, options.idempotency_key) == ("better", 4, "k")
    assert options.allow_breaking
    assert options.dry_run
    user, request_id = server.headers[0]["interlock-user"], server.headers[0]["x-request-id"]
    assert isinstance(user, str)
    assert "@" in user
    assert len(request_id) == 32


def test_a_retried_change_carries_the_same_key_twice(kind: Kind, server: ScriptedServer) -> None:
    server.behaviours["Rollback"] = unavailable(1, lambda *_: pb.RollbackResponse(result=convert.switch(a_switch())))
    admin = kind.admin(server.address)
    admin.rollback("digits")
    admin.rollback("digits", to=1)
    keys = [request.options.idempotency_key for request in server.requests]
    assert keys[0] == keys[1] != keys[2]
    assert all(keys)
    assert [request.to_version for request in server.requests] == [0, 0, 1]
    assert not server.requests[0].options.HasField("expected_generation")


def test_an_expected_generation_of_zero_is_sent(kind: Kind, server: ScriptedServer) -> None:
    def refuse(*_: object) -> Any:
        raise GenerationConflict("digits", "stable", 0, 3)

    server.behaviours["Promote"] = refuse
    with pytest.raises(GenerationConflict) as caught:
        kind.admin(server.address).promote("digits", 1, expect=0)
    assert caught.value.facts["actual"] == "3"
    assert server.requests[0].options.HasField("expected_generation")


def test_the_other_changes_reach_their_rpcs(kind: Kind, server: ScriptedServer) -> None:
    version = convert.version(a_version())
    server.behaviours |= {  # type: ignore[misc]
        "RemoveAlias": lambda *_: pb.RemoveAliasResponse(),
        "PinVersion": lambda *_: pb.PinVersionResponse(),
        "UnpinVersion": lambda *_: pb.UnpinVersionResponse(),
        "RetireVersion": lambda *_: pb.RetireVersionResponse(version=version),
        "DeleteVersion": lambda *_: pb.DeleteVersionResponse(version=version),
    }
    admin = kind.admin(server.address)
    assert admin.remove_alias("digits", "canary") is None
    assert admin.pin("digits", 3) is None
    assert admin.unpin("digits", 3) is None
    assert admin.retire("digits", 3) == a_version()
    assert admin.delete("digits", 3) == a_version()
    assert server.calls == ["RemoveAlias", "PinVersion", "UnpinVersion", "RetireVersion", "DeleteVersion"]
    assert all(request.options.idempotency_key for request in server.requests)


@pytest.mark.parametrize("version", [0, -1, True, 2.0, "3", 2**63])
def test_a_version_that_is_no_number_is_refused_locally(kind: Kind, server: ScriptedServer, version: object) -> None:
    with pytest.raises(InvalidArgument, match="a version is a whole number from 1"):
        kind.admin(server.address).promote("digits", version)
    assert server.calls == []


def test_wrong_names_are_refused_locally(kind: Kind, server: ScriptedServer) -> None:
    admin = kind.admin(server.address)
    with pytest.raises(InvalidName, match="not a valid model name"):
        admin.versions("../digits")
    with pytest.raises(InvalidName, match="not a valid alias name"):
        admin.promote("digits", 1, alias="Stable")
    with pytest.raises(InvalidArgument, match="expect must be"):
        admin.promote("digits", 1, expect=-1)
    assert server.calls == []


def an_event(seq: int) -> Event:
    return Event(seq, NOON, "ann", "promote", "digits", "stable", seq - 1, seq, "", "r", "ok", "", "h")


def test_lists_follow_pages(kind: Kind, server: ScriptedServer) -> None:
    models = [Model(f"m{number}", NOON, 1, 1) for number in range(3)]

    def page(request: pb.ListModelsRequest, _: object) -> pb.ListModelsResponse:
        index = int(request.page_token or 0)
        following = str(index + 1) if index < 2 else ""
        return pb.ListModelsResponse(models=[convert.model(models[index])], next_page_token=following)

    server.behaviours["ListModels"] = page
    assert kind.admin(server.address).models() == models


def test_a_log_stops_at_its_limit(kind: Kind, server: ScriptedServer) -> None:
    def page(request: pb.ListEventsRequest, _: object) -> pb.ListEventsResponse:
        last = int(request.page_token or 1000)
        found = range(last, last - min(request.page_size, 7), -1)
        return pb.ListEventsResponse(
            events=[convert.event(an_event(n)) for n in found], next_page_token=str(found[-1] - 1)
        )

    server.behaviours["ListEvents"] = page
    until = datetime(2026, 2, 1, tzinfo=UTC)
    found = kind.admin(server.address).log("digits", until=until, limit=10)
    assert [event.seq for event in found] == list(range(1000, 990, -1))
    assert [request.page_size for request in server.requests] == [10, 3]
    assert convert.from_timestamp(server.requests[0].until) == until


def test_a_time_without_a_zone_is_refused(kind: Kind, server: ScriptedServer) -> None:
    with pytest.raises(InvalidArgument, match="has no zone"):
        kind.admin(server.address).log(until=datetime(2026, 1, 1))


def test_a_server_that_repeats_a_page_does_not_hang_the_client(kind: Kind, server: ScriptedServer) -> None:
    server.behaviours["ListVersions"] = lambda *_: pb.ListVersionsResponse(next_page_token="again")
    with pytest.raises(Exception, match="the same page twice"):
        kind.admin(server.address).versions("digits")


@pytest.mark.parametrize("limit", [0, -1, True, 1.5])
def test_a_limit_that_is_no_number_is_refused(kind: Kind, server: ScriptedServer, limit: object) -> None:
    with pytest.raises(InvalidArgument, match="limit must be a whole number from 1"):
        kind.admin(server.address).log(limit=limit)


def test_who_asks_is_sent_as_plain_ascii(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LOGNAME", "jörg\n")
    assert _admin._user().startswith("j?rg?@")
