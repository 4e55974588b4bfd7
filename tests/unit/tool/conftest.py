from __future__ import annotations

import asyncio
from collections.abc import Callable
from pathlib import Path

import pytest
from interlock_registry.tool import ToolLimits, ValidateJob, ValidateReport, validate

from tests import models

Judge = Callable[..., ValidateReport]


@pytest.fixture
def judge(tmp_path: Path) -> Judge:
    """Validate model bytes in a real child."""

    def run(model: bytes, golden: Path | None = None, limits: ToolLimits | None = None) -> ValidateReport:
        path = models.write(tmp_path / "model.onnx", model)
        return asyncio.run(validate(ValidateJob(model=path, golden=golden), limits or ToolLimits())).report

    return run
