"""The parts of the benchmark beside the tiny model: each takes a folder and a length, and gives lines."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import numpy as np
import onnxruntime as ort
from interlock.model import ServingConfig
from interlock.types import Array
from interlock_client.bench.plan import Load

from tests import models
from tests.bench import artifacts
from tests.bench.infer import networks, targets
from tests.bench.infer.drive import Driven, drive, request
from tests.bench.infer.line import Line
from tests.bench.machine import family
from tests.server import Server

_LARGE_WIDTH: Final = 150_000
"""FP32 values of 600 KB."""


@dataclass(frozen=True, slots=True)
class Model:
    """What is registered for a part."""

    name: str
    file: bytes
    config: ServingConfig


@contextmanager
def serving(
    folder: Path, wanted: Sequence[Model], *flags: str, env: Mapping[str, str] | None = None
) -> Iterator[tuple[str, tuple[int, ...]]]:
    """Run a server with these models promoted; gives its address and its processes."""
    folder.mkdir()
    with Server(folder / "data", *flags, env=env) as server:
        with server.admin() as admin:
            for each in wanted:
                path = models.write(folder / f"{each.name}.onnx", each.file)
                admin.register(each.name, path, config=each.config)
                admin.promote(each.name, 1)
        assert server.process is not None
        yield server.grpc, tuple(family(server.process.pid))


def line(part: str, case: str, server: str, found: Driven, **more: object) -> Line:
    """Return a line with a load's figures."""
    return Line(
        part=part,
        case=case,
        server=server,
        rate=found.rate,
        p50_ms=found.p50_ms,
        p99_ms=found.p99_ms,
        cpu_us=found.cpu_us,
        failed=found.failed,
        **more,  # type: ignore[arg-type]
    )


def large(folder: Path, seconds: float) -> list[Line]:
    """Ask with 600 KB, and have a bare echo of the same front return as much."""
    # The answer is short, so that the echo, which sends 600 KB back, has more to do and not less.
    total = models.mlp(_LARGE_WIDTH, 1, 1, 1)
    x = np.random.default_rng(0).standard_normal((1, _LARGE_WIDTH), np.float32)
    asked = [request("large", x)]
    run_us = _run_us(models.write(folder / "large.onnx", total), x)
    found: list[Line] = []
    for front in ("core", "aio"):
        with (
            serving(folder / front, [Model("large", total, ServingConfig())], "--front", front) as (address, pids),
            targets.front_echo(front) as echo,
        ):
            for in_flight in (1, 4):
                bare = drive(echo.address, asked, Load(in_flight), echo.pids, seconds)
                ours = drive(address, asked, Load(in_flight), pids, seconds)
                case = f"600 KB, {in_flight} in flight"
                found.append(line("large", case, f"echo on {front}", bare))
                ratio = ours.cpu_us / (bare.cpu_us + run_us)
                over = "CPU of the echo and the run"
                found.append(
                    line(
                        "large",
                        case,
                        f"interlock {front}",
                        ours,
                        ratio=ratio,
                        over=over,
                        target=1.15,
                        note=f"its run: {run_us:.0f} µs",
                    )
                )
    return found


def _run_us(path: Path, x: Array) -> float:
    """Return the processor time of one run of a model by itself, in microseconds."""
    session = _session(path, 0)
    for _ in range(20):
        session.run(None, {"x": x})
    before = time.process_time()
    for _ in range(200):
        session.run(None, {"x": x})
    return (time.process_time() - before) / 200 * 1e6


def resnet(folder: Path, seconds: float) -> list[Line]:
    """Compare ResNet-50 with a bare loop over ONNX Runtime."""
    return _network(folder, seconds, "resnet", artifacts.network(0), (1, 3, 224, 224))


def transformer(folder: Path, seconds: float) -> list[Line]:
    """Compare a six-layer encoder with a bare loop over ONNX Runtime."""
    return _network(folder, seconds, "transformer", networks.encoder(), (1, networks.TOKENS, networks.WIDTH))


