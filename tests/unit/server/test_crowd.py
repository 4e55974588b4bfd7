from __future__ import annotations

import pytest
from interlock.errors import DeadlineExceeded, Overloaded, QueueFull
from interlock.model import ServingConfig
from interlock.status import to_wire
from interlock_server.worker.crowd import Crowd, Prospect, again, place

from tests.unit.server.batching import Asked, Outcome, work

NOW = 1000.0


class Queue:
    """A queue as its batcher keeps it, on a clock of the test's."""

    def __init__(self, *, max_batch_size: int = 32, max_queue_size: int = 1024) -> None:
        config = ServingConfig(max_batch_size=max_batch_size, max_queue_size=max_queue_size)
        self.crowd = Crowd("m@1", config, 1)
        self.works: list[Asked] = []

    def ran(self, took_s: float, requests: int = 1, times: int = 1) -> None:
        for _ in range(times):
            self.crowd.ran(requests, requests, took_s, left=1)

    def ask(self, asker: str, now: float = NOW, has_s: float = 1000.0) -> Asked:
        each = work(Outcome(), deadline=now + has_s, asker=asker)
        each.rank = self.crowd.check(self.works, now, now, each.deadline, asker)
        if len(self.works) >= self.crowd._config.max_queue_size:
            displaced = self.crowd.displaced(self.works, asker)
            assert isinstance(displaced, Asked)
            self.works.remove(displaced)
            self.crowd.left(displaced)
        self.works.insert(place(self.works, each.rank), each)
        self.crowd.count(each, asker, each.rank)
        return each

    @property
    def askers(self) -> str:
        return "".join(each.asker for each in self.works)


@pytest.mark.parametrize(
    ("prospect", "late"),
    [
        (Prospect(ahead=10, each_s=0.01, run_s=0.01, has_s=1.0, may_wait_s=0.0), False),
        (Prospect(ahead=100, each_s=0.01, run_s=0.01, has_s=1.0, may_wait_s=0.0), True),
        (Prospect(ahead=100, each_s=0.01, run_s=0.01, has_s=float("inf"), may_wait_s=0.0), False),
        (Prospect(ahead=0, each_s=0.01, run_s=2.0, has_s=1.0, may_wait_s=0.0), True),
        (Prospect(ahead=100, each_s=0.0, run_s=0.0, has_s=0.1, may_wait_s=0.0), False),
        (Prospect(ahead=100, each_s=0.01, run_s=0.01, has_s=1000.0, may_wait_s=0.5), True),
        (Prospect(ahead=10, each_s=0.01, run_s=0.01, has_s=1000.0, may_wait_s=0.5), False),
    ],
)
def test_a_request_is_late_by_what_is_before_it_and_how_long_that_takes(prospect: Prospect, late: bool) -> None:
    assert (prospect.too_late_s > 0) is late


def test_what_would_miss_its_deadline_is_refused_and_told_when_to_come_again() -> None:
    queue = Queue()
    queue.ran(0.1)
    for _ in range(8):
        queue.ask("a", has_s=1.0)
    with pytest.raises(Overloaded) as refused:
        queue.ask("a", has_s=0.5)
    assert refused.value.facts == {"model": "m", "version": "1", "wait_s": "0.8"}
    assert refused.value.retry_after_s is not None and 0.1 < refused.value.retry_after_s < 1.0
    assert queue.ask("a", has_s=2.0), "one with more time is taken"
    with pytest.raises(DeadlineExceeded):
        queue.ask("a", has_s=0.0)


def test_nothing_is_refused_for_its_deadline_before_anything_was_measured() -> None:
    queue = Queue()
    for _ in range(100):
        queue.ask("a", has_s=0.001)


def test_one_slow_run_is_soon_forgotten() -> None:
    queue = Queue(max_batch_size=1)
    queue.ran(0.01)
    queue.ran(60.0)
    queue.ask("a")
    with pytest.raises(Overloaded):
        queue.ask("a", has_s=1.0)
    queue.ran(0.01, times=12)
    assert queue.ask("a", has_s=1.0)


def test_nothing_is_decided_here_while_what_waits_fits_into_the_next_run() -> None:
    crowd = Crowd("m@1", ServingConfig(max_batch_size=8, max_queue_size=100), 1)
    assert crowd.begins == 8
    crowd.ran(5, 5, 0.1, left=3)
    assert crowd.begins == 5, "a run that left some shows how many go together"
    crowd.ran(3, 3, 0.1, left=0)
    assert crowd.begins == 8


def test_whoever_asks_little_is_not_kept_waiting_by_whoever_asks_much() -> None:
    queue = Queue(max_batch_size=1)
    queue.ran(0.1)
    for _ in range(6):
        queue.ask("a")
    queue.ask("b")
    assert queue.askers.index("b") <= 1
    queue.ask("b")
    queue.ask("c")
    assert queue.askers.index("c") <= 2
    assert queue.askers.index("b") < queue.askers.rindex("b") < queue.askers.rindex("a")


def test_callers_who_ask_alike_take_turns() -> None:
    queue = Queue(max_batch_size=1)
    queue.ran(0.1)
    for _ in range(20):
        for asker in "abc":
            queue.ask(asker)
    half = queue.askers[: len(queue.works) // 2]
    assert all(8 <= half.count(asker) <= 12 for asker in "abc"), half


def test_one_callers_requests_keep_their_order_whatever_is_measured_meanwhile() -> None:
    queue = Queue(max_batch_size=1)
    queue.ran(10.0)
    asked = [queue.ask("a") for _ in range(5)]
    queue.ran(0.001, times=20)
    asked += [queue.ask("a", now=NOW + 1) for _ in range(5)]
    assert queue.works == asked


def test_in_a_full_queue_whoever_has_most_gives_up_its_last_place_for_who_has_less() -> None:
    queue = Queue(max_batch_size=1, max_queue_size=6)
    queue.ran(0.1)
    asked = [queue.ask("a") for _ in range(6)]
    with pytest.raises(QueueFull) as refused:
        queue.ask("a")
    assert refused.value.retry_after_s is not None and 0.2 < refused.value.retry_after_s < 1.0
    first = queue.ask("b")
    assert first in queue.works and asked[-1] not in queue.works and asked[-2] in queue.works
    queue.ask("b")
    queue.ask("b")
    assert sorted(queue.askers) == list("aaabbb")
    with pytest.raises(QueueFull):
        queue.ask("b")
    queue.ask("c")
    assert len(queue.works) == 6


def test_who_has_left_the_queue_counts_no_more() -> None:
    queue = Queue(max_batch_size=1)
    queue.ran(0.1)
    for _ in range(5):
        queue.ask("a")
    for each in queue.works:
        queue.crowd.left(each)
        queue.crowd.left(each)
    queue.works.clear()
    assert queue.ask("a").rank == NOW


def test_when_to_come_again_is_different_for_everybody_and_says_few_different_things() -> None:
    times = {again(0.3) for _ in range(200)}
    assert 3 <= len(times) <= 10 and all(0.14 <= each <= 0.46 for each in times)
    assert again(0.0) == 0.001


def test_a_refusal_that_was_sent_before_is_not_made_anew() -> None:
    queue = Queue(max_batch_size=1, max_queue_size=1)
    queue.ran(0.1)
    queue.ask("a")
    sent = []
    for _ in range(200):
        with pytest.raises(QueueFull) as refused:
            queue.ask("a")
        sent.append(to_wire(refused.value))
    assert len({id(each) for each in sent}) <= 20
