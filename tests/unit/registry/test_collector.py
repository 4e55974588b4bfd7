from __future__ import annotations

import threading
import uuid
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta

import pytest
from interlock.errors import Aborted, InternalError
from interlock_registry.checking import Checker
from interlock_registry.domain import Action
from interlock_registry.fsck import Severity
from interlock_registry.garbage import Cause
from interlock_registry.inventory import HELD_S
from interlock_registry.registry import Registry

from tests.races.collection import against_a_collector, collecting
from tests.unit.registry.builders import MODEL, attempt
from tests.unit.registry.warehouse import DAY, Warehouse, blob, content, stocked

# --- what goes, and what stays ---


def test_what_a_version_has_is_never_garbage(warehouse: Warehouse) -> None:
    warehouse.register("graph", "weights")
    warehouse.desk.retire(1)
    survey = warehouse.survey()
    assert (survey.due, survey.waiting, survey.kept) == ((), (), 4)
    assert warehouse.collect().removed == ()
    assert warehouse.has("graph", "weights", "golden of graph") == [True, True, True]


def test_the_blobs_of_a_deleted_version_go_when_the_grace_period_is_over(warehouse: Warehouse) -> None:
    warehouse.register("graph", "weights")
    warehouse.drop(1)
    early = warehouse.survey(later_s=0.9 * DAY)
    assert (early.due, len(early.waiting)) == ((), 4)
    assert {each.why for each in early.waiting} == {"of the deleted digits@1"}
    assert warehouse.collect(later_s=0.9 * DAY).removed == ()
    collected = warehouse.collect(later_s=1.1 * DAY)
    assert {each.cause for each in collected.removed} == {Cause.DELETED}
    assert warehouse.names() == set()


def test_the_grace_period_counts_from_the_deletion_and_not_from_the_upload(warehouse: Warehouse) -> None:
    registry = Registry.open(warehouse.desk.place.url, clock=lambda: datetime.now(UTC) + timedelta(days=10))
    warehouse.register("graph")
    registry.retire(attempt(Action.RETIRE, version=1))
    registry.delete(attempt(Action.DELETE, version=1))
    registry.close()
    assert warehouse.survey(later_s=10.5 * DAY).due == ()
    assert len(warehouse.survey(later_s=11.5 * DAY).due) == 3


def test_a_blob_that_a_living_version_shares_stays(warehouse: Warehouse) -> None:
    warehouse.register("first head", "backbone")
    warehouse.register("second head", "backbone")
    warehouse.drop(1)
    warehouse.collect()
    assert warehouse.has("first head", "backbone", "second head") == [False, True, True]


def test_what_never_became_a_version_is_garbage(warehouse: Warehouse) -> None:
    warehouse.put(b"an upload that was given up")
    (garbage,) = warehouse.survey().due
    assert (garbage.cause, garbage.why) == (Cause.UNUSED, "it is part of no version")
    assert len(warehouse.collect().removed) == 1


def test_a_file_that_is_none_of_ours_is_left_alone(warehouse: Warehouse) -> None:
    (warehouse.root / "blobs" / "README").write_text("hands off")
    (warehouse.root / "blobs" / ("0" * 64)).symlink_to("/etc/hostname")
    assert warehouse.collect().removed == ()
    assert warehouse.names() == {"README", "0" * 64}


def test_what_an_interrupted_collection_left_is_finished_by_the_next(warehouse: Warehouse) -> None:
    warehouse.register("graph")
    warehouse.drop(1)
    for file in warehouse.store.files():
        assert warehouse.store.condemn(file)
        assert warehouse.store.condemn(file), "a second time does nothing"
    assert (warehouse.survey(later_s=0).due, len(warehouse.survey().due)) == ((), 3), "its grace period is not over"
    warehouse.collect(later_s=0)
    assert len(warehouse.names()) == 3 and all(len(name) == 64 for name in warehouse.names()), "they are back"
    assert {each.cause for each in warehouse.collect().removed} == {Cause.DELETED}
    assert warehouse.names() == set()


def test_what_was_taken_away_is_put_back_where_the_commit_fails(warehouse: Warehouse) -> None:
    warehouse.register("graph")
    warehouse.drop(1)
    before = warehouse.names()
    _move_head(warehouse, -1)  # the collection's event has the number of one that is there
    with pytest.raises(InternalError, match="would break a rule"):
        warehouse.collect()
    assert warehouse.names() == before
    _move_head(warehouse, +1)
    assert warehouse.registry.verify_chain().is_whole
    assert len(warehouse.collect().removed) == 3


def _move_head(warehouse: Warehouse, by: int) -> None:
    with warehouse.desk.sql() as behind:
        behind.execute(f"UPDATE epoch SET event_seq = event_seq + {by}")


def test_putting_back_overwrites_nothing_that_was_written_since(warehouse: Warehouse) -> None:
    digest = warehouse.put(b"once")
    (file,) = warehouse.store.files()
    warehouse.store.condemn(file)
    warehouse.put(b"once")
    (blob_file,) = (each for each in warehouse.store.files() if each.name == digest)
    assert warehouse.store.put_back() == 0
    (kept,) = warehouse.store.files()
    assert (kept.inode, kept.links) == (blob_file.inode, 1) != (file.inode, 1)
    (warehouse.root / "blobs" / ".condemned-by-somebody-else").touch()
    assert warehouse.store.put_back() == 0
    assert len(warehouse.names()) == 2, "what is none of ours stays"


