from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Iterator
from pathlib import Path

import pytest
from interlock_server.worker.catalog import Catalog
from interlock_server.worker.engine import Engine
from interlock_server.worker.loader import Loader

from tests.unit.server.rig import Rig, running

NewCatalog = Callable[[], Catalog]


@pytest.fixture(scope="session")
def engine() -> Engine:
    """The process's one engine: ONNX Runtime's global thread pools can be made only once."""
    return Engine("cpu", 1)


@pytest.fixture
def new_catalog(engine: Engine) -> Iterator[NewCatalog]:
    made: list[Catalog] = []

    def make() -> Catalog:
        made.append(Catalog(Loader(engine), drain_grace_s=10.0))
        return made[-1]

    yield make
    for catalog in made:
        catalog.drain_all()


@pytest.fixture
def catalog(new_catalog: NewCatalog) -> Catalog:
    return new_catalog()


@pytest.fixture
async def rig(engine: Engine, tmp_path: Path) -> AsyncIterator[Rig]:
    async with running(engine, tmp_path / "data") as made:
        yield made
