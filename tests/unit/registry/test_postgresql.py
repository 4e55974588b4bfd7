"""What only a database on the other end of a network can do."""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Callable, Iterator

import psycopg
import pytest
from interlock.errors import InvalidArgument, RegistryUnavailable
from interlock.model import EventFilter
from interlock_registry import paging
from interlock_registry.domain import Action
from interlock_registry.fleet import Vote
from interlock_registry.registry import Registry
from interlock_registry.sql.answering import connection_class
from interlock_registry.sql.database import Database
from interlock_registry.sql.writer import Writer

from tests.breaking import Break, Proxy
from tests.databases import POSTGRESQL, Cluster, Place, PostgresPlace
from tests.unit.registry.builders import MODEL, Desk, attempt, digest, heartbeat, new_version
from tests.unit.registry.test_fleet import begun, rollout


@pytest.fixture(params=[POSTGRESQL])
def place(cluster: Cluster) -> Iterator[Place]:
    made = cluster.new()
    yield made
    made.server.drop(made.name)


def behind(proxy: Proxy, place: PostgresPlace) -> str:
    return place.url.replace(f":{place.server.port}/", f":{proxy.port}/")


def test_connections_that_the_server_ended_are_replaced_unnoticed(desk: Desk) -> None:
    desk.register()
    with desk.sql() as connection:
        ended = connection.execute(
            "SELECT pg_terminate_backend(pid) FROM pg_stat_activity "
            "WHERE application_name = 'interlock' AND datname = current_database()"
        )
    assert ended
    assert desk.register().version.version == 2
    assert [version.version for version in desk.registry.versions(MODEL).items] == [2, 1]


def test_a_server_that_is_down_is_an_error_and_used_again_when_it_is_back(desk: Desk, place: PostgresPlace) -> None:
    desk.register()
    place.server.stop(kill=True)
    try:
        with pytest.raises(RegistryUnavailable, match=r"cannot be used: .*refused") as caught:
            desk.register()
        with pytest.raises(RegistryUnavailable):
            desk.registry.state()
        assert "what is loaded is served on" in caught.value.message and "\n" not in caught.value.message
    finally:
        place.server.start()
    assert desk.register().version.version == 2


def test_a_server_that_stands_still_is_given_up_after_a_while(cluster: Cluster, place: PostgresPlace) -> None:
    """One that is paused answers nothing, its own limits included, while the network stays up."""
    with connection_class(0.3).connect(_plain(place.url), autocommit=True) as connection:
        pid = connection.info.backend_pid
        os.kill(pid, signal.SIGSTOP)
        try:
            with pytest.raises(psycopg.OperationalError, match=r"has not answered for 0\.3 s"):
                connection.execute("SELECT 1")
        finally:
            os.kill(pid, signal.SIGCONT)
        assert connection.closed
    with connection_class(60.0).connect(_plain(place.url)) as connection:
        assert connection.execute("SELECT 1").fetchone() == (1,)


@pytest.mark.slow
def test_a_registry_whose_server_stands_still_fails_in_bounded_time(desk: Desk, place: PostgresPlace) -> None:
    desk.register()
    place.server.pause()
    began = time.monotonic()
    try:
        with pytest.raises(RegistryUnavailable):
            desk.register()
        took = time.monotonic() - began
    finally:
        place.server.resume()
    assert took < 120
    assert desk.register().version.version in (2, 3)


def _plain(url: str) -> str:
    return url.replace("postgresql+psycopg://", "postgresql://")


@pytest.mark.parametrize("sqlstate", ["40001", "40P01"], ids=["serialization failure", "deadlock"])
def test_a_transaction_that_the_server_gave_up_is_repeated_whole(place: Place, sqlstate: str) -> None:
    database = Database(place.url)
    tries = []

    def work(writer: Writer) -> int:
        tries.append(writer.take_number(MODEL) if writer.model_exists(MODEL) else 0)
        if len(tries) < 3:
            fail(writer, sqlstate)
        return len(tries)

    assert database.write(work) == 3
    assert tries == [0, 0, 0]
    database.close()


def fail(writer: Writer, sqlstate: str) -> None:
    writer._connection.exec_driver_sql(f"DO $$ BEGIN RAISE EXCEPTION USING ERRCODE = '{sqlstate}'; END $$")


