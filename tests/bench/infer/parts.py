"""The parts of the benchmark beside the tiny model: each takes a folder and a length, and gives lines."""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from interlock.model import ServingConfig
from interlock_client.bench.plan import Load

from tests import models
from tests.bench import artifacts
from tests.bench.infer import networks
from tests.bench.infer.bare_loop import Bare, best
from tests.bench.infer.drive import Driven, drive, request
from tests.bench.infer.line import Line
from tests.bench.machine import family
from tests.server import Server


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
        others_cores=found.others_cores,
        failed=found.failed,
        **more,  # type: ignore[arg-type]
    )


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
    with serving(folder / name, ways_to_serve(name, file)) as (address, pids):
        for in_flight in (4, 1):
            bare = best(path, x, in_flight, seconds / 2)
            case = f"{in_flight} in flight"
            found.append(
                Line(part=name, case=case, server=f"bare loop, {bare.how}", rate=bare.rate, p50_ms=bare.p50_ms)
            )
            for model in ways_to_serve(name, file):
                ours = drive(address, [request(model.name, x)], Load(in_flight), pids, seconds)
                found.append(over_loop(name, case, model, ours, bare, alone=in_flight == 1))
    return found


def ways_to_serve(name: str, file: bytes) -> list[Model]:
    """Return a model as it is served by default, and as many runs of it at a time as there are cores."""
    cores = len(os.sched_getaffinity(0))
    return [
        Model(name, file, ServingConfig(max_batch_size=4)),
        Model(f"{name}-{cores}", file, ServingConfig(max_batch_size=1, instances=cores)),
    ]


def over_loop(part: str, case: str, model: Model, ours: Driven, bare: Bare, *, alone: bool) -> Line:
    """Return the line of a model beside the bare loop: by latency where each request is alone, else by throughput."""
    instances = model.config.instances
    server = "interlock" if instances == 1 else f"interlock, {instances} instances"
    if not alone:
        ratio, over, target = ours.rate / bare.rate, "throughput of the bare loop", 0.97
        return line(part, case, server, ours, ratio=ratio, over=over, target=target, most=False)
    return line(part, case, server, ours, ratio=ours.p50_ms / bare.p50_ms, over="latency of the bare loop", target=1.03)


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
