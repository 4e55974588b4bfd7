"""Approvals ↔ messages of `interlock.v1`; with `convert` the only place where those are built and read."""

from __future__ import annotations

from interlock.approval import Approval, ApprovalState
from interlock.convert import from_timestamp, timestamp
from interlock.v1 import admin_pb2


def approval(value: Approval) -> admin_pb2.Approval:
    """Return an approval as a message."""
    return admin_pb2.Approval(
        seq=value.seq,
        model=value.model,
        version=value.version,
        alias=value.alias,
        digest=value.digest,
        approver=value.approver,
        reason=value.reason,
        given_at=timestamp(value.given_at),
        expires_at=timestamp(value.expires_at),
        withdrawn_at=None if value.withdrawn_at is None else timestamp(value.withdrawn_at),
        state=admin_pb2.ApprovalState.Value(f"APPROVAL_STATE_{value.state.value}"),
    )


def from_approval(message: admin_pb2.Approval) -> Approval:
    """Read an approval."""
    return Approval(
        seq=message.seq,
        model=message.model,
        version=message.version,
        alias=message.alias,
        digest=message.digest,
        approver=message.approver,
        reason=message.reason,
        given_at=from_timestamp(message.given_at),
        expires_at=from_timestamp(message.expires_at),
        withdrawn_at=from_timestamp(message.withdrawn_at) if message.HasField("withdrawn_at") else None,
        state=ApprovalState(admin_pb2.ApprovalState.Name(message.state).removeprefix("APPROVAL_STATE_")),
    )
