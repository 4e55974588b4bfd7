"""What a front holds of its callers, and gives back: large messages, and what works for a call."""

from __future__ import annotations

import asyncio
import gc
import threading
import time
import weakref
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import grpc
import pytest
from interlock.errors import InterlockError, ModelNotFound, ResourceExhausted
from interlock.status import from_wire
from interlock_server.front.aio import AioFront
from interlock_server.front.core import CoreFront
from interlock_server.front.limits import LARGE_AT_ONCE, Room
from interlock_server.front.seam import Call, Conversation, Front

from tests.raw_http2 import RawConnection
from tests.support import eventually_async
from tests.unit.server.test_fronts import Limits, Line, native, run

LARGE = b"x" * (2 << 20)
TIGHT = Limits(max_message_bytes=4 << 20, max_in_flight_bytes=5 << 20)
FRONTS = pytest.mark.parametrize("kind", [AioFront, CoreFront], ids=["aio", "core"])


def reason(error: grpc.aio.AioRpcError) -> InterlockError:
    return from_wire(error.code(), error.details() or "", tuple(error.trailing_metadata() or ()))


async def refused(line: Line) -> None:
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await line.unary(LARGE)
    error = reason(caught.value)
    assert isinstance(error, ResourceExhausted) and "max_in_flight_bytes" in error.message
    assert error.retry_after_s == pytest.approx(0.1)


@FRONTS
async def test_large_requests_over_what_may_be_here_are_refused_until_others_have_ended(
    kind: type[AioFront] | type[CoreFront],
) -> None:
    held: list[Call] = []
    async with run(kind, held.append, TIGHT) as line:
        first, second = line.unary(LARGE), line.unary(b"2" + LARGE[1:])
        await eventually_async(lambda: len(held) == 2, "both were handed over")
        held.sort(key=lambda call: call.request[:1], reverse=True)  # two threads take large ones, in any order
        await refused(line)

        short = line.unary(b"x")
        await eventually_async(lambda: len(held) == 3, "a short one goes through")
        held[2].done(b"short")
        assert await short == b"short"

        held[0].done(b"first")  # an answer makes room, and so does a caller that leaves
        assert await first == b"first"
        third = line.unary(LARGE)
        await eventually_async(lambda: len(held) == 4, "one more has room")
        await refused(line)
        second.cancel()
        await eventually_async(lambda: held[1].cancelled, "its leaving is noted")
        fourth = line.unary(LARGE)
        await eventually_async(lambda: len(held) == 5, "one more has room again")
        for call in held[3:]:
            call.done(b"done")
        assert (await third, await fourth) == (b"done", b"done")


@FRONTS
async def test_large_messages_of_a_conversation_count_until_they_are_answered(
    kind: type[AioFront] | type[CoreFront],
) -> None:
    talking: list[Conversation] = []
    heard: list[bytes] = []

    def act(call: Call) -> None:
        if isinstance(call, Conversation):
            call.listen(heard.append, call.done)
            talking.append(call)
        else:
            call.done(b"unary")

    async with run(kind, act, TIGHT) as line:
        call = line.conversation()
        for _ in range(2):
            await call.write(LARGE)
        await eventually_async(lambda: len(heard) == 2, "both were read")
        await refused(line)
        talking[0].message(b"one")
        assert await call.read() == b"one"
        assert await line.unary(LARGE) == b"unary"
        await call.write(LARGE)
        await eventually_async(lambda: len(heard) == 3, "the third was read")
        await refused(line)
        call.cancel()
        await eventually_async(lambda: talking[0].cancelled, "its end is noted")
        assert await line.unary(LARGE) == b"unary"


