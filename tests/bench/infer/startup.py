"""From `interlock serve` to ready, with one model and with twenty; and twenty models under mixed traffic."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Final

import numpy as np
from interlock_client.bench.plan import Load

from tests import models
from tests.bench.infer.drive import drive, request
from tests.bench.infer.line import Line
from tests.bench.infer.parts import line
from tests.bench.machine import family
from tests.server import Server

_HIDDEN: Final = 1792
"""Three layers of it make 25 MB."""
_COUNTS: Final = (1, 20)


def many(folder: Path, seconds: float) -> list[Line]:
    """Start servers with 1 and 20 models of 25 MB, twice each, and put mixed traffic on the larger one."""
    found: list[Line] = []
    for count in _COUNTS:
        data = folder / f"many-{count}" / "data"
        data.parent.mkdir()
        with Server(data) as server, server.admin() as admin:
            for index in range(count):
                path = models.write(data.parent / "m.onnx", models.mlp(64, _HIDDEN, 10, 3, seed=index))
                admin.register(f"m{index}", path)
                admin.promote(f"m{index}", 1)
        for start in ("first start", "second start"):
            server = Server(data)
            began = time.monotonic()
            with server:
                took = time.monotonic() - began
                note = f"{took:.2f} s to ready"
                found.append(Line(part="start", case=f"{count} models, {start}", server="interlock", note=note))
                if count > 1 and start == "second start":
                    found.append(_mixed(server, count, seconds))
    return found


def _mixed(server: Server, count: int, seconds: float) -> Line:
    assert server.process is not None
    pids = family(server.process.pid)
    worker = server.pid_of("worker")
    x = np.random.default_rng(0).standard_normal((1, 64), np.float32)
    asked = [request(f"m{index}", x) for index in range(count)]
    driven = drive(server.grpc, asked, Load(8), pids, seconds)
    status = Path(f"/proc/{worker}/status").read_text().splitlines()
    facts = {name: value.strip() for name, _, value in (each.partition(":") for each in status)}
    note = f"worker: {int(facts['VmRSS'].split()[0]) / 1024:.0f} MiB, {facts['Threads']} threads"
    return line("many", f"{count} models in turn, 8 in flight", "interlock", driven, note=note)