def test_a_blob_that_somebody_relied_on_when_a_collector_died_is_put_back(warehouse: Warehouse) -> None:
    # A collector whose connection was cut goes on without the lock until its commit fails, and may be killed first.
    warehouse.register("graph")
    for file in warehouse.store.files():
        warehouse.store.condemn(file)
    assert warehouse.has("graph") == [False]
    assert warehouse.collect().removed == ()
    assert warehouse.has("graph", "golden of graph") == [True, True]
    assert len(warehouse.names()) == 3


def test_a_blob_that_was_replaced_since_the_survey_stays(warehouse: Warehouse) -> None:
    digest = warehouse.put(b"once")
    (file,) = warehouse.store.files()
    warehouse.store.path(digest).unlink()
    (warehouse.root / "stand-in").write_bytes(b"takes the inode")
    warehouse.put(b"once")
    assert not warehouse.store.condemn(file)
    assert warehouse.store.has(digest)


def test_a_collection_is_an_event_and_a_survey_is_none(warehouse: Warehouse) -> None:
    warehouse.register("graph")
    warehouse.drop(1)
    before = warehouse.registry.events().items[0].seq
    epoch = warehouse.registry.state().epoch
    warehouse.survey()
    size = sum(each.file.size_bytes for each in warehouse.collect().removed)
    warehouse.collect()
    event, *older = warehouse.registry.events().items
    assert (event.seq, older[0].seq) == (before + 1, before)
    assert (event.action, event.outcome, event.detail) == ("gc", "ok", f"removed 3 blobs of {size} bytes")
    assert warehouse.registry.state().epoch == epoch, "nothing that is served has changed"
    assert warehouse.registry.verify_chain().is_whole


# --- registrations at the same time ---


def test_what_a_registration_holds_is_not_collected(warehouse: Warehouse) -> None:
    warehouse.put(content("graph"))
    warehouse.registry.blobs.hold("me", [blob("graph").digest])
    assert warehouse.survey().due == ()
    assert warehouse.registry.blobs.release("me")
    assert not warehouse.registry.blobs.release("me")
    assert len(warehouse.survey().due) == 1


def test_a_hold_between_the_survey_and_the_end_saves_the_blob(warehouse: Warehouse) -> None:
    digest = warehouse.put(content("graph"))
    collector = warehouse.collector(later_s=2 * DAY)
    (due,) = collector.survey().due
    warehouse.registry.blobs.hold("me", [digest])
    taken = warehouse.registry.blobs.condemn(attempt(Action.COLLECT, model=""), [due.file], warehouse.store.condemn)
    assert taken == ()
    assert warehouse.store.has(digest)


def test_a_registration_that_lost_its_hold_is_refused(warehouse: Warehouse) -> None:
    new = stocked(MODEL, ["graph"])
    later = Registry.open(warehouse.desk.place.url, clock=lambda: datetime.now(UTC) + timedelta(seconds=HELD_S + 1))
    warehouse.registry.blobs.hold("slow", [each.digest for each in new.manifest.blobs])
    later.blobs.condemn(attempt(Action.COLLECT, model=""), [], warehouse.store.condemn)
    later.close()
    with pytest.raises(Aborted, match="took more than 3600 s"):
        warehouse.registry.register(new, attempt(Action.REGISTER), holder="slow")
    assert warehouse.registry.models().items == ()


def test_registering_what_is_being_collected_wins_or_stores_it_again(warehouse: Warehouse) -> None:
    assert against_a_collector(warehouse, 20).violations == []


@pytest.mark.slow
@pytest.mark.timeout(900)
def test_registering_what_is_being_collected_wins_or_stores_it_again_a_thousand_times(warehouse: Warehouse) -> None:
    assert against_a_collector(warehouse, 1000).violations == []


def test_many_register_the_same_bytes_at_once(warehouse: Warehouse) -> None:
    start = threading.Barrier(4)

    def register(_: int) -> list[int]:
        start.wait(60)
        return [warehouse.register("graph").version.version for _ in range(5)]

    with ThreadPoolExecutor(4) as pool:
        numbers = sorted(number for found in pool.map(register, range(4)) for number in found)
    assert numbers == list(range(1, 21))
    assert warehouse.survey().kept == 3
    holder = uuid.uuid4().hex
    assert not warehouse.registry.blobs.release(holder)
    with warehouse.desk.sql() as connection:
        assert connection.execute("SELECT count(*) FROM held_blobs") == [(0,)]


# --- killed half-way ---


def test_a_collection_that_is_killed_leaves_nothing_that_the_next_cannot_finish(warehouse: Warehouse) -> None:
    assert kill_collections(warehouse, 3) == 3


@pytest.mark.slow
@pytest.mark.timeout(600)
def test_collections_that_are_killed_often_leave_nothing_that_the_next_cannot_finish(warehouse: Warehouse) -> None:
    assert kill_collections(warehouse, 60) == 60


def kill_collections(warehouse: Warehouse, count: int) -> int:
    """Kill a collector at a random moment after it has begun, again and again; returns how often."""
    warehouse.register("living", "shared")
    for turn in range(count):
        for number in range(20):
            warehouse.put(f"garbage {turn} {number}".encode())
        warehouse.register(f"dead {turn}", "shared")
        warehouse.drop(turn + 2)
        collector = collecting(warehouse)
        threading.Event().wait(0.001 * (turn * 7 % 40))
        collector.kill()
        collector.communicate(timeout=60)
        assert all(warehouse.has("living", "shared", "golden of living")), f"round {turn}"
        checker = Checker(warehouse.registry, warehouse.store, actor="test")
        assert [each for each in checker.check() if each.severity is Severity.ERROR] == [], f"round {turn}"
    warehouse.collect()
    assert warehouse.survey().waiting == ()
    assert len(warehouse.names()) == warehouse.survey().kept == 4
    return count
