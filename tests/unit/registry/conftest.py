from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from interlock_registry.registry import Registry

from tests.databases import POSTGRESQL, SQLITE, Cluster, Place, PostgresPlace, fresh
from tests.unit.registry.builders import Desk
from tests.unit.registry.warehouse import Warehouse


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "registry.db"


@pytest.fixture(params=[SQLITE, POSTGRESQL])
def place(request: pytest.FixtureRequest) -> Iterator[Place]:
    """An empty registry, on each database in turn."""
    kind: str = request.param
    if kind == SQLITE:
        yield fresh(request.getfixturevalue("path"))
        return
    cluster: Cluster = request.getfixturevalue("cluster")
    made: PostgresPlace = cluster.new()
    yield made
    made.server.drop(made.name)


@pytest.fixture
def registry(place: Place) -> Iterator[Registry]:
    registry = Registry.open(place.url)
    yield registry
    registry.close()


@pytest.fixture
def desk(registry: Registry, place: Place) -> Desk:
    return Desk(registry, place)


@pytest.fixture
def warehouse(desk: Desk, tmp_path: Path) -> Warehouse:
    return Warehouse.at(desk, tmp_path)