@FRONTS
async def test_an_answer_that_is_weighed_is_held_once_or_refused_while_its_call_can_still_be_counted(
    kind: type[AioFront] | type[CoreFront],
) -> None:
    seen: list[int] = []

    def act(call: Call) -> None:
        try:
            call.weigh(LARGE * int(call.request))
        except InterlockError as error:
            call.fail(error)
            return
        seen.append(room.held)
        call.done(LARGE * int(call.request))

    async with run(kind, act, TIGHT) as line:
        room = room_of(line.front)
        assert await line.unary(b"1") == LARGE
        for weight, setting in ((b"3", "max_message_bytes"), (b"2", "max_in_flight_bytes")):
            await eventually_async(lambda: room.held == 0, "everything was given back")
            room.take(4 << 20)
            with pytest.raises(grpc.aio.AioRpcError, match=setting):
                await line.unary(weight)
            room.give(4 << 20)
        await eventually_async(lambda: room.held == 0, "everything was given back")
    assert seen == [len(LARGE)]


@FRONTS
async def test_a_large_request_whose_caller_leaves_before_a_thread_has_time_is_not_handed_over(
    kind: type[AioFront] | type[CoreFront],
) -> None:
    seen: list[bytes] = []
    go = threading.Event()

    def act(call: Call) -> None:
        seen.append(call.request[:1])
        go.wait(60)
        call.done(b"done")

    async with run(kind, act, Limits(max_message_bytes=4 << 20)) as line:
        room = room_of(line.front)
        try:
            busy = [line.unary(LARGE) for _ in range(LARGE_AT_ONCE)]
            await eventually_async(lambda: len(seen) == LARGE_AT_ONCE, "every thread for large requests is busy")
            leaving = line.unary(b"2" + LARGE[1:])
            await eventually_async(lambda: room.held == (LARGE_AT_ONCE + 1) * len(LARGE), "it waits for a thread")
            leaving.cancel()
            await eventually_async(lambda: room.held == LARGE_AT_ONCE * len(LARGE), "its leaving is noted")
        finally:
            go.set()
        assert [await call for call in busy] == [b"done"] * LARGE_AT_ONCE
        assert await line.unary(b"3" + LARGE[1:]) == b"done"
    assert seen == [b"x"] * LARGE_AT_ONCE + [b"3"]


def room_of(front: Front) -> Room:
    if isinstance(front, AioFront):
        return front._room
    assert isinstance(front, CoreFront) and front._common is not None
    return front._common.room


@contextmanager
def no_collector() -> Iterator[None]:
    gc.collect()
    gc.disable()
    try:
        yield
    finally:
        gc.enable()


@pytest.mark.parametrize("kind", [AioFront, CoreFront, native], ids=["aio", "core", "native"])
@pytest.mark.parametrize("well", [True, False], ids=["well", "in error"])
async def test_what_works_for_a_call_is_let_go_with_its_end_and_not_by_the_garbage_collector(
    kind: Callable[[Limits], Front], well: bool
) -> None:
    class Work:
        """Refers to the call that refers to it, as a queued request does."""

        def __init__(self, call: Call) -> None:
            self.call = call
            self.tensor = call.request

        def forget(self) -> None:
            """Nothing: it is here to be referred to."""

    works: list[weakref.ref[Work]] = []

    def act(call: Call) -> None:
        work = Work(call)
        works.append(weakref.ref(work))
        call.on_cancel(work.forget)
        if well:
            call.done(b"done")
        else:
            call.fail(ModelNotFound("m"))

    async with run(kind, act) as line:
        line.handler.calls = Forgetful()
        with no_collector():
            assert await line.unary(b"tensors").code() is (grpc.StatusCode.OK if well else grpc.StatusCode.NOT_FOUND)
            await eventually_async(lambda: works[0]() is None, "nothing of the call is left")


class Forgetful(list[Call]):
    """Keeps no call."""

    def append(self, call: Call) -> None:
        """Drop it."""


