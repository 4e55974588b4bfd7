from __future__ import annotations

import asyncio
import itertools
import time
from collections.abc import Awaitable

import grpc
import grpc.aio
import pytest
from interlock.errors import (
    Cancelled,
    DeadlineExceeded,
    InterlockError,
    InvalidInput,
    Overloaded,
    QueueFull,
    ResourceExhausted,
)
from interlock.status import from_wire
from interlock_server.front.core import CoreFront
from interlock_server.front.seam import Call
from interlock_server.front.turnstile import Turnstile, came_to_nothing, turned_away

from tests.unit.server.test_fronts import UNARY, run

METHOD = "/service/Method"
MANY, FEW = b"127.0.0.1:1", b"127.0.0.1:2"
NOW = 100.0


def thread(turnstile: Turnstile) -> bool:
    """Tell whether its thread counts as busy."""
    return turnstile.busy


def busy() -> Turnstile:
    """Return one whose thread has no time, and whose chance is even."""
    steps = iter(range(1_000_000))
    turnstile = Turnstile(lambda: next(steps) * 37 % 100 / 100)
    turnstile.worked(0.0, NOW - 1)
    turnstile.worked(0.0, NOW)
    assert thread(turnstile)
    return turnstile


def second(turnstile: Turnstile, calls: int, room: int, line: bytes = MANY) -> int:
    """Let a second's calls come, of which so many are answered, and return how many were looked at."""
    looked_at = 0
    for _ in range(calls):
        if turnstile.turns_away(METHOD, line):
            continue
        looked_at += 1
        if looked_at > room:
            turnstile.refused(METHOD, line)
    return looked_at


@pytest.mark.parametrize(
    ("waits", "is_busy"),
    [([0.001, 0.001], True), ([0.03], False), ([0.004] * 4, False), ([0.001] * 10, True)],
)
def test_a_thread_is_busy_that_hardly_waits(waits: list[float], is_busy: bool) -> None:
    turnstile = Turnstile()
    turnstile.worked(0.0, NOW)

    for wait_s in waits:
        turnstile.worked(wait_s, NOW + 0.01)
    turnstile.worked(0.0, NOW + 0.06)

    assert thread(turnstile) is is_busy


def test_a_thread_is_not_busy_from_what_was_before_its_first_call() -> None:
    turnstile = Turnstile()
    turnstile.worked(0.001, NOW)
    turnstile.worked(0.001, NOW + 0.01)
    assert not thread(turnstile)


@pytest.mark.parametrize(
    ("error", "counts"),
    [
        (QueueFull("m", 1, 4, retry_after_s=0.1), True),
        (Overloaded("m", 1, wait_s=0.5, retry_after_s=0.1), True),
        (DeadlineExceeded("the deadline passed before the request was queued"), True),
        (Cancelled("the caller went away"), True),
        (ResourceExhausted("a quota that time does not mend"), False),
        (InvalidInput("two rows too many"), False),
    ],
)
def test_what_came_too_late_counts_as_refused_and_what_is_the_callers_fault_does_not(
    error: InterlockError, counts: bool
) -> None:
    assert came_to_nothing(error) is counts


def test_a_few_refusals_turn_nobody_away() -> None:
    turnstile = busy()
    assert second(turnstile, 50, room=0) == 50
    assert second(turnstile, 1000, room=0) < 500


def test_nobody_is_turned_away_who_was_not_refused() -> None:
    turnstile = busy()

    second(turnstile, 1000, room=100)

    assert second(turnstile, 1000, room=1000, line=FEW) == 1000
    assert not turnstile.turns_away("/service/Other", MANY)


@pytest.mark.parametrize(("room", "least", "most"), [(10, 90, 120), (100, 150, 250), (300, 450, 750), (600, 600, 1000)])
def test_a_connection_is_looked_at_about_twice_as_often_as_it_is_answered(room: int, least: int, most: int) -> None:
    turnstile = busy()

    looked_at = 0
    for passed in range(8):
        looked_at = second(turnstile, 1000, room)
        turnstile.worked(0.0, NOW + 1 + passed)

    assert least <= looked_at <= most
    assert turnstile.turned_away > 0


def test_once_there_is_room_again_everybody_is_let_in() -> None:
    turnstile = busy()
    second(turnstile, 1000, room=10)

    looked_at = 0
    for passed in range(12):
        looked_at = second(turnstile, 1000, room=1000)
        turnstile.worked(0.0, NOW + 1 + passed)

    assert looked_at == 1000 and not turnstile.suspects


async def test_a_front_that_only_refuses_turns_one_connection_away_and_answers_the_other() -> None:
    errors = (QueueFull("m", 1, 4, retry_after_s=0.1), DeadlineExceeded("too late"), Cancelled("gone"))
    endings = itertools.cycle(errors)

    def refuse_or_answer(call: Call) -> None:
        if call.request == b"refuse":
            time.sleep(0.01)  # what refusing a call takes, drawn out: no caller is quicker than this
            call.fail(next(endings))
        else:
            call.done(call.request)

    def ending(call: grpc.aio.UnaryUnaryCall[bytes, bytes]) -> Awaitable[grpc.StatusCode]:
        return call.code()

    own = [("grpc.use_local_subchannel_pool", 1)]
    async with (
        run(CoreFront, refuse_or_answer) as there,
        grpc.aio.insecure_channel(there.address, options=own) as other,
    ):
        ask: grpc.aio.UnaryUnaryMultiCallable[bytes, bytes] = other.unary_unary(UNARY)
        for _ in range(20):
            many = [there.unary(b"refuse", timeout=20) for _ in range(100)]
            assert await ask(b"answer", timeout=20) == b"answer"
            assert grpc.StatusCode.OK not in await asyncio.gather(*map(ending, many))
            if there.front.turned_away:
                break
        assert there.front.turned_away > 0


def test_a_thread_with_time_counts_nothing() -> None:
    turnstile = busy()
    second(turnstile, 1000, room=10)

    turnstile.worked(1.0, NOW + 1)

    assert not thread(turnstile) and not turnstile.suspects


def test_connections_that_are_counted_are_bounded() -> None:
    turnstile = busy()
    for number in range(5000):
        for _ in range(20):
            turnstile.refused(METHOD, str(number).encode())

    assert not any(turnstile.turns_away(METHOD, str(number).encode()) for number in range(4096, 5000))


def test_who_is_turned_away_is_told_when_to_come_again() -> None:
    statuses = {turned_away() for _ in range(200)}

    errors = [from_wire(each.code, each.message, each.trailing) for each in statuses]
    assert all(type(error) is ResourceExhausted for error in errors)
    assert len({error.retry_after_s for error in errors}) > 1
