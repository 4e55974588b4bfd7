"""What fine-tunes of one network cost: disk for ten versions over one, memory of the worker for three over one.

    python -m tests.bench.artifacts [--versions 10] [--small]

The network has the shape of ResNet-50 (25.6 million parameters, normalisation folded into its convolutions) with random
weights; a fine-tune has another last layer. The versions are registered in a real server; three of them are then served
under three aliases and asked once each. Disk includes derived forms. At the end `stable` is rolled back three times to
a version that is not loaded any more.
"""

from __future__ import annotations

import argparse
import os
import statistics
import tempfile
import time
from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np
import onnx
from interlock.types import Array, DType, Signature, TensorSpec
from interlock_client import Admin, ServableStatus
from interlock_registry.derived_store import graph_of
from interlock_server.worker.engine import Engine
from onnx import TensorProto, helper

from tests import models
from tests.server import Server
from tests.support import eventually

_STAGES = ((3, 64, 256), (4, 128, 512), (6, 256, 1024), (3, 512, 2048))
"""Blocks, inner and outer channels of each stage of ResNet-50."""


class _Network:
    """Builds the graph node by node; every weight is drawn from the seed of the trunk."""

    def __init__(self, shrink: int) -> None:
        self._random = np.random.default_rng(0)
        self._shrink = shrink
        self.nodes: list[onnx.NodeProto] = []
        self.weights: list[TensorProto] = []

    def convolve(self, source: str, rows: int, columns: int, size: int, stride: int = 1, *, relu: bool = True) -> str:
        """Append a convolution with bias, and an activation; return the name of what comes out."""
        name = f"conv{len(self.nodes)}"
        outer, inner = rows // self._shrink, columns if columns == 3 else columns // self._shrink
        scale = np.float32(np.sqrt(2 / (inner * size * size)))
        self._add(f"{name}.weight", self._random.standard_normal((outer, inner, size, size), np.float32) * scale)
        self._add(f"{name}.bias", self._random.standard_normal(outer, np.float32) * np.float32(0.01))
        pads = [size // 2] * 4
        inputs = [source, f"{name}.weight", f"{name}.bias"]
        self.nodes.append(helper.make_node("Conv", inputs, [name], name, strides=[stride, stride], pads=pads))
        if not relu:
            return name
        self.nodes.append(helper.make_node("Relu", [name], [f"{name}.relu"]))
        return f"{name}.relu"

    def block(self, source: str, incoming: int, inner: int, outer: int, stride: int) -> str:
        """Append a bottleneck with its shortcut."""
        inside = self.convolve(self.convolve(source, inner, incoming, 1), inner, inner, 3, stride)
        inside = self.convolve(inside, outer, inner, 1, relu=False)
        shortcut = source
        if stride > 1 or incoming != outer:
            shortcut = self.convolve(source, outer, incoming, 1, stride, relu=False)
        name = f"sum{len(self.nodes)}"
        self.nodes.append(helper.make_node("Add", [inside, shortcut], [name]))
        self.nodes.append(helper.make_node("Relu", [name], [f"{name}.relu"]))
        return f"{name}.relu"

    def _add(self, name: str, array: Array) -> None:
        self.weights.append(models.constant(name, array))


def network(head: int, shrink: int = 1) -> bytes:
    """Return the ONNX file of fine-tune number `head`; `shrink` divides all channels."""
    made = _Network(shrink)
    current = made.convolve("x", 64, 3, 7, 2)
    pool = helper.make_node("MaxPool", [current], ["pool"], kernel_shape=[3, 3], strides=[2, 2], pads=[1] * 4)
    made.nodes.append(pool)
    current, incoming = "pool", 64
    for index, (blocks, inner, outer) in enumerate(_STAGES):
        for block in range(blocks):
            current = made.block(current, incoming, inner, outer, 2 if index and not block else 1)
            incoming = outer
    features = incoming // shrink
    last = np.random.default_rng(head + 1).standard_normal((features, 1000), np.float32)
    made.nodes.append(helper.make_node("GlobalAveragePool", [current], ["mean"]))
    made.nodes.append(helper.make_node("Flatten", ["mean"], ["flat"]))
    made.nodes.append(helper.make_node("MatMul", ["flat", "head.weight"], ["y"]))
    return models.build(
        made.nodes,
        [models.value("x", DType.FP32, ("batch", 3, 224, 224))],
        [models.value("y", DType.FP32, ("batch", 1000))],
        [*made.weights, models.constant("head.weight", last)],
    )


def disk_bytes(folder: Path) -> int:
    """Return what the files of a folder take on disk."""
    return sum(path.stat().st_blocks * 512 for path in folder.rglob("*") if path.is_file())


def derived_bytes(data: Path) -> int:
    """Return what derived forms take: their tensors and records, and the graphs beside."""
    return disk_bytes(data / "derived") + sum(path.stat().st_blocks * 512 for path in data.glob("derived-*.onnx"))


def wait_for_forms(data: Path, count: int) -> None:
    """Wait until so many versions have their derived form, which is made behind register, and nothing else is there."""
    folder = data / "derived"

    def made() -> bool:
        return len(list(folder.glob("*.json"))) >= count and not any(folder.glob(".making-*"))

    eventually(made, "the derived form is made", 120.0)


def back_s(admin: Admin) -> float:
    """Move `stable` on until version 1 is not loaded any more, and roll back to it; return how long that took."""
    for version in (2, 3, 4):
        admin.promote("net", version)
    eventually(lambda: 1 not in {each.version for each in _loaded(admin)}, "version 1 is unloaded", 60.0)
    started = time.perf_counter()
    admin.rollback("net", to=1)
    return time.perf_counter() - started


def opened_s(data: Path) -> float:
    """Return how long a session of the derived form takes to make, its files in memory: the median of nine."""
    graph = graph_of(next((data / "derived").glob("*.json")))
    engine = Engine("cpu", len(os.sched_getaffinity(0)))
    said = Signature(
        (TensorSpec("x", DType.FP32, ("batch", 3, 224, 224)),), (TensorSpec("y", DType.FP32, ("batch", 1000)),)
    )
    took: list[float] = []
    for _ in range(9):
        started = time.perf_counter()
        engine.load(str(graph), said, optimised=True)
        took.append(time.perf_counter() - started)
    return statistics.median(took)


def _loaded(admin: Admin) -> Sequence[ServableStatus]:
    return [each for worker in admin.status().workers for each in worker.servables]


def worker_bytes(server: Server) -> int:
    """Return the worker's proportional share of memory: pages that it maps with others count in parts."""
    text = Path(f"/proc/{server.pid_of('worker')}/smaps_rollup").read_text()
    line = next(line for line in text.splitlines() if line.startswith("Pss:"))
    return int(line.split()[1]) * 1024


def serve(server: Server, admin: Admin, versions: int) -> Iterator[int]:
    """Put versions under aliases of their own one by one, ask each, and yield what the worker takes."""
    x = np.zeros((1, 3, 224, 224), np.float32)
    for version in range(1, versions + 1):
        admin.promote("net", version, alias=f"tune{version}")
        with server.client(timeout=120) as client:
            assert client.infer(f"net:tune{version}", {"x": x}).version == version
        yield worker_bytes(server)


def main() -> None:
    """Measure and print one table."""
    arguments = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    arguments.add_argument("--versions", type=int, default=10, help="fine-tunes to register")
    arguments.add_argument("--small", action="store_true", help="an eighth of the channels: a check of this script")
    given = arguments.parse_args()
    shrink = 8 if given.small else 1
    with tempfile.TemporaryDirectory(prefix="interlock-artifacts-") as name:
        folder = Path(name)
        with Server(folder / "data") as server, server.admin() as admin:
            took: list[int] = []
            size = 0
            empty = worker_bytes(server)
            for version in range(given.versions):
                path = models.write(folder / "net.onnx", network(version, shrink))
                size = path.stat().st_size
                admin.register("net", path)
                wait_for_forms(server.data, version + 1)
                took.append(disk_bytes(server.data / "blobs") + derived_bytes(server.data))
            memory = list(serve(server, admin, min(3, given.versions)))
            first = _loaded(admin)
            admin.promote("net", 1)
            for count in range(1, len(memory) + 1):
                admin.remove_alias("net", f"tune{count}")
            backs: list[tuple[float, ServableStatus]] = []
            for _ in range(3 if given.versions >= 4 else 0):
                took_s = back_s(admin)
                backs.append((took_s, next(each for each in _loaded(admin) if each.version == 1)))
            session_s = opened_s(server.data)
    mib = 1 << 20
    print(f"one file                      {size / mib:8.1f} MiB")
    print(f"disk, 1 version               {took[0] / mib:8.1f} MiB")
    print(f"disk, {given.versions} versions             {took[-1] / mib:8.1f} MiB  {took[-1] / took[0]:.2f} x one")
    print(f"worker, nothing loaded        {empty / mib:8.1f} MiB")
    for count, each in enumerate(memory, 1):
        print(f"worker, {count} version(s) asked    {each / mib:8.1f} MiB  {each / memory[0]:.2f} x one")
    for loaded in first:
        print(f"version {loaded.version}, first load           {loaded.load_s * 1000:8.1f} ms   {_source(loaded)}")
    print(f"a session of a derived form   {session_s * 1000:8.1f} ms   without checks and warm-up")
    for took_s, loaded in backs:
        print(
            f"back to one that was unloaded {took_s * 1000:8.1f} ms   of which loading and warm-up "
            f"{loaded.load_s * 1000:.1f} ms, {_source(loaded)}"
        )


def _source(each: ServableStatus) -> str:
    return f"from the {each.loaded_from.value.lower()}" if each.loaded_from else "not loaded"


if __name__ == "__main__":
    main()
