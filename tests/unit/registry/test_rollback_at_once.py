"""A rollback in one visit: the key, the plan and, where the target is loaded, the commit."""

from __future__ import annotations

from datetime import UTC, datetime

import pytest
from interlock.chain import OK
from interlock.errors import GenerationConflict, IdempotencyKeyReused, NothingToRollBack
from interlock.types import ModelRef
from interlock_registry import planning
from interlock_registry.domain import Action, Attempt, Move, Moved, Recalled

from tests.unit.registry.builders import MODEL, Desk, attempt

NOW = datetime(2026, 1, 1, tzinfo=UTC)


def rollback(version: int = 0, key: str = "", request_hash: str = "h") -> Attempt:
    return attempt(Action.ROLLBACK, version=version, alias="stable", key=key, request_hash=request_hash)


def roll_back(desk: Desk, asked: Attempt, *ready: int, expected: int | None = None) -> Recalled | Move | Moved:
    return desk.registry.roll_back(
        asked, lambda move: f'{{"to":{move.to_version}}}', ready=frozenset(ready), expected_generation=expected
    )


@pytest.fixture
def promoted(desk: Desk) -> Desk:
    """Three versions, promoted one after another."""
    for number in (1, 2, 3):
        desk.register(seed=f"weights {number}")
        desk.promote(number)
    return desk


def test_a_target_that_is_ready_is_committed(promoted: Desk) -> None:
    before = promoted.registry.state().epoch
    found = roll_back(promoted, rollback(key="k"), 2, 3)
    assert isinstance(found, Moved)
    assert (found.move.from_version, found.move.to_version, found.move.stack_after) == (3, 2, (1,))
    assert found.epoch == promoted.registry.state().epoch == before + 1
    assert promoted.registry.version(ModelRef(MODEL, alias="stable")).version == 2
    event = promoted.registry.events().items[0]
    assert (event.action, event.outcome, event.from_version, event.to_version) == ("rollback", OK, 3, 2)


def test_a_rehearsal_leaves_no_trace(promoted: Desk) -> None:
    before = promoted.registry.desired(), promoted.registry.events(), promoted.registry.verify_chain()
    assert promoted.registry.rehearse()
    assert (promoted.registry.desired(), promoted.registry.events(), promoted.registry.verify_chain()) == before
    again = rollback(key="rehearsal", request_hash="mine")
    assert isinstance(roll_back(promoted, again, 2), Moved), "its key was not kept either"


def test_there_is_nothing_to_rehearse_where_nothing_can_be_rolled_back(desk: Desk) -> None:
    desk.register()
    desk.promote(1)
    assert not desk.registry.rehearse()


def test_a_target_that_is_not_ready_is_only_planned(promoted: Desk) -> None:
    before = promoted.registry.state(), len(promoted.registry.events().items)
    found = roll_back(promoted, rollback(version=1, key="k"), 2, 3)
    assert isinstance(found, Move)
    assert found == promoted.registry.plan_rollback(MODEL, to_version=1)
    assert (promoted.registry.state(), len(promoted.registry.events().items)) == before
    assert promoted.registry.recall(rollback(version=1, key="k")) is None


def test_a_key_that_was_answered_moves_nothing_again(promoted: Desk) -> None:
    roll_back(promoted, rollback(key="k"), 2)
    before = promoted.registry.state()
    assert roll_back(promoted, rollback(key="k"), 1, 2) == Recalled('{"to":2}')
    assert promoted.registry.state() == before
    with pytest.raises(IdempotencyKeyReused):
        roll_back(promoted, rollback(key="k", request_hash="other"), 1, 2)


def test_refusals_leave_no_trace(promoted: Desk) -> None:
    before = promoted.registry.state(), len(promoted.registry.events().items)
    with pytest.raises(GenerationConflict):
        roll_back(promoted, rollback(), 2, expected=2)
    promoted.rollback(1)
    with pytest.raises(NothingToRollBack):
        roll_back(promoted, rollback(), 1, 2, 3)
    assert len(promoted.registry.events().items) == before[1] + 1


def test_a_rollback_to_where_the_alias_is_writes_its_event_and_nothing_else(promoted: Desk) -> None:
    promoted.rollback(2)
    before = promoted.registry.state()
    found = roll_back(promoted, rollback(version=2), 2)
    assert isinstance(found, Moved)
    assert found.move.is_noop
    assert promoted.registry.state() == before
    assert promoted.registry.events().items[0].outcome == OK


def test_what_is_known_of_the_model_after_a_move_is_what_the_registry_says(promoted: Desk) -> None:
    promoted.promote(1, alias="canary")
    before = promoted.registry.desired_model(MODEL)
    found = roll_back(promoted, rollback(), 2)
    assert isinstance(found, Moved)
    after = planning.model_after(before, found)
    said = promoted.registry.desired_model(MODEL)
    assert (after.aliases, after.routes, after.pins) == (said.aliases, said.routes, said.pins)
    assert after.keep == before.keep
    assert {each.version for each in said.keep} == {1, 2}
    assert promoted.registry.committed(MODEL).desired == said
