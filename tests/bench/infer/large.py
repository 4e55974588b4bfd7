"""Large inputs, over the wire and in shared memory: what they cost beside an echo of the same bytes."""

from __future__ import annotations

import os
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import grpc
import numpy as np
from interlock.model import ServingConfig
from interlock.protocols import open_inference_pb2 as pb
from interlock.types import Array
from interlock_client.bench.plan import Load

from tests import models
from tests.bench.infer import targets
from tests.bench.infer.bare_loop import open_session
from tests.bench.infer.drive import Driven, drive, request
from tests.bench.infer.introductions import path_of
from tests.bench.infer.line import Line
from tests.bench.infer.parts import Model, line, serving

_SHARED: Final = {"INTERLOCK_SHARED_MEMORY": "true"}
_RUN_S: Final = 0.2
_WARM_S: Final = 1.5
"""Long enough for some of the largest: the first ones find no memory that is free already."""


@dataclass(frozen=True, slots=True)
class _Size:
    """Inputs of one size."""

    name: str
    model: str
    width: int
    """FP32 values."""
    depths: tuple[int, ...]
    """Requests in flight."""
    times: int = 1
    """How many times as long it is measured: of the largest few go through in a second."""


_SIZES: Final = (
    _Size("600 KB", "large", 150_000, (1, 4)),
    _Size("6 MB", "larger", 1_500_000, (1, 4)),
    _Size("60 MB", "largest", 15_000_000, (1,), 4),
)


def large(folder: Path, seconds: float) -> list[Line]:
    """Ask with 600 KB to 60 MB, and have a bare echo of the same front return as much."""
    # The answers are short, so that the echo, which sends as much back, has more to do and not less.
    files = {size.model: models.mlp(size.width, 1, 1, 1) for size in _SIZES}
    run_us = {name: _run_us(models.write(folder / f"{name}.onnx", file)) for name, file in files.items()}
    found: list[Line] = []
    for front in ("core", "aio"):
        wanted = [Model(name, file, ServingConfig()) for name, file in files.items()]
        with (
            serving(folder / front, wanted, "--front", front, env=_SHARED) as (address, pids),
            targets.front_echo(front) as echo,
        ):
            for size in _SIZES:
                x = np.random.default_rng(0).standard_normal((1, size.width), np.float32)
                asked = [request(size.model, x)]
                for in_flight in size.depths:
                    load, length = Load(in_flight), size.times * seconds
                    bare = drive(echo.address, asked, load, echo.pids, length, warm_s=_WARM_S)
                    ours = drive(address, asked, load, pids, length, warm_s=_WARM_S)
                    case = f"{size.name}, {in_flight} in flight"
                    found += _pair(case, front, bare, ours, run_us[size.model])
                    if front == "core":
                        with _in_shared_memory(address, size.model, x) as slim:
                            shared = drive(address, [slim], load, pids, length, warm_s=_WARM_S)
                        found.append(_beside(case, shared, ours))
    return found


def _pair(case: str, front: str, bare: Driven, ours: Driven, run_us: float) -> list[Line]:
    return [
        line("large", case, f"echo on {front}", bare),
        line(
            "large",
            case,
            f"interlock {front}",
            ours,
            ratio=ours.cpu_us / (bare.cpu_us + run_us),
            over="CPU of the echo and the run",
            target=1.15,
            note=f"its run: {run_us:.0f} µs",
        ),
    ]


def _beside(case: str, shared: Driven, wire: Driven) -> Line:
    return line(
        "large",
        f"{case}, in shared memory",
        "interlock core",
        shared,
        ratio=shared.cpu_us / wire.cpu_us,
        over="CPU over the wire",
        note=f"p50 {shared.p50_ms / wire.p50_ms:.2f} × that over the wire",
    )


@contextmanager
def _in_shared_memory(address: str, model: str, x: Array) -> Iterator[bytes]:
    """Put an input into system shared memory that the server knows of; gives a request that refers to it."""
    region = Path("/dev/shm") / f"interlock-bench-{os.getpid()}"
    region.write_bytes(x.tobytes())
    asked = pb.ModelInferRequest(model_name=model)
    tensor = asked.inputs.add(name="x", datatype="FP32", shape=x.shape)
    tensor.parameters["shared_memory_region"].string_param = region.name
    tensor.parameters["shared_memory_byte_size"].int64_param = x.nbytes
    known = pb.SystemSharedMemoryRegisterRequest(name=region.name, key=region.name, byte_size=x.nbytes)
    gone = pb.SystemSharedMemoryUnregisterRequest(name=region.name)
    try:
        with grpc.insecure_channel(address) as channel:
            _tell(channel, "SystemSharedMemoryRegister", known.SerializeToString())
            yield asked.SerializeToString()
            _tell(channel, "SystemSharedMemoryUnregister", gone.SerializeToString())
    finally:
        region.unlink()


def _tell(channel: grpc.Channel, method: str, data: bytes) -> None:
    call: grpc.UnaryUnaryMultiCallable[bytes, bytes] = channel.unary_unary(path_of(method))
    call(data, timeout=10.0)


def _run_us(path: Path) -> float:
    """Return the processor time of one run of a model by itself, in microseconds."""
    session = open_session(path, 0)
    (given,) = session.get_inputs()
    x = np.random.default_rng(0).standard_normal((1, given.shape[1]), np.float32)
    for _ in range(20):
        session.run(None, {"x": x})
    runs, began, before = 0, time.monotonic(), time.process_time()
    while time.monotonic() - began < _RUN_S:
        session.run(None, {"x": x})
        runs += 1
    return (time.process_time() - before) / runs * 1e6
