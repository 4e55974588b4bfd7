"""The short form of `make races`: a few rounds of every race, over both databases and through a server."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from interlock_registry.registry import Registry

from tests import databases
from tests.databases import POSTGRESQL, SQLITE, Cluster, SqlitePlace
from tests.races.arena import Arena
from tests.races.rules import RACES, Race
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
def clients(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Arena]:
    folder = tmp_path_factory.mktemp("clients")
    with (
        Server(folder / "data") as server,
        Arena(databases.of(server.data).url, folder, server) as arena,
    ):
        yield arena


@pytest.mark.parametrize("race", RACES, ids=lambda race: race.name)
def test_no_race_of_processes_over_one_registry_breaks_a_rule(racers: Arena, race: Race) -> None:
    assert racers.run(race, 10).violations == []


@pytest.mark.parametrize("race", RACES, ids=lambda race: race.name)
def test_no_race_of_clients_of_one_server_breaks_a_rule(clients: Arena, race: Race) -> None:
    assert clients.run(race, 1 if race.name == "register" else 5).violations == []
