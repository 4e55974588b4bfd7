"""Two real servers on one PostgreSQL."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest
from interlock.errors import InterlockError, Unavailable
from interlock.model import Switch

from tests.databases import Cluster, PostgresPlace
from tests.postgres import Postgres
from tests.server import Server, clean_environment
from tests.support import eventually
from tests.system.stories import SCALES, register, worker_pid

X = np.ones((1, 2), np.float32)


@dataclass(frozen=True)
class Fleet:
    place: PostgresPlace
    a: Server
    b: Server

    def versions(self) -> tuple[int, int]:
        """Return which version answers on each, checked by what it answers."""
        return answering(self.a), answering(self.b)

    def await_versions(self, version: int) -> None:
        eventually(lambda: self.versions() == (version, version), f"both answer with version {version}")


def answering(server: Server) -> int:
    with server.client() as client:
        result = client.infer("m", {"x": X})
    np.testing.assert_array_equal(result["y"], SCALES[result.version] * X)
    return result.version


@pytest.fixture(scope="module")
def postgres() -> Iterator[Postgres]:
    """A server of this module alone: it is stopped and started."""
    with Postgres() as server:
        yield server


@pytest.fixture(scope="module")
def fleet(postgres: Postgres, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Fleet]:
    """Both serve version 2 of `m`, with 1 under it; 3 is registered."""
    folder = tmp_path_factory.mktemp("fleet")
    place = Cluster(postgres).new(empty=True)
    env = {"INTERLOCK_DB": place.url, "INTERLOCK_ARTIFACTS": str(folder / "blobs")}
    with ThreadPoolExecutor(2) as pool:  # at once: both find the database empty
        a, b = pool.map(lambda name: Server(folder / name, env=env).start(), ("a", "b"))
    with a, b:
        with a.admin() as admin:
            register(admin, folder, 3)
            admin.promote("m", 1, wait=30)
            admin.promote("m", 2, wait=30)
        yield Fleet(place, a, b)


def test_a_promote_and_a_rollback_reach_both(fleet: Fleet) -> None:
    assert fleet.versions() == (2, 2)
    with fleet.a.admin() as a, fleet.b.admin() as b:
        promoted = a.promote("m", 3, wait=30)
        assert (promoted.late, promoted.lagging) == ((), ())
        assert fleet.versions() == (3, 3)
        rolled_back = b.rollback("m")
        assert (rolled_back.to_version, rolled_back.resident) == (2, True)
        fleet.await_versions(2)
        status = a.status()
        assert [each.live for each in status.replicas] == [True, True]
        assert {each.admin_address for each in status.replicas} == {fleet.a.admin_address, fleet.b.admin_address}


def test_the_command_waits_for_the_fleet(fleet: Fleet) -> None:
    command = [str(Path(sys.executable).with_name("interlock"))]
    server = clean_environment(INTERLOCK_ADMIN=fleet.b.admin_address)
    for move in (["promote", "m", "3"], ["rollback", "m"]):
        subprocess.run([*command, *move, "--wait"], env=server, check=True, capture_output=True, timeout=120)
        assert fleet.versions() == ((3, 3) if move[0] == "promote" else (2, 2))
    shown = subprocess.run([*command, "status"], env=server, check=True, capture_output=True, timeout=120, text=True)
    assert fleet.a.admin_address in shown.stdout and "(this one)" in shown.stdout


def test_with_the_database_down_both_serve_on_and_later_take_up_again(fleet: Fleet) -> None:
    with fleet.a.admin() as a, fleet.b.admin() as b:
        fleet.place.server.stop(kill=True)
        try:
            with pytest.raises(Unavailable, match=r"inference goes on|is served on"):
                a.promote("m", 3)
            assert fleet.versions() == (2, 2)
            eventually(lambda: any("registry unavailable" in why for why in b.status().degraded), "it is noticed")
        finally:
            fleet.place.server.start()
        eventually(lambda: not a.status().degraded and not b.status().degraded, "both are well again")
        eventually(lambda: [each.live for each in a.status().replicas] == [True, True], "they see each other")
        assert b.promote("m", 3, wait=30).late == ()
        assert fleet.versions() == (3, 3)
        a.rollback("m", wait=30)


def test_a_replica_that_is_killed_while_it_is_waited_for_does_not_block(fleet: Fleet) -> None:
    with fleet.a.admin() as admin, ThreadPoolExecutor(1) as pool:
        stop_worker(fleet.b)
        waiting = pool.submit(admin.promote, "m", 3)
        await_rollout(fleet)
        fleet.b.kill_everything()
        assert waiting.result(60).to_version == 3
        assert answering(fleet.a) == 3
        fleet.b.start()
        assert answering(fleet.b) == 3
        assert admin.rollback("m", wait=30).late == ()
    assert fleet.versions() == (2, 2)


def test_a_leading_replica_that_is_killed_does_not_block(fleet: Fleet) -> None:
    with fleet.b.admin() as admin, ThreadPoolExecutor(1) as pool:
        # Its own worker is frozen, so that it is in the middle of the promote for as long as that is.
        stop_worker(fleet.a)
        waiting = pool.submit(promote_and_perish, fleet.a)
        await_rollout(fleet)
        fleet.a.kill_everything()
        waiting.result(60)
        done = admin.promote("m", 3)
        assert done.to_version == 3
        eventually(
            lambda: any(each.outcome == "ABORTED" for each in admin.log("m")), "the lost promote is on record", 30
        )
        fleet.a.start()
        assert admin.rollback("m", wait=30).late == ()
        assert all(event.outcome in ("ok", "ABORTED", "UNAVAILABLE") for event in admin.log("m"))
    assert fleet.versions() == (2, 2)


def promote_and_perish(server: Server) -> Switch | None:
    with suppress(InterlockError), server.admin() as admin:
        return admin.promote("m", 3)
    return None


def stop_worker(server: Server) -> None:
    os.kill(worker_pid(server), signal.SIGSTOP)


def await_rollout(fleet: Fleet) -> None:
    def runs() -> bool:
        with fleet.place.sql() as connection:
            return connection.execute("SELECT count(*) FROM rollouts") == [(1,)]

    eventually(runs, "the promote is under way")
