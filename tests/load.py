"""Constant load with retries off: every failure is kept, and every answer is held against the version it names."""

from __future__ import annotations

import threading
import time
from collections.abc import Mapping
from dataclasses import dataclass
from itertools import pairwise
from types import TracebackType
from typing import Final, Self

import numpy as np
from interlock.errors import InterlockError
from interlock_client import Client

from tests.support import eventually

X: Final = np.array([[1.0, -2.0]], np.float32)
_PAUSE_S: Final = 0.001
"""Between two requests of a client: the load is there to notice failures, not to starve what it watches."""


@dataclass(frozen=True, slots=True)
class Answered:
    """One request that was answered."""

    at: float
    """On the monotonic clock, when the answer came."""
    seconds: float
    version: int
    right: bool
    """It is what the named version computes."""


@dataclass(frozen=True, slots=True)
class Failed:
    """One request that was not."""

    at: float
    error: InterlockError


class Load:
    """Threads that ask a model of `models.affine` versions, until the context is left.

    `scales` says by which factor each version multiplies, which is how an answer gives its version away.
    """

    def __init__(
        self, target: str, ref: str, scales: Mapping[int, float], *, clients: int = 2, timeout_s: float = 60.0
    ) -> None:
        self.answers: list[Answered] = []
        self.failures: list[Failed] = []
        self._target = target
        self._ref = ref
        self._scales = dict(scales)
        self._timeout_s = timeout_s
        self._ending = threading.Event()
        self._faults: list[BaseException] = []
        self._threads = [threading.Thread(target=self._run, name=f"load {index}") for index in range(clients)]

    def __enter__(self) -> Self:
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._ending.set()
        for thread in self._threads:
            thread.join()
        if self._faults and kind is None:
            raise self._faults[0]

    def _run(self) -> None:
        try:
            with Client(self._target, timeout=self._timeout_s, retries=0) as client:
                while not self._ending.wait(_PAUSE_S):
                    self._ask(client)
        except BaseException as error:  # noqa: BLE001 - raised again where the context ends
            self._faults.append(error)

    def _ask(self, client: Client) -> None:
        began = time.monotonic()
        try:
            result = client.infer(self._ref, {"x": X})
        except InterlockError as error:
            self.failures.append(Failed(time.monotonic(), error))
            return
        ended = time.monotonic()
        right = bool(np.array_equal(result["y"], X * np.float32(self._scales.get(result.version, np.nan))))
        self.answers.append(Answered(ended, ended - began, result.version, right))

    # --- while it runs ---

    def more(self, count: int, timeout_s: float = 60.0) -> None:
        """Wait until so many more requests were answered."""
        wanted = len(self.answers) + count
        try:
            eventually(lambda: len(self.answers) >= wanted, f"{count} more answers", timeout_s)
        except AssertionError as error:
            last = repr(self.failures[-1].error) if self.failures else "none"
            raise AssertionError(f"{error}; failures: {len(self.failures)}, the last of them {last}") from error

    def until_version(self, version: int, timeout_s: float = 60.0) -> float:
        """Wait until a request that ends from now on is answered by a version; returns how long that took."""
        began = time.monotonic()

        def seen() -> bool:
            return any(answer.version == version and answer.at >= began for answer in self.answers[-64:])

        eventually(seen, f"an answer of version {version}", timeout_s)
        return time.monotonic() - began

    # --- afterwards ---

    @property
    def versions(self) -> set[int]:
        """Who answered."""
        return {answer.version for answer in self.answers}

    def check(self, *, at_least: int) -> None:
        """Demand that enough was answered, all of it right, and nothing failed."""
        self.check_answers(at_least=at_least)
        assert not self.failures, f"{len(self.failures)} failed, first: {self.failures[0].error!r}"

    def check_answers(self, *, at_least: int) -> None:
        """Demand that enough was answered and all of it right, whatever else failed."""
        assert len(self.answers) >= at_least, f"only {len(self.answers)} answers"
        wrong = [answer for answer in self.answers if not answer.right]
        assert not wrong, f"{len(wrong)} wrong answers, first: {wrong[0]}"

    def outage_s(self) -> float:
        """Return the longest time between two answers that follow one another."""
        moments = sorted(answer.at for answer in self.answers)
        return max((later - earlier for earlier, later in pairwise(moments)), default=0.0)
