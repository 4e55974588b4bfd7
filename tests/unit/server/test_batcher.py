from __future__ import annotations

import gc
import threading
import time
import weakref
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import pytest
from interlock.errors import Cancelled, DeadlineExceeded, Draining, InternalError, QueueFull
from interlock.model import ServingConfig
from interlock.types import Array
from interlock_server.worker.batcher import Batcher, Lane
from interlock_server.worker.engine import NO_OPTIONAL, Run
from interlock_server.worker.pace import Pace
from interlock_server.worker.work import Ran, rank_of

from tests.support import eventually
from tests.unit.server.batching import FOREVER, Asked, Doubler, Elsewhere, Make, Outcome, Picky, settle, work


def test_one_request_is_answered_with_its_own_rows(make: Make) -> None:
    bench, outcome = make(), Outcome()
    bench.batcher.submit(work(outcome, 3.0, rows=2))
    settle(outcome)
    np.testing.assert_array_equal(outcome.answers[0], np.full((2, 2), 6.0))
    assert outcome.runs[0].rows == 2
    assert outcome.runs[0].started > 0 and outcome.runs[0].run_s >= 0


def test_what_arrives_while_the_session_runs_is_joined_and_dealt_back(make: Make) -> None:
    bench = make(max_batch_size=8)
    first = bench.occupy()
    outcomes = [Outcome() for _ in range(3)]
    for index, outcome in enumerate(outcomes):
        bench.batcher.submit(work(outcome, float(index), rows=index + 1))
    bench.let_go()
    settle(first, *outcomes)
    assert bench.session.runs == [1, 6]
    for index, outcome in enumerate(outcomes):
        np.testing.assert_array_equal(outcome.answers[0], np.full((index + 1, 2), 2.0 * index))
        assert outcome.runs[0].rows == 6


def test_a_batch_never_has_more_rows_than_max_batch_size(make: Make) -> None:
    bench = make(max_batch_size=4)
    first = bench.occupy()
    outcomes = [Outcome() for _ in range(7)]
    for outcome, rows in zip(outcomes, (2, 2, 1, 3, 4, 1, 1), strict=True):
        bench.batcher.submit(work(outcome, rows=rows))
    bench.let_go()
    settle(first, *outcomes)
    assert bench.session.runs == [1, 4, 4, 4, 2]


@pytest.mark.parametrize(
    ("second", "why"),
    [({"rows": None}, "one of them must run alone"), ({"width": 3}, "their rows have another size")],
)
def test_requests_that_cannot_share_a_run_do_not(make: Make, second: dict[str, Any], why: str) -> None:
    bench = make()
    first, a, b = bench.occupy(), Outcome(), Outcome()
    bench.batcher.submit(work(a))
    bench.batcher.submit(work(b, **second))
    bench.let_go()
    settle(first, a, b)
    assert bench.session.runs == [1, 1, 1], why


def test_other_datatypes_do_not_join(make: Make) -> None:
    bench = make()
    first, a, b = bench.occupy(), Outcome(), Outcome()
    wide = Asked(b, [np.ones((1, 2), np.float64)], rows=1, deadline=FOREVER)
    bench.batcher.submit(work(a))
    bench.batcher.submit(wide)
    bench.let_go()
    settle(first, a, b)
    assert bench.session.runs == [1, 1, 1]


def test_requests_run_in_the_order_in_which_they_came(make: Make) -> None:
    bench = make(max_batch_size=1)
    first = bench.occupy()
    outcomes = [Outcome() for _ in range(20)]
    bench.submit(*outcomes)
    bench.let_go()
    settle(first, *outcomes)
    started = [outcome.runs[0].started for outcome in outcomes]
    assert started == sorted(started)


def test_urgent_requests_go_first_and_equally_urgent_ones_as_they_came(make: Make) -> None:
    bench = make(max_batch_size=0)
    first = bench.occupy()
    outcomes = [Outcome() for _ in range(6)]
    for outcome, priority in zip(outcomes, [8, 8, 1, 16, 1, 8], strict=True):
        bench.batcher.submit(work(outcome, rows=None, priority=priority))
    bench.let_go()
    settle(first, *outcomes)
    assert sorted(range(6), key=lambda index: outcomes[index].runs[0].started) == [2, 4, 0, 1, 5, 3]


@pytest.mark.parametrize(
    ("earlier_s", "less_urgent", "first"),
    [(0.0, 1, "urgent"), (0.05, 1, "urgent"), (0.15, 1, "waiting"), (1.4, 15, "urgent"), (1.6, 15, "waiting")],
)
def test_nothing_waits_for_ever_behind_what_is_more_urgent(earlier_s: float, less_urgent: int, first: str) -> None:
    waiting, urgent = rank_of(10.0, 1 + less_urgent), rank_of(10.0 + earlier_s, 1)
    assert ("waiting" if waiting < urgent else "urgent") == first


