"""The registry is not on the inference path: what is loaded is served on while it is broken, locked or gone."""

from __future__ import annotations

import json
import os
import signal
import sqlite3
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest
from interlock.errors import InterlockError, RegistryUnavailable
from interlock_registry.registry import Registry

from tests.load import Load
from tests.server import Server
from tests.support import eventually
from tests.system.stories import SCALES, Servers, control_pid, pid_or_zero


@dataclass(frozen=True)
class Readiness:
    code: int
    ready: bool
    degraded: list[str]


def readyz(server: Server) -> Readiness:
    try:
        with urllib.request.urlopen(f"http://{server.http}/readyz", timeout=60) as response:
            code, body = response.status, json.load(response)
    except urllib.error.HTTPError as error:
        with error:
            code, body = error.code, json.load(error)
    return Readiness(code, body["ready"], body["degraded"])


@pytest.fixture(scope="module")
def servers(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Servers]:
    made = Servers(tmp_path_factory.mktemp("registry"), tests_of_one=10)
    yield made
    made.close()


@pytest.fixture
def server(servers: Servers) -> Server:
    return servers.next()


def spoil(database: Path) -> bytes:
    """Overwrite the first pages of a SQLite file; returns what was there."""
    for name in (f"{database.name}-wal", f"{database.name}-shm"):
        database.with_name(name).unlink(missing_ok=True)
    whole = database.read_bytes()
    database.write_bytes(b"\xde\xad" * 4096 + whole[8192:])
    return whole


@pytest.mark.sqlite
@pytest.mark.parametrize(
    "harm",
    [
        "damaged",
        pytest.param("replaced by a directory", marks=pytest.mark.slow),
        pytest.param("truncated in the middle", marks=pytest.mark.slow),
    ],
)
def test_a_restart_with_a_broken_registry_serves_the_last_known_good(server: Server, harm: str) -> None:
    eventually(lambda: (server.data / "state" / "last-known-good").exists(), "last-known-good is written")
    assert server.stop() == 0
    database = server.data / "registry.db"
    whole = database.read_bytes()
    if harm == "damaged":
        spoil(database)
    elif harm == "truncated in the middle":
        database.write_bytes(whole[: len(whole) // 2])
    else:
        database.unlink()
        database.mkdir()
    server.start()

    with server.client() as client:
        with Load(server.grpc, "m", SCALES) as load:
            load.more(50)
        assert client.model_ready("m") and client.server_ready()
    load.check(at_least=50)
    assert load.versions == {2}
    found = readyz(server)
    assert (found.code, found.ready) == (200, True)
    assert any("registry" in reason for reason in found.degraded), found
    assert any("last-known-good" in reason for reason in found.degraded), found
    with server.admin() as admin:
        assert admin.status().ready
        with pytest.raises(RegistryUnavailable, match=r"registry"):
            admin.rollback("m", timeout=60)
        with pytest.raises(RegistryUnavailable):
            admin.models(timeout=60)

        if database.is_dir():
            database.rmdir()
        restored = database.with_suffix(".restored")
        restored.write_bytes(whole)
        os.replace(restored, database)
        eventually(lambda: not readyz(server).degraded, "the restored registry is taken over")
        assert admin.rollback("m").to_version == 1
    with Load(server.grpc, "m", SCALES, clients=1) as load:
        load.until_version(1)


@pytest.mark.sqlite
def test_a_registry_that_was_deleted_does_not_take_the_models_with_it(server: Server, tmp_path: Path) -> None:
    eventually(lambda: (server.data / "state" / "last-known-good").exists(), "last-known-good is written")
    assert server.stop() == 0
    database = server.data / "registry.db"
    saved = database.rename(tmp_path / "backup.db")
    server.start()
    with Load(server.grpc, "m", SCALES) as load, server.admin() as admin:
        load.more(20)
        with pytest.raises(RegistryUnavailable, match=r"is gone .* restore it from a backup"):
            admin.rollback("m", timeout=60)
        assert not database.exists(), "no empty registry was begun in its place"
        saved.rename(database)
        eventually(lambda: not readyz(server).degraded, "the restored registry is taken over")
        assert admin.rollback("m").to_version == 1
        load.until_version(1)
    load.check(at_least=20)


@pytest.mark.sqlite
def test_a_locked_registry_fails_changes_in_bounded_time_and_nothing_else(server: Server) -> None:
    other = sqlite3.connect(server.data / "registry.db", isolation_level=None)
    try:
        with Load(server.grpc, "m", SCALES) as load, server.admin() as admin:
            load.more(20)
            other.execute("BEGIN IMMEDIATE")
            began = time.monotonic()
            with pytest.raises(InterlockError) as refused:
                admin.rollback("m", timeout=60)
            took = time.monotonic() - began
            assert refused.value.reason in ("REGISTRY_UNAVAILABLE", "UNAVAILABLE"), refused.value
            print(f"refused after {took:.1f} s: {refused.value}")
            assert took < 30
            assert admin.show("m").version == 2, "reads go on"
            other.execute("ROLLBACK")
            load.more(20)
            assert admin.rollback("m").to_version == 1
            load.until_version(1)
        load.check(at_least=40)
    finally:
        other.close()
    assert server.stop() == 0
    registry = Registry.open(f"sqlite:///{server.data / 'registry.db'}")
    assert registry.verify_chain().is_whole
    registry.close()


@pytest.mark.sqlite
@pytest.mark.slow
def test_a_restart_of_control_on_a_locked_registry_serves_and_recovers(server: Server) -> None:
    other = sqlite3.connect(server.data / "registry.db", isolation_level=None)
    try:
        other.execute("BEGIN IMMEDIATE")
        old = control_pid(server)
        with Load(server.grpc, "m", SCALES) as load:
            os.kill(old, signal.SIGKILL)
            eventually(lambda: pid_or_zero(server, "control") not in (0, old), "control is started again")

            def answers() -> bool:
                try:
                    return server.status().ready
                except InterlockError:
                    return False

            eventually(answers, "control is ready although nobody can write")
            other.execute("ROLLBACK")
            eventually(lambda: not readyz(server).degraded, "nothing is degraded any more")
            with server.admin() as admin:
                assert admin.rollback("m").to_version == 1
            load.until_version(1)
        load.check(at_least=50)
    finally:
        other.close()


@pytest.mark.sqlite
def test_a_damaged_last_known_good_falls_back_to_the_one_before(server: Server, servers: Servers) -> None:
    newest = server.data / "state" / "last-known-good"
    assert server.stop() == 0  # which writes what is behind
    before = newest.read_bytes()
    server.start()
    with server.admin() as admin:
        admin.rollback("m")
    assert server.stop() == 0
    spoil(server.data / "registry.db")
    newest.write_bytes(newest.read_bytes()[:-3] + b"???")
    # A change may be written in two steps, so that the one before is of the same change.
    newest.with_name("last-known-good.previous").write_bytes(before)
    server.start()
    with Load(server.grpc, "m", SCALES) as load:
        load.more(20)
    load.check(at_least=20)
    assert load.versions == {2}, "where it was before the rollback that the damaged one held"
    assert "last-known-good is damaged and ignored" in server.status().degraded
    servers.close()  # whose registry is lost
