"""The judgement of the switch benchmark, on made-up requests whose figures are known."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pytest

from tests.bench.load.records import Incident, Records
from tests.bench.switch import analysis
from tests.bench.switch.analysis import PROMOTE, ROLLBACK, SwitchEvent, Window

END = 9.0
EVENTS = (
    SwitchEvent(
        action=PROMOTE,
        started=2.0,
        acknowledged=3.0,
        from_version=1,
        to_version=2,
        resident=False,
        prepare_s=0.9,
        commit_s=0.1,
        lagging=0,
    ),
    SwitchEvent(
        action=ROLLBACK,
        started=6.0,
        acknowledged=6.01,
        from_version=2,
        to_version=1,
        resident=True,
        prepare_s=0.0,
        commit_s=0.005,
        lagging=0,
    ),
)


def records(*requests: tuple[float, float, int], late_s: float = 0.0, incidents: Sequence[Incident] = ()) -> Records:
    """Requests as (sent, ended, version), `late_s` after they were due."""
    sent = np.array([request[0] for request in requests])
    return Records.merge(
        [
            Records(
                sent - late_s,
                sent,
                np.array([request[1] for request in requests]),
                np.array([request[2] for request in requests], np.int16),
                tuple(incidents),
            )
        ]
    )


@pytest.mark.parametrize(
    ("request_", "found"),
    [
        pytest.param((2.99, 3.2, 1), 0, id="sent before the acknowledgement, the old version may answer"),
        pytest.param((3.01, 3.02, 1), 1, id="sent after the acknowledgement, the old version must not answer"),
        pytest.param((3.01, 3.02, 2), 0, id="sent after the acknowledgement, the new version answers"),
        pytest.param((5.99, 6.02, 1), 0, id="in flight when the next switch began, its version may answer"),
        pytest.param((5.99, 6.02, 3), 1, id="in flight when the next switch began, no third version may answer"),
        pytest.param((6.02, 6.03, 2), 1, id="sent after the rollback, the rolled-back version must not answer"),
        pytest.param((1.0, 1.1, 2), 0, id="before the first switch nothing is known to be old"),
    ],
)
def test_a_stale_answer_is_an_old_version_after_the_acknowledgement(
    request_: tuple[float, float, int], found: int
) -> None:
    assert analysis.stale(records(request_), EVENTS, END) == found


def test_the_last_old_answer_is_counted_on_any_connection() -> None:
    seen = records((5.9, 6.02, 2), (5.95, 6.05, 2), (5.99, 6.07, 1), (6.1, 6.2, 1))

    assert analysis.last_old_answer(seen, EVENTS[1], None, END) == 6.05


def test_the_last_old_answer_is_at_the_start_when_none_came_after_it() -> None:
    assert analysis.last_old_answer(records((5.0, 5.5, 2)), EVENTS[1], None, END) == 6.0


def test_quiet_time_keeps_away_from_switches() -> None:
    assert analysis.quiet_windows(EVENTS, begin=0.5) == [Window(0.5, 1.75), Window(3.35, 5.75)]


def test_switches_too_close_together_leave_no_quiet_time() -> None:
    assert analysis.quiet_windows(EVENTS, begin=1.9) == [Window(3.35, 5.75)]


def test_the_slowest_second_counts_whole_seconds_only() -> None:
    ended = np.array([0.1, 0.2, 1.5, 2.1, 2.2, 2.3, 3.05])

    assert analysis.slowest_second(ended, 0.0, 3.1) == 1


def test_latency_counts_from_when_a_request_was_due() -> None:
    quiet = [Window(0.0, 1.0)]
    seen = records((0.5, 0.6, 1), late_s=0.1)

    assert analysis.latency(seen, quiet, quiet).p50_ms == pytest.approx(200.0)


def test_the_windows_of_an_event_hold_its_requests_and_no_others() -> None:
    quiet = [(t, t + 0.010, 1) for t in np.arange(0.6, 1.7, 0.01)]
    preparing = [(t, t + 0.020, 1) for t in np.arange(2.01, 2.6, 0.01)]
    seen = records(*quiet, *preparing, (6.0, 6.030, 1))

    found = analysis.figures("test", seen, EVENTS, 0.5, END, 0.0)

    assert found.quiet.p99_ms == pytest.approx(10.0)
    assert found.during_prepare.ratio == pytest.approx(2.0)
    assert found.around_rollback.ratio == pytest.approx(3.0)
    assert found.around_rollback.requests == 1
    assert (found.failed, found.wrong, found.stale) == (0, 0, 0)
    assert found.rollback_ack.median_ms == pytest.approx(10.0)


def test_incidents_are_counted_by_kind() -> None:
    incidents = [Incident(1.0, "failed", "UNAVAILABLE"), Incident(2.0, "wrong", "…"), Incident(3.0, "failed", "…")]

    found = analysis.figures("test", records((1.0, 1.1, 1), incidents=incidents), EVENTS, 0.0, END, 0.0)

    assert (found.failed, found.wrong) == (2, 1)


def test_a_burst_of_other_work_spoils_one_window_and_not_what_is_typical() -> None:
    quiet, windows = [Window(k, k + 0.5) for k in range(5)], [Window(k + 0.5, k + 1.0) for k in range(5)]
    calm = [(k + i / 100, k + i / 100 + (0.010 if i < 50 else 0.012), 1) for k in range(4) for i in range(100)]
    burst = [(4 + i / 100, 4 + i / 100 + (0.010 if i < 50 else 0.900), 1) for i in range(100)]

    found = analysis.latency(records(*calm, *burst), windows, quiet)

    assert found.ratio == pytest.approx(90.0)
    assert found.typical == pytest.approx(1.2)


def test_nothing_is_typical_of_windows_with_few_requests() -> None:
    quiet = [Window(0.0, 1.0)]

    assert np.isnan(analysis.latency(records((0.5, 0.6, 1)), quiet, quiet).typical)
