from __future__ import annotations

from pathlib import Path

import pytest

from tests.fuzz.target import Target


@pytest.mark.parametrize("seed", [1, 2])
def test_broken_requests_break_nothing(tmp_path: Path, seed: int) -> None:
    with Target(tmp_path, seed) as target:
        for _ in range(400):
            assert target.round() is None
    assert target.outcomes["OK"] > 50 and target.outcomes["INVALID_INPUT"] > 50
