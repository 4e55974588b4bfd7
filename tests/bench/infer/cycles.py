"""Loading and unloading a version again and again: what stays of the memory."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Final

from interlock.model import ServingConfig
from interlock_client import Admin

from tests import models
from tests.bench.infer.line import Line
from tests.server import Server
from tests.support import eventually

_CYCLES: Final = 50
_HIDDEN: Final = 2560
"""Three layers of it make 53 MB."""
_SETTLED_S: Final = 3.0
"""Memory is given back a moment after an unload, off the way of requests."""


def cycles(folder: Path, seconds: float) -> list[Line]:
    """Promote two other versions and go back to the first, 50 times; `seconds` has no bearing on it.

    Each cycle loads two versions and unloads two.
    """
    config = ServingConfig(max_batch_size=4)
    with Server(folder / "data") as server, server.admin() as admin:
        for seed in (1, 2, 3):
            path = models.write(folder / "m.onnx", models.mlp(64, _HIDDEN, 10, 3, seed=seed))
            admin.register("m", path, config=config)
        admin.promote("m", 1)
        _cycle(server, admin)
        after_one = _settled(server)
        began = time.monotonic()
        for _ in range(_CYCLES - 1):
            _cycle(server, admin)
        took_s = (time.monotonic() - began) / (_CYCLES - 1)
        after_all = _settled(server)
    return [
        Line(
            part="cycles",
            case=f"{_CYCLES} cycles of loading and unloading",
            server="interlock",
            ratio=after_all / after_one,
            over="the worker's memory after one",
            target=1.05,
            note=f"{after_one / 2**20:.0f} MiB, then {after_all / 2**20:.0f} MiB; {took_s * 1e3:.0f} ms a cycle",
        )
    ]


def _cycle(server: Server, admin: Admin) -> None:
    admin.promote("m", 2)
    admin.promote("m", 3)
    admin.rollback("m", to=1)
    eventually(lambda: _loaded(server) == [1], "only version 1 is loaded", 30.0)


def _loaded(server: Server) -> list[int]:
    return [each.version for worker in server.status().workers for each in worker.servables]


def _settled(server: Server) -> int:
    """Return the worker's resident bytes, once what was unloaded has been given back."""
    time.sleep(_SETTLED_S)
    return int(Path(f"/proc/{server.pid_of('worker')}/statm").read_text().split()[1]) * 4096
