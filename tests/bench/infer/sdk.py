"""What the SDK costs its own process: processor time for each call, sync and async, beside bare gRPC calls."""

from __future__ import annotations

import asyncio
import os
import time
from collections.abc import Awaitable, Callable
from pathlib import Path

import grpc
import numpy as np
from interlock.model import ServingConfig
from interlock_client import AsyncClient, Client

from tests import models
from tests.bench.infer.drive import request
from tests.bench.infer.line import Line
from tests.bench.infer.parts import Model, serving
from tests.bench.load.client import METHOD

_WARM: int = 30


def sdk(folder: Path, seconds: float) -> list[Line]:
    """Call in a closed loop of one; the server is another process, so this one's time is the client's alone."""
    wanted = [
        Model("tiny", models.mlp(10, 20, 10, 1), ServingConfig()),
        Model("large", models.mlp(150_000, 1, 1, 1), ServingConfig()),
    ]
    found: list[Line] = []
    with serving(folder / "sdk", wanted) as (address, _):
        for name, width in (("tiny", 10), ("large", 150_000)):
            x = np.random.default_rng(0).standard_normal((1, width), np.float32)
            data = request(name, x)
            case = "40 B" if name == "tiny" else "600 KB"
            with grpc.insecure_channel(address) as channel, Client(address) as client:
                raw: grpc.UnaryUnaryMultiCallable[bytes, bytes] = channel.unary_unary(METHOD)
                bare = _sync(lambda raw=raw, data=data: raw(data), seconds)  # type: ignore[misc]
                ours = _sync(lambda c=client, n=name, x=x: c.infer(n, {"x": x}), seconds)  # type: ignore[misc]
            found += _pair(case, "sync", bare, ours)
            found += _pair(case, "async", *asyncio.run(_both(address, name, x, data, seconds)))
    return found


def _pair(case: str, way: str, bare: tuple[float, float], ours: tuple[float, float]) -> list[Line]:
    return [
        Line(part="sdk", case=f"{case}, {way}", server="bare stub of bytes", rate=bare[0], cpu_us=bare[1]),
        Line(
            part="sdk",
            case=f"{case}, {way}",
            server="SDK",
            rate=ours[0],
            cpu_us=ours[1],
            ratio=ours[1] / bare[1],
            over="client CPU of the stub",
        ),
    ]


def _sync(call: Callable[[], object], seconds: float) -> tuple[float, float]:
    """Return calls a second and microseconds of this process's processor time for each."""
    for _ in range(_WARM):
        call()
    count, began, used = 0, time.monotonic(), _cpu_s()
    while time.monotonic() - began < seconds:
        call()
        count += 1
    return count / (time.monotonic() - began), (_cpu_s() - used) / count * 1e6


async def _async(call: Callable[[], Awaitable[object]], seconds: float) -> tuple[float, float]:
    for _ in range(_WARM):
        await call()
    count, began, used = 0, time.monotonic(), _cpu_s()
    while time.monotonic() - began < seconds:
        await call()
        count += 1
    return count / (time.monotonic() - began), (_cpu_s() - used) / count * 1e6


async def _both(
    address: str, name: str, x: np.ndarray[tuple[int, ...], np.dtype[np.float32]], data: bytes, seconds: float
) -> tuple[tuple[float, float], tuple[float, float]]:
    async with grpc.aio.insecure_channel(address) as channel:
        raw: grpc.aio.UnaryUnaryMultiCallable[bytes, bytes] = channel.unary_unary(METHOD)
        bare = await _async(lambda: raw(data), seconds)
    async with AsyncClient(address) as client:
        ours = await _async(lambda: client.infer(name, {"x": x}), seconds)
    return bare, ours


def _cpu_s() -> float:
    times = os.times()
    return times.user + times.system
