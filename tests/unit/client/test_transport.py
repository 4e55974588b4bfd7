"""Deadlines, retries, reconnects and errors over real sockets, the same for both kinds of client."""

from __future__ import annotations

import asyncio
import socket
import sys
import threading
from collections.abc import Callable
from typing import Any

import grpc
import numpy as np
import pytest
from interlock.errors import (
    Cancelled,
    DeadlineExceeded,
    FailedPrecondition,
    InvalidArgument,
    InvalidInput,
    ModelNotFound,
    NotReady,
    ServerUnreachable,
    Unimplemented,
)
from interlock.protocols import open_inference_pb2 as oip
from interlock_client import AsyncAdmin, AsyncClient, Client

from tests.support import eventually
from tests.unit.client.kinds import Kind
from tests.unit.client.scripted import ScriptedServer, unavailable

X = np.ones((1, 2), np.float32)


def free_port() -> int:
    with socket.socket() as held:
        held.bind(("127.0.0.1", 0))
        port: int = held.getsockname()[1]
        return port


def test_an_answer_says_who_gave_it(kind: Kind, server: ScriptedServer) -> None:
    server.serve_model(version=3)
    result = kind.client(server.address).infer("digits:canary", {"x": X}, outputs=["y"], request_id="r1")
    assert np.array_equal(result["y"], X * 3)
    assert (result.model, result.version, result.alias, result.request_id) == ("digits", 3, "canary", "r1")
    assert (result.generation, result.digest, result.queue_s, result.run_s) == (7, "ab" * 32, 0.00025, 0.0015)


def test_the_servers_own_state_can_be_read(kind: Kind, server: ScriptedServer) -> None:
    server.behaviours["ServerLive"] = lambda *_: oip.ServerLiveResponse(live=True)
    server.behaviours["ServerReady"] = lambda *_: oip.ServerReadyResponse(ready=False)
    server.behaviours["ModelReady"] = lambda request, _: oip.ModelReadyResponse(ready=request.version == "3")
    server.behaviours["ServerMetadata"] = lambda *_: oip.ServerMetadataResponse(
        name="interlock", version="1", extensions=["e"]
    )
    server.serve_model(version=3)
    client = kind.client(server.address)
    assert client.server_live() is True
    assert client.server_ready() is False
    assert client.model_ready("m@3") is True
    assert client.model_ready("m") is False
    assert client.server_metadata().extensions == ("e",)
    assert client.metadata("m").version == 3


def test_calls_go_over_all_connections_in_turn(kind: Kind, server: ScriptedServer) -> None:
    callers: list[str] = []

    def live(_: object, context: grpc.ServicerContext) -> oip.ServerLiveResponse:
        callers.append(context.peer())
        return oip.ServerLiveResponse(live=True)

    server.behaviours["ServerLive"] = live
    client = kind.client(server.address, connections=3)
    for _ in range(6):
        assert client.server_live() is True
    assert len(set(callers)) == 3
    assert callers[:3] == callers[3:]


def test_a_servers_error_is_typed_and_keeps_facts_and_cause(kind: Kind, server: ScriptedServer) -> None:
    def refuse(*_: object) -> Any:
        raise ModelNotFound("digits")

    server.behaviours["ModelMetadata"] = refuse
    with pytest.raises(ModelNotFound, match="unknown model: 'digits'") as caught:
        kind.client(server.address).infer("digits", {"x": X})
    assert caught.value.facts == {"model": "digits"}
    assert isinstance(caught.value.__cause__, grpc.RpcError)


def test_unavailable_is_retried_until_it_answers(kind: Kind, server: ScriptedServer) -> None:
    server.serve_model()
    server.behaviours["ModelInfer"] = unavailable(2, server.behaviours["ModelInfer"])
    assert kind.client(server.address).infer("m", {"x": X}).version == 3
    assert server.calls.count("ModelInfer") == 3


def test_without_retries_the_first_failure_is_the_answer(kind: Kind, server: ScriptedServer) -> None:
    server.serve_model()
    server.behaviours["ModelInfer"] = unavailable(1, server.behaviours["ModelInfer"])
    with pytest.raises(NotReady, match="still loading"):
        kind.client(server.address, retries=0).infer("m", {"x": X})
    assert server.calls.count("ModelInfer") == 1


def test_retries_end_at_their_number(kind: Kind, server: ScriptedServer) -> None:
    server.serve_model()
    server.behaviours["ModelInfer"] = unavailable(9, server.behaviours["ModelInfer"])
    with pytest.raises(NotReady):
        kind.client(server.address, retries=1).infer("m", {"x": X})
    assert server.calls.count("ModelInfer") == 2


