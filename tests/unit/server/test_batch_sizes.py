from __future__ import annotations

import time

import pytest
from interlock.errors import DeadlineExceeded, QueueFull

from tests.unit.server.batching import Make, Outcome, settle, work


def test_a_run_has_the_largest_preferred_size_that_can_be_filled(make: Make) -> None:
    bench = make(max_batch_size=8, preferred_batch_sizes=(2, 4))
    first, outcomes = bench.occupy(), [Outcome() for _ in range(7)]
    bench.submit(*outcomes)
    bench.let_go()
    settle(first, *outcomes)
    assert bench.session.runs == [1, 4, 2, 1]


def test_a_delay_ends_when_a_preferred_size_can_be_filled(make: Make) -> None:
    bench = make(max_batch_size=8, preferred_batch_sizes=(2,), max_queue_delay_us=60_000_000)
    outcomes = [Outcome() for _ in range(2)]
    bench.submit(*outcomes)
    settle(*outcomes)
    assert bench.session.runs == [2]


def test_a_run_has_no_more_rows_than_end_before_their_deadlines(make: Make) -> None:
    bench = make(max_batch_size=8)
    first = bench.occupy()
    bench.batcher._crowd.ran(1, 1, 10.0, left=0)  # half of that once the first run, which takes no time, has ended
    outcomes = [Outcome() for _ in range(4)]
    for outcome in outcomes:
        bench.batcher.submit(work(outcome, deadline=time.monotonic() + 12.5))
    bench.let_go()
    settle(first, *outcomes)
    assert bench.session.runs == [1, 2, 2]


def test_what_would_expire_in_the_middle_of_its_run_is_not_run_while_others_wait(make: Make) -> None:
    bench = make()
    first, hopeless, other = bench.occupy(), Outcome(), Outcome()
    bench.batcher._crowd.ran(1, 1, 100.0, left=0)
    bench.batcher.submit(work(hopeless, deadline=time.monotonic() + 20.0))
    bench.batcher.submit(work(other))
    bench.let_go()
    settle(first, hopeless, other)
    assert isinstance(hopeless.error, DeadlineExceeded) and other.answers
    assert bench.session.runs == [1, 1]


def test_who_has_to_go_for_another_is_told_so_and_its_place_is_taken(make: Make) -> None:
    bench = make(max_batch_size=1, max_queue_size=4)
    first = bench.occupy()
    crowd, newcomer = [Outcome() for _ in range(4)], Outcome()
    for outcome in crowd:
        bench.batcher.submit(work(outcome, asker="a"))
    with pytest.raises(QueueFull):
        bench.batcher.submit(work(Outcome(), asker="a"))
    bench.batcher.submit(work(newcomer, asker="b"))
    assert isinstance(crowd[-1].error, QueueFull) and bench.batcher.depth == 4
    bench.let_go()
    settle(first, newcomer, *crowd)
    assert newcomer.answers and all(outcome.answers for outcome in crowd[:-1])


def test_as_many_runs_take_place_at_once_as_there_are_instances(make: Make) -> None:
    bench = make(instances=2, max_batch_size=1)
    first, second, third = bench.occupy(), bench.occupy(), Outcome()
    bench.submit(third)
    assert bench.batcher.depth == 1, "both lanes are taken"
    bench.let_go()
    settle(first, second, third)
    assert {first.runs[0].lane, second.runs[0].lane} == {0, 1}


def test_what_is_left_over_by_a_preferred_size_still_counts_as_its_callers(make: Make) -> None:
    bench = make(max_batch_size=4, preferred_batch_sizes=(2,), max_queue_size=8)
    bench.occupy()
    asked = [work(Outcome(), asker="a") for _ in range(8)]
    for each in asked:
        bench.batcher.submit(each)
    assert [each.counted for each in asked] == [None] * 4 + ["a"] * 4
    with bench.batcher._condition:
        taken = [bench.batcher._collect(time.monotonic(), 1 << 62)[1] for _ in range(2)]
    assert [len(batch) for batch in taken] == [2, 2]
    assert [each.counted for each in asked] == [None] * 4 + ["a"] * 4
    bench.let_go()
    settle(*(each.outcome for each in asked[4:]))