def _network(folder: Path, seconds: float, name: str, file: bytes, shape: tuple[int, ...]) -> list[Line]:
    x = np.random.default_rng(0).standard_normal(shape).astype(np.float32)
    path = models.write(folder / f"{name}-bare.onnx", file)
    found: list[Line] = []
    config = ServingConfig(max_batch_size=4)
    with serving(folder / name, [Model(name, file, config)]) as (address, pids):
        asked = [request(name, x)]
        for in_flight in (4, 1):
            ours = drive(address, asked, Load(in_flight), pids, seconds)
            bare = max((_bare(path, x, in_flight, seconds / 2, *way) for way in _ways()), key=lambda each: each.rate)
            case = f"{in_flight} in flight"
            found.append(
                Line(part=name, case=case, server=f"bare loop, {bare.how}", rate=bare.rate, p50_ms=bare.p50_ms)
            )
            if in_flight == 1:
                ratio, over, target = ours.p50_ms / bare.p50_ms, "latency of the bare loop", 1.03
            else:
                ratio, over, target = ours.rate / bare.rate, "throughput of the bare loop", 0.97
            most = in_flight == 1
            found.append(line(name, case, "interlock", ours, ratio=ratio, over=over, target=target, most=most))
    return found


@dataclass(frozen=True, slots=True)
class _Bare:
    how: str
    rate: float
    p50_ms: float


def _ways() -> list[tuple[int, bool]]:
    """Return thread settings to try: threads of the pool, and whether the callers share runs."""
    return [(0, False), (1, False), (0, True)]


def _bare(path: Path, x: Array, in_flight: int, seconds: float, threads: int, joined: bool) -> _Bare:
    """Run a model again and again in this process: by as many threads as are in flight, or all in one batch."""
    session = _session(path, threads)
    rows = in_flight if joined else 1
    feed = {"x": np.repeat(x, rows, axis=0)}
    session.run(None, feed)
    times: list[float] = []
    until = time.monotonic() + seconds

    def loop() -> None:
        while (began := time.monotonic()) < until:
            session.run(None, feed)
            times.append(time.monotonic() - began)

    workers = [threading.Thread(target=loop) for _ in range(1 if joined else in_flight)]
    began = time.monotonic()
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join()
    rate = len(times) * rows / (time.monotonic() - began)
    how = f"{threads or 'all'} threads{', one batch' if joined else ''}"
    return _Bare(how, rate, float(np.median(times)) * 1e3)


def _session(path: Path, threads: int) -> ort.InferenceSession:
    options = ort.SessionOptions()
    options.intra_op_num_threads = threads
    options.add_session_config_entry("session.intra_op.allow_spinning", "0")
    return ort.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])


def batching(folder: Path, seconds: float) -> list[Line]:
    """Compare a model of an embedding's size with batching and without."""
    file = models.mlp(384, 1536, 384, 3)
    wanted = [
        Model("joined", file, ServingConfig(max_batch_size=32)),
        Model("single", file, ServingConfig(max_batch_size=1)),
    ]
    x = np.random.default_rng(0).standard_normal((1, 384), np.float32)
    found: list[Line] = []
    with serving(folder / "batching", wanted) as (address, pids):
        for in_flight in (64, 1):
            off, on = (
                drive(address, [request(name, x)], Load(in_flight), pids, seconds) for name in ("single", "joined")
            )
            case = f"{in_flight} in flight"
            found.append(line("batching", case, "batching off", off))
            if in_flight == 1:
                ratio, over, target, most = on.p50_ms / off.p50_ms, "p50 without", 1.05, True
            else:
                ratio, over, target, most = on.rate / off.rate, "throughput without", 2.0, False
            found.append(line("batching", case, "batching on", on, ratio=ratio, over=over, target=target, most=most))
    return found
