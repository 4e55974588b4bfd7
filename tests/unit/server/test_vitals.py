from __future__ import annotations

from dataclasses import asdict

import pytest
from interlock_server.vitals import STUCK_FRONT_S, HealthLimits, Vitals, examine, vitals_message, vitals_value

LIMITS = HealthLimits(overdue_s=10.0, loading_s=130.0, rss_bytes=1000)


@pytest.mark.parametrize(
    ("vitals", "reason", "version", "gently"),
    [
        (Vitals(), None, "", False),
        (Vitals(front_stuck_s=STUCK_FRONT_S - 0.1, rss_bytes=1000), None, "", False),
        (Vitals(front_stuck_s=STUCK_FRONT_S), "it has taken no request for 4.0 s", "", False),
        (Vitals(oldest_run="m@1", oldest_run_s=1e6), None, "", False),
        (Vitals(overdue="m@1", overdue_s=9.9), None, "", False),
        (Vitals(overdue="m@1", overdue_s=10.0), "a run of m@1 goes on 10.0 s", "m@1", False),
        (Vitals(loading="m@2", loading_s=129.0), None, "", False),
        (Vitals(loading="m@2", loading_s=130.0), "loading m@2 has not ended", "m@2", False),
        (Vitals(rss_bytes=1001), "it holds 1,001 bytes", "", True),
        (Vitals(rss_bytes=1001, overdue="m@1", overdue_s=99.0), "a run of m@1", "m@1", False),
    ],
)
def test_a_worker_is_replaced_when_it_is_not_well(
    vitals: Vitals, reason: str | None, version: str, gently: bool
) -> None:
    ailment = examine(vitals, LIMITS)
    if reason is None:
        assert ailment is None
        return
    assert ailment is not None
    assert ailment.reason.startswith(reason)
    assert (ailment.version, ailment.gently) == (version, gently)


def test_without_a_limit_memory_is_no_reason() -> None:
    assert examine(Vitals(rss_bytes=1 << 60), HealthLimits(1.0, 1.0, 0)) is None


def test_vitals_survive_the_wire() -> None:
    vitals = Vitals(1.5, "a@1", 2.5, "b@2", 3.5, "c@3", 4.5, 6)
    assert asdict(vitals_value(vitals_message(vitals))) == asdict(vitals)
