from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from interlock_registry.registry import Registry

from tests.unit.registry.builders import Desk


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "registry.db"


@pytest.fixture
def registry(path: Path) -> Iterator[Registry]:
    registry = Registry.open(f"sqlite:///{path}")
    yield registry
    registry.close()


@pytest.fixture
def desk(registry: Registry, path: Path) -> Desk:
    return Desk(registry, path)
