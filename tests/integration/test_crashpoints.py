"""Some of the moments to crash or to fail at; `make crashpoints` takes all of them."""

from __future__ import annotations

import random
import shutil
from pathlib import Path

import pytest

from tests.crashpoints.enumeration import enumerate_points
from tests.crashpoints.operations import OPERATIONS, SYNCED, prepare
from tests.crashpoints.points import Point
from tests.crashpoints.powerloss import lose_power

pytestmark = pytest.mark.slow  # they need strace, which the suite of every day does without


@pytest.fixture(autouse=True)
def strace() -> None:
    assert shutil.which("strace") is not None, "strace is missing; install Debian's package strace"


def one_of_each(found: list[Point]) -> list[Point]:
    """A kill before the blobs are synced, one of these syncs failing, a full disk while the database is written."""
    chosen = []
    for fault, call in (("SIGKILL", "fsync"), ("EIO", "fsync"), ("ENOSPC", "pwrite64")):
        fitting = [each for each in found if (each.fault, each.call) == (fault, call)]
        chosen.append(fitting[len(fitting) // 2])
    return chosen


def test_a_registration_that_crashes_or_fails_is_there_or_not_and_can_be_repeated(tmp_path: Path) -> None:
    prepare(tmp_path / "base")
    result = enumerate_points("register", tmp_path / "base", tmp_path / "register", one_of_each)
    assert (result.violations, result.tried.total()) == ([], 3)


@pytest.mark.timeout(300)
@pytest.mark.parametrize("operation", SYNCED)
def test_what_was_acknowledged_survives_a_power_loss_and_what_was_not_is_whole_or_absent(
    operation: str, tmp_path: Path
) -> None:
    prepare(tmp_path / "base")
    result = lose_power(operation, tmp_path / "base", tmp_path / operation)
    assert result.violations == []
    assert result.moments >= 6


@pytest.mark.timeout(900)
@pytest.mark.parametrize("operation", OPERATIONS)
def test_a_crash_or_failure_at_any_point_leaves_everything_whole(operation: str, tmp_path: Path) -> None:
    prepare(tmp_path / "base")
    dice = random.Random(operation)
    result = enumerate_points(
        operation, tmp_path / "base", tmp_path / operation, lambda found: dice.sample(found, min(20, len(found)))
    )
    assert result.violations == []
    assert result.tried.total() >= 10
