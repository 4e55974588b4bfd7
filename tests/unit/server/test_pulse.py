from __future__ import annotations

import pytest
from interlock_server.process.halt import TOLERATED_S, Halt
from interlock_server.process.pulse import PAUSED_S, STARTING_S, Pulse

HANG_S = 10.0


def looks(*moments: tuple[float, bool]) -> Pulse:
    """Return the pulse of a child started at 0 after looks at these times, with or without a beat since the last."""
    pulse = Pulse.begin(0.0)
    for now, beaten in moments:
        pulse = pulse.after_look(now, beaten=beaten)
    return pulse


def every_second(begin: int, end: int, *, beaten: bool = False) -> list[tuple[float, bool]]:
    return [(float(now), beaten) for now in range(begin, end + 1)]


@pytest.mark.parametrize(
    ("moments", "hangs"),
    [
        pytest.param([], False, id="just started"),
        pytest.param(every_second(1, int(STARTING_S) - 1), False, id="still starting"),
        pytest.param(every_second(1, int(STARTING_S)), True, id="never began to beat"),
        pytest.param(every_second(1, 100, beaten=True), False, id="beats"),
        pytest.param([(1.0, True), *every_second(2, 10)], False, id="silent for nine seconds"),
        pytest.param([(1.0, True), *every_second(2, 11)], True, id="silent for ten seconds"),
        pytest.param([(1.0, True), *every_second(2, 10), (11.0, True)], False, id="beats again at the last moment"),
        pytest.param([(1.0, True), (1000.0, False)], False, id="everything was stopped, the supervisor too"),
        pytest.param([(1.0, True), (1000.0, False), *every_second(1001, 1009)], False, id="time to beat after a stop"),
        pytest.param([(1.0, True), (1000.0, False), *every_second(1001, 1010)], True, id="silent after a stop"),
        pytest.param([(1.0, True), (1.0 + PAUSED_S - 0.1, False)], False, id="a late look is no stop"),
    ],
)
def test_a_child_hangs_when_it_is_silent_while_its_supervisor_looks(
    moments: list[tuple[float, bool]], hangs: bool
) -> None:
    assert looks(*moments).hangs(HANG_S) is hangs


def test_a_first_beat_may_take_longer_than_a_later_one() -> None:
    assert not looks(*every_second(1, 20)).hangs(HANG_S)
    assert looks(*every_second(1, 70)).hangs(hang_s=70.0)
    assert not looks(*every_second(1, 69)).hangs(hang_s=70.0)


# --- children that a signal has stopped ---


def halts(*looks: tuple[float, bool | None]) -> Halt:
    """Return what is known after looks at these times, each with what the kernel had to tell."""
    halt = Halt()
    for now, stopped in looks:
        halt = halt.after_look(now, stopped=stopped)
    return halt


@pytest.mark.parametrize(
    ("looks", "too_long"),
    [
        pytest.param([(1.0, None), (2.0, None)], False, id="nothing was ever told"),
        pytest.param([(1.0, True)], False, id="just stopped"),
        pytest.param([(1.0, True), (1.0 + TOLERATED_S - 0.1, None)], False, id="stopped for less than is tolerated"),
        pytest.param([(1.0, True), (1.5, None), (1.0 + TOLERATED_S, None)], True, id="stopped for longer"),
        pytest.param([(1.0, True), (1.5, False), (9.0, None)], False, id="goes on again"),
        pytest.param([(1.0, True), (1.5, False), (1.6, True), (2.1, None)], False, id="stopped a second time"),
        pytest.param([(1.0, True), (1.5, None), (100.0, None)], False, id="the supervisor was stopped too"),
        pytest.param([(1.0, True), (100.0, None), (100.0 + TOLERATED_S, None)], True, id="and went on, the child not"),
        pytest.param([(1.0, True), (100.0, False)], False, id="and the child went on with it"),
    ],
)
def test_a_stopped_child_is_given_up_when_it_stays_stopped(
    looks: list[tuple[float, bool | None]], too_long: bool
) -> None:
    assert halts(*looks).too_long is too_long
