"""The adaptive batcher: one bounded queue and one engine thread per servable.

Nothing waits by default. Requests that arrive together, or while the session runs, form the next batch; only
`max_queue_delay_us` makes a request wait for company. Requests join only where their non-batch sizes and datatypes
are equal, and only if the version was proven to answer a batch of two like two singles.
"""

from __future__ import annotations

import logging
import threading
import time
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Final, ParamSpec, Protocol

import numpy as np
from interlock.errors import Cancelled, DeadlineExceeded, Draining, InterlockError, InternalError, QueueFull
from interlock.model import ServingConfig
from interlock.types import Array

from interlock_server.faults import opaque
from interlock_server.worker.engine import NO_OPTIONAL, Run, RunTerminated
from interlock_server.worker.watch import Watch

log = logging.getLogger("interlock.batcher")


class Runnable(Protocol):
    """What the batcher runs: a session."""

    def run(self, inputs: Sequence[Array], run: Run, optional: Mapping[str, Array] = NO_OPTIONAL) -> list[Array]:
        """Run on inputs in signature order, and on optional ones by name."""
        ...


@dataclass(frozen=True, slots=True)
class Timing:
    """Where the time of a request went."""

    queue_s: float
    run_s: float
    rows: int
    """Rows of the batch that it ran in."""
    input_s: float = 0.0
    """What joining the batch's inputs took."""
    first: bool = True
    """It was the first of its batch: whoever counts runs counts this one."""


PRIORITY_LEVELS: Final = 16
"""Requests of level 1 go first."""
DEFAULT_PRIORITY: Final = 8

JoinKey = tuple[tuple[object, ...], ...]
"""Datatype and non-batch sizes of each input: equal ones may run together."""


class Work:
    """One request in the queue. Exactly one of the two callbacks is called: on the engine thread, or by `cancel`."""

    __slots__ = (
        "cancelled",
        "deadline",
        "enqueued",
        "inputs",
        "key",
        "on_error",
        "on_outputs",
        "optional",
        "priority",
        "rows",
    )

    def __init__(
        self,
        inputs: Sequence[Array],
        *,
        rows: int | None,
        deadline: float,
        on_outputs: Callable[[list[Array], Timing], None],
        on_error: Callable[[InterlockError], None],
        priority: int = DEFAULT_PRIORITY,
        optional: Mapping[str, Array] = NO_OPTIONAL,
    ) -> None:
        """Take arrays in signature order; `rows` is the batch size, None where the request must run alone.

        A request with optional inputs must run alone.
        """
        self.inputs: Final = inputs
        self.rows: Final = rows
        self.priority: Final = priority
        self.optional: Final = optional
        self.deadline: Final = deadline
        self.on_outputs: Final = on_outputs
        self.on_error: Final = on_error
        self.enqueued: Final = time.monotonic()
        self.cancelled = False
        self.key: Final[JoinKey] = tuple((array.dtype.str, *array.shape[1:]) for array in inputs)


@dataclass(frozen=True, slots=True)
class Running:
    """One run that is under way."""

    run: Run
    batch: Sequence[Work]
    since: float
    """On the monotonic clock."""


