"""The history as a chain: each event is bytes (canonical JSON) that hold the hash of the event before. Pure.

Whoever changes, removes, inserts or reorders a stored event breaks the chain at that place. The registry writes the
chain; the server and the client both verify it, each by its own hashing.
"""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Final

from interlock.errors import DataLoss
from interlock.model import Event

GENESIS: Final = "0" * 64
"""What the first event names as the hash before it."""

OK: Final = "ok"
"""The outcome of an attempt that was granted; a refused one has the error's reason."""

_HEAD: Final = re.compile(r"([0-9]{1,18}):([0-9a-f]{64})")


@dataclass(frozen=True, slots=True)
class ChainHead:
    """A place in the chain, mostly its end: how many events there are up to it, and the hash of the last."""

    seq: int
    hash: str

    def __str__(self) -> str:
        return f"{self.seq}:{self.hash}"

    @classmethod
    def parse(cls, text: str) -> ChainHead:
        """Read SEQ:HASH; raises ValueError."""
        match = _HEAD.fullmatch(text.strip())
        if match is None:
            raise ValueError(f"{text[:80]!r} is not SEQ:HASH, a number and 64 hexadecimal digits")
        return cls(int(match[1]), match[2])


START: Final = ChainHead(0, GENESIS)
"""Before the first event."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Filing:
    """What an event is searched by, stored beside its bytes."""

    time: datetime
    actor: str
    action: str
    model: str
    alias: str
    from_version: int
    to_version: int
    outcome: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Link:
    """An event as it is stored."""

    seq: int
    filed: Filing
    body: bytes
    hash: str


@dataclass(frozen=True, slots=True)
class ChainReport:
    """What a verification of the chain found."""

    events: int
    """How many are whole, from the first on."""
    head: str
    """The hash of the last whole one."""
    broken_at: int = 0
    """The sequence number where the chain breaks; 0 where it does not."""
    why: str = ""

    @property
    def is_whole(self) -> bool:
        """Nothing was changed, removed, inserted or reordered."""
        return self.broken_at == 0


EMPTY: Final = ChainReport(0, GENESIS)
"""What is known before the first event was looked at."""


def read(link: Link, *, remedy: str = "restore the registry from a backup") -> Event:
    """Read an event from its bytes; raises DataLoss, which ends with what there is to do."""
    try:
        document = json.loads(link.body)
        return Event(
            seq=int(document["seq"]),
            time=datetime.fromisoformat(document["time"]),
            actor=str(document["actor"]),
            action=str(document["action"]),
            model=str(document["model"]),
            alias=str(document["alias"]),
            from_version=int(document["from"]),
            to_version=int(document["to"]),
            reason=str(document["reason"]),
            request_id=str(document["request_id"]),
            outcome=str(document["outcome"]),
            detail=str(document["detail"]),
            hash=link.hash,
        )
    except (KeyError, TypeError, ValueError, RecursionError) as error:
        raise DataLoss(f"event {link.seq} is damaged ({error!r}); {remedy}", facts={"seq": str(link.seq)}) from error


def filing(event: Event) -> Filing:
    """Return what an event must be filed under."""
    return Filing(
        time=event.time,
        actor=event.actor,
        action=event.action,
        model=event.model,
        alias=event.alias,
        from_version=event.from_version,
        to_version=event.to_version,
        outcome=event.outcome,
    )


def extend(report: ChainReport, links: Iterable[Link], *, known: ChainHead = START) -> ChainReport:
    """Go on verifying with the links that come next: up to the first that is wrong, which the report then names.

    `known` is a place in the chain of which somebody kept the hash: whoever owns the database can write the whole
    chain anew, and only such a hash shows it.
    """
    for link in links:
        if not report.is_whole:
            break
        why = _fault(link, ChainHead(report.events, report.head))
        if not why and link.seq == known.seq and link.hash != known.hash:
            why = f"event {link.seq} has the hash {link.hash[:12]}…, known is {known.hash[:12]}…: it was written anew"
        report = (
            ChainReport(report.events, report.head, broken_at=report.events + 1, why=why)
            if why
            else ChainReport(link.seq, link.hash)
        )
    return report


def conclude(report: ChainReport, *, head: ChainHead, known: ChainHead = START) -> ChainReport:
    """Hold the end of what was verified against the end that the registry recorded, and against the known place."""
    if not report.is_whole:
        return report
    why = ""
    if ChainHead(report.events, report.head) != head:
        why = f"the registry recorded {head.seq} events up to {head.hash[:12]}…, {report.events} are there"
    elif report.events < known.seq:
        why = f"event {known.seq} is known to have been there, the history ends with event {report.events}"
    return ChainReport(report.events, report.head, broken_at=report.events + 1, why=why) if why else report


def verify(links: Iterable[Link], *, head: ChainHead, known: ChainHead = START) -> ChainReport:
    """Check every event against its hash and its neighbour, and the last against the recorded head."""
    return conclude(extend(EMPTY, links, known=known), head=head, known=known)


def rfc3339(time: datetime) -> str:
    """Write a moment in UTC to the microsecond, always in the same form."""
    return time.astimezone(UTC).isoformat(timespec="microseconds").replace("+00:00", "Z")


def hash_of(body: bytes) -> str:
    """Return the hash that an event's bytes must have."""
    return hashlib.sha256(body).hexdigest()


def _fault(link: Link, last: ChainHead) -> str:
    if link.seq != last.seq + 1:
        return f"event {last.seq + 1} is missing, event {link.seq} stands in its place"
    if hash_of(link.body) != link.hash:
        return f"the bytes of event {link.seq} do not have the hash that is stored with them"
    try:
        document = json.loads(link.body)
        if document["prev"] != last.hash:
            return f"event {link.seq} does not follow event {last.seq}: it names another hash before it"
        if document["seq"] != link.seq:
            return f"event {link.seq} says that it is event {document['seq']}"
        event = read(link)
        if filing(event) != link.filed or document["time"] != rfc3339(event.time):
            return f"event {link.seq} is filed under something else than its bytes say"
    except (KeyError, TypeError, ValueError, RecursionError, DataLoss) as error:
        return f"event {link.seq} cannot be read: {error}"
    return ""
