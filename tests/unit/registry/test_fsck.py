from __future__ import annotations

import os
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from interlock_registry.checking import Checker
from interlock_registry.fsck import Finding, Repair, Severity
from interlock_registry.inventory import HELD_S
from interlock_registry.registry import Registry

from tests.unit.registry.warehouse import Warehouse, blob

Break = Callable[[Warehouse], object]


@pytest.fixture
def busy(warehouse: Warehouse) -> Warehouse:
    """A registry in which everything has happened."""
    for number in range(1, 6):
        warehouse.register(f"head {number}", "backbone")
    warehouse.desk.promote(1)
    warehouse.desk.promote(2)
    warehouse.desk.promote(3)
    warehouse.desk.rollback()
    warehouse.desk.promote(1, "canary")
    warehouse.desk.remove_alias("canary")
    warehouse.desk.pin(4)
    warehouse.drop(5)
    warehouse.desk.retire(3)
    return warehouse


def check(warehouse: Warehouse, *, read_blobs: bool = True) -> list[Finding]:
    return list(checker(warehouse).check(read_blobs=read_blobs))


def checker(warehouse: Warehouse) -> Checker:
    return Checker(warehouse.registry, warehouse.store, actor="local:ada")


def errors(warehouse: Warehouse) -> list[str]:
    return [f"{each.subject}: {each.what}" for each in check(warehouse) if each.severity is Severity.ERROR]


def sql(statement: str) -> Break:
    def run(warehouse: Warehouse) -> None:
        with warehouse.desk.sql() as behind:
            behind.execute(statement)

    return run


def cut(path: Path) -> None:
    path.chmod(0o600)  # whoever is not root may not write to it
    os.truncate(path, 5)


def test_a_registry_in_which_everything_has_happened_is_whole(busy: Warehouse) -> None:
    (note,) = check(busy)
    assert (note.severity, note.subject) == (Severity.NOTE, "3 blobs"), "what only the deleted version had"
    busy.collect()
    assert check(busy) == []


@pytest.mark.parametrize(
    ("damage", "said"),
    [
        (sql("UPDATE events SET hash = '-' || substr(hash, 2) WHERE seq = 3"), "event 3: the history is broken here"),
        (sql("UPDATE versions SET state = 'RETIRED' WHERE version = 2"), "points at version 2, which is RETIRED"),
        (
            sql("UPDATE versions SET state = 'RETIRED' WHERE version = 1"),
            "has in its stack version 1, which is RETIRED",
        ),
        (sql("UPDATE versions SET state = 'DELETED' WHERE version = 4"), "digits@4: it is pinned and DELETED"),
        (sql("UPDATE alias_stack SET version = 2"), "digits:stable: a version is twice among 2 and the stack [2]"),
        (sql("UPDATE routes SET generation = 9"), "its route is of generation 9, the alias of 4"),
        (sql("UPDATE route_targets SET version = 1"), "its route leads to [1], the alias points at 2"),
        (sql("DELETE FROM route_targets"), "digits:stable: the alias has no route"),
        (sql("UPDATE models SET next_version = 5"), "digits@5: the model has given out versions below 5 only"),
        (sql("UPDATE models SET next_version = 7"), "digits@6: the version was given out and is gone"),
        (sql("UPDATE versions SET signature = '{' WHERE version = 4"), "digits@4: a stored signature is damaged"),
        (sql("UPDATE versions SET tolerances = '[' WHERE version = 4"), "digits@4: a stored set of tolerances is"),
        (sql("UPDATE artifacts SET manifest = '{}'"), "a stored manifest is damaged"),
        (sql("DELETE FROM artifact_blobs"), "the artifact's blobs are not indexed as its manifest says"),
        (
            sql("UPDATE aliases SET version = 4 WHERE alias = 'stable'"),
            "the history says that the alias points at version 2, it points at version 4",
        ),
        (lambda warehouse: warehouse.spoil("backbone"), "of digits@1, digits@2, digits@3, digits@4"),
        (lambda warehouse: warehouse.store.path(blob("backbone").digest).unlink(), "its file is gone"),
        (lambda warehouse: cut(warehouse.store.path(blob("head 2").digest)), "it has 5 bytes, not 600"),
    ],
)
def test_what_is_broken_is_an_error_that_says_so(busy: Warehouse, damage: Break, said: str) -> None:
    assert errors(busy) == []
    damage(busy)
    assert any(said in each for each in errors(busy)), errors(busy)


