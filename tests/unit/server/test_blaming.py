from __future__ import annotations

import signal

import pytest
from interlock_server.control.blaming import TOO_MANY, WINDOW_S, Judgement, Poison, judge
from interlock_server.process.deaths import Death
from interlock_server.process.notes import Note
from interlock_server.snapshot import VersionKey

A, B = VersionKey("a", 1), VersionKey("b", 2)
SEGV = -signal.SIGSEGV
KILL = -signal.SIGKILL


def note(key: VersionKey, *parts: int, whole: int = 0) -> Note:
    return Note(str(key), parts, whole)


def died(*running: Note, status: int = SEGV, at: float = 0.0, cause: str = "") -> Death:
    return Death("worker-0", 7, status, at, running, cause)


@pytest.mark.parametrize(
    ("deaths", "suspects", "poison", "quarantined"),
    [
        pytest.param([], {}, {}, {}, id="nothing happened"),
        pytest.param([died()], {}, {}, {}, id="a crash while nothing ran"),
        pytest.param([died(note(A, 1), status=KILL)] * 9, {}, {}, {}, id="killed from outside, again and again"),
        pytest.param([died(note(A, 1), status=1)] * 9, {}, {}, {}, id="ended by itself"),
        pytest.param([died(note(A, 1))], {A}, {}, {}, id="one crash makes a suspect"),
        pytest.param([died(note(A, 1), note(B, 2))], {A, B}, {}, {}, id="two ran at once"),
        pytest.param(
            [died(note(A, 1, 2)), died(note(A, 2, whole=22))],
            {A},
            {Poison(A, 22)},
            {},
            id="one of a batch twice",
        ),
        pytest.param(
            [died(note(A, 1)), died(note(A, 2, whole=22)), died(note(A, 2, whole=22))],
            {A},
            {Poison(A, 22)},
            {},
            id="the same request twice, another one once",
        ),
        pytest.param(
            [died(note(A, 2, whole=22))] * 9, {A}, {Poison(A, 22)}, {}, id="one request, however often, is one reason"
        ),
        pytest.param(
            [died(note(A, 1)), died(note(A, 2, whole=22)), died(note(A, 3, whole=33))],
            {A},
            {},
            {A},
            id="three crashes on three requests",
        ),
        pytest.param([died(note(A))] * 3, {A}, {}, {A}, id="three crashes while it was loaded"),
        pytest.param(
            [died(note(A, 1), status=KILL, cause="a run does not end")] * 3,
            {A},
            {},
            {A},
            id="killed for endless runs",
        ),
        pytest.param(
            [died(note(A, 1), note(B, 2)), died(note(A, 3, whole=33)), died(note(A, 4, whole=44)), died(note(A))],
            {A, B},
            {},
            {A},
            id="a bystander goes free",
        ),
        pytest.param(
            [died(note(A, 1), note(B, 2))] * 9, {A, B}, {}, {}, id="two that always ran together: neither is proven"
        ),
        pytest.param(
            [died(note(A, 1)), died(note(A, 2), note(B, 2)), died(note(A, 3))],
            {A, B},
            {},
            {A},
            id="beside a suspect a newcomer is no culprit",
        ),
        pytest.param([died(Note("no version", (1,)))] * 3, {}, {}, {}, id="a note that names no version"),
    ],
)
def test_blame_goes_to_what_ran_when_workers_crashed(
    deaths: list[Death], suspects: set[VersionKey], poison: set[Poison], quarantined: set[VersionKey]
) -> None:
    found = judge(deaths, now=1.0)
    assert found.suspects == set(suspects)
    assert found.poison == set(poison)
    assert {each.version for each in found.quarantined} == set(quarantined)


def test_old_crashes_do_not_count() -> None:
    deaths = [died(note(A), at=float(each)) for each in range(TOO_MANY)]
    assert judge(deaths, now=3.0).quarantined
    assert not judge(deaths, now=WINDOW_S + 0.5).quarantined
    assert judge(deaths, now=WINDOW_S + 10) == Judgement()


def test_the_reason_says_how_often_and_how() -> None:
    (found,) = judge([died(note(A)), died(note(A)), died(note(A), status=-signal.SIGFPE)], now=1.0).quarantined
    assert "3 times" in found.reason and "killed by SIGFPE" in found.reason and "promote it again" in found.reason
    judgement = judge([died(note(A, 2, whole=22))] * 2, now=1.0)
    assert (judgement.poison_of(A), judgement.poison_of(B), judgement.quarantine_of(A)) == ((22,), (), "")