class Batcher:
    """Runs the work of one version. `close()` lets the queue run out, then ends the thread."""

    def __init__(self, name: str, session: Runnable, config: ServingConfig, watch: Watch | None = None) -> None:
        """Take the version's name and session; `watch` is told of each run."""
        self._session: Final = session
        self._config: Final = config
        self._queue: deque[Work] = deque()
        self._condition = threading.Condition()
        self._closed = False
        self._running: Running | None = None
        self._watch: Final = watch or Watch()
        self._run_s = 0.001
        self._name = name
        self._thread = threading.Thread(target=self._loop, name=f"engine {name}", daemon=True)
        self._thread.start()

    @property
    def depth(self) -> int:
        """Requests that wait."""
        return len(self._queue)

    def submit(self, work: Work) -> None:
        """Queue a request; raises QueueFull, Draining, PoisonRequest."""
        if self._watch.poison:
            self._watch.admit(work.inputs)
        with self._condition:
            if self._closed:
                raise Draining
            if len(self._queue) >= self._config.max_queue_size:
                model, _, version = self._name.rpartition("@")
                retry_s = self._run_s * max(1, len(self._queue) // max(1, self._config.max_batch_size))
                raise QueueFull(model, int(version), self._config.max_queue_size, retry_after_s=retry_s)
            if not self._queue or self._queue[-1].priority <= work.priority:
                self._queue.append(work)
            else:
                self._queue.insert(_place(self._queue, work.priority), work)
            self._condition.notify()

    def cancel(self, work: Work) -> None:
        """Forget a request whose caller has gone: its place is free at once; a run for nobody else is ended."""
        with self._condition:
            work.cancelled = True
            queued = work in self._queue
            if queued:
                self._queue.remove(work)
            elif self._running is not None:
                running = self._running
                if work in running.batch and all(each.cancelled for each in running.batch):
                    running.run.terminate()
        if queued:
            _tell(work.on_error, _why_dead(work, time.monotonic(), _QUEUED))

    def close(self, timeout_s: float | None = None) -> None:
        """Take no more work, finish what is queued, end the thread. Idempotent."""
        with self._condition:
            self._closed = True
            self._condition.notify()
        self._thread.join(timeout_s)
        if not self._thread.is_alive():
            self._watch.close()

    @property
    def running(self) -> Running | None:
        """What runs now."""
        return self._running

    def _loop(self) -> None:
        while (taken := self._take()) is not None:
            run, batch = taken
            if batch:
                self._execute(run, batch)
            del taken, run, batch  # waiting for the next one must not keep the arrays of this one

    def _take(self) -> tuple[Run, list[Work]] | None:
        """Wait for work and return what runs next; an empty batch where all of it has expired, None at the end."""
        run = Run()
        with self._condition:
            while not self._queue:
                if self._closed:
                    return None
                self._condition.wait()
            if self._config.max_queue_delay_us > 0:
                self._wait_for_company()
            now = time.monotonic()
            expired, batch = self._collect(now)
            # In one step with taking it off the queue: whoever cancels finds it in one of the two places.
            self._running = Running(run, batch, now) if batch else None
        for work in expired:
            _tell(work.on_error, _why_dead(work, now, _QUEUED))
        return run, batch

    def _wait_for_company(self) -> None:
        """Hold the condition until a full batch waits or the delay of the oldest request is over."""
        if self._queue[0].rows is None:
            return
        until = self._queue[0].enqueued + self._config.max_queue_delay_us / 1e6
        while not self._closed and 0 < sum(work.rows or 1 for work in self._queue) < self._config.max_batch_size:
            left = until - time.monotonic()
            if left <= 0 or not self._condition.wait(left):
                return

    def _collect(self, now: float) -> tuple[list[Work], list[Work]]:
        """Take the next batch off the queue, and what has expired in front of it."""
        expired: list[Work] = []
        batch: list[Work] = []
        rows = 0
        while self._queue:
            work = self._queue[0]
            if work.cancelled or work.deadline <= now:
                expired.append(self._queue.popleft())
                continue
            if batch and not self._joins(work, batch[0], rows):
                break
            batch.append(self._queue.popleft())
            rows += work.rows or 0
            if work.rows is None:
                break
        return expired, batch

    def _joins(self, work: Work, first: Work, rows: int) -> bool:
        return (
            first.rows is not None
            and not self._watch.suspect
            and work.rows is not None
            and rows + work.rows <= self._config.max_batch_size
            and work.key == first.key
        )

    def _execute(self, run: Run, batch: list[Work]) -> None:
        started = time.monotonic()
        try:
            inputs = _join(batch)
            joined = time.monotonic()
            if len(batch) == 1:
                self._watch.begin(inputs)
            else:
                self._watch.begin_many([work.inputs for work in batch])
            try:
                outputs = self._session.run(inputs, run, batch[0].optional)
            finally:
                self._watch.end()
            ended = time.monotonic()
            answers = [outputs] if len(batch) == 1 else _split(outputs, [work.rows or 0 for work in batch])
        except RunTerminated:
            for work in batch:
                _tell(work.on_error, _why_dead(work, time.monotonic(), "while the request ran"))
            return
        except InterlockError as error:
            self._fail(batch, error)
            return
        except Exception as error:  # noqa: BLE001 - this thread serves every request of the version: it must go on
            self._fail(batch, opaque(error))
            return
        finally:
            with self._condition:
                self._running = None
        self._run_s = 0.8 * self._run_s + 0.2 * (ended - started)
        rows = sum(work.rows or 1 for work in batch)
        first = batch[0]
        for work, answer in zip(batch, answers, strict=True):
            timing = Timing(started - work.enqueued, ended - joined, rows, joined - started, work is first)
            _tell(work.on_outputs, answer, timing)

    def _fail(self, batch: list[Work], error: InterlockError) -> None:
        """Pass on why a run failed; the requests of a batch are tried one by one: only one of them may be at fault."""
        if len(batch) == 1:
            _tell(batch[0].on_error, error)
            return
        log.warning("a batch of %d requests failed and is run one by one: %s", len(batch), error.message)
        for work in batch:
            run = Run()
            with self._condition:
                now = time.monotonic()
                dead = work.cancelled or work.deadline <= now
                self._running = None if dead else Running(run, [work], now)
            if dead:
                _tell(work.on_error, _why_dead(work, now, _QUEUED))
            else:
                self._execute(run, [work])


_QUEUED: Final = "while the request was queued; it was not run"


def _why_dead(work: Work, now: float, when: str) -> InterlockError:
    if work.deadline <= now:
        return DeadlineExceeded(f"the deadline passed {when}")
    return Cancelled(f"the caller went away {when}")


Told = ParamSpec("Told")


def _tell(callback: Callable[Told, None], *args: Told.args, **kwargs: Told.kwargs) -> None:
    """Call back; a callback that fails must not end the thread that others' answers come from."""
    try:
        callback(*args, **kwargs)
    except Exception:
        log.exception("an answer could not be passed on")


def _place(queue: Sequence[Work], priority: int) -> int:
    """Return where work of a priority goes: behind all that is as urgent or more so."""
    place = len(queue)
    while place and queue[place - 1].priority > priority:
        place -= 1
    return place


def _join(batch: Sequence[Work]) -> Sequence[Array]:
    if len(batch) == 1:
        return batch[0].inputs
    return [np.concatenate(arrays) for arrays in zip(*(work.inputs for work in batch), strict=True)]


def _split(outputs: Sequence[Array], rows: Sequence[int]) -> list[list[Array]]:
    """Deal the rows of a batch's outputs back to its requests; raises InternalError if they are not all there."""
    total = sum(rows)
    for output in outputs:
        if output.ndim == 0 or output.shape[0] != total:
            raise InternalError(f"a batch of {total} rows gave an output of shape {list(output.shape)}")
    answers: list[list[Array]] = []
    start = 0
    for count in rows:
        answers.append([output[start : start + count] for output in outputs])
        start += count
    return answers
