from __future__ import annotations

from pathlib import Path

import pytest

from tests.fuzz.target import Target


@pytest.mark.parametrize("seed", [1, 2])
def test_broken_requests_break_nothing(tmp_path: Path, seed: int) -> None:
    with Target(tmp_path, seed) as target:
        for _ in range(250):
            assert target.round() is None
    for outcome in ("OK", "INVALID_INPUT", "refused over REST"):
        assert target.outcomes[outcome] > 30, target.outcomes
