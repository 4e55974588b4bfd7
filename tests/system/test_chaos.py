"""The short forms of `make chaos` and `make soak`."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.chaos.__main__ import chaos
from tests.chaos.faults import FAULTS
from tests.chaos.soak import soak

SHORT = ("kill -9 a worker", "the database is locked", "no room on the disk")


@pytest.mark.sqlite
def test_no_request_fails_that_a_fault_has_not_met(tmp_path: Path) -> None:
    faults = [fault for fault in FAULTS if fault.name in SHORT]
    assert len(faults) == len(SHORT)
    for row in chaos(tmp_path, faults, times=1, seed=0):
        assert (row.times, row.failed, row.errors) == (1, 0, []), row
        assert row.sent >= 50, f"the load was too thin to prove anything: {row}"


@pytest.mark.slow
@pytest.mark.sqlite
@pytest.mark.timeout(500)
def test_every_fault_is_survived(tmp_path: Path) -> None:
    for row in chaos(tmp_path, [*FAULTS], times=1, seed=1):
        assert (row.times, row.failed, row.errors) == (1, 0, []), row


@pytest.mark.slow
@pytest.mark.timeout(300)
def test_random_switches_uploads_and_kills_fail_nothing_else(tmp_path: Path) -> None:
    report = soak(tmp_path, seconds=30, seed=1)
    assert report.failed == 0, report.errors
    assert report.sent > 500 and sum(report.deeds.values()) > 20
