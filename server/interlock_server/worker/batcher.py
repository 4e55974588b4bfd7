"""The adaptive batcher: one bounded queue per servable, and as many lanes as it may have runs at once.

Nothing waits by default. Requests that arrive together, or while the session runs, form the next batch; only
`max_queue_delay_us` makes a request wait for company. Requests join only where their non-batch sizes and datatypes
are equal, and only if the version was proven to answer a batch of two like two singles.

A run takes place on an engine thread, one for each lane, or on the thread that received the requests, where runs of
their size are known to be quick (`pace.py`). That thread first takes all that has come together: `submit` tells whoever
called it to come back with `run_here`.
"""

from __future__ import annotations

import logging
import threading
import time
from collections import deque
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Final, Protocol

import numpy as np
from interlock.errors import Cancelled, DeadlineExceeded, Draining, InterlockError, InternalError
from interlock.model import ServingConfig
from interlock.types import Array

from interlock_server.faults import opaque
from interlock_server.worker.crowd import Crowd, place
from interlock_server.worker.engine import NO_OPTIONAL, Run, RunTerminated
from interlock_server.worker.pace import Pace
from interlock_server.worker.watch import Watch
from interlock_server.worker.work import Ran, Work, rank_of

log = logging.getLogger("interlock.batcher")

_ANY_SIZE: Final = 1 << 62
_NEVER: Final = float("inf")


class Runnable(Protocol):
    """What the batcher runs: a session."""

    def run(self, inputs: Sequence[Array], run: Run, optional: Mapping[str, Array] = NO_OPTIONAL) -> list[Array]:
        """Run on inputs in signature order, and on optional ones by name."""
        ...


@dataclass(frozen=True, slots=True)
class Running:
    """One run that is under way."""

    run: Run
    since: float
    """On the monotonic clock."""


class Lane:
    """A place for one run at a time: its batcher's alone, once it has it."""

    __slots__ = ("alone", "batch", "by", "number", "run", "session", "since", "watch")

    def __init__(self, session: Runnable, watch: Watch | None = None, alone: Runnable | None = None) -> None:
        """Take a session, which lanes may share if it can have several runs at once; `watch` is told of each run.

        `alone` has the runs that begin while no other lane runs and nothing waits; None: `session` has them, too.
        """
        self.number = 0
        self.session: Final = session
        self.alone: Final = alone or session
        self.by = session
        """Who runs the batch."""
        self.watch: Final = watch or Watch()
        self.run = Run()
        self.batch: Sequence[Work] = ()
        self.since = 0.0


