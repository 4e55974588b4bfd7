"""Fixtures that every kind of test may use."""

from __future__ import annotations

import gc
import signal
from collections.abc import Iterator
from pathlib import Path
from typing import Final

import pytest
from hypothesis import HealthCheck, settings
from xdist.remote import Producer
from xdist.scheduler.loadfile import LoadFileScheduling

from tests import databases
from tests.databases import POSTGRESQL, SQLITE, Cluster
from tests.postgres import Postgres
from tests.server import Server

_ONE_SERVER: Final = ("tests/conformance/",)
"""Folders whose tests ask one server that is not changed by them."""

# How long an example takes says how busy the machine is, and nothing of what these tests are about.
settings.register_profile("interlock", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("interlock")


def pytest_configure() -> None:
    """Have what tests start hear Ctrl-C, also where a shell that runs them in the background has it ignored."""
    if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
        signal.signal(signal.SIGINT, signal.default_int_handler)


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


class TogetherByServer(LoadFileScheduling):  # type: ignore[misc]  # xdist has no types
    """Keeps the tests of a file in one process, in their order; and those of a folder that share one server."""

    def _split_scope(self, nodeid: str) -> str:
        file = nodeid.partition("::")[0]
        return next((folder for folder in _ONE_SERVER if file.startswith(folder)), file)


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_make_scheduler(config: pytest.Config, log: Producer) -> TogetherByServer | None:
    return TogetherByServer(config, log) if config.getoption("dist") == "loadfile" else None


def pytest_collection_finish() -> None:
    """Take what the imports made out of the garbage collector's rounds: with torch, each of them takes long."""
    gc.collect()
    gc.freeze()


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
