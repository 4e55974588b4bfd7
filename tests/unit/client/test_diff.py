"""Diffs over the wire."""

from __future__ import annotations

import pytest
from interlock import convert_diff
from interlock.errors import InvalidArgument, InvalidName
from interlock.v1 import admin_pb2 as pb

from tests.unit.client.diffs import DIFF
from tests.unit.client.kinds import Kind
from tests.unit.client.scripted import ScriptedServer


def test_a_diff_arrives_as_it_was_sent(kind: Kind, server: ScriptedServer) -> None:
    server.behaviours["DiffVersions"] = lambda *_: pb.DiffVersionsResponse(diff=convert_diff.diff(DIFF))
    assert kind.admin(server.address).diff("digits", 2, "canary") == DIFF
    (request,) = server.requests
    assert (request.model, request.before, request.after) == ("digits", "2", "canary")


@pytest.mark.parametrize("which", [0, -1, True, 1.5, "0", "", "Stable", "3.0", "m@3"])
def test_what_is_neither_number_nor_alias_is_refused_locally(kind: Kind, server: ScriptedServer, which: object) -> None:
    with pytest.raises((InvalidArgument, InvalidName)):
        kind.admin(server.address).diff("digits", which, 3)
    assert server.calls == []
