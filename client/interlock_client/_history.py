"""What the aliases were at an earlier time, worked out from the events. Pure."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime
from typing import Final

from interlock.model import Event

_MOVES: Final = frozenset({"promote", "rollback"})
_REMOVAL: Final = "alias.remove"


@dataclass(frozen=True, slots=True)
class AliasAt:
    """Where an alias pointed at a time in the past, and since when."""

    model: str
    alias: str
    version: int
    since: datetime
    seq: int
    """The event that pointed it there."""
    actor: str


def aliases_at(events: Iterable[Event], when: datetime) -> list[AliasAt]:
    """Return each alias that existed at `when`, by model and alias; `events` may be in any order."""
    last: dict[tuple[str, str], Event] = {}
    for event in events:
        if event.time <= when and event.outcome == "ok" and (event.action in _MOVES or event.action == _REMOVAL):
            known = last.get((event.model, event.alias))
            if known is None or known.seq < event.seq:
                last[event.model, event.alias] = event
    return [
        AliasAt(event.model, event.alias, event.to_version, event.time, event.seq, event.actor)
        for _, event in sorted(last.items())
        if event.action in _MOVES
    ]
