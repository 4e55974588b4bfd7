from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st
from interlock.errors import NothingToRollBack, NotInStack
from interlock_registry.stack import Position, promoted, rolled_back


@pytest.mark.parametrize(
    ("position", "version", "expected"),
    [
        (None, 1, Position(1)),
        (Position(1), 2, Position(2, (1,))),
        (Position(2, (1,)), 3, Position(3, (1, 2))),
        (Position(3, (1, 2)), 3, Position(3, (1, 2))),
        (Position(3, (1, 2)), 2, Position(2, (1,))),
        (Position(3, (1, 2)), 1, Position(1)),
        (Position(1), 9, Position(9, (1,))),
    ],
    ids=[
        "the first promote makes the alias",
        "a promote pushes the live version",
        "another one pushes on top",
        "promoting the live version changes nothing",
        "promoting the top of the stack pops it",
        "promoting a version deep in the stack pops down to it",
        "versions between were never live",
    ],
)
def test_a_promote_leads_there(position: Position | None, version: int, expected: Position) -> None:
    assert promoted(position, version) == expected


@pytest.mark.parametrize(
    ("position", "to_version", "expected"),
    [
        (Position(2, (1,)), 0, Position(1)),
        (Position(3, (1, 2)), 0, Position(2, (1,))),
        (Position(3, (1, 2)), 2, Position(2, (1,))),
        (Position(3, (1, 2)), 1, Position(1)),
        (Position(3, (1, 2)), 3, Position(3, (1, 2))),
        (Position(3), 3, Position(3)),
    ],
    ids=[
        "to the only one before",
        "to the top",
        "to the top by name",
        "down to a version by name",
        "to the live version changes nothing",
        "to the live version with an empty stack changes nothing",
    ],
)
def test_a_rollback_leads_there(position: Position, to_version: int, expected: Position) -> None:
    assert rolled_back(position, to_version, model="m", alias="stable") == expected


def test_a_rollback_of_an_empty_stack_is_refused() -> None:
    with pytest.raises(NothingToRollBack, match="has served nothing before version 3"):
        rolled_back(Position(3), 0, model="m", alias="stable")


@pytest.mark.parametrize("stack", [(), (1, 2)])
def test_a_rollback_to_a_version_outside_the_stack_is_refused(stack: tuple[int, ...]) -> None:
    with pytest.raises(NotInStack, match="`interlock promote m 7` moves it there"):
        rolled_back(Position(3, stack), 7, model="m", alias="stable")


def test_a_second_rollback_goes_further_back_and_never_forward() -> None:
    position = rolled_back(Position(3, (1, 2)), 0, model="m", alias="stable")
    assert rolled_back(position, 0, model="m", alias="stable") == Position(1)


@given(st.lists(st.integers(0, 6), max_size=40))
def test_no_version_is_ever_twice_in_a_position(orders: list[int]) -> None:
    position = promoted(None, 1)
    for order in orders:
        if order:
            position = promoted(position, order)
            assert position.live == order
        elif position.stack:
            before = position
            position = rolled_back(position, 0, model="m", alias="stable")
            assert (*position.stack, position.live) == before.stack
        everything = (*position.stack, position.live)
        assert len(set(everything)) == len(everything)