def test_only_unavailable_is_retried(kind: Kind, server: ScriptedServer) -> None:
    def refuse(*_: object) -> Any:
        raise FailedPrecondition("not now")

    server.behaviours["ModelMetadata"] = refuse
    with pytest.raises(FailedPrecondition):
        kind.client(server.address).infer("m", {"x": X})
    assert server.calls == ["ModelMetadata"]


def test_a_request_of_16_mib_is_retried_whole(kind: Kind, server: ScriptedServer) -> None:
    server.serve_model()
    server.behaviours["ModelInfer"] = unavailable(1, server.behaviours["ModelInfer"])
    big = np.ones((2 * 1024 * 1024, 2), np.float32)
    assert kind.client(server.address).infer("m", {"x": big})["y"].shape == big.shape
    assert server.calls.count("ModelInfer") == 2


def test_a_deadline_is_an_error_that_names_it(kind: Kind, server: ScriptedServer) -> None:
    server.serve_model()
    release = threading.Event()
    patient, impatient = kind.client(server.address), kind.client(server.address, timeout=0.3)
    for client in (patient, impatient):
        client.infer("m", {"x": X}, timeout=60)  # so that what is known of the model takes none of the time below

    def hang(request: Any, context: grpc.ServicerContext) -> Any:
        release.wait(60)
        return oip.ModelInferResponse()

    server.behaviours["ModelInfer"] = hang
    try:
        with pytest.raises(DeadlineExceeded, match=r"ModelInfer got no answer from .* within 0\.2 s"):
            patient.infer("m", {"x": X}, timeout=0.2)
        with pytest.raises(DeadlineExceeded, match=r"within 0\.3 s"):
            impatient.infer("m", {"x": X})
    finally:
        release.set()


def test_a_deadline_covers_all_the_calls_of_one_infer(kind: Kind, server: ScriptedServer) -> None:
    server.serve_model()
    seen: list[float] = []

    def noting(behaviour: Callable[..., Any], pause_s: float) -> Callable[..., Any]:
        def behave(request: Any, context: grpc.ServicerContext) -> Any:
            seen.append(context.time_remaining() or 0.0)
            threading.Event().wait(pause_s)
            return behaviour(request, context)

        return behave

    for name in ("ModelMetadata", "ModelInfer"):
        server.behaviours[name] = noting(server.behaviours[name], 0.3)
    kind.client(server.address).infer("m", {"x": X}, timeout=9)
    assert seen[1] < seen[0] - 0.2


def test_nobody_there_says_so_and_what_to_check(kind: Kind) -> None:
    target = f"127.0.0.1:{free_port()}"
    with pytest.raises(ServerUnreachable) as caught:
        kind.client(target, retries=0).server_live()
    assert target in caught.value.message
    assert "Connection refused" in caught.value.message
    assert "is `interlock serve` running there?" in caught.value.message
    assert "--server, INTERLOCK_SERVER" in caught.value.message
    assert caught.value.facts == {"address": target}
    with pytest.raises(ServerUnreachable, match="--admin, INTERLOCK_ADMIN"):
        kind.admin(target, retries=0).status()


def test_the_wrong_port_says_which_port_it_should_be(kind: Kind, server: ScriptedServer) -> None:
    only_health = grpc.server(None)  # type: ignore[arg-type]  # no handlers, so no threads either
    port = only_health.add_insecure_port("127.0.0.1:0")
    only_health.start()
    try:
        with pytest.raises(Unimplemented, match=r"is that the admin port \(127\.0\.0\.1:8002 by default\)\?"):
            kind.admin(f"127.0.0.1:{port}").models()
    finally:
        only_health.stop(None).wait()


def test_a_restarted_server_is_found_again(kind: Kind, server: ScriptedServer) -> None:
    server.serve_model()
    client = kind.client(server.address, retries=0)
    client.infer("m", {"x": X})
    server.stop()
    with pytest.raises(ServerUnreachable):
        client.infer("m", {"x": X})
    again = ScriptedServer(server.port)
    again.serve_model()

    def answers() -> bool:
        try:
            return bool(client.infer("m", {"x": X}).version == 3)
        except ServerUnreachable:
            return False

    try:
        eventually(answers, "the client found the restarted server")
    finally:
        again.stop()


def test_tls_is_spoken_where_credentials_are_given(kind: Kind, server: ScriptedServer) -> None:
    client = kind.client(server.address, credentials=grpc.ssl_channel_credentials(), retries=0)
    with pytest.raises(ServerUnreachable):  # the server speaks plain text
        client.server_live()
    assert server.calls == []


