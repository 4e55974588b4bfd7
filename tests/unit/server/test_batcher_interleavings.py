from __future__ import annotations

import time
from collections import Counter

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st
from interlock.errors import Cancelled, DeadlineExceeded, InternalError, QueueFull
from interlock.model import ServingConfig
from interlock_server.worker.batcher import Batcher, Lane
from interlock_server.worker.pace import Pace

from tests.unit.server.batching import FOREVER, Asked, Outcome, Picky, work

STEPS = st.lists(
    st.one_of(
        st.tuples(st.just("submit"), st.integers(1, 3)),
        st.tuples(st.just("other"), st.integers(1, 3)),
        st.tuples(st.just("alone"), st.just(1)),
        st.tuples(st.just("expired"), st.integers(1, 3)),
        st.tuples(st.just("poison"), st.just(1)),
        st.tuples(st.just("cancel"), st.integers(0, 30)),
        st.tuples(st.just("hold"), st.just(0)),
        st.tuples(st.just("let go"), st.just(0)),
        st.tuples(st.just("settle"), st.just(0)),
    ),
    max_size=40,
)


@settings(max_examples=150, deadline=None)
@given(
    steps=STEPS,
    max_batch_size=st.integers(1, 6),
    delay_us=st.sampled_from([0, 0, 300]),
    instances=st.integers(1, 2),
    preferred=st.sampled_from([(), (2,), (3, 5)]),
    quick_bytes=st.sampled_from([-1, 8, 24, 1000]),
)
def test_whatever_happens_each_request_is_told_exactly_once_and_nothing_wrong(
    steps: list[tuple[str, int]],
    max_batch_size: int,
    delay_us: int,
    instances: int,
    preferred: tuple[int, ...],
    quick_bytes: int,
) -> None:
    session = Picky(InternalError("13"))
    config = ServingConfig(
        max_batch_size=max_batch_size,
        max_queue_delay_us=delay_us,
        max_queue_size=8,
        preferred_batch_sizes=preferred,
        instances=instances,
    )
    pace = Pace()
    pace.limit = quick_bytes
    batcher = Batcher("m@1", [Lane(session) for _ in range(instances)], config, pace)
    here = False

    def settle_() -> None:
        session.gate.set()  # a session that is held would hold this thread
        while batcher.run_here():
            pass

    asked: list[tuple[str, Asked, Outcome, float]] = []
    cancelled: Counter[int] = Counter()
    for index, (step, number) in enumerate(steps):
        if step == "hold":
            session.gate.clear()
        elif step == "let go":
            session.gate.set()
        elif step == "settle":
            if here:
                settle_()
                here = False
        elif step == "cancel":
            if asked:
                chosen = number % len(asked)
                cancelled[chosen] += 1
                batcher.cancel(asked[chosen][1])
        else:
            outcome = Outcome()
            value = 13.0 if step == "poison" else 100.0 + index
            rows = None if step == "alone" else min(number, max_batch_size)
            deadline = time.monotonic() if step == "expired" else FOREVER
            each = work(outcome, value, rows, deadline, asker="other" if step == "other" else "")
            try:
                here = batcher.submit(each) or here
            except (QueueFull, DeadlineExceeded) as error:
                assert step == "expired" or isinstance(error, QueueFull)
                assert outcome.told == 0
            else:
                asked.append((step, each, outcome, value))
    session.gate.set()
    if here:
        settle_()
    batcher.close(10)

    assert all(rows <= max_batch_size for rows in session.runs)
    for place, (step, each, outcome, value) in enumerate(asked):
        assert outcome.told == 1, (step, outcome)
        if outcome.answers:
            assert step in ("submit", "other", "alone")
            np.testing.assert_array_equal(outcome.answers[0], each.inputs[0] * 2)
        elif step == "expired":
            assert isinstance(outcome.error, DeadlineExceeded)
        elif isinstance(outcome.error, QueueFull):
            assert step in ("submit", "other", "alone", "poison"), "it had to go for somebody else's"
        else:
            assert isinstance(outcome.error, Cancelled) == (cancelled[place] > 0 and outcome.error.reason != "INTERNAL")
            assert step == "poison" or cancelled[place]
        assert value == each.inputs[0][0, 0]