@pytest.mark.parametrize("when", list(Break), ids=lambda when: when.value)
def test_a_commit_whose_connection_breaks_is_made_exactly_once(place: PostgresPlace, when: Break) -> None:
    with Proxy(place.server.port) as proxy:
        registry = Registry.open(behind(proxy, place))
        registry.register(new_version(), attempt(Action.REGISTER))
        proxy.arm(b"COMMIT", when)
        made = registry.register(new_version(), attempt(Action.REGISTER, key="k", request_hash="h"))
        assert proxy.broken == 1
        assert made.version.version == 2
        assert [version.version for version in registry.versions(MODEL).items] == [2, 1]
        assert [event.seq for event in registry.events().items] == [2, 1]
        assert registry.verify_chain().is_whole
        assert registry.recall(attempt(Action.REGISTER, key="k", request_hash="h")) is not None
        registry.close()


def test_what_leaves_no_event_is_noted_whole_though_the_answer_to_its_commit_is_lost(
    desk: Desk, place: PostgresPlace
) -> None:
    desk.register()
    with Proxy(place.server.port) as proxy:
        registry = Registry.open(behind(proxy, place))
        fleet = registry.fleet
        fleet.beat(heartbeat("a"), None)
        notes: tuple[Callable[[], object], ...] = (
            lambda: fleet.beat(heartbeat("a", 1), frozenset()),
            lambda: fleet.open(rollout()),
            lambda: registry.blobs.hold("upload", [digest("weights")]),
        )
        for count, note in enumerate(notes, start=1):
            proxy.arm(b"COMMIT", Break.AFTER)
            note()
            assert proxy.broken == count
        (census,) = fleet.censuses(MODEL, (1,))
        assert census.holders == {"a"}
        assert [each.rollout for each in fleet.look().rollouts] == ["r1"]
        assert registry.blobs.held([digest("weights")]) == {digest("weights")}
        registry.close()


def test_a_value_that_the_database_does_not_take_is_the_callers_fault_and_not_an_outage(desk: Desk) -> None:
    desk.register()
    asks: tuple[Callable[[], object], ...] = (
        lambda: desk.registry.recall(attempt(Action.PIN, version=1, key="a\0b")),
        lambda: desk.registry.events(EventFilter(actor="a\0b")),
        lambda: desk.registry.models(page_token=paging.page(["a\0b", ""], 1, str).next_page_token),
    )
    for ask in asks:
        with pytest.raises(InvalidArgument, match="NUL"):
            ask()
    desk.registry.refuse(attempt(Action.PIN, MODEL + "\0", key="a\0b"), InvalidArgument("no such name"))
    assert desk.registry.events().items[0].model == MODEL + "?"


def test_a_read_whose_connection_breaks_is_repeated(place: PostgresPlace) -> None:
    with Proxy(place.server.port) as proxy:
        registry = Registry.open(behind(proxy, place))
        proxy.arm(b"FROM epoch", Break.AFTER)
        assert registry.state().epoch == 0
        assert proxy.broken == 1
        registry.close()


def test_a_password_is_in_no_message(place: PostgresPlace) -> None:
    url = f"postgresql+psycopg://eve:open-sesame@127.0.0.1:{place.server.port}/{place.name}"
    with pytest.raises(RegistryUnavailable) as caught:
        Registry.open(url)
    assert "eve" in caught.value.message
    assert "open-sesame" not in caught.value.message + str(caught.value.facts)


def test_every_statement_has_a_limit(place: Place) -> None:
    database = Database(place.url)
    shown = database.write(
        lambda writer: [
            writer._connection.exec_driver_sql(f"SHOW {name}").scalar_one()
            for name in ("statement_timeout", "lock_timeout", "idle_in_transaction_session_timeout")
        ]
    )
    assert shown == ["10s", "5s", "30s"]
    database.close()


def test_heartbeats_and_votes_do_not_wait_for_a_commit(desk: Desk) -> None:
    made = begun(desk)
    with desk.place.locked():
        desk.registry.fleet.beat(heartbeat("b", 1), frozenset())
        desk.registry.fleet.vote(made.rollout, Vote(replica="b", boot="first", prepared=True))
        desk.registry.fleet.renew(made)
    assert desk.registry.fleet.progress(made).may_commit