def test_a_client_knows_its_address(server: ScriptedServer) -> None:
    assert AsyncClient(server.address).target == AsyncAdmin(server.address).target == server.address


def test_a_closed_client_says_so_and_closes_again(kind: Kind, server: ScriptedServer) -> None:
    client = kind.client(server.address)
    client.close()
    client.close()
    with pytest.raises(FailedPrecondition, match="is closed; make a new one"):
        client.server_live()


@pytest.mark.parametrize("timeout", [0, -1, float("nan"), float("inf"), True, "5"])
def test_a_timeout_that_is_none_is_refused(kind: Kind, server: ScriptedServer, timeout: object) -> None:
    with pytest.raises(InvalidArgument, match="timeout must be a positive, finite number of seconds"):
        kind.client(server.address).server_live(timeout=timeout)


@pytest.mark.parametrize("timeout", [1e12, sys.maxsize, 1e300])
def test_a_timeout_of_centuries_has_not_passed_at_once(kind: Kind, server: ScriptedServer, timeout: float) -> None:
    server.serve_model()
    assert kind.client(server.address).infer("m", {"x": X}, timeout=timeout).version == 3


@pytest.mark.parametrize("retries", [-1, 5, 1.0, True])
def test_a_number_of_retries_that_grpc_would_not_keep_is_refused(kind: Kind, retries: object) -> None:
    with pytest.raises(InvalidArgument, match="retries must be a whole number from 0 to 4"):
        kind.client("127.0.0.1:1", retries=retries)


def test_wrong_inputs_are_refused_before_anything_is_sent(kind: Kind, server: ScriptedServer) -> None:
    server.serve_model()
    with pytest.raises(InvalidInput, match="got float64"):
        kind.client(server.address).infer("m", {"x": np.ones((1, 2))})
    assert server.calls == ["ModelMetadata"]


def test_a_callers_channel_options_win(kind: Kind, server: ScriptedServer) -> None:
    server.serve_model()
    client = kind.client(server.address, options=[("grpc.max_receive_message_length", 1)])
    with pytest.raises(Exception, match="larger than max"):
        client.infer("m", {"x": X})


async def test_closing_ends_what_is_in_flight_as_the_clients_doing_and_not_as_somebodys_who_cancelled_its_task(
    server: ScriptedServer,
) -> None:
    asked, release = threading.Semaphore(0), threading.Event()

    def hang(request: Any, context: grpc.ServicerContext) -> Any:
        asked.release()
        release.wait(60)
        return oip.ServerLiveResponse()

    server.behaviours["ServerLive"] = hang
    client, other = AsyncClient(server.address), AsyncClient(server.address)
    try:
        closed, cancelled = asyncio.create_task(client.server_live()), asyncio.create_task(other.server_live())
        for _ in range(2):
            assert await asyncio.to_thread(asked.acquire, timeout=60)
        await client.close()
        with pytest.raises(Cancelled, match=r"ServerLive on .* was cancelled: the client was closed"):
            await closed
        cancelled.cancel()
        await other.close()
        with pytest.raises(asyncio.CancelledError):
            await cancelled
    finally:
        release.set()


def test_a_client_of_another_event_loop_says_so(server: ScriptedServer) -> None:
    server.serve_model()
    client = AsyncClient(server.address)
    with asyncio.Runner() as own, asyncio.Runner() as other:
        assert own.run(client.infer("m", {"x": X})).version == 3
        with pytest.raises(FailedPrecondition, match="belongs to the event loop that made its first call; make one"):
            other.run(client.infer("m", {"x": X}))
        assert own.run(client.infer("m", {"x": X})).version == 3
        own.run(client.close())


async def test_many_requests_at_once_share_one_client(server: ScriptedServer) -> None:
    server.serve_model()
    async with AsyncClient(server.address) as client:
        results = await asyncio.gather(*(client.infer("m", {"x": X * n}) for n in range(20)))
    assert [float(result["y"][0, 0]) for result in results] == [3.0 * n for n in range(20)]


def test_threads_share_one_client(server: ScriptedServer) -> None:
    server.serve_model()
    found: dict[int, float] = {}
    with Client(server.address) as client:

        def ask(n: int) -> None:
            found[n] = float(client.infer("m", {"x": X * n})["y"][0, 0])

        threads = [threading.Thread(target=ask, args=(n,)) for n in range(16)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    assert found == {n: 3.0 * n for n in range(16)}