def test_all_is_said_at_once(busy: Warehouse) -> None:
    unread = busy.store.path(min(each.digest for each in busy.registry.blobs.live()))
    unread.rename(busy.root / "elsewhere")
    unread.symlink_to(busy.root / "elsewhere")
    (said,) = errors(busy)
    assert said.startswith(f"{unread.name}: it was not checked: the artifact store")
    unread.unlink()
    (busy.root / "elsewhere").rename(unread)
    sql("UPDATE versions SET state = 'RETIRED' WHERE version = 2")(busy)
    busy.spoil("head 1")
    busy.store.path(blob("head 2").digest).unlink()
    assert len(errors(busy)) == 3


def test_without_reading_the_blobs_only_their_sizes_are_known(busy: Warehouse) -> None:
    busy.spoil("head 1")
    assert [each for each in check(busy, read_blobs=False) if each.severity is Severity.ERROR] == []
    busy.store.path(blob("head 2").digest).unlink()
    (finding,) = [each for each in check(busy, read_blobs=False) if each.severity is Severity.ERROR]
    assert "its file is gone" in finding.what


@pytest.mark.parametrize(
    ("litter", "repair"),
    [
        (lambda warehouse: (warehouse.root / "blobs" / ".incoming-1").write_bytes(b"x"), Repair.REMOVE),
        (lambda warehouse: condemn_all(warehouse), Repair.PUT_BACK),
        (lambda warehouse: warehouse.store.path(blob("head 1").digest).chmod(0o600), Repair.PROTECT),
        (sql("DELETE FROM artifact_blobs WHERE size_bytes = 800"), Repair.INDEX),
        (lambda warehouse: hold_long_ago(warehouse), Repair.RELEASE),
        (
            lambda warehouse: warehouse.registry.blobs.mark_damaged(
                blob("head 1").digest, "it was", actor="scrub", request_id="1"
            ),
            Repair.CLEAR,
        ),
    ],
    ids=[
        "a leftover",
        "a half collection",
        "a blob that can be written",
        "a lost index",
        "a dead registration",
        "a mark without damage",
    ],
)
def test_what_loses_nothing_is_repaired(busy: Warehouse, litter: Break, repair: Repair) -> None:
    busy.collect()
    litter(busy)
    found = []
    for each in checker(busy).check():
        found.append(each)
        assert checker(busy).repair(each) is (each.repair is not None)
    assert repair in {each.repair for each in found}
    assert check(busy) == []
    assert busy.registry.verify_chain().is_whole


def condemn_all(warehouse: Warehouse) -> None:
    for file in warehouse.store.files():
        warehouse.store.condemn(file)


def hold_long_ago(warehouse: Warehouse) -> None:
    past = datetime.now(UTC) - timedelta(seconds=HELD_S + 1)
    registry = Registry.open(warehouse.desk.place.url, clock=lambda: past)
    registry.blobs.hold("dead", [blob("head 1").digest])
    registry.close()


def test_what_only_people_can_mend_is_left_to_them(busy: Warehouse) -> None:
    busy.collect()
    (busy.root / "blobs" / "README").write_text("hands off")
    sql("UPDATE routes SET generation = 9")(busy)
    found = check(busy)
    assert [checker(busy).repair(each) for each in found] == [False, False]
    assert check(busy) == found


def test_a_damaged_blob_is_marked_until_the_same_bytes_are_registered_again(busy: Warehouse) -> None:
    busy.collect()
    busy.spoil("backbone")
    (finding,) = check(busy)
    assert (finding.repair, finding.remedy[:28]) == (Repair.MARK, "register the same file again")
    checker(busy).repair(finding)
    damaged = {each.version: bool(each.damage) for each in busy.registry.versions("digits").items}
    assert damaged == {1: True, 2: True, 3: True, 4: True, 5: True}
    assert all(each.damage for each in busy.registry.desired_model("digits").keep)
    assert check(busy)[0].repair is None, "it is known"
    event = busy.registry.events().items[0]
    assert (event.action, event.actor, event.model, event.outcome) == ("damage", "local:ada", "digits", "DATA_LOSS")

    busy.register("head 6", "backbone")
    assert busy.registry.blobs.damaged(), "the registration's own code clears it once the store has mended it"
    busy.registry.blobs.mend([blob("backbone").digest], actor="ada", request_id="2")
    assert {each.damage for each in busy.registry.versions("digits").items} == {""}
    assert busy.registry.events().items[0].action == "mend"
    assert check(busy) == []
