"""Callers who behave badly cost little, and nobody else notices them."""

from __future__ import annotations

import json
import resource
import struct
import threading
import zlib
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

import numpy as np
import pytest
import tritonclient.grpc as triton
import tritonclient.utils.shared_memory as shm
from interlock.errors import InterlockError
from interlock.model import ServingConfig
from interlock.protocols import open_inference_pb2 as pb
from interlock.types import DType
from interlock_client import Client
from interlock_client.cli.entry import run
from onnx import helper
from tritonclient.utils import InferenceServerException

from tests import models
from tests.load import Load
from tests.raw_http2 import RawConnection
from tests.server import Server
from tests.support import eventually

MIB = 1 << 20
CONNECTIONS = 1100
ANSWER_BYTES = 800_000
ENVIRONMENT = {
    "INTERLOCK_MAX_MESSAGE_BYTES": str(MIB),
    "INTERLOCK_MAX_IN_FLIGHT_BYTES": str(20 * MIB),
    "INTERLOCK_MAX_CONNECTIONS": str(CONNECTIONS),
    "INTERLOCK_MAX_ADMIN_CONNECTIONS": "30",
    "INTERLOCK_MAX_STREAMS": "128",
    "INTERLOCK_DEFAULT_DEADLINE_S": "2",
    "INTERLOCK_SHARED_MEMORY": "true",
}


