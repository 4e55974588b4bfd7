from __future__ import annotations

import hashlib
import json
from dataclasses import replace
from datetime import UTC, datetime, timedelta, timezone
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st
from interlock.chain import EMPTY, START, ChainHead, Link, conclude, extend, read, verify
from interlock.errors import DataLoss
from interlock_registry.chain import Draft, seal

BEGIN = datetime(2026, 3, 1, 12, 0, 0, 250, tzinfo=UTC)


def draft(number: int) -> Draft:
    return Draft(
        time=BEGIN + timedelta(seconds=number),
        actor="ada",
        action="promote",
        model="digits",
        alias="stable",
        from_version=number,
        to_version=number + 1,
        reason="",
        request_id=f"r-{number}",
        outcome="ok",
        detail="",
    )


def chain_of(length: int) -> tuple[list[Link], ChainHead]:
    head = START
    links = []
    for number in range(length):
        links.append(seal(draft(number), after=head))
        head = ChainHead(links[-1].seq, links[-1].hash)
    return links, head


def test_an_event_is_canonical_json_that_names_the_hash_before_it() -> None:
    first = seal(draft(0), after=START)
    assert first.body == (
        b'{"action":"promote","actor":"ada","alias":"stable","detail":"","from":0,"model":"digits","outcome":"ok",'
        b'"prev":"' + b"0" * 64 + b'","reason":"","request_id":"r-0","seq":1,"time":"2026-03-01T12:00:00.000250Z",'
        b'"to":1}'
    )
    assert first.hash == hashlib.sha256(first.body).hexdigest()
    second = seal(draft(1), after=ChainHead(first.seq, first.hash))
    assert json.loads(second.body)["prev"] == first.hash


def test_times_are_written_in_utc_whatever_zone_they_came_in() -> None:

    there = BEGIN.astimezone(timezone(timedelta(hours=5, minutes=30)))
    assert seal(replace(draft(0), time=there), after=START).body == seal(draft(0), after=START).body


@given(
    st.text(st.characters(codec="utf-8", exclude_characters="\0"), max_size=50),
    st.text(st.characters(codec="utf-8", exclude_characters="\0"), max_size=50),
    st.integers(0, 10**15),
    st.datetimes(min_value=datetime(1980, 1, 1), max_value=datetime(2200, 1, 1)),
)
def test_an_event_is_read_as_it_was_written(actor: str, reason: str, version: int, time: datetime) -> None:
    written = replace(draft(0), actor=actor, reason=reason, to_version=version, time=time.replace(tzinfo=UTC))
    link = seal(written, after=START)
    event = read(link)
    assert (event.actor, event.reason, event.to_version, event.time) == (actor, reason, version, written.time)
    assert (event.seq, event.hash) == (1, link.hash)


@given(st.text(max_size=3000))
def test_any_text_can_be_in_an_event(text: str) -> None:
    link = seal(replace(draft(0), model=text, detail=text), after=START)
    assert read(link).model == link.filed.model
    assert verify([link], head=ChainHead(1, link.hash)).is_whole


def test_a_whole_chain_is_whole() -> None:
    links, head = chain_of(5)
    report = verify(links, head=head)
    assert (report.is_whole, report.events, report.head) == (True, 5, head.hash)


def test_an_empty_chain_is_whole() -> None:
    assert verify([], head=START).is_whole


@given(st.data())
def test_every_flipped_bit_is_found_where_it_is(data: st.DataObject) -> None:
    links, head = chain_of(4)
    index = data.draw(st.integers(0, 3))
    body = bytearray(links[index].body)
    body[data.draw(st.integers(0, len(body) - 1))] ^= 1 << data.draw(st.integers(0, 7))
    links[index] = replace(links[index], body=bytes(body))
    assert verify(links, head=head).broken_at == index + 1


