"""Fixtures that every kind of test may use."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import HealthCheck, settings

from tests import databases
from tests.databases import POSTGRESQL, SQLITE, Cluster
from tests.postgres import Postgres
from tests.server import Server

# How long an example takes says how busy the machine is, and nothing of what these tests are about.
settings.register_profile("interlock", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("interlock")


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption(
        "--database",
        choices=(SQLITE, POSTGRESQL),
        default=SQLITE,
        help="where servers keep their registry; the registry's own tests run on both anyway",
    )


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Leave out, and count, the tests that are about SQLite's files where servers have no such file."""
    if config.getoption("--database") == SQLITE:
        return
    out = [item for item in items if item.get_closest_marker("sqlite")]
    if out:
        config.hook.pytest_deselected(items=out)
        items[:] = [item for item in items if item not in set(out)]


@pytest.fixture(scope="session")
def cluster() -> Iterator[Cluster]:
    """The one PostgreSQL server of this test run."""
    with Postgres() as server:
        yield Cluster(server)


@pytest.fixture(scope="session", autouse=True)
def registries(request: pytest.FixtureRequest) -> Iterator[None]:
    """Give every server that a test starts a registry in PostgreSQL, if that was asked for."""
    if request.config.getoption("--database") == POSTGRESQL:
        databases.keep_in(request.getfixturevalue("cluster"))
    yield
    databases.keep_in(None)


@pytest.fixture
def server(tmp_path: Path) -> Iterator[Server]:
    """A fresh server on an empty data directory."""
    with Server(tmp_path / "data") as running:
        yield running
