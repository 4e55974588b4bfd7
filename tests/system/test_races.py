"""The short form of `make races`: a few rounds of every race, over both databases and through a server."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from interlock_registry.registry import Registry

from tests import databases
from tests.databases import POSTGRESQL, SQLITE, Cluster, SqlitePlace
from tests.races.arena import Arena
from tests.races.rules import RACES, Race
from tests.races.storm import THREADS, Storm
from tests.server import Server


@pytest.fixture(scope="module", params=[SQLITE, POSTGRESQL])
def racers(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Arena]:
    folder = tmp_path_factory.mktemp("racers")
    if request.param == SQLITE:
        url = SqlitePlace(folder / "registry.db").url
    else:
        cluster: Cluster = request.getfixturevalue("cluster")
        url = cluster.new().url
    Registry.open(url).close()
    with Arena(url, folder) as arena:
        yield arena


@pytest.fixture(scope="module")
def served(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    with Server(tmp_path_factory.mktemp("served") / "data") as server:
        yield server


@pytest.fixture(scope="module")
def clients(served: Server, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Arena]:
    with Arena(databases.of(served.data).url, tmp_path_factory.mktemp("clients"), served) as arena:
        yield arena


@pytest.mark.parametrize("race", RACES, ids=lambda race: race.name)
def test_no_race_of_processes_over_one_registry_breaks_a_rule(racers: Arena, race: Race) -> None:
    assert racers.run(race, 10).violations == []


@pytest.mark.parametrize("race", RACES, ids=lambda race: race.name)
def test_no_race_of_clients_of_one_server_breaks_a_rule(clients: Arena, race: Race) -> None:
    assert clients.run(race, 1 if race.name == "register" else 5).violations == []


def test_nothing_fails_and_nothing_is_left_over_when_many_load_and_unload_at_once(
    served: Server, tmp_path: Path
) -> None:
    weather = Storm(served, tmp_path).blow(8)
    assert weather.violations == []
    assert weather.asked == 8 * THREADS and weather.answered > 20
