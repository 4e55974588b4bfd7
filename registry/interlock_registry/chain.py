"""Events as a chain: each is canonical JSON bytes that hold the hash of the one before. Pure.

Whoever changes, removes, inserts or reorders a stored event breaks the chain at that place, and `verify` names it.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Final

from interlock.errors import DataLoss
from interlock.model import Event

from interlock_registry import canonical

GENESIS: Final = "0" * 64
"""What the first event names as the hash before it."""

OK: Final = "ok"
"""The outcome of an attempt that was granted; a refused one has the error's reason."""

MAX_TEXT: Final = 1024
"""Characters of each text in an event; what is longer is cut."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Draft:
    """An event before it has a place in the chain."""

    time: datetime
    actor: str
    action: str
    model: str
    alias: str
    from_version: int
    to_version: int
    reason: str
    request_id: str
    outcome: str
    detail: str


@dataclass(frozen=True, slots=True)
class Head:
    """The end of the chain: how many events there are, and the hash of the last."""

    seq: int
    hash: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Link:
    """An event as it is stored: its bytes, and beside them what it is searched by."""

    seq: int
    time: datetime
    model: str
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


def seal(draft: Draft, *, after: Head) -> Link:
    """Give an event its place after the head of the chain."""
    seq = after.seq + 1
    model = _storable(draft.model)
    body = canonical.dumps(
        {
            "seq": seq,
            "time": rfc3339(draft.time),
            "actor": _storable(draft.actor),
            "action": draft.action,
            "model": model,
            "alias": _storable(draft.alias),
            "from": draft.from_version,
            "to": draft.to_version,
            "reason": _storable(draft.reason),
            "request_id": _storable(draft.request_id),
            "outcome": draft.outcome,
            "detail": _storable(draft.detail),
            "prev": after.hash,
        }
    ).encode()
    return Link(seq=seq, time=draft.time, model=model, body=body, hash=_hash(body))


def read(link: Link) -> Event:
    """Read an event from its bytes; raises DataLoss."""
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
    except (KeyError, TypeError, ValueError) as error:
        raise DataLoss(
            f"event {link.seq} is damaged ({error!r}); restore the registry from a backup", facts={"seq": str(link.seq)}
        ) from error


def verify(links: Iterable[Link], *, head: Head) -> ChainReport:
    """Check every event against its hash and its neighbour, and the last against the recorded head."""
    last = Head(0, GENESIS)
    for link in links:
        why = _fault(link, last)
        if why:
            return ChainReport(last.seq, last.hash, broken_at=last.seq + 1, why=why)
        last = Head(link.seq, link.hash)
    if last != head:
        why = f"the registry recorded {head.seq} events up to {head.hash[:12]}…, {last.seq} are there"
        return ChainReport(last.seq, last.hash, broken_at=last.seq + 1, why=why)
    return ChainReport(last.seq, last.hash)


def rfc3339(time: datetime) -> str:
    """Write a moment in UTC to the microsecond, always in the same form."""
    return time.astimezone(UTC).isoformat(timespec="microseconds").replace("+00:00", "Z")


def _storable(text: str) -> str:
    # Names in refused requests come from anywhere: a lone surrogate has no UTF-8, NUL and a megabyte have no place
    # in a column. No event is lost over that.
    return text[:MAX_TEXT].encode("utf-8", errors="replace").decode().replace("\0", "?")


def _fault(link: Link, last: Head) -> str:
    if link.seq != last.seq + 1:
        return f"event {last.seq + 1} is missing, event {link.seq} stands in its place"
    if _hash(link.body) != link.hash:
        return f"the bytes of event {link.seq} do not have the hash that is stored with them"
    try:
        document = json.loads(link.body)
        if document["prev"] != last.hash:
            return f"event {link.seq} does not follow event {last.seq}: it names another hash before it"
        if document["seq"] != link.seq:
            return f"event {link.seq} says that it is event {document['seq']}"
        if document["model"] != link.model or document["time"] != rfc3339(link.time):
            return f"event {link.seq} is filed under another model or time than its bytes say"
        read(link)
    except (KeyError, TypeError, ValueError, DataLoss) as error:
        return f"event {link.seq} cannot be read: {error}"
    return ""


def _hash(body: bytes) -> str:
    return hashlib.sha256(body).hexdigest()
