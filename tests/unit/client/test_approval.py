"""What the clients send about approvals, and how they follow pages."""

from __future__ import annotations

from dataclasses import replace

import pytest
from interlock import convert_approval
from interlock.approval import ApprovalState
from interlock.errors import ApprovalRequired
from interlock.v1 import admin_pb2 as pb

from tests.unit.client.cli.samples import APPROVAL
from tests.unit.client.kinds import Kind
from tests.unit.client.scripted import NOON, ScriptedServer


def test_an_approval_and_its_withdrawal_say_what_they_are_for(kind: Kind, server: ScriptedServer) -> None:
    withdrawn = replace(APPROVAL, withdrawn_at=NOON, state=ApprovalState.WITHDRAWN)
    server.behaviours |= {  # type: ignore[misc]
        "ApproveVersion": lambda *_: pb.ApproveVersionResponse(approval=convert_approval.approval(APPROVAL)),
        "WithdrawApproval": lambda *_: pb.WithdrawApprovalResponse(approval=convert_approval.approval(withdrawn)),
    }
    admin = kind.admin(server.address)
    assert admin.approve("digits", 3, alias="canary", reason="looks right") == APPROVAL
    assert admin.withdraw_approval("digits", 3) == withdrawn
    first, second = server.requests
    assert (first.model, first.version, first.alias, first.options.reason) == ("digits", 3, "canary", "looks right")
    assert (second.model, second.version, second.alias) == ("digits", 3, "stable")
    assert first.options.idempotency_key and second.options.idempotency_key


def test_approvals_follow_pages_even_where_one_is_empty(kind: Kind, server: ScriptedServer) -> None:
    def page(request: pb.ListApprovalsRequest, _: object) -> pb.ListApprovalsResponse:
        at = int(request.page_token or 0)
        found = [] if at == 1 else [convert_approval.approval(replace(APPROVAL, seq=9 - at))]
        return pb.ListApprovalsResponse(approvals=found, next_page_token=str(at + 1) if at < 2 else "")

    server.behaviours["ListApprovals"] = page
    assert [each.seq for each in kind.admin(server.address).approvals("digits")] == [9, 7]
    assert {request.model for request in server.requests} == {"digits"}


def test_a_missing_approval_arrives_with_what_is_missing(kind: Kind, server: ScriptedServer) -> None:
    def refuse(*_: object) -> pb.PromoteResponse:
        raise ApprovalRequired("digits", 3, "stable", needed=2, have=["token:ann"], author="ada", requester="ops")

    server.behaviours["Promote"] = refuse
    with pytest.raises(ApprovalRequired, match="interlock approve digits 3 --alias stable") as refused:
        kind.admin(server.address).promote("digits", 3)
    assert (refused.value.facts["needed"], refused.value.facts["approved_by"]) == ("2", "token:ann")
