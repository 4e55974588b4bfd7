"""The history as flows: events by filter, aliases at a time, and the chain verified here, by our own hashing."""

from __future__ import annotations

from datetime import datetime
from typing import Final

from interlock import chain, convert, convert_history
from interlock.chain import ChainHead, ChainReport
from interlock.errors import InternalError, InvalidArgument
from interlock.model import AliasAt, Event, EventFilter
from interlock.types import STABLE
from interlock.v1 import admin_pb2 as pb

from interlock_client._channel import is_whole
from interlock_client._flow import Flow, ask, following

VERIFY_TIMEOUT_S: Final = 300.0
"""What reads the whole history."""
_PAGE: Final = 500


def log(where: EventFilter, limit: int) -> Flow[list[Event]]:
    """List events, `limit` at most."""
    _check(where, limit)
    found: list[Event] = []
    token = ""
    while True:
        request = convert_history.events_request(where, page_size=min(_PAGE, limit - len(found)), page_token=token)
        answer = yield from ask("ListEvents", request, pb.ListEventsResponse)
        found += map(convert.from_event, answer.message.events)
        token = following("ListEvents", token, answer.message.next_page_token)
        if not token or len(found) >= limit:
            return found[:limit]


def _check(where: EventFilter, limit: int) -> None:
    if not is_whole(limit) or limit < 1:
        raise InvalidArgument(f"limit must be a whole number from 1, got {limit!r}")
    for name, number in (("version", where.version), ("before", where.before), ("after", where.after)):
        if number is not None and (not is_whole(number) or not 0 <= number < 2**63):
            raise InvalidArgument(f"{name} must be a whole number from 0, got {number!r}")
    for moment in (where.since, where.until):
        if moment is not None:
            _check_zone(moment)


def _check_zone(moment: datetime) -> None:
    if moment.tzinfo is None:
        raise InvalidArgument(f"the time {moment.isoformat()} has no zone; pass one, such as datetime.now(UTC)")


def aliases_at(when: datetime, model: str | None) -> Flow[list[AliasAt]]:
    """List where the aliases pointed, by model, `stable` before the others."""
    _check_zone(when)
    at = convert.timestamp(when)
    found: list[AliasAt] = []
    token = ""
    while True:
        request = pb.ListAliasesAtRequest(model=model or "", at=at, page_size=_PAGE, page_token=token)
        answer = yield from ask("ListAliasesAt", request, pb.ListAliasesAtResponse)
        found += map(convert_history.from_alias_at, answer.message.aliases)
        token = following("ListAliasesAt", token, answer.message.next_page_token)
        if not token:
            return sorted(found, key=lambda each: (each.model, each.alias != STABLE, each.alias))


def verify(known: ChainHead) -> Flow[ChainReport]:
    """Read the chain from event 1 on, as it is stored, and verify it."""
    report = chain.EMPTY
    while True:
        request = pb.ReadChainRequest(after_seq=report.events, page_size=_PAGE)
        answer = yield from ask("ReadChain", request, pb.ReadChainResponse)
        head = convert_history.from_head(answer.message)
        if not answer.message.links:
            return chain.conclude(report, head=head, known=known)
        seen = report.events
        report = chain.extend(report, map(convert_history.from_link, answer.message.links), known=known)
        if not report.is_whole:
            return report
        if report.events == head.seq:
            return chain.conclude(report, head=head, known=known)
        if report.events == seen:
            raise InternalError(f"ReadChain answered nothing new after event {seen}; the server is at fault")