def test_a_batch_is_counted_once_and_its_joining_is_timed(make: Make) -> None:
    bench = make(max_batch_size=8)
    first = bench.occupy()
    outcomes = [Outcome() for _ in range(3)]
    for outcome in outcomes:
        bench.batcher.submit(work(outcome))
    bench.let_go()
    settle(first, *outcomes)
    assert len({id(outcome.runs[0]) for outcome in outcomes}) == 1
    assert isinstance(outcomes[0].runs[0].first, Asked) and outcomes[0].runs[0].first.outcome is outcomes[0]
    assert outcomes[0].runs[0].input_s > 0


def test_a_full_queue_refuses_and_says_when_to_come_again(make: Make) -> None:
    bench = make(max_queue_size=2)
    first, a, b = bench.occupy(), Outcome(), Outcome()
    bench.submit(a, b)
    with pytest.raises(QueueFull) as refused:
        bench.submit(Outcome())
    assert refused.value.facts == {"model": "m", "version": "1", "limit": "2"}
    assert refused.value.retry_after_s is not None and refused.value.retry_after_s > 0
    bench.let_go()
    settle(first, a, b)


def test_a_cancelled_request_is_told_at_once_never_runs_and_frees_its_place(make: Make) -> None:
    bench = make(max_queue_size=1)
    first, gone, next_one = bench.occupy(), Outcome(), Outcome()
    (queued,) = bench.submit(gone)
    bench.batcher.cancel(queued)
    assert isinstance(gone.error, Cancelled)
    bench.submit(next_one)
    bench.let_go()
    settle(first, next_one)
    assert bench.session.runs == [1, 1]
    assert gone.told == 1


def test_an_expired_request_never_runs(make: Make) -> None:
    bench = make()
    first, late, fine = bench.occupy(), Outcome(), Outcome()
    bench.batcher.submit(work(late, deadline=time.monotonic()))
    bench.batcher.submit(work(fine))
    bench.let_go()
    settle(first, late, fine)
    assert isinstance(late.error, DeadlineExceeded)
    assert bench.session.runs == [1, 1]


def test_cancelling_after_the_deadline_is_told_as_the_deadline(make: Make) -> None:
    bench, late = make(), Outcome()
    bench.occupy()
    each = work(late, deadline=time.monotonic())
    bench.batcher.submit(each)
    bench.batcher.cancel(each)
    assert isinstance(late.error, DeadlineExceeded)


def test_a_run_that_nobody_waits_for_is_terminated(make: Make) -> None:
    bench = make()
    first = Outcome()
    bench.session.gate.clear()
    (running,) = bench.submit(first)
    assert bench.session.entered.acquire(timeout=60)
    bench.batcher.cancel(running)
    settle(first)
    assert isinstance(first.error, Cancelled)


def test_a_run_that_somebody_waits_for_goes_on_when_another_leaves(make: Make) -> None:
    bench = make()
    first, gone, stays = bench.occupy(), Outcome(), Outcome()
    works = bench.submit(gone, stays)
    bench.let_go()
    settle(first)
    bench.session.gate.clear()
    held = Outcome()
    bench.submit(held)
    settle(gone, stays)
    bench.batcher.cancel(works[0])
    bench.let_go()
    settle(held)
    assert len(stays.answers) == 1


def test_the_last_of_a_batch_to_leave_ends_its_run(make: Make) -> None:
    bench = make()
    first, a, b = bench.occupy(), Outcome(), Outcome()
    works = bench.submit(a, b)
    # Lets the first run through and holds the second, which is that of a and b.
    original = bench.session.check

    def hold(array: Array) -> None:
        original(array)
        bench.session.gate.clear()

    bench.session.check = hold  # type: ignore[method-assign]
    bench.let_go()
    assert bench.session.entered.acquire(timeout=60)
    eventually(lambda: bench.session.runs == [1, 2], "the joined run began")
    bench.batcher.cancel(works[0])
    assert b.told == 0
    bench.batcher.cancel(works[1])
    settle(first, a, b)
    assert isinstance(a.error, Cancelled) and isinstance(b.error, Cancelled)


def test_who_leaves_a_run_that_goes_on_for_others_is_not_answered_and_the_run_is_counted_with_one_who_is(
    make: Make,
) -> None:
    bench = make()
    first, gone, stays = bench.occupy(), Outcome(), Outcome()
    works = bench.submit(gone, stays)
    let_through = bench.session.check

    def leave(array: Array) -> None:
        if array.shape[0] == 2:
            bench.batcher.cancel(works[0])
        let_through(array)

    bench.session.check = leave  # type: ignore[method-assign]
    bench.let_go()
    settle(first, gone, stays)
    assert isinstance(gone.error, Cancelled)
    assert stays.runs[0].first is works[1] and stays.runs[0].rows == 2


