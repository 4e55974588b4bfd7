from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from interlock.model import ServingConfig
from interlock_server.worker.batcher import Batcher, Lane
from interlock_server.worker.catalog import Catalog
from interlock_server.worker.engine import Engine
from interlock_server.worker.loader import Loader
from interlock_server.worker.pace import Pace

from tests.unit.server.batching import Bench, Doubler, Elsewhere, Make
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


@pytest.fixture
def make() -> Iterator[Make]:
    made: list[Bench] = []

    def build(session: Doubler | None = None, *, pace: Pace | None = None, **config: Any) -> Bench:
        session, made_of = session or Doubler(), ServingConfig(**config)
        bench = Bench(
            session, Batcher("m@1", [Lane(session) for _ in range(made_of.instances)], made_of, pace or Elsewhere())
        )
        made.append(bench)
        return bench

    yield build
    for bench in made:
        bench.session.gate.set()
        bench.batcher.close(10)
        assert not any(thread.is_alive() for thread in bench.batcher._threads)
