from __future__ import annotations

import sys
import threading
import time
import weakref
from collections.abc import Iterator
from contextlib import contextmanager

import grpc
import pytest
from interlock.errors import StartupRefused
from interlock_server.front import choice, completion, native
from interlock_server.front.alarms import Alarms, Patience, tick_of
from interlock_server.front.choice import choose, self_check
from interlock_server.settings import Settings

from tests.support import eventually


async def test_the_fast_front_is_taken_where_it_works() -> None:
    assert await self_check() == ""
    assert (await choose("auto", Settings.load({}, None))).name == "core"
    assert (await choose("core", Settings.load({}, None))).name == "core"
    assert (await choose("aio", Settings.load({}, None))).name == "aio"


@pytest.mark.parametrize("version", ["1.79.9", "1.86.0", "2.0.0"])
async def test_a_grpcio_that_was_not_tried_means_the_reference_front(
    monkeypatch: pytest.MonkeyPatch, version: str
) -> None:
    monkeypatch.setattr(grpc, "__version__", version)
    assert f"grpcio {version} is not between 1.80 and 1.86" in completion.missing()
    assert (await choose("auto", Settings.load({}, None))).name == "aio"
    with pytest.raises(StartupRefused, match="leave --front at auto, or say aio"):
        await choose("core", Settings.load({}, None))


async def test_a_grpcio_whose_private_module_changed_means_the_reference_front(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.delattr("grpc._cython.cygrpc.SendMessageOperation")
    assert "has no SendMessageOperation" in await self_check()
    assert (await choose("auto", Settings.load({}, None))).name == "aio"
    assert "aio is taken" in caplog.text


async def test_a_front_that_answers_no_call_is_found_out(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(choice, "_PATIENCE_S", 0.2)
    monkeypatch.setattr(choice._Echo, "handle", lambda self, call: None)
    assert "a call to it failed" in await self_check()


async def test_native_is_taken_only_where_it_is_asked_for() -> None:
    assert native.missing() == ""
    assert (await choose("native", Settings.load({}, None))).name == "native"


async def test_native_without_its_package_says_what_installs_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "pygrpc_native", None)
    with pytest.raises(StartupRefused, match=r"run: pip install 'interlock\[native\]'; or leave --front at auto"):
        await choose("native", Settings.load({}, None))


@pytest.mark.parametrize("version", ["0.4.9", "0.6.0", "1.0"])
async def test_native_of_a_release_that_was_not_tried_is_refused(monkeypatch: pytest.MonkeyPatch, version: str) -> None:
    monkeypatch.setattr(native, "version", lambda name: version)
    with pytest.raises(StartupRefused, match=f"pygrpc-native {version} is not between 0.5 and 0.6"):
        await choose("native", Settings.load({}, None))


async def test_native_that_answers_no_call_is_found_out(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(choice, "_PATIENCE_S", 0.2)
    monkeypatch.setattr(choice._Echo, "handle", lambda self, call: None)
    with pytest.raises(StartupRefused, match="a call to it failed"):
        await choose("native", Settings.load({}, None))


# --- alarms ---


@contextmanager
def held(alarms: Alarms) -> Iterator[None]:
    """Let nothing ring before the end of the block: the one thread that rings is kept by an alarm of its own."""
    over = threading.Event()

    def wait() -> None:
        over.wait(60)

    alarms.set(time.monotonic(), wait)
    try:
        yield
    finally:
        over.set()


def test_alarms_ring_in_the_order_of_their_times() -> None:
    alarms, rung = Alarms(), list[int]()
    with held(alarms):
        now = time.monotonic()
        for number, after in enumerate((0.06, 0.02, 0.04)):
            alarms.set(now + after, lambda number=number: rung.append(number))  # type: ignore[misc]
    eventually(lambda: rung == [1, 2, 0], "they rang")
    alarms.close()


def test_an_alarm_that_was_ended_does_not_ring_and_one_that_fails_stops_no_other() -> None:
    alarms, rung = Alarms(), threading.Event()

    def fail() -> None:
        raise ValueError("odd")

    def never() -> None:
        rung_too_many.append("it was ended")

    rung_too_many: list[str] = []
    with held(alarms):
        now = time.monotonic()
        alarms.set(now + 0.02, never).discard(never)
        alarms.set(now + 0.03, fail)
        alarms.set(now + 0.04, rung.set)
    assert rung.wait(60)
    assert not rung_too_many
    alarms.close()
    alarms.close()


def test_alarms_that_ended_keep_nothing() -> None:
    alarms = Alarms()

    def ring() -> None:
        """Never, in this test."""

    for _ in range(1000):
        alarms.set(time.monotonic() + 3600, ring).discard(ring)
    assert alarms.waiting == 0
    alarms.set(time.monotonic() + 3600, ring)
    assert alarms.waiting == 1
    alarms.close()


class Waiting:
    def __init__(self, rung: list[str], name: str) -> None:
        self.rung, self.name = rung, name

    def overdue(self) -> None:
        self.rung.append(self.name)
        if self.name == "odd":
            raise ValueError("odd")


def test_calls_that_wait_equally_long_end_in_turn_but_for_those_that_ended_before() -> None:
    alarms, rung = Alarms(), list[str]()
    patience = Patience(alarms)
    odd, gone, last = (Waiting(rung, name) for name in ("odd", "gone", "last"))
    with held(alarms):
        now = time.monotonic()
        for number, call in enumerate((odd, gone, last)):
            patience.add(call, now + 0.02 * (number + 2))
        patience.remove(gone)
        patience.remove(gone)
    eventually(lambda: rung == ["odd", "last"], "both ended, and the first one's fault kept nobody back")
    patience.add(gone, time.monotonic())
    eventually(lambda: rung[2:] == ["gone"], "one that comes when all are through ends too")
    assert alarms.waiting == 0, "nothing is left to ring"
    alarms.close()


def test_one_alarm_stands_for_all_calls_that_wait_equally_long() -> None:
    alarms, rung = Alarms(), list[str]()
    patience = Patience(alarms)
    for number in range(1000):
        call = Waiting(rung, str(number))
        patience.add(call, time.monotonic() + 3600)
        patience.remove(call)
    patience.add(Waiting(rung, "open"), time.monotonic() + 3600)
    assert alarms.waiting == 1
    alarms.close()
    assert not rung


def test_what_has_rung_is_not_kept_until_something_else_rings() -> None:
    alarms, rung = Alarms(), list[str]()
    call = Waiting(rung, "late")
    kept = weakref.ref(call)
    alarms.set(time.monotonic(), call.overdue)
    del call
    eventually(lambda: rung == ["late"] and kept() is None, "it rang, and nothing of it is left")
    alarms.close()


def test_a_call_that_may_take_less_time_than_one_before_it_has_to_take_an_alarm_of_its_own() -> None:
    alarms = Alarms()
    patience = Patience(alarms)
    now = time.monotonic()
    assert patience.add(Waiting([], "before the setting was lowered"), now + 3600)
    assert not patience.add(Waiting([], "after that"), now + 60)
    assert patience.add(Waiting([], "an hour later"), now + 3601)
    alarms.close()


@pytest.mark.parametrize("after_s", [0.0, 0.001, 0.5, 4.999, 5.0, 60.0, 3600.0])
def test_an_alarm_rings_never_before_its_time_and_soon_after(after_s: float) -> None:
    now = 1234.5678
    late_s = tick_of(now + after_s, now) / 100 - (now + after_s)
    assert 0 < late_s <= (0.02 if after_s < 5 else 0.26)