def test_a_run_beside_which_there_is_no_other_has_the_session_for_such_runs(make: Make) -> None:
    alone, shared = Doubler(), Doubler()
    config = ServingConfig(instances=2, max_batch_size=1)
    batcher = Batcher("m@1", [Lane(shared, alone=alone) for _ in range(2)], config, Elsewhere())
    outcomes = [Outcome() for _ in range(5)]
    try:
        alone.gate.clear()
        shared.gate.clear()
        batcher.submit(work(outcomes[0]))
        assert alone.entered.acquire(timeout=60), "nothing else was there"
        batcher.submit(work(outcomes[1]))
        assert shared.entered.acquire(timeout=60), "the first was running"
        for outcome in outcomes[2:4]:
            batcher.submit(work(outcome))
        alone.gate.set()
        assert shared.entered.acquire(timeout=60), "the second was running, and one more waited"
        shared.gate.set()
        settle(*outcomes[:4])
        eventually(lambda: len(batcher._free) == 2, "nothing runs")
        batcher.submit(work(outcomes[4]))
        settle(*outcomes)
    finally:
        alone.gate.set()
        shared.gate.set()
        batcher.close(10)
    assert (alone.runs, shared.runs) == ([1, 1], [1, 1, 1])


def test_a_delay_makes_a_lone_request_wait_for_company(make: Make) -> None:
    bench = make(max_batch_size=3, max_queue_delay_us=60_000_000)
    outcomes = [Outcome() for _ in range(3)]
    bench.submit(*outcomes[:2])
    assert bench.session.runs == [], "two rows of three: it waits"
    bench.submit(outcomes[2])
    settle(*outcomes)
    assert bench.session.runs == [3]


def test_a_delay_ends(make: Make) -> None:
    bench, outcome = make(max_queue_delay_us=1000), Outcome()
    (asked,) = bench.submit(outcome)
    settle(outcome)
    assert outcome.runs[0].started - asked.enqueued >= 0.001


def test_a_request_that_must_run_alone_waits_for_no_company(make: Make) -> None:
    bench, outcome = make(max_queue_delay_us=60_000_000), Outcome()
    bench.batcher.submit(work(outcome, rows=None))
    settle(outcome)
    assert len(outcome.answers) == 1


def test_a_request_that_leaves_while_it_waits_for_company_holds_nothing_up(make: Make) -> None:
    bench = make(max_batch_size=2, max_queue_delay_us=60_000_000)
    gone, a, b = Outcome(), Outcome(), Outcome()
    (waiting,) = bench.submit(gone)
    bench.batcher.cancel(waiting)
    bench.submit(a, b)
    settle(gone, a, b)
    assert bench.session.runs == [2]


def test_close_answers_what_is_queued_and_refuses_what_comes_after(make: Make) -> None:
    bench = make(max_queue_delay_us=60_000_000, max_batch_size=64)
    outcomes = [Outcome() for _ in range(5)]
    bench.submit(*outcomes)
    bench.batcher.close(10)
    assert [outcome.told for outcome in outcomes] == [1] * 5
    with pytest.raises(Draining):
        bench.submit(Outcome())
    bench.batcher.close(10)


def test_close_does_not_wait_longer_than_it_is_told(make: Make) -> None:
    bench = make()
    first = bench.occupy()
    bench.batcher.close(0.01)
    assert first.told == 0
    bench.let_go()
    settle(first)


@pytest.mark.parametrize("failure", [InternalError("index out of range"), MemoryError("too big"), ValueError("odd")])
def test_one_bad_request_of_a_batch_fails_alone_and_the_thread_goes_on(make: Make, failure: Exception) -> None:
    bench = make(Picky(failure))
    first = bench.occupy()
    outcomes = [Outcome() for _ in range(4)]
    for outcome, value in zip(outcomes, (1.0, 13.0, 3.0, 4.0), strict=True):
        bench.batcher.submit(work(outcome, value))
    bench.let_go()
    settle(first, *outcomes)
    assert isinstance(outcomes[1].error, InternalError)
    assert [len(outcome.answers) for outcome in outcomes] == [1, 0, 1, 1]
    np.testing.assert_array_equal(outcomes[2].answers[0], np.full((1, 2), 6.0))
    later = Outcome()
    bench.submit(later)
    settle(later)
    assert len(later.answers) == 1


class Swallower(Doubler):
    """Answers a joined run with one row too few."""

    def run(self, inputs: Sequence[Array], run: Run, optional: Mapping[str, Array] = NO_OPTIONAL) -> list[Array]:
        (answer,) = super().run(inputs, run)
        return [answer[1:] if len(answer) > 1 else answer]


