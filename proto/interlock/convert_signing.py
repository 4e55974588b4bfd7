"""Signed statements ↔ messages of `interlock.v1`."""

from __future__ import annotations

from interlock import convert
from interlock.statement import Signed, SignedStatement
from interlock.v1 import model_pb2


def signed(value: Signed) -> model_pb2.SignedStatement:
    """Return what the registry keeps of a signature as a message."""
    return model_pb2.SignedStatement(
        key=value.signed.key,
        statement=value.signed.statement,
        value=value.signed.value,
        signed_at=convert.timestamp(value.at),
        actor=value.actor,
    )


def from_signed(message: model_pb2.SignedStatement) -> Signed:
    """Read what the registry keeps of a signature."""
    return Signed(
        SignedStatement(message.key, message.statement, message.value),
        convert.from_timestamp(message.signed_at),
        message.actor,
    )
