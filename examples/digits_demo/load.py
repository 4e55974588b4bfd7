"""A constant load of held-out images, each answer checked against the version that it names."""

from __future__ import annotations

import threading
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Final, Self

import numpy as np
from interlock_client import Client, InterlockError

from examples.digits_demo.training import Digits, Images

MODEL: Final = "digits"
ROWS: Final = 4
"""Images in a request."""
_CLIENTS: Final = 4
_TIMEOUT_S: Final = 5.0
_ATOL: Final = 1e-4
_RTOL: Final = 1e-3


@dataclass(frozen=True, slots=True)
class Answer:
    """One request and what became of it; times are of `time.perf_counter`."""

    sent_s: float
    latency_s: float
    version: int
    """The version that the answer names; 0 where it failed."""
    correct: int
    """Images that were told right, of ROWS."""
    error: str = ""
    """Why it failed; "" where it did not."""
    wrong: str = ""
    """How the answer differs from what the version it names answers in PyTorch; "" where it does not."""


class Checker:
    """Knows what each version must answer to each held-out image."""

    def __init__(self, digits: Digits, expected: Mapping[int, Images]) -> None:
        self._labels = digits.test_labels
        self._expected = dict(expected)

    def check(self, rows: Sequence[int], version: int, scores: np.ndarray) -> tuple[int, str]:
        """Return how many images were told right, and how the answer is wrong for its version, if it is."""
        picked = np.asarray(rows)
        expected = self._expected.get(version)
        if expected is None:
            return 0, f"it names version {version}, which was never registered"
        if scores.shape != expected[picked].shape:
            return 0, f"its shape is {scores.shape}"
        if not np.allclose(scores, expected[picked], atol=_ATOL, rtol=_RTOL):
            distance = float(np.max(np.abs(scores - expected[picked])))
            return 0, f"it is {distance:.2g} off what version {version} answers"
        return int(np.sum(np.argmax(scores, axis=1) == self._labels[picked])), ""


class Load:
    """Threads that send requests at a constant rate, retries off, until they are stopped; a context manager."""

    def __init__(self, address: str, digits: Digits, checker: Checker, rate: float) -> None:
        self._address = address
        self._images = digits.test_images
        self._checker = checker
        self._interval_s = _CLIENTS / rate
        self._stopping = threading.Event()
        self._answers: list[list[Answer]] = [[] for _ in range(_CLIENTS)]
        self._faults: list[BaseException] = []
        self._threads = [threading.Thread(target=self._run, args=(index,)) for index in range(_CLIENTS)]
        self.started_s: Final = time.perf_counter()

    @property
    def sent(self) -> int:
        """Requests so far."""
        return sum(map(len, self._answers))

    def answers(self) -> list[Answer]:
        """Return every request in the order they were sent; raises what stopped a sender, if anything did."""
        if self._faults:
            raise self._faults[0]
        return sorted((answer for each in self._answers for answer in each), key=lambda answer: answer.sent_s)

    def _run(self, index: int) -> None:
        try:
            with Client(self._address, retries=0, timeout=_TIMEOUT_S) as client:
                due_s = self.started_s + index * self._interval_s / _CLIENTS
                turn = index
                while not self._stopping.wait(max(0.0, due_s - time.perf_counter())):
                    self._answers[index].append(self._ask(client, turn))
                    turn += _CLIENTS
                    # Lost time is made up for, but not by a burst without end.
                    due_s = max(due_s + self._interval_s, time.perf_counter() - 1.0)
        except BaseException as error:
            self._faults.append(error)
            raise

    def _ask(self, client: Client, turn: int) -> Answer:
        rows = [(turn * ROWS + offset) % len(self._images) for offset in range(ROWS)]
        sent_s = time.perf_counter()
        try:
            result = client.infer(MODEL, {"image": self._images[rows]})
        except InterlockError as error:
            return Answer(sent_s, time.perf_counter() - sent_s, 0, 0, error=f"{error.reason}: {error.message}")
        latency_s = time.perf_counter() - sent_s
        correct, wrong = self._checker.check(rows, result.version, np.asarray(result["scores"]))
        return Answer(sent_s, latency_s, result.version, correct, wrong=wrong)

    def __enter__(self) -> Self:
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stopping.set()
        for thread in self._threads:
            thread.join()
