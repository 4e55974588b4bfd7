"""Networks that lose, delay and cut, and everybody who comes back at once after an outage."""

from __future__ import annotations

import os
import random
import signal
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
from interlock.errors import DeadlineExceeded, InterlockError, Unavailable
from interlock.model import ServingConfig
from interlock_client import Client

from tests import models, stalling
from tests.proxy import Proxy
from tests.server import Server
from tests.stalling import until_running
from tests.support import eventually

ENVIRONMENT = {"INTERLOCK_KEEPALIVE_TIME_S": "1", "INTERLOCK_KEEPALIVE_TIMEOUT_S": "1"}
CALLERS = 4


@pytest.fixture(scope="module")
def running(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    folder = tmp_path_factory.mktemp("network")
    with Server(folder / "data", env=ENVIRONMENT) as server:
        with server.admin() as admin:
            admin.register("m", models.write(folder / "m.onnx", models.affine(2.0)))
            config = ServingConfig(max_batch_size=1, max_queue_size=4)
            admin.register("slow", models.write(folder / "slow.onnx", models.mlp(64, 1024, 10, 4)), config=config)
            stalling.register(admin, folder, "stalls")
            for name in ("m", "slow", "stalls"):
                admin.promote(name, 1)
        yield server


def test_what_a_vanished_caller_asked_for_is_ended_though_nobody_says_that_it_is_gone(running: Server) -> None:
    with Proxy(running.grpc) as proxy, Client(proxy.address, retries=0) as client, ThreadPoolExecutor(2) as pool:
        asked = [pool.submit(client.infer, "stalls", {"n": np.int64(stalling.FOR_EVER)}, timeout=300) for _ in range(2)]
        until_running(running, "stalls", 2, queued=1)
        proxy.stand_still()
        until_running(running, "stalls", 0)
        client.close()
        for each in asked:
            assert isinstance(each.exception(60), InterlockError)
    with running.client() as client:
        assert client.infer("stalls", {"n": np.int64(1)}).version == 1


def test_over_a_network_that_cuts_and_delays_every_call_ends_and_no_answer_is_wrong(running: Server) -> None:
    draw = random.Random(7)
    cuts = [draw.randrange(100, 6000) for _ in range(12)]
    with Proxy(running.grpc, delay_s=0.002, cuts=cuts) as proxy, Client(proxy.address, timeout=10) as client:

        def ask(number: int) -> bool:
            x = np.full((1 + number % 30, 2), number, np.float32)
            try:
                answer = client.infer("m", {"x": x})
            except (Unavailable, DeadlineExceeded):
                return False
            np.testing.assert_array_equal(answer["y"], 2 * x)
            return True

        with ThreadPoolExecutor(CALLERS) as pool:
            answered = list(pool.map(ask, range(120)))
        # A line that is to be cut may also end before it has carried so much; the one after the last is never cut.
        eventually(lambda: proxy.begun > len(cuts) or (ask(1) and False), "no line is cut any more")
        assert sum(answered) >= 60, "retries answer most of them"
        eventually(lambda: ask(2), "the connection is whole again")
        assert all(ask(number) for number in range(20))
    until_running(running, "m", 0)


@pytest.mark.slow
def test_a_worker_comes_back_into_a_storm_of_callers_who_repeat_at_once(running: Server) -> None:
    x = np.ones((1, 64), np.float32)
    with running.client() as client:
        expected = client.infer("slow", {"x": x})["y"]
    killed = running.pid_of("worker")
    over = threading.Event()

    def repeat() -> int:
        refused = 0
        with Client(running.grpc, retries=4, timeout=2, options=[("grpc.use_local_subchannel_pool", 1)]) as client:
            while not over.is_set():
                try:
                    np.testing.assert_array_equal(client.infer("slow", {"x": x})["y"], expected)
                except InterlockError:
                    refused += 1
        return refused

    with ThreadPoolExecutor(12) as pool:
        storm = [pool.submit(repeat) for _ in range(12)]
        os.kill(killed, signal.SIGKILL)
        try:
            with running.client(timeout=20, retries=4) as polite:
                for _ in range(10):
                    eventually(lambda: _answers(polite, x), "the worker is back and answers")
        finally:
            over.set()
        assert sum(each.result(60) for each in storm) > 0, "there was more than could be answered"
    assert running.pid_of("worker") != killed
    with running.client() as client:
        for _ in range(5):
            np.testing.assert_array_equal(client.infer("slow", {"x": x})["y"], expected)


def _answers(client: Client, x: np.ndarray) -> bool:
    try:
        client.infer("slow", {"x": x})
    except InterlockError:
        return False
    return True
