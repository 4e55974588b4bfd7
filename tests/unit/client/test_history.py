"""What the aliases were at an earlier time."""

from __future__ import annotations

from datetime import timedelta

from interlock.model import Event
from interlock_client import AliasAt
from interlock_client._history import aliases_at

from tests.unit.client.scripted import NOON


def event(seq: int, action: str, to: int, *, alias: str = "stable", outcome: str = "ok", model: str = "m") -> Event:
    return Event(
        seq=seq,
        time=NOON + timedelta(minutes=seq),
        actor="ann",
        action=action,
        model=model,
        alias=alias,
        from_version=0,
        to_version=to,
        reason="",
        request_id="",
        outcome=outcome,
        detail="",
        hash="",
    )


HISTORY = [
    event(1, "register", 1, alias=""),
    event(2, "promote", 1),
    event(3, "promote", 2),
    event(4, "promote", 3, outcome="PREPARE_FAILED"),
    event(5, "promote", 2, alias="canary"),
    event(6, "rollback", 1),
    event(7, "alias.remove", 0, alias="canary"),
    event(8, "promote", 9, model="a"),
    event(9, "pin", 3),
]


def at(minute: int) -> dict[str, int]:
    return {
        f"{each.model}:{each.alias}": each.version
        for each in aliases_at(reversed(HISTORY), NOON + timedelta(minutes=minute))
    }


def test_each_moment_has_its_aliases() -> None:
    assert at(1) == {}
    assert at(2) == {"m:stable": 1}
    assert at(3) == {"m:stable": 2}
    assert at(4) == {"m:stable": 2}, "a refused promote moved nothing"
    assert at(5) == {"m:canary": 2, "m:stable": 2}
    assert at(6) == {"m:canary": 2, "m:stable": 1}
    assert at(7) == {"m:stable": 1}, "a removed alias is gone"
    assert at(99) == {"a:stable": 9, "m:stable": 1}


def test_a_past_alias_says_since_when_and_by_whom() -> None:
    assert aliases_at(HISTORY, NOON + timedelta(minutes=3)) == [
        AliasAt("m", "stable", 2, NOON + timedelta(minutes=3), 3, "ann")
    ]
