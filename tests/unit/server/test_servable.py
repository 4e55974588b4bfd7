from __future__ import annotations

import itertools
import threading
from collections.abc import Mapping, Sequence

import pytest
from interlock.model import ServableState, ServingConfig
from interlock.types import Array
from interlock_server.worker.batcher import Batcher, Lane
from interlock_server.worker.engine import NO_OPTIONAL, Run
from interlock_server.worker.servable import IllegalTransition, Servable

from tests.support import eventually
from tests.unit.server.builders import bare_spec, servable_in

S = ServableState
LEGAL = {
    (S.NEW, S.LOADING),
    (S.NEW, S.UNLOADED),
    (S.LOADING, S.WARMING),
    (S.LOADING, S.FAILED),
    (S.WARMING, S.READY),
    (S.WARMING, S.FAILED),
    (S.READY, S.DRAINING),
    (S.DRAINING, S.UNLOADED),
}


class Echo:
    """A session that gives back what it gets."""

    def run(self, inputs: Sequence[Array], run: Run, optional: Mapping[str, Array] = NO_OPTIONAL) -> list[Array]:
        return list(inputs)


def ready() -> Servable:
    servable = servable_in(S.WARMING, bare_spec())
    servable.transition(S.READY, batcher=Batcher("m@1", [Lane(Echo())], ServingConfig()))
    return servable


@pytest.mark.parametrize(("start", "to"), list(itertools.product(S, S)))
def test_a_step_is_taken_if_and_only_if_the_life_of_a_servable_has_it(start: S, to: S) -> None:
    stepped, advanced = servable_in(start, bare_spec()), servable_in(start, bare_spec())
    if (start, to) in LEGAL:
        stepped.transition(to, "because")
        assert (stepped.state, stepped.reason) == (to, "because")
        assert advanced.advance(start, to)
        assert advanced.state is to
    else:
        with pytest.raises(IllegalTransition, match=f"m@1: {start.value} → {to.value}"):
            stepped.transition(to)
        assert stepped.state is start
        assert not advanced.advance(start, to)
        assert advanced.state is start


@pytest.mark.parametrize("state", list(S))
def test_loading_has_ended_once_it_is_ready_failed_or_gone(state: S) -> None:
    servable = servable_in(state, bare_spec())
    ended = state not in (S.NEW, S.LOADING, S.WARMING)
    assert servable.settled is ended
    assert servable.wait_settled(0) is ended


@pytest.mark.parametrize("state", [state for state in S if state is not S.READY])
def test_only_a_ready_servable_is_leased(state: S) -> None:
    assert servable_in(state, bare_spec()).lease() is None


def test_a_lease_counts_until_it_is_given_back() -> None:
    servable = ready()
    assert servable.lease() is not None
    assert servable.status().in_flight == 1
    servable.release()
    assert servable.status().in_flight == 0
    assert servable.drain(1.0)


def test_draining_waits_for_the_leases_and_then_drops_the_session() -> None:
    servable = ready()
    assert servable.lease() is not None
    done: list[bool] = []
    thread = threading.Thread(target=lambda: done.append(servable.drain(30.0)))
    thread.start()
    eventually(lambda: servable.state is S.DRAINING, "it drains")
    assert servable.lease() is None
    assert done == []
    servable.release()
    thread.join(60)
    assert done == [True]
    assert servable.state is S.UNLOADED
    assert servable.queue_depth == 0


def test_draining_says_when_a_request_outlasted_the_grace() -> None:
    servable = ready()
    assert servable.lease() is not None
    assert not servable.drain(0.01)
    assert servable.state is S.UNLOADED
    servable.release()


def test_no_lease_is_lost_whoever_asks_while_it_drains() -> None:
    servable = ready()
    leased = [0] * 4
    start = threading.Barrier(5)

    def client(place: int) -> None:
        start.wait(60)
        while servable.lease() is not None:
            leased[place] += 1
            servable.release()

    threads = [threading.Thread(target=client, args=(place,)) for place in range(4)]
    for thread in threads:
        thread.start()
    start.wait(60)
    eventually(lambda: sum(leased) > 1000, "leases are taken and given back")
    assert servable.drain(10.0), "every lease came back"
    for thread in threads:
        thread.join(60)
    assert servable.status().in_flight == 0


def test_of_a_loader_and_a_dropper_that_race_exactly_one_takes_the_first_step() -> None:
    for _ in range(200):
        servable = Servable(bare_spec())
        start = threading.Barrier(2)
        won: list[ServableState] = []

        def race(to: S, start: threading.Barrier = start, servable: Servable = servable, won: list[S] = won) -> None:
            start.wait(60)
            if servable.advance(S.NEW, to):
                won.append(to)

        threads = [threading.Thread(target=race, args=(to,)) for to in (S.LOADING, S.UNLOADED)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join(60)
        assert won == [servable.state]
