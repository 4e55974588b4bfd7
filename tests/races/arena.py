"""Runs the races: racers as processes, and a judge who looks at the registry after every round."""

from __future__ import annotations

import random
import subprocess
import sys
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Self

from interlock import chain
from interlock.chain import OK
from interlock.model import Event
from interlock_registry.domain import Action, Attempt, NewVersion
from interlock_registry.fsck import Severity
from interlock_registry.registry import Registry
from interlock_registry.stack import Position, promoted, rolled_back

from tests import models
from tests.progress import progress
from tests.races.orders import Outcome, read_outcomes, write_orders
from tests.races.rules import Race, Round, Team, jittered, reasons
from tests.server import Server
from tests.unit.registry.builders import new_version

JUDGE = "judge"


@dataclass
class Result:
    """What came of a race."""

    race: str
    rounds: int = 0
    violations: list[str] = field(default_factory=list)
    endings: Counter[str] = field(default_factory=Counter)
    """How often the racers ended how: a race that always ends alike was none."""


class Arena:
    """Three racers and a judge on one registry; with a server, the racers are its clients."""

    def __init__(self, url: str, folder: Path, server: Server | None = None, *, seed: int = 0) -> None:
        self._registry = Registry.open(url)
        self._server = server
        self._file = models.write(folder / "raced.onnx", models.affine())
        self._dice = random.Random(seed)
        self._seq = 0
        command = [sys.executable, "-m", "tests.races.racer"]
        if server is None:
            command += ["registry", url]
        else:
            command += ["client", server.admin_address, server.grpc, str(self._file)]
        self._racers = [
            subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) for _ in range(3)
        ]

    def __enter__(self) -> Self:
        for racer in self._racers:
            assert racer.stdout is not None and racer.stdout.readline() == "ready\n"
        return self

    def __exit__(self, *_: object) -> None:
        for racer in self._racers:
            racer.kill()
            racer.communicate(timeout=10)
        self._registry.close()

    def run(self, race: Race, rounds: int) -> Result:
        """Run a race so many times, on a model of its own."""
        result = Result(race.name)
        stock = self._prepare(race.name)
        position = Position(2, (1,))
        self._seq = self._registry.chain_after(0, page_size=1).head.seq
        with progress(race.name, rounds, "rounds") as tell:
            for number in range(rounds):
                position = self._round(race, number, stock, position, result)
                tell(number + 1)
        result.violations += [
            f"at the end: {each.subject}: {each.what}"
            for each in self._registry.findings()
            if each.severity is Severity.ERROR
        ]
        return result

    def _round(self, race: Race, number: int, stock: NewVersion, position: Position, result: Result) -> Position:
        """Run one round, note what came of it, and return where the history says that the alias is now."""
        fresh = (self._add(stock), self._add(stock))
        alias = self._registry.alias(race.name, "stable")
        assert alias is not None
        now = Round(race.name, fresh, alias.version, alias.generation, number, is_served=self._server is not None)
        told = self._race(jittered(race.orders(now), self._dice))
        result.rounds += 1
        result.endings[" | ".join("+".join(reasons(outcomes)) for outcomes in told)] += 1
        events = self._news(race.name)
        position = _replayed(position, events)
        faults = [race.fault(now, told), *self._faults(race, told, events, position)]
        result.violations += [f"round {number}: {fault}" for fault in faults if fault]
        self._tidy(race.name)
        return position

    # --- before a round ---

    def _prepare(self, model: str) -> NewVersion:
        """Register two versions and promote both; returns what further ones are made of."""
        if self._server is None:
            stock = new_version(model)
            for _ in range(2):
                self._add(stock)
            for version in (1, 2):
                move = self._registry.plan_promote(model, version)
                self._registry.commit_move(move, _attempt(Action.PROMOTE, model, version, "stable"), "{}")
            return stock
        with self._server.admin() as admin:
            for version in (1, 2):
                admin.register(model, self._file)
                admin.promote(model, version)
        made = self._registry.desired_version(model, 1)
        return NewVersion(
            model=model,
            manifest=self._registry.manifest(model, 1),
            golden=None,
            golden_samples=0,
            signature=made.signature,
            config=made.config,
            proven=False,
            joinable=made.joinable,
            tolerances=made.tolerances,
        )

    def _add(self, stock: NewVersion) -> int:
        """Make a version of bytes that are there, without a validation: a thousand would take an hour."""
        return self._registry.register(stock, _attempt(Action.REGISTER, stock.model)).version.version

    # --- a round ---

    def _race(self, team: Team) -> list[list[Outcome]]:
        for racer, orders in zip(self._racers, team, strict=False):
            assert racer.stdin is not None
            racer.stdin.write(write_orders(orders))
        for racer in self._racers[: len(team)]:
            assert racer.stdin is not None
            racer.stdin.flush()
        told = []
        for racer in self._racers[: len(team)]:
            assert racer.stdout is not None
            told.append(read_outcomes(racer.stdout.readline()))
        return told

    # --- after a round ---

    def _news(self, model: str) -> list[Event]:
        part = self._registry.chain_after(self._seq, page_size=100)
        self._seq = part.head.seq
        return [each for each in map(chain.read, part.links) if each.model == model and each.actor != JUDGE]

    def _faults(
        self, race: Race, told: Sequence[Sequence[Outcome]], events: Sequence[Event], position: Position
    ) -> list[str]:
        found = []
        if len(events) != race.events(told):
            found.append(f"{len(events)} events for {told}")
        alias = self._registry.alias(race.name, "stable")
        assert alias is not None
        if Position(alias.version, alias.stack) != position:
            found.append(f"the alias is at {alias.version} over {alias.stack}, the history leads to {position}")
        granted = sorted(each.outcome for each in events)
        said = sorted(OK if each.reason == "ok" else each.reason for each in _asked(told))
        if race.events(told) == len(said) and granted != said:
            found.append(f"the history tells {granted}, the racers were told {said}")
        return found

    def _tidy(self, model: str) -> None:
        """Let go of what the round has pinned: else more and more would stay loaded."""
        for pin in self._registry.desired_model(model).pins:
            self._registry.unpin(_attempt(Action.UNPIN, model, pin))


def _asked(told: Sequence[Sequence[Outcome]]) -> list[Outcome]:
    return [each for outcomes in told for each in outcomes if each.order.action != "infer"]


def _replayed(position: Position, events: Sequence[Event]) -> Position:
    for event in events:
        if event.outcome == OK and event.action == "promote":
            position = promoted(position, event.to_version)
        elif event.outcome == OK and event.action == "rollback":
            position = rolled_back(position, event.to_version, model=event.model, alias=event.alias)
    return position


def _attempt(action: Action, model: str, version: int = 0, alias: str = "") -> Attempt:
    return Attempt(action=action, actor=JUDGE, request_id=JUDGE, model=model, alias=alias, version=version)
