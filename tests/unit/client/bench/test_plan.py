"""Loads, their shares and their arrivals."""

from __future__ import annotations

from itertools import pairwise

import pytest
from interlock_client.bench.plan import Arrivals, Load, Order, Turn, Window, due


@pytest.mark.parametrize("of", [1, 2, 3, 7])
@pytest.mark.parametrize("concurrency", [1, 2, 8, 32])
def test_the_shares_of_all_processes_make_up_a_closed_loop(concurrency: int, of: int) -> None:
    shares = [Load(concurrency).share(index, of).concurrency for index in range(of)]
    assert sum(shares) == concurrency
    assert max(shares) - min(shares) <= 1


def test_constant_arrivals_of_several_processes_interleave_at_equal_distances() -> None:
    load = Load(rate=100.0, arrivals=Arrivals.CONSTANT)
    moments = sorted(moment for index in range(4) for moment in due(load.share(index, 4), 5.0, 6.0, index=index, of=4))
    assert len(moments) == 100
    assert all(later - earlier == pytest.approx(0.01) for earlier, later in pairwise(moments))
    assert moments[0] == 5.0


def test_poisson_arrivals_have_the_rate_and_the_scatter_of_independent_callers() -> None:
    moments = list(due(Load(rate=1000.0), 0.0, 20.0, seed=3))
    gaps = [later - earlier for earlier, later in pairwise(moments)]
    mean = sum(gaps) / len(gaps)
    variance = sum((gap - mean) ** 2 for gap in gaps) / len(gaps)
    assert mean == pytest.approx(0.001, rel=0.03)
    assert variance == pytest.approx(mean**2, rel=0.1)  # what tells them from any regular rhythm


def test_the_same_seed_gives_the_same_arrivals_and_every_process_its_own() -> None:
    def drawn(seed: int, index: int) -> list[float]:
        return list(due(Load(rate=50.0), 0.0, 1.0, seed=seed, index=index, of=2))

    assert drawn(1, 0) == drawn(1, 0)
    assert drawn(1, 0) != drawn(1, 1)
    assert drawn(1, 0) != drawn(2, 0)


def test_what_was_due_in_the_warm_up_or_after_the_end_does_not_count() -> None:
    window = Window(start_s=1.0, from_s=2.0, until_s=5.0)
    assert [window.holds(moment) for moment in (1.0, 1.99, 2.0, 4.99, 5.0)] == [False, False, True, True, False]


def test_orders_and_turns_survive_the_way_to_a_process() -> None:
    order = Order(address="a:1", requests=("x", "y"), connections=2, timeout_s=1.5, index=1, of=3, seed=9)
    turn = Turn(Load(rate=2.5, arrivals=Arrivals.CONSTANT), Window(start_s=1.0, from_s=2.0, until_s=3.0))
    assert Order.from_json(order.to_json()) == order
    assert Turn.from_json(turn.to_json()) == turn
    assert "\n" not in order.to_json() + turn.to_json()
