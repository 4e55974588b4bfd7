"""Values of the history ↔ messages of `interlock.v1`; with `convert` the only place where those are built and read."""

from __future__ import annotations

from datetime import datetime

from google.protobuf.timestamp_pb2 import Timestamp

from interlock.chain import ChainHead, Filing, Link
from interlock.convert import from_timestamp, timestamp
from interlock.errors import InvalidArgument, Violation
from interlock.model import AliasAt, EventFilter
from interlock.v1 import admin_pb2


def events_request(where: EventFilter, *, page_size: int, page_token: str) -> admin_pb2.ListEventsRequest:
    """Return the request for a part of the events that a filter lets through."""
    return admin_pb2.ListEventsRequest(
        model=where.model or "",
        since=None if where.since is None else timestamp(where.since),
        until=None if where.until is None else timestamp(where.until),
        page_size=page_size,
        page_token=page_token,
        alias=where.alias or "",
        version=where.version or 0,
        action=where.action or "",
        actor=where.actor or "",
        outcome=where.outcome or "",
        before_seq=where.before or 0,
        after_seq=where.after or 0,
        oldest_first=where.oldest_first,
    )


def from_events_request(message: admin_pb2.ListEventsRequest) -> EventFilter:
    """Read a filter; raises InvalidArgument."""
    return EventFilter(
        model=message.model or None,
        alias=message.alias or None,
        version=message.version or None,
        action=message.action or None,
        actor=message.actor or None,
        outcome=message.outcome or None,
        since=from_moment("since", message.since) if message.HasField("since") else None,
        until=from_moment("until", message.until) if message.HasField("until") else None,
        before=message.before_seq or None,
        after=message.after_seq or None,
        oldest_first=message.oldest_first,
    )


def from_moment(name: str, message: Timestamp) -> datetime:
    """Read the timestamp in a request's field `name`; raises InvalidArgument."""
    try:
        return from_timestamp(message)
    except (ValueError, OverflowError) as error:
        why = f"{name} is not a time between the years 1 and 9999: {error}"
        raise InvalidArgument(why, violations=[Violation(name, why)]) from error


def alias_at(value: AliasAt) -> admin_pb2.AliasAt:
    """Return where an alias pointed as a message."""
    return admin_pb2.AliasAt(
        model=value.model,
        alias=value.alias,
        version=value.version,
        since=timestamp(value.since),
        seq=value.seq,
        action=value.action,
        actor=value.actor,
        reason=value.reason,
    )


def from_alias_at(message: admin_pb2.AliasAt) -> AliasAt:
    """Read where an alias pointed."""
    return AliasAt(
        model=message.model,
        alias=message.alias,
        version=message.version,
        since=from_timestamp(message.since),
        seq=message.seq,
        action=message.action,
        actor=message.actor,
        reason=message.reason,
    )


def link(value: Link) -> admin_pb2.ChainLink:
    """Return a link of the chain as a message."""
    filed = value.filed
    return admin_pb2.ChainLink(
        seq=value.seq,
        body=value.body,
        hash=value.hash,
        time=timestamp(filed.time),
        actor=filed.actor,
        action=filed.action,
        model=filed.model,
        alias=filed.alias,
        from_version=filed.from_version,
        to_version=filed.to_version,
        outcome=filed.outcome,
    )


def from_link(message: admin_pb2.ChainLink) -> Link:
    """Read a link of the chain."""
    return Link(
        seq=message.seq,
        filed=Filing(
            time=from_timestamp(message.time),
            actor=message.actor,
            action=message.action,
            model=message.model,
            alias=message.alias,
            from_version=message.from_version,
            to_version=message.to_version,
            outcome=message.outcome,
        ),
        body=message.body,
        hash=message.hash,
    )


def from_head(message: admin_pb2.ReadChainResponse) -> ChainHead:
    """Read the recorded end of the chain."""
    return ChainHead(message.head_seq, message.head_hash)