@given(st.data())
def test_an_event_that_was_rewritten_with_a_fitting_hash_is_found(data: st.DataObject) -> None:
    links, head = chain_of(4)
    index = data.draw(st.integers(0, 3))
    document = json.loads(links[index].body)
    document["actor"] = data.draw(st.text(st.characters(codec="ascii"), min_size=1).filter(lambda text: text != "ada"))
    body = json.dumps(document, sort_keys=True, separators=(",", ":")).encode()
    links[index] = replace(links[index], body=body, hash=hashlib.sha256(body).hexdigest())
    report = verify(links, head=head)
    # The rewritten event itself may look right: then the next one does not follow it, or the head is another.
    assert report.broken_at in (index + 1, index + 2)


@given(st.permutations(range(4)), st.sets(st.integers(0, 3)))
def test_removed_and_reordered_events_are_found(order: list[int], removed: set[int]) -> None:
    links, head = chain_of(4)
    changed = [links[index] for index in order if index not in removed]
    assert verify(changed, head=head).is_whole == (changed == links)


def test_events_cut_off_at_the_end_are_found() -> None:
    links, head = chain_of(4)
    report = verify(links[:2], head=head)
    assert (report.broken_at, report.events) == (3, 2)
    assert "4 events" in report.why


@pytest.mark.parametrize(
    "change",
    [
        {"model": "other"},
        {"time": BEGIN - timedelta(days=1)},
        {"actor": "eve"},
        {"action": "pin"},
        {"alias": ""},
        {"from_version": 9},
        {"to_version": 9},
        {"outcome": "PREPARE_FAILED"},
    ],
)
def test_an_event_filed_under_something_else_is_found(change: dict[str, object]) -> None:
    links, head = chain_of(3)
    links[1] = replace(links[1], filed=replace(links[1].filed, **change))  # type: ignore[arg-type]  # several types
    report = verify(links, head=head)
    assert (report.broken_at, report.why) == (2, "event 2 is filed under something else than its bytes say")


def test_an_event_in_another_place_is_found() -> None:
    links, head = chain_of(3)
    links[1] = replace(links[1], seq=7)
    assert verify(links, head=head).broken_at == 2


@given(st.lists(st.integers(0, 5), max_size=4))
def test_a_chain_is_verified_in_parts_of_any_size(cuts: list[int]) -> None:
    links, head = chain_of(5)
    report = EMPTY
    for start, stop in pairwise([0, *sorted(cuts), 5]):
        report = extend(report, links[start:stop])
    assert conclude(report, head=head) == verify(links, head=head)


def test_a_history_that_was_written_anew_shows_to_who_kept_a_hash() -> None:
    links, head = chain_of(4)
    kept = ChainHead(3, links[2].hash)
    anew = [seal(replace(draft(number), actor="eve"), after=START) for number in range(1)]
    for number in range(1, 4):
        anew.append(seal(replace(draft(number), actor="eve"), after=ChainHead(anew[-1].seq, anew[-1].hash)))
    its_head = ChainHead(anew[-1].seq, anew[-1].hash)
    assert verify(anew, head=its_head).is_whole
    assert verify(anew, head=its_head, known=kept).broken_at == 3
    assert verify(anew[:2], head=ChainHead(2, anew[1].hash), known=kept).broken_at == 3
    assert verify(links, head=head, known=kept).is_whole


@pytest.mark.parametrize("text", ["", "3", "3:", "x:" + "0" * 64, "3:" + "0" * 63, "3:" + "G" * 64, "-1:" + "0" * 64])
def test_a_known_place_that_is_none_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match="is not SEQ:HASH"):
        ChainHead.parse(text)


def test_a_known_place_is_read_as_it_is_written() -> None:
    place = ChainHead(812, "ab" * 32)
    assert ChainHead.parse(str(place)) == place


def test_reading_a_damaged_event_says_which() -> None:
    links, _ = chain_of(2)
    with pytest.raises(DataLoss, match="event 2 is damaged"):
        read(replace(links[1], body=b"{}"))
