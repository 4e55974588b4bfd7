"""What a version or a request does to the worker is noticed, laid to its charge and stopped."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import suppress

import numpy as np
import pytest
from interlock.errors import DeadlineExceeded, InterlockError, MemoryExceeded, PoisonRequest, Unavailable
from interlock.model import ServableState
from interlock_client import Client

from tests import hostile_runs
from tests.server import Server
from tests.support import eventually
from tests.system.stories import pid_or_zero, worker_pid

RESPAWNED_S = 60.0
OVERDUE_S = 4.0
"""Long enough for a request to be answered beside a stuck run on a machine that is busy with other tests."""


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    folder = tmp_path_factory.mktemp("poison")
    config = folder / "interlock.toml"
    config.write_text(f"overdue_run_s = {OVERDUE_S}\nmax_data_bytes = {8 << 30}\n")
    with Server(folder / "data", "--config", str(config)) as running:
        with running.admin() as admin:
            for data in (hostile_runs.harmless(), hostile_runs.crashing()):
                admin.promote("m", hostile_runs.register(admin, folder, "m", data))
            admin.promote("stuck", hostile_runs.register(admin, folder, "stuck", hostile_runs.stuck()))
        yield running


def ask(client: Client, value: int) -> int:
    return int(client.infer("m", {"x": np.array([[value]], np.int64)})["y"][0, 0])


def answers(client: Client, value: int) -> bool:
    try:
        return ask(client, value) == -value
    except InterlockError:
        return False


def crash(server: Server, client: Client, value: int) -> None:
    """Send a request that ends the worker, and wait for the next one."""
    before = worker_pid(server)
    with pytest.raises(Unavailable):
        ask(client, value)
    eventually(lambda: pid_or_zero(server, "worker") not in (0, before), "a new worker", RESPAWNED_S)
    eventually(lambda: answers(client, 5), "it answers", RESPAWNED_S)


def test_a_request_that_asks_for_too_much_memory_is_refused_and_the_worker_lives(server: Server) -> None:
    before = worker_pid(server)
    with server.client() as client:
        with pytest.raises(MemoryExceeded, match="max_data_bytes"):
            client.infer("stuck", {"n": np.array([40_000], np.int64)})  # 12.8 GB in one tensor
        assert int(client.infer("stuck", {"n": np.array([2], np.int64)})["y"]) == 8
        assert answers(client, 5)
    assert worker_pid(server) == before


def test_a_request_that_crashes_workers_is_refused_and_a_version_that_does_is_quarantined(server: Server) -> None:
    fatal = hostile_runs.FATAL
    with server.client() as client:
        crash(server, client, fatal + 1)
        crash(server, client, fatal + 1)
        with pytest.raises(PoisonRequest, match="m@2"):
            ask(client, fatal + 1)
        assert answers(client, 7), "the version serves what does no harm"

        crash(server, client, fatal + 2)
        before = worker_pid(server)
        with pytest.raises(Unavailable):
            ask(client, fatal + 3)
        eventually(lambda: pid_or_zero(server, "worker") not in (0, before), "a new worker", RESPAWNED_S)
        eventually(lambda: answers(client, fatal + 3), "version 1 answers what ended version 2", RESPAWNED_S)

    with server.admin() as admin:
        event = admin.log("m", limit=1)[0]
        assert (event.actor, event.action, event.from_version, event.to_version) == ("interlock", "rollback", 2, 1)
        assert "brought the worker down 4 times" in event.reason and "SIGFPE" in event.reason
        admin.promote("m", 2, reason="it was the callers")
        with server.client() as client:
            assert answers(client, 8)
        admin.rollback("m")


def ask_for_ever(server: Server) -> None:
    with server.client(timeout=1.0) as client:
        client.infer("stuck", {"n": np.array([hostile_runs.LONG], np.int64)})


def test_a_run_that_cannot_be_interrupted_ends_with_its_worker(server: Server) -> None:
    before = worker_pid(server)

    def replaced() -> bool:
        if pid_or_zero(server, "worker") not in (0, before):
            return True
        with suppress(InterlockError):  # a busy machine may not have begun the run by its deadline
            ask_for_ever(server)
        return False

    began = time.monotonic()
    with pytest.raises(DeadlineExceeded):
        ask_for_ever(server)
    assert time.monotonic() - began < 60, "the deadline holds, whatever runs"
    with server.client() as client:
        assert ask(client, 9) == -9, "another model's requests are answered meanwhile"
        assert worker_pid(server) == before, "by the worker whose run is stuck"
        eventually(replaced, "a new worker", RESPAWNED_S)
        eventually(lambda: answers(client, 9), "it answers", RESPAWNED_S)
    eventually(lambda: "a run of stuck@1 goes on" in server.log(), "it is said why")
    eventually(lambda: server.status().ready, "the replica is ready")
    states = {(each.model, each.state) for each in server.status().workers[0].servables}
    assert ("stuck", ServableState.READY) in states, "once is no reason to give it up"