def test_a_run_that_loses_rows_is_not_dealt_out(make: Make) -> None:
    bench = make(Swallower())
    first, a, b = bench.occupy(), Outcome(), Outcome()
    bench.batcher.submit(work(a, 5.0))
    bench.batcher.submit(work(b, 7.0))
    bench.let_go()
    settle(first, a, b)
    np.testing.assert_array_equal(a.answers[0], np.full((1, 2), 10.0))
    np.testing.assert_array_equal(b.answers[0], np.full((1, 2), 14.0))


def test_a_callback_that_fails_ends_neither_the_thread_nor_its_neighbours(make: Make) -> None:
    bench = make()
    first, fine, later = bench.occupy(), Outcome(), Outcome()

    class Broken(Asked):
        def answer(self, outputs: Sequence[Array], ran: Ran) -> None:
            raise RuntimeError("the loop is closed")

    bench.batcher.submit(Broken(Outcome(), [np.ones((1, 2), np.float32)], rows=1, deadline=FOREVER))
    bench.submit(fine)
    bench.let_go()
    settle(first, fine)
    bench.submit(later)
    settle(later)


def test_an_idle_batcher_keeps_nothing_of_what_it_ran(make: Make) -> None:
    bench, outcome = make(), Outcome()
    each = work(outcome)
    bench.batcher.submit(each)
    settle(outcome)
    array = weakref.ref(each.inputs[0])
    del each
    outcome.answers.clear()
    outcome.runs.clear()
    eventually(lambda: gc.collect() >= 0 and array() is None, "the request's arrays are gone")


def test_many_threads_that_submit_and_cancel_leave_no_request_untold(make: Make) -> None:
    bench = make(max_queue_size=10_000, max_batch_size=4)
    outcomes = [[Outcome() for _ in range(100)] for _ in range(4)]

    def client(mine: list[Outcome]) -> None:
        for index, outcome in enumerate(mine):
            (each,) = bench.submit(outcome)
            if index % 3 == 0:
                bench.batcher.cancel(each)

    threads = [threading.Thread(target=client, args=(mine,)) for mine in outcomes]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    everyone = [outcome for mine in outcomes for outcome in mine]
    settle(*everyone)
    bench.batcher.close(10)
    assert {outcome.told for outcome in everyone} == {1}


# --- on the thread that receives requests ---


def quick(limit: int = 8 * 8) -> Pace:
    """Expect runs of so many bytes to be quick, whatever they are."""
    pace = Elsewhere()
    pace.limit = limit
    return pace


def test_what_came_together_and_is_quick_runs_as_one_batch_on_the_thread_that_comes_for_it(make: Make) -> None:
    bench, outcomes = make(pace=quick()), [Outcome() for _ in range(3)]
    asked_back = [bench.batcher.submit(work(outcome)) for outcome in outcomes]
    assert asked_back == [True, False, False], "once is enough"
    assert not bench.session.runs
    assert not bench.batcher.run_here()
    assert bench.session.runs == [3]
    assert {outcome.threads[0] for outcome in outcomes} == {threading.current_thread().name}


def test_more_than_one_batch_runs_in_turns(make: Make) -> None:
    bench, outcomes = make(pace=quick(), max_batch_size=2), [Outcome() for _ in range(3)]
    for outcome in outcomes:
        bench.batcher.submit(work(outcome))
    assert bench.batcher.run_here()
    assert not bench.batcher.run_here()
    assert bench.session.runs == [2, 1]


@pytest.mark.parametrize("why", ["it is larger than what is quick", "a run of it is under way", "it waits for company"])
def test_an_engine_thread_runs_what_is_not_for_the_receiving_one(make: Make, why: str) -> None:
    pace, outcome, first = quick(limit=-1), Outcome(), Outcome()
    bench = make(pace=pace, max_queue_delay_us=1000 if why == "it waits for company" else 0)
    if why == "a run of it is under way":
        first = bench.occupy()
    pace.limit = 8
    assert bench.batcher.submit(work(outcome, rows=2 if why == "it is larger than what is quick" else 1)) is False
    bench.let_go()
    settle(outcome)
    assert outcome.threads[0].startswith("engine"), why
    assert first.told <= 1


def test_what_is_handed_over_runs_on_an_engine_thread(make: Make) -> None:
    bench, outcome = make(pace=quick()), Outcome()
    assert bench.batcher.submit(work(outcome))
    bench.batcher.hand_over()
    settle(outcome)
    assert outcome.threads[0].startswith("engine")


def test_a_batch_that_would_be_too_large_to_be_quick_is_taken_in_parts(make: Make) -> None:
    bench, outcomes = make(pace=quick(limit=16)), [Outcome() for _ in range(3)]
    for outcome in outcomes:
        bench.batcher.submit(work(outcome))
    while bench.batcher.run_here():
        pass
    assert bench.session.runs == [2, 1]
