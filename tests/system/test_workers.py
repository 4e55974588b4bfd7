"""Two workers on one port: each answers for both, and the death of one costs only what it was doing."""

from __future__ import annotations

import os
import signal
import threading
import urllib.request
from collections.abc import Iterator, Sequence
from functools import partial
from pathlib import Path

import grpc
import numpy as np
import pytest
from interlock.errors import Unavailable
from interlock.model import WorkerStatus
from interlock.protocols import open_inference_pb2 as pb
from interlock.protocols.health_pb2 import HealthCheckRequest, HealthCheckResponse
from interlock.protocols.open_inference_pb2_grpc import GRPCInferenceServiceStub
from interlock_client import Client

from tests.load import Load, X
from tests.server import Server
from tests.support import eventually
from tests.system.stories import SCALES, register

MOST_CHANNELS = 40
"""The kernel spreads connections by a hash: that so many land on one of two workers does not happen."""


@pytest.fixture(scope="module")
def serving(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    folder = tmp_path_factory.mktemp("workers")
    with Server(folder / "data", "--workers", "2", env={"INTERLOCK_SHARED_MEMORY": "true"}) as server:
        with server.admin() as admin:
            register(admin, folder, 4)
            admin.promote("m", 1)
            admin.promote("m", 2)
        yield server


class Asker:
    """A stub on a connection of its own, and the worker that the connection led to."""

    def __init__(self, address: str) -> None:
        self.channel = grpc.insecure_channel(address, [("grpc.use_local_subchannel_pool", 1)])
        self.stub = GRPCInferenceServiceStub(self.channel)

    def infer(self, ref: str = "m") -> pb.ModelInferResponse:
        x = pb.ModelInferRequest.InferInputTensor(name="x", datatype="FP32", shape=[1, 2])
        return self.stub.ModelInfer(
            pb.ModelInferRequest(model_name=ref, inputs=[x], raw_input_contents=[X.tobytes()]), timeout=60
        )


def connections(status: Sequence[WorkerStatus], server: Server) -> dict[int, int]:
    """Return how many connections to the inference port each worker's process holds."""
    port = int(server.grpc.rpartition(":")[2])
    found = dict.fromkeys((each.pid for each in status), 0)
    inodes = {
        line.split()[9]
        for table in ("tcp", "tcp6")
        for line in Path(f"/proc/net/{table}").read_text().splitlines()[1:]
        if int(line.split()[1].rpartition(":")[2], 16) == port and line.split()[3] == "01"
    }
    for pid in found:
        for descriptor in Path(f"/proc/{pid}/fd").iterdir():
            try:
                target = os.readlink(descriptor)
            except FileNotFoundError:
                continue
            found[pid] += target.startswith("socket:[") and target[8:-1] in inodes
    return found


@pytest.fixture(scope="module")
def askers(serving: Server) -> Iterator[list[Asker]]:
    """Connections to both workers."""
    made: list[Asker] = []
    try:
        while len(made) < MOST_CHANNELS:
            made.append(Asker(serving.grpc))
            made[-1].infer()
            if len(made) > 3 and all(connections(serving.status().workers, serving).values()):
                break
        yield made
    finally:
        for each in made:
            each.channel.close()


def test_each_of_two_workers_takes_connections(serving: Server, askers: list[Asker]) -> None:
    status = serving.status()
    assert [each.index for each in status.workers] == [0, 1]
    assert len({each.pid for each in status.workers}) == 2
    assert all(connections(status.workers, serving).values())
    assert status.ready and not status.degraded


def test_statistics_and_metrics_count_what_all_workers_answered(serving: Server, askers: list[Asker]) -> None:
    def counted() -> list[int]:
        request = pb.ModelStatisticsRequest(name="m", version="2")
        return [asker.stub.ModelStatistics(request).model_stats[0].inference_stats.success.count for asker in askers]

    def metric(name: str) -> float:
        with urllib.request.urlopen(f"http://{serving.http}/metrics", timeout=60) as response:
            lines = response.read().decode().splitlines()
        (line,) = [line for line in lines if line.startswith(name)]
        return float(line.rpartition(" ")[2])

    series = 'interlock_inference_requests_total{alias="stable",code="OK",model="m",version="2"}'
    before, scraped = counted(), metric(series)
    assert len(set(before)) == 1
    for asker in askers:
        asker.infer()
    assert counted() == [before[0] + len(askers)] * len(askers)
    assert metric(series) == scraped + len(askers)


def test_settings_are_those_of_all_workers(serving: Server, askers: list[Asker]) -> None:
    first, last = askers[0], askers[-1]
    traces = pb.TraceSettingRequest(model_name="m")
    traces.settings["trace_rate"].value.append("7")
    first.stub.TraceSetting(traces)
    quiet = pb.LogSettingsRequest()
    quiet.settings["log_warning"].bool_param = False
    last.stub.LogSettings(quiet)

    def agreed(asker: Asker) -> bool:
        rate = asker.stub.TraceSetting(pb.TraceSettingRequest(model_name="m")).settings["trace_rate"].value
        return (
            list(rate) == ["7"]
            and not asker.stub.LogSettings(pb.LogSettingsRequest()).settings["log_warning"].bool_param
        )

    assert all(agreed(asker) for asker in askers)


def test_so_many_requests_are_traced_whichever_workers_take_them(serving: Server, askers: list[Asker]) -> None:
    traces = pb.TraceSettingRequest(model_name="m")
    for name, value in (("trace_level", "TIMESTAMPS"), ("trace_rate", "1"), ("trace_count", "3")):
        traces.settings[name].value.append(value)
    askers[0].stub.TraceSetting(traces)
    for asker in askers * 3:
        asker.infer()
    for asker in askers:
        told = asker.stub.TraceSetting(pb.TraceSettingRequest(model_name="m")).settings
        assert list(told["trace_count"].value) == ["0"]
    for name in traces.settings:
        del traces.settings[name].value[:]
    askers[-1].stub.TraceSetting(traces)
    eventually(lambda: serving.log().count("traced request") >= 3, "the traces are written")
    assert serving.log().count("traced request") == 3


def test_the_index_and_readiness_are_those_of_all_workers(serving: Server, askers: list[Asker]) -> None:
    found = [asker.stub.RepositoryIndex(pb.RepositoryIndexRequest()) for asker in askers]
    assert all(each == found[0] for each in found)
    assert [(each.version, each.state) for each in found[0].models] == [
        ("1", "READY"),
        ("2", "READY"),
        ("3", "UNAVAILABLE"),
        ("4", "UNAVAILABLE"),
    ]
    assert all(asker.stub.ModelReady(pb.ModelReadyRequest(name="m")).ready for asker in askers)


def test_shared_memory_that_one_worker_was_told_of_works_on_all(serving: Server, askers: list[Asker]) -> None:
    region = Path("/dev/shm") / f"interlock-test-{os.getpid()}"
    region.write_bytes(X.tobytes())
    try:
        askers[0].stub.SystemSharedMemoryRegister(
            pb.SystemSharedMemoryRegisterRequest(name="in", key=region.name, offset=0, byte_size=8)
        )
        x = pb.ModelInferRequest.InferInputTensor(name="x", datatype="FP32", shape=[1, 2])
        x.parameters["shared_memory_region"].string_param = "in"
        x.parameters["shared_memory_byte_size"].int64_param = 8
        for asker in askers:
            answer = asker.stub.ModelInfer(pb.ModelInferRequest(model_name="m", inputs=[x]))
            assert np.frombuffer(answer.raw_output_contents[0], np.float32).tolist() == (X * 3).ravel().tolist()
        askers[-1].stub.SystemSharedMemoryUnregister(pb.SystemSharedMemoryUnregisterRequest(name="in"))
        assert all(
            not asker.stub.SystemSharedMemoryStatus(pb.SystemSharedMemoryStatusRequest()).regions for asker in askers
        )
    finally:
        region.unlink()


def test_no_worker_answers_with_the_old_version_after_a_switch_is_acknowledged(
    serving: Server, askers: list[Asker]
) -> None:
    """Each of the connections asks without a pause; what is sent after the answer to a switch is of the new version."""
    acknowledged = 2
    wrong: list[str] = []
    counts = [0] * len(askers)
    ending = threading.Event()

    def ask(index: int) -> None:
        while not ending.is_set():
            least = acknowledged
            answer = askers[index].infer()
            version = int(answer.model_version)
            right = (X * np.float32(SCALES[version])).tobytes()
            if version < least or answer.raw_output_contents[0] != right:
                wrong.append(f"{version} after {least}: {answer}")
            counts[index] += 1

    threads = [threading.Thread(target=ask, args=(index,)) for index in range(min(8, len(askers)))]
    for thread in threads:
        thread.start()
    try:
        with serving.admin() as admin:
            for version in (3, 4):
                admin.promote("m", version)
                acknowledged = version
                more = sum(counts) + 20 * len(threads)
                eventually(partial(_reached, counts, more), "more answers of the new version")
    finally:
        ending.set()
        for thread in threads:
            thread.join()
        with serving.admin() as admin:
            admin.rollback("m", to=2)
    assert not wrong, wrong[:3]


def _reached(counts: Sequence[int], wanted: int) -> bool:
    return sum(counts) >= wanted


def connections_by_worker(status: Sequence[WorkerStatus], server: Server, asked: int) -> list[int]:
    """Return how many connections a client of the SDK has to each worker once it has asked over each of them."""
    before = connections(status, server)
    with Client(server.grpc, connections=asked) as client:
        for _ in range(2 * asked):
            client.infer("m", {"x": X})
        after = connections(status, server)
    # A closed client's connections are there for a moment more, and would be among those before the next one's.
    left = sum(before.values())
    eventually(lambda: sum(connections(status, server).values()) <= left, "its connections are gone")
    return [after[each.pid] - before[each.pid] for each in status]


def test_a_client_with_several_connections_reaches_every_worker(serving: Server, askers: list[Asker]) -> None:
    status = serving.status().workers
    assert sum(connections_by_worker(status, serving, 1)) == 1
    spread = connections_by_worker(status, serving, MOST_CHANNELS)
    assert sum(spread) == MOST_CHANNELS and all(spread), spread


def test_a_killed_worker_costs_only_what_it_was_doing_and_comes_back_as_the_others_are(
    serving: Server, askers: list[Asker]
) -> None:
    victim = serving.status().workers[1].pid
    traces = pb.TraceSettingRequest(model_name="m")
    traces.settings["trace_rate"].value.append("9")
    askers[0].stub.TraceSetting(traces)

    def back() -> bool:
        status = serving.status()
        return status.ready and not status.degraded and status.workers[1].pid not in (0, victim)

    with Load(serving.grpc, "m", SCALES, clients=4) as load:
        load.more(100)
        os.kill(victim, signal.SIGKILL)
        with grpc.insecure_channel(serving.admin_address) as channel:
            check = channel.unary_unary(
                "/grpc.health.v1.Health/Check",
                request_serializer=HealthCheckRequest.SerializeToString,
                response_deserializer=HealthCheckResponse.FromString,
            )
            assert check(HealthCheckRequest(), timeout=60).status == HealthCheckResponse.SERVING
        eventually(back, "the worker is back")
        load.more(100)
    load.check_answers(at_least=200)
    assert len(load.failures) <= 8, "one request of each client was in flight, and another met the port as it closed"
    assert all(isinstance(failure.error, Unavailable) for failure in load.failures), load.failures[:3]

    found: list[Asker] = []
    try:
        while len(found) < 4 or not all(connections(serving.status().workers, serving).values()):
            assert len(found) < MOST_CHANNELS
            found.append(Asker(serving.grpc))
            setting = found[-1].stub.TraceSetting(pb.TraceSettingRequest(model_name="m"))
            assert list(setting.settings["trace_rate"].value) == ["9"]
    finally:
        for each in found:
            each.channel.close()
