"""SIGTERM: what was accepted is answered, what comes later is refused in one way, the exit status says how it went."""

from __future__ import annotations

import queue
import signal
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import grpc
import numpy as np
import pytest
from interlock.errors import Cancelled, DeadlineExceeded, InterlockError, Unavailable
from interlock.protocols.health_pb2 import HealthCheckRequest, HealthCheckResponse
from interlock_client import Client

from tests import stalling
from tests.load import Load
from tests.server import Server
from tests.support import eventually
from tests.system.stories import SCALES, serve_two

SERVING = HealthCheckResponse.ServingStatus.SERVING
NOT_SERVING = HealthCheckResponse.ServingStatus.NOT_SERVING


def watch(channel: grpc.Channel, service: str) -> Iterator[HealthCheckResponse]:
    method = channel.unary_stream(
        "/grpc.health.v1.Health/Watch",
        request_serializer=HealthCheckRequest.SerializeToString,
        response_deserializer=HealthCheckResponse.FromString,
    )
    return method(HealthCheckRequest(service=service), timeout=60)


def test_a_stop_under_load_fails_nothing_that_was_accepted(server: Server, tmp_path: Path) -> None:
    serve_two(server, tmp_path)
    assert server.process is not None
    with Load(server.grpc, "m", SCALES, clients=4) as load:
        load.more(200)
        server.process.send_signal(signal.SIGTERM)
        status = server.process.wait(60)
        stopped = time.monotonic()

    server.kill_everything()
    load.check_answers(at_least=200)
    assert status == 0
    assert "does not answer" not in server.log()
    assert all(answer.at <= stopped for answer in load.answers)
    # One that lost the race with the closing of the connection was never begun, and may be repeated.
    assert all(isinstance(failure.error, Unavailable) for failure in load.failures), [
        failure.error for failure in load.failures if not isinstance(failure.error, Unavailable)
    ]


def test_what_runs_at_a_stop_is_answered(server: Server, tmp_path: Path) -> None:
    with server.admin() as admin:
        stalling.register(admin, tmp_path, "slow")
        admin.promote("slow", 1)
    rounds = stalling.rounds_for(server.client, "slow", seconds=1.5)
    answers: list[int] = []
    with server.client(timeout=60) as client:
        asker = threading.Thread(
            target=lambda: answers.append(int(client.infer("slow", {"n": np.int64(rounds)})["y"])), name="asker"
        )
        asker.start()
        stalling.until_running(server, "slow", 1)
        assert server.stop() == 0
        asker.join()

    assert answers == [rounds]


def test_an_open_health_watch_or_stream_is_told_and_holds_nothing_up(server: Server) -> None:
    asking: queue.SimpleQueue[bytes | None] = queue.SimpleQueue()
    with grpc.insecure_channel(server.grpc) as inference, grpc.insecure_channel(server.admin_address) as admin:
        watches = [watch(channel, "") for channel in (inference, admin)]
        assert [next(each).status for each in watches] == [SERVING, SERVING]
        talk: grpc.StreamStreamMultiCallable[bytes, bytes] = inference.stream_stream(
            "/inference.GRPCInferenceService/ModelStreamInfer"
        )
        stream = talk(iter(asking.get, None))
        asking.put(b"")
        assert next(stream), "it is answered, and stays open"

        began = time.monotonic()
        assert server.stop() == 0
        took = time.monotonic() - began

        for each in watches:
            assert [message.status for message in each] == [NOT_SERVING]
        with pytest.raises(grpc.RpcError) as ended:
            next(stream)
        asking.put(None)
    assert ended.value.code() is grpc.StatusCode.UNAVAILABLE and "shutting down" in (ended.value.details() or "")
    assert took < 20, f"the stop took {took:.1f} s"


def test_a_second_sigterm_ends_it_at_once(server: Server, tmp_path: Path) -> None:
    with server.admin() as admin:
        stalling.register(admin, tmp_path, "slow")
        admin.promote("slow", 1)
    assert server.process is not None
    outcomes: list[InterlockError] = []

    def ask(client: Client) -> None:
        try:
            client.infer("slow", {"n": np.int64(stalling.FOR_EVER)})
        except InterlockError as error:
            outcomes.append(error)

    with server.client(timeout=60) as client:
        asker = threading.Thread(target=ask, args=[client], name="asker")
        asker.start()
        stalling.until_running(server, "slow", 1)
        server.process.send_signal(signal.SIGTERM)
        eventually(lambda: "waiting for 1 request of slow@1" in server.log(), "it says what it waits for")
        # Said by the supervisor a second after the first signal: one that comes sooner may count as the same wish.
        eventually(lambda: "waiting for worker-0" in server.log(), "the supervisor waits for its worker")
        assert server.process.poll() is None, "it waits for the request"
        server.process.send_signal(signal.SIGTERM)
        status = server.process.wait(25)
        asker.join()

    server.kill_everything()
    assert status == 1, "a forced stop is no clean one"
    assert isinstance(outcomes[0], Unavailable)


def test_the_drain_grace_bounds_what_a_request_can_hold_up(tmp_path: Path) -> None:
    config = tmp_path / "interlock.toml"
    config.write_text("drain_grace_s = 1.0\n")
    with Server(tmp_path / "data", "--config", str(config)) as server:
        with server.admin() as admin:
            stalling.register(admin, tmp_path, "slow")
            admin.promote("slow", 1)
        with server.client(timeout=60) as client:
            failed = threading.Event()

            def ask() -> None:
                with pytest.raises((Unavailable, Cancelled, DeadlineExceeded)):
                    client.infer("slow", {"n": np.int64(stalling.FOR_EVER)})
                failed.set()

            asker = threading.Thread(target=ask, name="asker")
            asker.start()
            stalling.until_running(server, "slow", 1)
            assert server.stop(timeout_s=20) == 0
            asker.join()
            assert failed.is_set()
