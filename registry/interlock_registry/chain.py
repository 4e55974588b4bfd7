"""How an event gets its place in the chain of `interlock.chain`. Pure."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from typing import Final

from interlock import canonical
from interlock.chain import ChainHead, Filing, Link, hash_of, rfc3339

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


def seal(draft: Draft, *, after: ChainHead) -> Link:
    """Give an event its place after the head of the chain."""
    seq = after.seq + 1
    filed = Filing(
        time=draft.time,
        actor=_storable(draft.actor),
        action=draft.action,
        model=_storable(draft.model),
        alias=_storable(draft.alias),
        from_version=draft.from_version,
        to_version=draft.to_version,
        outcome=draft.outcome,
    )
    body = canonical.dumps(
        {
            "seq": seq,
            "time": rfc3339(draft.time),
            "actor": filed.actor,
            "action": filed.action,
            "model": filed.model,
            "alias": filed.alias,
            "from": filed.from_version,
            "to": filed.to_version,
            "reason": _storable(draft.reason),
            "request_id": _storable(draft.request_id),
            "outcome": filed.outcome,
            "detail": _storable(draft.detail),
            "prev": after.hash,
        }
    ).encode()
    return Link(seq=seq, filed=filed, body=body, hash=hash_of(body))


def _storable(text: str) -> str:
    # Names in refused requests come from anywhere: a lone surrogate has no UTF-8, NUL and a megabyte have no place
    # in a column. No event is lost over that.
    return text[:MAX_TEXT].encode("utf-8", errors="replace").decode().replace("\0", "?")