@FRONTS
async def test_an_alarm_that_has_rung_is_let_go_before_the_end_of_its_call(
    kind: type[AioFront] | type[CoreFront],
) -> None:
    class Ring:
        def __init__(self, call: Call) -> None:
            self.call = call

        def __call__(self) -> None:
            self.call.message(b"rung")

    rings: list[weakref.ref[Ring]] = []

    def listen(call: Call) -> None:
        assert isinstance(call, Conversation)

        def hear(data: bytes) -> None:
            ring = Ring(call)
            rings.append(weakref.ref(ring))
            call.alarm(time.monotonic(), ring)

        call.listen(hear, call.done)

    async with run(kind, listen) as there:
        call = there.conversation()
        for _ in range(4):
            await call.write(b"?")
            assert await call.read() == b"rung"
        await eventually_async(lambda: [ring() for ring in rings[:2]] == [None, None], "those before the last are gone")


@FRONTS
async def test_who_works_for_a_conversation_is_told_when_it_fails(
    kind: type[AioFront] | type[CoreFront],
) -> None:
    told = asyncio.Event()
    limits = Limits()
    loop = asyncio.get_running_loop()

    def tell() -> None:
        loop.call_soon_threadsafe(told.set)

    def listen(call: Call) -> None:
        assert isinstance(call, Conversation)
        call.listen(lambda data: None, call.done)
        call.on_cancel(tell)

    async with run(kind, listen, limits) as there:
        call = there.conversation()
        await call.write(b"is worked on")
        await call.write(bytes(limits.max_message_bytes + 1))
        assert await call.code() is grpc.StatusCode.RESOURCE_EXHAUSTED
        await asyncio.wait_for(told.wait(), 60)


@pytest.mark.parametrize("kind", [AioFront, CoreFront, native], ids=["aio", "core", "native"])
async def test_a_deadline_that_is_lowered_holds_for_the_next_call_whoever_still_waits(
    kind: Callable[[Limits], Front],
) -> None:
    limits = Limits(default_deadline_s=3600.0)
    async with run(kind, lambda call: None, limits) as line:
        patient = line.unary()
        await eventually_async(lambda: len(line.handler.calls) == 1, "a call waits that may take an hour")
        object.__setattr__(limits, "default_deadline_s", 0.05)  # as a reload does, in place
        with pytest.raises(grpc.aio.AioRpcError) as caught:
            await asyncio.wait_for(line.unary(), 20)
        assert caught.value.code() is grpc.StatusCode.DEADLINE_EXCEEDED
        assert not patient.done()
        patient.cancel()


@FRONTS
async def test_a_front_that_stops_at_once_lets_every_call_end_before_it_is_gone(
    kind: type[AioFront] | type[CoreFront],
) -> None:
    for _ in range(6):
        async with run(kind, lambda call: call.done(b"done")) as line:
            calls = [line.unary(b"x" * size) for size in (1, 70_000) * 30]
            await eventually_async(lambda: len(line.handler.calls) > 0, "the first one is here")
            await line.front.stop(0)  # gRPC ends the process over what is begun on a queue that was shut down
            await asyncio.gather(*calls, return_exceptions=True)


def test_room_takes_one_message_of_any_size_and_more_only_up_to_its_bound() -> None:
    room = Room(100)
    room.take(500)
    with pytest.raises(ResourceExhausted, match="hold 500 bytes, and 1 more are over the limit of 100"):
        room.take(1)
    room.give(500)
    room.take(60)
    room.take(40)
    with pytest.raises(ResourceExhausted):
        room.take(1)
    room.give(100)
    assert room.held == 0


@FRONTS
@pytest.mark.parametrize(("interval_s", "stays"), [(10.0, False), (0.0, True)])
async def test_a_silent_connection_may_be_pinged_as_often_as_the_setting_says(
    kind: type[AioFront] | type[CoreFront], interval_s: float, stays: bool
) -> None:
    def stayed(address: str) -> bool:
        with RawConnection(address) as caller:
            for _ in range(10):
                if not caller.refused:
                    caller.ping()
            return not caller.refused

    async with run(kind, lambda call: None, Limits(min_ping_interval_s=interval_s)) as line:
        assert await asyncio.to_thread(stayed, line.address) is stays
