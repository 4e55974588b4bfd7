"""Which events a filter lets through, and where aliases pointed at a time."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta

import pytest
from interlock.errors import InvalidArgument, PrepareFailed
from interlock.model import EventFilter
from interlock_registry.domain import Action
from interlock_registry.registry import Registry

from tests.databases import Place
from tests.unit.registry.builders import Desk, attempt

BEGIN = datetime(2026, 5, 1, 12, 0, tzinfo=UTC)


class Minutes:
    """A clock that is asked once for each event: event n is at minute n."""

    def __init__(self) -> None:
        self._now = BEGIN

    def __call__(self) -> datetime:
        self._now += timedelta(minutes=1)
        return self._now


def minute(number: float) -> datetime:
    return BEGIN + timedelta(minutes=number)


@pytest.fixture
def eventful(place: Place) -> Iterator[Desk]:
    """1-3 register, 4-5 promote, 6 canary, 7 refused, 8 rollback, 9 removal, 10 another, 11 moves nothing, 12 pin."""
    registry = Registry.open(place.url, clock=Minutes())
    desk = Desk(registry, place)
    for _ in range(3):
        desk.register()
    desk.promote(1)
    desk.promote(2)
    desk.promote(2, alias="canary")
    registry.refuse(
        attempt(Action.PROMOTE, version=3, alias="stable", actor="unverified:Eve@host"),
        PrepareFailed("digits", 3, "it is broken"),
    )
    desk.rollback()
    desk.remove_alias("canary")
    desk.register("another")
    desk.promote(1)
    desk.pin(3)
    yield desk
    registry.close()


FILTERS: list[tuple[EventFilter, list[int]]] = [
    (EventFilter(), [12, 11, 10, 9, 8, 7, 6, 5, 4, 3, 2, 1]),
    (EventFilter(oldest_first=True), [1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12]),
    (EventFilter(model="another"), [10]),
    (EventFilter(model="no such"), []),
    (EventFilter(alias="canary"), [9, 6]),
    (EventFilter(version=3), [12, 7, 3]),
    (EventFilter(version=2), [9, 8, 6, 5, 2]),
    (EventFilter(action="rollback"), [8]),
    (EventFilter(actor="eve"), [7]),
    (EventFilter(actor="unverified:Eve@host"), [7]),
    (EventFilter(actor="%"), []),
    (EventFilter(outcome="refused"), [7]),
    (EventFilter(outcome="PREPARE_FAILED"), [7]),
    (EventFilter(outcome="ok", action="promote"), [11, 6, 5, 4]),
    (EventFilter(since=minute(11)), [12, 11]),
    (EventFilter(until=minute(2)), [2, 1]),
    (EventFilter(since=minute(4), until=minute(5)), [5, 4]),
    (EventFilter(before=3), [2, 1]),
    (EventFilter(after=10, oldest_first=True), [11, 12]),
    (EventFilter(model="digits", alias="stable", outcome="ok", since=minute(5)), [11, 8, 5]),
]


def test_a_filter_lets_through_what_it_says_in_pages_of_any_size(eventful: Desk) -> None:
    for where, expected in FILTERS:
        for page_size in (0, 1, 2):
            found: list[int] = []
            token = ""
            while True:
                page = eventful.registry.events(where, page_size=page_size, page_token=token)
                found += [event.seq for event in page.items]
                token = page.next_page_token
                if not token:
                    break
            assert found == expected, (where, page_size)


def at(desk: Desk, moment: datetime, model: str | None = None) -> dict[str, int]:
    return {f"{each.model}:{each.alias}": each.version for each in desk.registry.aliases_at(moment, model).items}


def test_each_moment_has_its_aliases(eventful: Desk) -> None:
    assert at(eventful, minute(3)) == {}
    assert at(eventful, minute(4)) == {"digits:stable": 1}
    assert at(eventful, minute(5)) == {"digits:stable": 2}
    assert at(eventful, minute(7)) == {"digits:canary": 2, "digits:stable": 2}, "a refused promote moves nothing"
    assert at(eventful, minute(8)) == {"digits:canary": 2, "digits:stable": 1}
    assert at(eventful, minute(9)) == {"digits:stable": 1}, "a removed alias is gone"
    eventful.register("another")
    eventful.promote(1, model="another", alias="blue")
    assert at(eventful, minute(14)) == {"another:blue": 1, "digits:stable": 1}
    assert at(eventful, minute(14), "another") == {"another:blue": 1}
    assert at(eventful, minute(14), "no such") == {}


def test_a_past_alias_says_since_when_and_by_whom(eventful: Desk) -> None:
    (found,) = eventful.registry.aliases_at(minute(12)).items
    assert (found.since, found.seq, found.action, found.actor) == (minute(8), 8, "rollback", "ada"), (
        "a promote to where it is already is no move"
    )


def test_past_aliases_come_in_pages(eventful: Desk) -> None:
    for alias in ("a", "b", "c"):
        eventful.promote(1, alias=alias)
    names: list[str] = []
    token = ""
    while True:
        page = eventful.registry.aliases_at(minute(99), page_size=1, page_token=token)
        names += [each.alias for each in page.items]
        token = page.next_page_token
        if not token:
            break
    assert names == ["a", "b", "c", "stable"]


@pytest.mark.parametrize("token", ["!", "ä", "YQ", "W10", "WyJhIl0", "WzEsMl0", "W1tb" * 40_000], ids=range(7))
def test_a_token_of_past_aliases_that_is_none_of_ours_is_refused(eventful: Desk, token: str) -> None:
    with pytest.raises(InvalidArgument, match="page_token"):
        eventful.registry.aliases_at(minute(1), page_token=token)


def test_the_chain_is_handed_out_in_parts_with_its_end(eventful: Desk) -> None:
    part = eventful.registry.chain_after(10, page_size=5)
    assert [link.seq for link in part.links] == [11, 12]
    assert (part.head.seq, part.head.hash) == (12, part.links[-1].hash)
    assert [link.seq for link in eventful.registry.chain_after(3, page_size=2).links] == [4, 5]
    assert eventful.registry.chain_after(12).links == ()