def wide() -> bytes:
    """x FP32[batch, 1] → y FP32[batch, 200000]: a short question with a long answer."""
    ones = models.constant("ones", np.ones((1, ANSWER_BYTES // 4), np.float32))
    return models.build(
        [helper.make_node("MatMul", ["x", "ones"], ["y"])],
        [models.value("x", DType.FP32, ("batch", 1))],
        [models.value("y", DType.FP32, ("batch", ANSWER_BYTES // 4))],
        [ones],
    )


@pytest.fixture(scope="module", params=["core", pytest.param("aio", marks=pytest.mark.slow)])
def running(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    folder = tmp_path_factory.mktemp("abuse")
    server = Server(folder / "data", "--front", request.param, env=ENVIRONMENT)
    with few_open_files():
        server.start()
    with server:
        with server.admin() as admin:
            admin.register("m", models.write(folder / "m.onnx", models.affine(2.0)))
            admin.register("wide", models.write(folder / "wide.onnx", wide()), config=ServingConfig(max_batch_size=1))
            slow = models.mlp(64, 1024, 10, 4)
            config = ServingConfig(max_batch_size=1, max_queue_size=4)
            admin.register("slow", models.write(folder / "slow.onnx", slow), config=config)
            for name in ("m", "wide", "slow"):
                admin.promote(name, 1)
        yield server


@contextmanager
def few_open_files() -> Iterator[None]:
    """Start processes with fewer files than the connections that these tests open, as most systems do."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (min(soft, 256), hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))


def only_core(server: Server) -> None:
    """Skip where the front is grpc.aio, whose public API gives no hold on what is being received or sent."""
    if "aio" in server.flags:
        pytest.skip("the front aio bounds neither requests that never end nor answers that are never read")


def resident(server: Server) -> int:
    """Return the worker's memory in bytes."""
    pages = Path(f"/proc/{server.pid_of('worker')}/statm").read_text().split()[1]
    return int(pages) * 4096


def answered(client: Client) -> bool:
    return bool(np.array_equal(client.infer("m", {"x": [[1, 2]]})["y"], [[2, 4]]))


def question(model: str, width: int) -> bytes:
    request = pb.ModelInferRequest(model_name=model)
    request.inputs.add(name="x", datatype="FP32", shape=[1, width])
    request.raw_input_contents.append(bytes(4 * width))
    return request.SerializeToString()


def test_a_thousand_idle_connections_cost_little_and_those_over_the_limit_are_closed(running: Server) -> None:
    with ExitStack() as stack, running.client() as client:
        assert answered(client)
        before = resident(running)
        idle = [stack.enter_context(RawConnection(running.grpc)) for _ in range(1000)]
        assert answered(client)
        assert resident(running) - before < 64 * MIB
        more = [stack.enter_context(RawConnection(running.grpc)) for _ in range(CONNECTIONS - 1000 + 20)]
        eventually(lambda: sum(_closed(each) for each in more) >= 10, "those over the limit are closed")
        assert answered(client)
        assert not any(_closed(each) for each in idle[:10])
    with running.client() as client:
        eventually(lambda: _takes(client), "new callers are taken again")


def test_connections_to_the_admin_port_over_its_limit_are_closed_and_it_answers_on(running: Server) -> None:
    with ExitStack() as stack, running.admin() as admin:
        assert admin.status().ready
        more = [stack.enter_context(RawConnection(running.admin_address)) for _ in range(40)]
        eventually(lambda: sum(_closed(each) for each in more) >= 10, "those over the limit are closed")
        assert admin.status().ready


def _closed(connection: RawConnection) -> bool:
    if not connection.refused:
        connection.read()
    return connection.refused


def _takes(client: Client) -> bool:
    try:
        return answered(client)
    except InterlockError:
        return False


def test_requests_that_are_never_finished_end_with_the_deadline_and_hold_nobody_up(running: Server) -> None:
    only_core(running)
    data = question("m", 2)
    with ExitStack() as stack, running.client() as client:
        writers = [stack.enter_context(RawConnection(running.grpc)) for _ in range(5)]
        begun = [(each, each.call()) for each in writers for _ in range(100)]
        for connection, stream in begun:
            connection.send(stream, struct.pack(">BI", 0, MIB) + data, end=False)
        assert answered(client)
        for connection, stream in begun[::50]:
            connection.wait_ended(stream)
        assert answered(client)


def test_answers_that_nobody_reads_are_bounded_and_let_go_at_the_deadline(running: Server) -> None:
    only_core(running)
    with running.client() as client, region(running) as shared_memory:
        assert "100000 rows" in _refusal(shared_memory)
        before, refused = resident(running), ("", "")
        for _ in range(5):
            with RawConnection(running.grpc, window=0) as reader:
                refused = _fill_with_answers(reader, client, shared_memory)
                assert resident(running) - before < 150 * MIB
                eventually(lambda reader=reader: _ended(reader) == 100, "the deadline ends the rest")  # type: ignore[misc]
            eventually(lambda: len(_try_wide(client)) == ANSWER_BYTES // 4, "there is room again")
            if all("max_in_flight_bytes" in each for each in refused):
                break
        else:
            pytest.fail(f"not everybody was refused: {refused}")


def _fill_with_answers(
    reader: RawConnection, client: Client, shared_memory: triton.InferenceServerClient
) -> tuple[str, str]:
    """Ask for more than there is room for, read none of it, and return how more is refused, sent and in shared memory.

    What is not refused is "": on a machine that stands still the deadline of those before it may have passed.
    """
    data = question("wide", 1)
    for _ in range(100):
        reader.ask(data)
    # 20 MiB hold 26 of the answers; what is over is refused, so those streams end at once.
    eventually(lambda: _ended(reader) >= 60, "what is over the limit is refused")
    assert answered(client)
    shared = _refusal(shared_memory)
    try:
        client.infer("wide", {"x": [[1]]})
    except InterlockError as error:
        return error.message, shared
    return "", shared


@contextmanager
def region(server: Server) -> Iterator[triton.InferenceServerClient]:
    """Yield a client with a region of 800,000 bytes."""
    with triton.InferenceServerClient(server.grpc) as client:
        handle = shm.create_shared_memory_region("region", "/interlock-test-abuse", 800_000)
        client.register_system_shared_memory("region", "/interlock-test-abuse", 800_000)
        yield client
        client.unregister_system_shared_memory("region")
        shm.destroy_shared_memory_region(handle)


def _refusal(client: triton.InferenceServerClient) -> str:
    """Return how an input in the region is refused: there are too many rows in it anyway."""
    x = triton.InferInput("x", [100_000, 2], "FP32")
    x.set_shared_memory("region", 800_000)
    with pytest.raises(InferenceServerException) as caught:
        client.infer("m", [x])
    return str(caught.value)


def _ended(reader: RawConnection) -> int:
    reader.read()
    return len(reader.ended)


def _try_wide(client: Client) -> list[float]:
    try:
        return list(client.infer("wide", {"x": [[1]]})["y"][0])
    except InterlockError:
        return []


def test_streams_that_are_opened_and_reset_fail_no_other_callers_request(running: Server) -> None:
    data = question("m", 2)
    message = struct.pack(">BI", 0, len(data)) + data
    with Load(running.grpc, "m", {1: 2.0}) as load, RawConnection(running.grpc) as attacker:
        load.more(20)
        for number in range(6000):
            stream = attacker.call()
            attacker.send(stream, message)
            attacker.reset(stream)
            if number % 50 == 0:
                attacker.read()
            if attacker.refused:
                break
        load.more(20)
    load.check(at_least=40)


def test_bombs_and_oversized_messages_are_refused_before_they_fill_the_memory(running: Server) -> None:
    packer = zlib.compressobj(9, zlib.DEFLATED, 31)
    bomb = b"".join([*(packer.compress(bytes(MIB)) for _ in range(300)), packer.flush()])
    with running.client() as client:
        assert answered(client)
        before = resident(running)
        for _ in range(3):
            with RawConnection(running.grpc) as caller:
                caller.wait_ended(caller.ask(bomb, compressed=True, encoding="gzip"))
        assert resident(running) - before < 64 * MIB
        with pytest.raises(InterlockError, match="max_message_bytes"):
            client.infer("m", {"x": np.zeros((150_000, 2), np.float32)})
        assert answered(client)


def test_ten_times_too_many_callers_are_refused_fast_and_what_is_answered_is_right(
    running: Server, capsys: pytest.CaptureFixture[str]
) -> None:
    with running.client() as client:
        expected = client.infer("slow", {"x": np.ones((1, 64), np.float32)})["y"]
        before = resident(running)
        args = ["--server", running.grpc, "--warmup", "0", "--duration", "1.5", "--concurrency", "48", "-o", "json"]
        watched = threading.Thread(target=lambda: [answered(client) for _ in range(20)])
        watched.start()
        code = run(["bench", "slow", *args])
        watched.join()
        (load,) = json.loads(capsys.readouterr().out)["loads"]

        assert code == 0 and load["answered"] > 0
        (failure,) = load["failures"]
        assert failure["status"] == "RESOURCE_EXHAUSTED" and "max_queue_size" in failure["message"]
        assert load["server"]["queue_s"] <= 20 * load["server"]["run_s"]  # four wait at most: nobody queues for long
        assert resident(running) - before < 64 * MIB
        assert np.array_equal(client.infer("slow", {"x": np.ones((1, 64), np.float32)})["y"], expected)


def test_more_calls_at_once_than_a_connection_may_have_wait_at_their_caller_and_none_fails(
    running: Server, capsys: pytest.CaptureFixture[str]
) -> None:
    args = ["--server", running.grpc, "--warmup", "0", "--duration", "1", "--concurrency", "600", "-o", "json"]
    assert run(["bench", "m", *args]) == 0
    (load,) = json.loads(capsys.readouterr().out)["loads"]
    assert load["answered"] > 0 and load["failures"] == []
