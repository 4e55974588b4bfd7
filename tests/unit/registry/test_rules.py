"""Whatever is asked of the registry, in whatever order: its rules hold and it agrees with a few lines of Python."""

from __future__ import annotations

import tempfile
from collections.abc import Callable
from pathlib import Path

from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule
from interlock.errors import FailedPrecondition, InterlockError, NotFound
from interlock.model import VersionState
from interlock_registry.domain import Action
from interlock_registry.registry import Registry

from tests.databases import fresh
from tests.unit.registry.builders import MODEL, Desk, attempt

numbers = st.integers(1, 6)
names = st.sampled_from(["stable", "canary"])


class Operators(RuleBasedStateMachine):
    def __init__(self) -> None:
        super().__init__()
        self._folder = tempfile.TemporaryDirectory()
        place = fresh(Path(self._folder.name) / "registry.db")
        self.desk = Desk(Registry.open(place.url), place)
        self.states: dict[int, VersionState] = {}
        self.stacks: dict[str, list[int]] = {}
        self.pins: set[int] = set()
        self.epoch = 0
        self.events = 0
        self.generations: dict[str, int] = {}

    def teardown(self) -> None:
        self.desk.registry.close()
        self._folder.cleanup()

    def _try(self, change: Callable[[], object], *, allowed: bool, changes: bool = True) -> None:
        try:
            change()
        except (FailedPrecondition, NotFound) as error:
            assert not allowed, error
            self._refuse(error)
        else:
            assert allowed
            self.epoch += changes
        self.events += 1

    def _refuse(self, error: InterlockError) -> None:
        self.desk.registry.refuse(attempt(Action.PIN), error)

    def _is_valid(self, number: int) -> bool:
        return self.states.get(number) is VersionState.VALIDATED

    @rule()
    def register(self) -> None:
        number = self.desk.register().version.version
        assert number == len(self.states) + 1
        self.states[number] = VersionState.VALIDATED
        self.epoch += 1
        self.events += 1

    @rule(number=numbers, alias=names)
    def promote(self, number: int, alias: str) -> None:
        stack = self.stacks.get(alias, [])
        allowed = self._is_valid(number)
        self._try(lambda: self.desk.promote(number, alias), allowed=allowed, changes=stack[-1:] != [number])
        if allowed:
            self.stacks[alias] = stack[: stack.index(number) + 1] if number in stack else [*stack, number]

    @rule(number=st.integers(0, 6), alias=names)
    def rollback(self, number: int, alias: str) -> None:
        stack = self.stacks.get(alias, [])
        allowed = len(stack) > 1 if number == 0 else number in stack
        self._try(lambda: self.desk.rollback(number, alias), allowed=allowed, changes=stack[-1:] != [number])
        if allowed:
            self.stacks[alias] = stack[: stack.index(number) + 1] if number else stack[:-1]

    @rule(alias=names)
    def remove_alias(self, alias: str) -> None:
        self._try(lambda: self.desk.remove_alias(alias), allowed=alias in self.stacks)
        self.stacks.pop(alias, None)

    @rule(number=numbers)
    def pin(self, number: int) -> None:
        allowed = self._is_valid(number)
        self._try(lambda: self.desk.pin(number), allowed=allowed, changes=number not in self.pins)
        if allowed:
            self.pins.add(number)

    @rule(number=numbers)
    def unpin(self, number: int) -> None:
        self._try(lambda: self.desk.unpin(number), allowed=number in self.pins)
        self.pins.discard(number)

    @rule(number=numbers)
    def retire(self, number: int) -> None:
        used = number in self.pins or any(number in stack for stack in self.stacks.values())
        allowed = self._is_valid(number) and not used
        self._try(lambda: self.desk.retire(number), allowed=allowed)
        if allowed:
            self.states[number] = VersionState.RETIRED

    @rule(number=numbers)
    def delete(self, number: int) -> None:
        allowed = self.states.get(number) is VersionState.RETIRED
        self._try(lambda: self.desk.delete(number), allowed=allowed)
        if allowed:
            self.states[number] = VersionState.DELETED

    @invariant()
    def desired_state_is_what_the_orders_say(self) -> None:
        desired = self.desk.registry.desired()
        assert desired.epoch == self.epoch
        if not self.states:
            assert desired.models == ()
            return
        (model,) = desired.models
        assert {alias.alias: [*alias.stack, alias.version] for alias in model.aliases} == self.stacks
        assert {route.alias: route.targets[0].version for route in model.routes} == {
            alias: stack[-1] for alias, stack in self.stacks.items()
        }
        kept = {number for stack in self.stacks.values() for number in stack[-2:]} | self.pins
        assert [each.version for each in model.keep] == sorted(kept)
        assert all(self._is_valid(number) for number in kept)

    @invariant()
    def generations_only_grow(self) -> None:
        for alias in self.desk.registry.desired_model(MODEL).aliases if self.states else ():
            assert alias.generation >= self.generations.get(alias.alias, 1)
            self.generations[alias.alias] = alias.generation

    @invariant()
    def every_attempt_is_one_event(self) -> None:
        report = self.desk.registry.verify_chain()
        assert (report.is_whole, report.events) == (True, self.events)


Operators.TestCase.settings = settings(
    max_examples=12, stateful_step_count=25, deadline=None, suppress_health_check=[HealthCheck.too_slow]
)
TestOperators = Operators.TestCase
