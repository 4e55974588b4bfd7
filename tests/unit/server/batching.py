"""A session under control, and what its requests were told: for the batcher's tests."""

from __future__ import annotations

import threading
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from interlock.errors import InterlockError
from interlock.types import Array
from interlock_server.worker.batcher import Batcher
from interlock_server.worker.engine import NO_OPTIONAL, Run, RunTerminated
from interlock_server.worker.pace import Pace
from interlock_server.worker.work import DEFAULT_PRIORITY, Ran, Work

from tests.support import eventually

FOREVER = float("inf")


class Doubler:
    """A session that doubles its input, holds on request, and remembers the rows of each run."""

    def __init__(self) -> None:
        self.runs: list[int] = []
        self.gate = threading.Event()
        self.gate.set()
        self.entered = threading.Semaphore(0)

    def run(self, inputs: Sequence[Array], run: Run, optional: Mapping[str, Array] = NO_OPTIONAL) -> list[Array]:
        self.runs.append(int(inputs[0].shape[0]))
        self.entered.release()
        while not self.gate.wait(0.002):
            if run.options.terminate:
                raise RunTerminated
        self.check(inputs[0])
        return [np.multiply(inputs[0], 2)]

    def check(self, array: Array) -> None:
        """Fail where a subclass does."""


@dataclass
class Outcome:
    """What one request was told."""

    answers: list[Array] = field(default_factory=list)
    runs: list[Ran] = field(default_factory=list)
    threads: list[str] = field(default_factory=list)
    errors: list[InterlockError] = field(default_factory=list)

    @property
    def told(self) -> int:
        return len(self.answers) + len(self.errors)

    @property
    def error(self) -> InterlockError:
        assert self.told == 1
        return self.errors[0]


class Elsewhere(Pace):
    """Has every run on an engine thread."""

    __slots__ = ()

    def ran(self, size: int, run_s: float) -> None:
        """Learn nothing."""


class Asked(Work):
    """A request whose outcome is kept."""

    __slots__ = ("__weakref__", "asker", "outcome")

    def __init__(self, outcome: Outcome, inputs: Sequence[Array], asker: str = "", **more: Any) -> None:
        super().__init__(inputs, **more)
        self.outcome = outcome
        self.asker = asker

    def caller(self) -> str:
        return self.asker

    def answer(self, outputs: Sequence[Array], ran: Ran) -> None:
        self.outcome.answers.append(outputs[0])
        self.outcome.runs.append(ran)
        self.outcome.threads.append(threading.current_thread().name)

    def refuse(self, error: InterlockError) -> None:
        self.outcome.errors.append(error)


def work(
    outcome: Outcome,
    value: float = 1.0,
    rows: int | None = 1,
    deadline: float = FOREVER,
    width: int = 2,
    priority: int = DEFAULT_PRIORITY,
    asker: str = "",
) -> Asked:
    inputs = [np.full((1 if rows is None else rows, width), value, np.float32)]
    return Asked(outcome, inputs, asker, rows=rows, deadline=deadline, priority=priority)


@dataclass
class Bench:
    """A batcher whose session is held until the test lets it go."""

    session: Doubler
    batcher: Batcher

    def occupy(self) -> Outcome:
        """Have one request run, and hold it there."""
        self.session.gate.clear()
        outcome = Outcome()
        self.batcher.submit(work(outcome))
        assert self.session.entered.acquire(timeout=60)
        return outcome

    def submit(self, *outcomes: Outcome) -> list[Asked]:
        works = [work(outcome) for outcome in outcomes]
        for each in works:
            self.batcher.submit(each)
        return works

    def let_go(self) -> None:
        self.session.gate.set()


def settle(*outcomes: Outcome) -> None:
    eventually(lambda: all(outcome.told for outcome in outcomes), "every request was told something")


class Picky(Doubler):
    """Fails on any batch that holds a 13, in whatever way it is given."""

    def __init__(self, failure: Exception) -> None:
        super().__init__()
        self._failure = failure

    def check(self, array: Array) -> None:
        if np.any(array == 13.0):
            raise self._failure


Make = Callable[..., Bench]
