"""A wall clock that jumps an hour forward and back orders nothing, expires nothing early, and loses no change."""

from __future__ import annotations

import uuid
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from itertools import cycle

import pytest
from interlock import chain
from interlock.errors import Aborted
from interlock_registry.domain import Action
from interlock_registry.fleet import LIVE_S
from interlock_registry.fsck import Severity
from interlock_registry.registry import Registry

from tests.databases import Place
from tests.unit.registry.builders import MODEL, Desk, attempt, heartbeat
from tests.unit.registry.warehouse import Warehouse, blob, content, stocked

HOUR_S = 3600.0
JUMPS = (0.0, HOUR_S, -HOUR_S)


def jumping(*offsets_s: float) -> Callable[[], datetime]:
    """A clock that is off by the next of these at each look, over and over."""
    offsets = cycle(offsets_s)
    return lambda: datetime.now(UTC) + timedelta(seconds=next(offsets))


@pytest.fixture
def jumpy(place: Place) -> Iterator[Desk]:
    registry = Registry.open(place.url, clock=jumping(*JUMPS))
    yield Desk(registry, place)
    registry.close()


def test_changes_have_their_order_whatever_the_clock_says(jumpy: Desk) -> None:
    for _ in range(4):
        jumpy.register()
    for version in (1, 2, 3, 4):
        jumpy.promote(version)
    jumpy.rollback()
    jumpy.rollback()
    alias = jumpy.registry.alias(MODEL, "stable")
    assert alias is not None and (alias.version, alias.stack, alias.generation) == (2, (1,), 6)

    part = jumpy.registry.chain_after(0, page_size=100)
    events = [chain.read(link) for link in part.links]
    assert [each.seq for each in events] == list(range(1, 11))
    assert chain.verify(part.links, head=part.head).is_whole
    assert [each.time for each in events] != sorted(each.time for each in events), "the clock did jump"
    assert [each for each in jumpy.registry.findings() if each.severity is Severity.ERROR] == []


def test_a_key_has_its_answer_whatever_the_clock_says(jumpy: Desk) -> None:
    jumpy.register()
    keyed = attempt(Action.PROMOTE, version=1, alias="stable", key="k", request_hash="h")
    move = jumpy.registry.plan_promote(MODEL, 1)
    jumpy.registry.commit_move(move, keyed, '{"kept":true}')
    for _ in JUMPS:
        assert jumpy.registry.forget_answers() == 0
        recalled = jumpy.registry.recall(keyed)
        assert recalled is not None and recalled.result() == '{"kept":true}'


@pytest.mark.parametrize("offset_s", [HOUR_S, -HOUR_S])
def test_no_blob_of_a_registration_is_collected_because_the_clock_has_jumped(
    warehouse: Warehouse, offset_s: float
) -> None:
    # The collector's process looks at another clock than the one by which the blobs were held and written.
    new, holder = stocked(MODEL, ["graph", "weights"]), uuid.uuid4().hex
    assert new.golden is not None
    warehouse.registry.blobs.hold(holder, [each.digest for each in (*new.manifest.blobs, new.golden)])
    seeds = ("graph", "weights", "golden of graph")
    for seed in seeds:
        warehouse.put(content(seed))
    warehouse.put(new.manifest.to_json().encode())

    elsewhere = Registry.open(warehouse.desk.place.url, clock=jumping(offset_s))
    collected = warehouse.collector(later_s=offset_s).collect(attempt(Action.COLLECT, model=""))
    assert collected.removed == ()
    lost = elsewhere.blobs.expire()
    elsewhere.close()

    assert warehouse.has(*seeds) == [True, True, True]
    if not lost:
        assert warehouse.registry.register(new, attempt(Action.REGISTER), holder=holder).version.version == 1
        return
    # Whoever was held for an hour too long is told so, and nothing is half there; once more, it is made.
    with pytest.raises(Aborted, match="repeat"):
        warehouse.registry.register(new, attempt(Action.REGISTER), holder=holder)
    assert warehouse.register("graph", "weights").version.version == 1
    assert warehouse.registry.blobs.damaged() == {} and blob("graph").digest in warehouse.names()


# --- the database's own clock ---


def shifted(desk: Desk, table: str, column: str, by_s: float) -> None:
    """Have a time stand there as if the database's clock had jumped since it was written."""
    moment = datetime.now(UTC) - timedelta(seconds=by_s)
    with desk.sql() as connection:
        connection.execute(f"UPDATE {table} SET {column} = '{moment:%Y-%m-%d %H:%M:%S.%f}'")


@pytest.mark.parametrize("jump_s", [HOUR_S, -HOUR_S])
def test_a_heartbeat_from_before_a_jump_is_no_sign_of_life_and_the_next_one_is(desk: Desk, jump_s: float) -> None:
    desk.registry.fleet.beat(heartbeat("a"), None)
    shifted(desk, "replicas", "seen_at", jump_s)
    (found,) = desk.registry.fleet.look().replicas
    assert abs(found.silent_s) > LIVE_S and not found.live
    desk.registry.fleet.beat(heartbeat("a"), frozenset())
    (found,) = desk.registry.fleet.look().replicas
    assert found.live