class Batcher:
    """Runs the work of one version. `close()` lets the queue run out, then ends the threads."""

    def __init__(
        self,
        name: str,
        lanes: Sequence[Lane],
        config: ServingConfig,
        pace: Pace | None = None,
        *,
        may_wait_s: float = 0.0,
    ) -> None:
        """Take the version's name, its lanes, what is known of its runs, how long anything may wait (0: any time)."""
        self._config: Final = config
        self._delay_s: Final = config.max_queue_delay_us / 1e6
        self._preferred: Final = frozenset(config.preferred_batch_sizes)
        self._pace: Final = pace or Pace()
        self._crowd: Final = Crowd(name, config, len(lanes), may_wait_s)
        self._queue: deque[Work] = deque()
        """By rank, ascending."""
        self._condition = threading.Condition()
        self._closed = False
        self._here = False
        """The thread that receives requests comes for the queue: engine threads leave it alone."""
        self._lanes: Final = tuple(lanes)
        for number, lane in enumerate(self._lanes):
            lane.number = number
        self._watch: Final = self._lanes[0].watch
        self._free = list(self._lanes)
        self._threads: Final = [
            threading.Thread(target=self._loop, name=f"engine {name}", daemon=True) for _ in self._lanes
        ]
        try:
            for thread in self._threads:
                thread.start()
        except RuntimeError:  # no more threads: those that run must not wait for ever, and keep the session
            with self._condition:
                self._closed = True
                self._condition.notify_all()
            raise

    @property
    def depth(self) -> int:
        """Requests that wait."""
        return len(self._queue)

    @property
    def running(self) -> Running | None:
        """The oldest run that is under way."""
        with self._condition:
            busy = [Running(lane.run, lane.since) for lane in self._lanes if lane.batch]
        return min(busy, key=lambda running: running.since, default=None)

    def submit(self, work: Work) -> bool:
        """Queue a request; True asks the caller to call `run_here` on this thread soon.

        Raises QueueFull, Overloaded, Draining, PoisonRequest.
        """
        displaced: Work | None = None
        if self._watch.poison:
            self._watch.admit(work.inputs)
        with self._condition:
            if self._closed:
                raise Draining
            queue = self._queue
            alone = not queue
            if len(queue) >= self._crowd.begins:
                displaced = self._squeeze_in(work)
            elif alone or queue[-1].rank <= work.rank:
                queue.append(work)
            else:
                queue.insert(place(queue, work.rank), work)
            here = not self._here and alone and work.size <= self._pace.limit and not self._delay_s and bool(self._free)
            if here:
                self._here = True
            elif not self._here:
                self._condition.notify()
        if displaced is not None:
            _refuse(displaced, self._crowd.full(len(queue)))
        return here

    @property
    def crowded(self) -> bool:
        """Whether more waits than the next run takes: then `check` may refuse a request before it is read."""
        return len(self._queue) >= self._crowd.begins

    def check(self, deadline: float, priority: int, caller: str) -> None:
        """Raise what would refuse a request of a caller: QueueFull, Overloaded."""
        now = time.monotonic()
        with self._condition:
            if len(self._queue) >= self._crowd.begins:
                self._crowd.check(self._queue, now, rank_of(now, priority), deadline, caller)

    def _squeeze_in(self, work: Work) -> Work | None:
        """Queue a request where others wait already, and return the one that had to go for it."""
        queue, caller, now = self._queue, work.caller(), time.monotonic()
        came, work.rank = work.rank, self._crowd.check(queue, now, work.rank, work.deadline, caller)
        displaced = None
        if len(queue) >= self._config.max_queue_size:
            displaced = self._crowd.displaced(queue, caller)
            assert displaced is not None, "check lets nobody into a full queue but for another"
            queue.remove(displaced)
            self._crowd.left(displaced)
        queue.insert(place(queue, work.rank), work)
        self._crowd.count(work, caller, now + work.rank - came)
        return displaced

    def run_here(self) -> bool:
        """Run one batch on the calling thread, if it still is a matter for it; True where more of that waits."""
        with self._condition:
            if not (self._queue and self._free):
                return self._leave()
            now = time.monotonic()
            expired, batch = self._collect(now, self._pace.limit)
            lane = self._occupy(batch, now) if batch else None
        _refuse_dead(expired, now)
        if lane is None:
            return self.hand_over() if not expired else bool(self._queue) or self.hand_over()
        rows = self._execute(lane, batch)
        with self._condition:
            self._vacate(lane, len(batch), rows, now)
            return bool(self._queue) or self._leave()

    def hand_over(self) -> bool:
        """Leave what waits to the engine threads; returns False."""
        with self._condition:
            return self._leave()

    def _leave(self) -> bool:
        self._here = False
        if self._queue or self._closed:
            self._condition.notify_all()
        return False

    def cancel(self, work: Work) -> None:
        """Forget a request whose caller has gone: its place is free at once; a run for nobody else is ended."""
        with self._condition:
            work.cancelled = True
            queued = work in self._queue
            if queued:
                self._queue.remove(work)
                self._crowd.left(work)
            else:
                for lane in self._lanes:
                    if work in lane.batch and all(each.cancelled for each in lane.batch):
                        lane.run.terminate()
        if queued:
            _refuse_dead([work], time.monotonic())

    def close(self, timeout_s: float | None = None) -> None:
        """Take no more work, finish what is queued, end the threads. Idempotent."""
        with self._condition:
            self._closed = True
            self._condition.notify_all()
        until = None if timeout_s is None else time.monotonic() + timeout_s
        for thread in self._threads:
            thread.join(None if until is None else max(0.0, until - time.monotonic()))
        if not any(thread.is_alive() for thread in self._threads):
            for lane in self._lanes:
                lane.watch.close()

    # --- an engine thread ---

    def _loop(self) -> None:
        while (taken := self._take()) is not None:
            lane, batch = taken
            began = lane.since
            rows = self._execute(lane, batch)
            with self._condition:
                self._vacate(lane, len(batch), rows, began)
            del taken, lane, batch  # waiting for the next one must not keep the arrays of this one

    def _take(self) -> tuple[Lane, list[Work]] | None:
        """Wait for work and return what runs next, None at the end."""
        while True:
            with self._condition:
                while not (self._queue and self._free and not self._here):
                    if self._closed and not self._queue:
                        return None
                    self._condition.wait()
                if self._delay_s > 0 and not self._wait_for_company():
                    continue
                now = time.monotonic()
                expired, batch = self._collect(now, _ANY_SIZE)
                lane = self._occupy(batch, now) if batch else None
            _refuse_dead(expired, now)
            if lane is not None:
                return lane, batch
            del expired  # waiting must not keep their arrays

    def _wait_for_company(self) -> bool:
        """Hold the condition until enough waits or the oldest request's delay is over; False if another took it."""
        while self._queue and self._free:
            if self._closed or self._queue[0].rows is None or self._enough():
                return True
            left = self._queue[0].enqueued + self._delay_s - time.monotonic()
            if left <= 0:
                return True
            self._condition.wait(left)
        return False

    def _enough(self) -> bool:
        rows = 0
        for work in self._queue:
            rows += work.rows or 1
            if rows in self._preferred or rows >= self._config.max_batch_size:
                return True
        return False

    # --- a run ---

    def _collect(self, now: float, limit: int) -> tuple[list[Work], list[Work]]:
        """Take the next batch of at most `limit` bytes off the queue, and what has expired in front of it."""
        expired: list[Work] = []
        batch: list[Work] = []
        rows = size = best = 0
        queue, crowd = self._queue, self._crowd
        soon, until, most = now + crowd.hopeless_s, _NEVER, float(self._config.max_batch_size)
        while queue:
            work = queue[0]
            if work.cancelled or work.deadline <= (soon if len(queue) > 1 else now):
                expired.append(self._take_first())
                continue
            size += work.size
            if work.deadline < until:
                until = work.deadline
                most = min(most, crowd.rows_within(until - now))
            if size > limit or (batch and not self._joins(work, batch[0], rows, most)):
                break
            batch.append(queue.popleft())
            if work.rows is None:
                break
            rows += work.rows
            if rows in self._preferred:
                best = len(batch)
        if 0 < best < len(batch):
            queue.extendleft(reversed(batch[best:]))
            del batch[best:]
        for work in batch:  # what was put back still counts as its caller's
            if work.counted is not None:
                crowd.left(work)
        return expired, batch

    def _take_first(self) -> Work:
        work = self._queue.popleft()
        if work.counted is not None:
            self._crowd.left(work)
        return work

    def _joins(self, work: Work, first: Work, rows: int, most: float) -> bool:
        return (
            first.rows is not None
            and not self._watch.suspect
            and work.rows is not None
            and rows + work.rows <= most
            and work.key == first.key
        )

    def _occupy(self, batch: Sequence[Work], now: float) -> Lane:
        """Take a free lane. In one step with taking work off the queue: whoever cancels finds it in one of the two."""
        lane = self._free.pop()
        lane.batch, lane.since = batch, now
        alone = not self._queue and not self._here and len(self._free) == len(self._lanes) - 1
        lane.by = lane.alone if alone else lane.session
        return lane

    def _vacate(self, lane: Lane, requests: int, rows: int, began: float) -> None:
        """Give a lane back after a run of so many rows; 0 where it came to no end."""
        if rows:
            self._crowd.ran(requests, rows, time.monotonic() - began, len(self._queue))
        lane.batch = ()
        self._free.append(lane)
        if self._queue and not self._here:
            self._condition.notify()

    def _execute(self, lane: Lane, batch: Sequence[Work]) -> int:
        """Run a batch and answer it; returns its rows, 0 where the run came to no end."""
        started = time.monotonic()
        first = batch[0]
        try:
            inputs = _join(batch)
            joined = time.monotonic()
            if len(batch) == 1:
                lane.watch.begin(inputs)
            else:
                lane.watch.begin_many([work.inputs for work in batch])
            try:
                outputs = lane.by.run(inputs, lane.run, first.optional)
            finally:
                lane.watch.end()
            ended = time.monotonic()
            answers = [outputs] if len(batch) == 1 else _split(outputs, [work.rows or 0 for work in batch])
        except RunTerminated:
            self._renew(lane)
            for work in batch:
                _refuse(work, _why_dead(work, time.monotonic(), "while the request ran"))
            return 0
        except InterlockError as error:
            self._fail(lane, batch, error)
            return 0
        except Exception as error:  # noqa: BLE001 - this thread serves every request of the version: it must go on
            self._fail(lane, batch, opaque(error))
            return 0
        run_s = ended - joined
        size = rows = 0
        for work in batch:
            size += work.size
            rows += work.rows or 1
        with self._condition:
            lane.batch = ()
            gone = [work for work in batch if work.cancelled]
            if lane.run.terminated_at is not None:
                lane.run = Run()
            self._pace.ran(size, run_s)
        if gone:
            first = next((work for work in batch if work not in gone), first)
        ran = Ran(started, joined - started, run_s, rows, first, lane.number)
        for work, answer in zip(batch, answers, strict=True):
            if gone and work in gone:
                _refuse(work, _why_dead(work, time.monotonic(), "while the request ran"))
                continue
            try:
                work.answer(answer, ran)
            except Exception:
                log.exception("an answer could not be passed on")
        return rows

    def _renew(self, lane: Lane) -> None:
        with self._condition:
            lane.batch = ()
            lane.run = Run()

    def _fail(self, lane: Lane, batch: Sequence[Work], error: InterlockError) -> None:
        """Pass on why a run failed; the requests of a batch are tried one by one: only one of them may be at fault."""
        self._renew(lane)
        if len(batch) == 1:
            _refuse(batch[0], error)
            return
        log.warning("a batch of %d requests failed and is run one by one: %s", len(batch), error.message)
        for work in batch:
            with self._condition:
                now = time.monotonic()
                dead = work.cancelled or work.deadline <= now
                lane.batch, lane.since = () if dead else (work,), now
            if dead:
                _refuse_dead([work], now)
            else:
                self._execute(lane, [work])


def _why_dead(work: Work, now: float, when: str) -> InterlockError:
    if work.deadline <= now:
        return DeadlineExceeded(f"the deadline passed {when}")
    if work.cancelled:
        return Cancelled(f"the caller went away {when}")
    return DeadlineExceeded("the deadline would have passed in the middle of the run; the request was not run")


def _refuse_dead(works: Sequence[Work], now: float) -> None:
    for work in works:
        _refuse(work, _why_dead(work, now, "while the request was queued; it was not run"))


def _refuse(work: Work, error: InterlockError) -> None:
    """Pass a refusal on; one that fails must not end the thread that others' answers come from."""
    try:
        work.refuse(error)
    except Exception:
        log.exception("a refusal could not be passed on")


def _join(batch: Sequence[Work]) -> Sequence[Array]:
    if len(batch) == 1:
        # A view into a request's bytes may begin anywhere; computing on it needs it where its type belongs.
        return [array if array.flags.aligned else array.copy() for array in batch[0].inputs]
    if len(batch[0].inputs) == 1:
        return [np.concatenate([work.inputs[0] for work in batch])]
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
