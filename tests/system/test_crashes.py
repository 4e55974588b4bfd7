"""A process that is killed or hangs comes back by itself with the same versions; what is left serves on."""

from __future__ import annotations

import os
import signal
import time
import urllib.request
from collections.abc import Iterator
from typing import Final

import pytest
from interlock.errors import InterlockError, Unavailable

from tests.load import Load
from tests.server import Server
from tests.support import eventually
from tests.system.stories import BOUND_S, SCALES, Servers, answers_status, control_pid, pid_or_zero, worker_pid

_TESTS_OF_ONE: Final = 2
"""A version that has run in three workers as they died is not loaded any more."""


@pytest.fixture(scope="module")
def servers(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Servers]:
    made = Servers(tmp_path_factory.mktemp("crashes"), tests_of_one=_TESTS_OF_ONE)
    yield made
    made.close()


@pytest.fixture
def serving(servers: Servers) -> Server:
    return servers.next()


def metric(server: Server, name: str) -> float:
    with urllib.request.urlopen(f"http://{server.http}/metrics", timeout=60) as response:
        lines = response.read().decode().splitlines()
    return sum(float(line.rpartition(" ")[2]) for line in lines if line.startswith(name))


def test_a_killed_worker_is_back_with_the_same_versions(serving: Server) -> None:
    restarts = metric(serving, "interlock_worker_restarts_total")
    with Load(serving.grpc, "m", SCALES) as load:
        load.more(100)
        old = worker_pid(serving)
        os.kill(old, signal.SIGKILL)
        killed = time.monotonic()
        eventually(lambda: any(answer.at > killed + 0.05 for answer in load.answers[-8:]), "an answer", BOUND_S)
        load.more(100)
        outage = load.outage_s()

    load.check_answers(at_least=200)
    assert load.versions == {2}
    assert all(isinstance(failure.error, Unavailable) for failure in load.failures), load.failures[:3]
    assert worker_pid(serving) != old
    print(f"worker killed: no answer for {outage:.2f} s, {len(load.failures)} refused meanwhile")
    eventually(lambda: serving.status().ready, "the replica is ready again", BOUND_S)
    servables = {(each.version, each.state.value) for each in serving.status().workers[0].servables}
    assert servables == {(1, "READY"), (2, "READY")}
    eventually(lambda: metric(serving, "interlock_worker_restarts_total") == restarts + 1, "the restart is counted")


def test_inference_goes_on_while_control_is_killed_and_comes_back(serving: Server) -> None:
    with Load(serving.grpc, "m", SCALES) as load:
        load.more(50)
        old, worker = control_pid(serving), worker_pid(serving)
        # It comes back though not all can be cleared away that was left.
        (serving.data / "blobs" / ".incoming-directory").mkdir()
        (serving.data / "state" / "downloads").rmdir()
        killed = time.monotonic()
        os.kill(old, signal.SIGKILL)
        eventually(lambda: pid_or_zero(serving, "control") not in (0, old), "control is started again", BOUND_S)
        eventually(lambda: answers_status(serving), "control answers", BOUND_S)
        print(f"control killed: answers again after {time.monotonic() - killed:.2f} s")
        with serving.admin() as admin:
            back = admin.rollback("m")
        load.until_version(1)
        load.more(50)

    load.check(at_least=100)
    assert load.versions == {1, 2}
    assert back.to_version == 1 and back.resident and back.lagging == ()
    assert worker_pid(serving) == worker, "the worker lives on when control does not"


def test_both_killed_at_once_come_back_without_an_operator(serving: Server) -> None:
    with Load(serving.grpc, "m", SCALES) as load:
        load.more(50)
        killed = time.monotonic()
        for pid in (control_pid(serving), worker_pid(serving)):
            os.kill(pid, signal.SIGKILL)
        eventually(lambda: any(answer.at > killed + 0.05 for answer in load.answers[-8:]), "an answer", BOUND_S)
        print(f"both killed: an answer after {time.monotonic() - killed:.2f} s")
        load.more(50)

    load.check_answers(at_least=100)
    assert load.versions == {2}
    eventually(lambda: answers_status(serving), "the replica is ready again", BOUND_S)
    with serving.admin() as admin:
        assert admin.rollback("m").to_version == 1


def test_a_worker_that_hangs_is_killed_and_replaced(serving: Server) -> None:
    old = worker_pid(serving)
    with Load(serving.grpc, "m", SCALES, timeout_s=1.0) as load:
        load.more(20)
        os.kill(old, signal.SIGSTOP)
        stopped = time.monotonic()
        eventually(lambda: pid_or_zero(serving, "worker") not in (0, old), "a new worker")
        eventually(lambda: any(answer.at > stopped + 0.5 for answer in load.answers[-8:]), "an answer")
        print(f"worker stopped: an answer after {time.monotonic() - stopped:.2f} s")
        load.more(20)

    load.check_answers(at_least=40)
    assert load.versions == {2}


def test_a_worker_that_hangs_while_control_restarts_is_replaced_too(serving: Server) -> None:
    old = worker_pid(serving)
    os.kill(old, signal.SIGSTOP)
    os.kill(control_pid(serving), signal.SIGKILL)
    eventually(lambda: pid_or_zero(serving, "worker") not in (0, old), "a new worker")
    with Load(serving.grpc, "m", SCALES, clients=1) as load:
        load.until_version(2)
    assert load.versions == {2}


def test_a_promote_while_the_worker_dies_ends_with_one_clear_outcome(serving: Server) -> None:
    with serving.admin() as admin:
        os.kill(worker_pid(serving), signal.SIGKILL)
        try:
            switch = admin.rollback("m")
            assert switch.to_version == 1
        except InterlockError as error:
            assert error.reason in ("WORKER_UNAVAILABLE", "PREPARE_FAILED"), error
        eventually(lambda: answers_status(serving), "the replica is ready again", BOUND_S)
        alias = next(each for each in serving.status().aliases if each.alias == "stable")
    with Load(serving.grpc, "m", SCALES, clients=1) as load:
        load.more(20)
    load.check_answers(at_least=20)
    assert load.versions == {alias.version}


@pytest.mark.slow
def test_a_supervisor_that_was_stopped_takes_up_its_work_when_it_goes_on(serving: Server) -> None:
    assert serving.process is not None
    old, control = worker_pid(serving), control_pid(serving)
    serving.process.send_signal(signal.SIGSTOP)
    os.kill(old, signal.SIGKILL)
    with serving.admin() as admin:
        admin.rollback("m")  # with no worker, and nobody to start one: it is committed all the same
    serving.process.send_signal(signal.SIGCONT)
    with Load(serving.grpc, "m", SCALES, clients=1) as load:
        load.until_version(1)
    assert load.versions == {1}
    assert control_pid(serving) == control, "who was not looked at for a while is not taken for hung"
