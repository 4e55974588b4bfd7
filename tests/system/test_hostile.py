"""The whole corpus of hostile models, the wild ones too, before a real server."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.hostile.__main__ import LIMITS, run
from tests.hostile.corpus import CORPUS
from tests.server import Server


@pytest.mark.slow
def test_no_hostile_model_reaches_a_worker_and_a_good_one_is_served_after_them(tmp_path: Path) -> None:
    with Server(tmp_path / "data", env=LIMITS) as server:
        assert run(server, list(CORPUS)) == []
