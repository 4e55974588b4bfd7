"""A server for the command, and the command in this process."""

from __future__ import annotations

import time
from collections.abc import Iterator

import pytest
from interlock import convert, convert_approval, convert_history
from interlock.v1 import admin_pb2 as pb
from interlock_client.cli.entry import run

from tests.unit.client.cli.samples import (
    APPROVAL,
    EVENT,
    MODEL,
    PAST,
    STATUS,
    SWITCH,
    Command,
    Done,
)
from tests.unit.client.scripted import ScriptedServer, a_version


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


def past_aliases(request: pb.ListAliasesAtRequest, _: object) -> pb.ListAliasesAtResponse:
    found = [PAST] if convert.from_timestamp(request.at) >= PAST.since else []
    return pb.ListAliasesAtResponse(aliases=map(convert_history.alias_at, found))


@pytest.fixture
def registry(server: ScriptedServer) -> ScriptedServer:
    server.behaviours |= {  # type: ignore[misc]
        "ListModels": lambda *_: pb.ListModelsResponse(models=[convert.model(MODEL)]),
        "ListVersions": lambda *_: pb.ListVersionsResponse(versions=[convert.version(a_version())]),
        "GetVersion": lambda *_: pb.GetVersionResponse(version=convert.version(a_version())),
        "ListEvents": lambda *_: pb.ListEventsResponse(events=[convert.event(EVENT)]),
        "ListAliasesAt": past_aliases,
        "GetStatus": lambda *_: convert.status(STATUS),
        "ApproveVersion": lambda *_: pb.ApproveVersionResponse(approval=convert_approval.approval(APPROVAL)),
        "WithdrawApproval": lambda *_: pb.WithdrawApprovalResponse(approval=convert_approval.approval(APPROVAL)),
        "ListApprovals": lambda *_: pb.ListApprovalsResponse(approvals=[convert_approval.approval(APPROVAL)]),
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
