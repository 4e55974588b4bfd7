"""Ten times what a model can do: how much of it is still answered, and what everybody else feels of it."""

from __future__ import annotations

from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import numpy as np
from interlock.model import ServingConfig
from interlock_client.bench.plan import Load

from tests import models
from tests.bench.infer.drive import Driven, drive, request
from tests.bench.infer.line import Line
from tests.bench.infer.parts import Model, line, serving

_TIMES: Final = (2, 10)
_TIMEOUT_S: Final = 1.0
_POLITE: Final = Load(rate=10.0)
_ONE_THREAD: Final = {"INTERLOCK_INTRA_OP_THREADS": "1"}
"""A run takes one core: what the callers and the refusals cost is then not taken from the runs."""


def overload(folder: Path, seconds: float) -> list[Line]:
    """Offer too much to a slow model, with and without batching, and to a tiny one; look at others, and after it."""
    slow = models.mlp(384, 2048, 10, 8)
    x = np.random.default_rng(0).standard_normal((1, 384), np.float32)
    small = np.random.default_rng(0).standard_normal((1, 10), np.float32)
    wanted = [
        Model("slow", slow, ServingConfig(max_batch_size=1)),
        Model("joined", slow, ServingConfig(max_batch_size=16)),
        Model("tiny", models.mlp(10, 20, 10, 1), ServingConfig()),
    ]
    found: list[Line] = []
    with serving(folder / "overload", wanted, env=_ONE_THREAD) as (address, pids):
        quiet = [request("tiny", small)]
        for name in ("slow", "joined", "tiny"):
            asked = [request(name, small if name == "tiny" else x)]
            found += _flooded(address, name, asked, quiet, pids, seconds)
    return found


def _flooded(
    address: str, name: str, asked: Sequence[bytes], quiet: Sequence[bytes], pids: Sequence[int], seconds: float
) -> list[Line]:
    found: list[Line] = []
    peak = max((drive(address, asked, Load(each), pids, seconds) for each in (4, 32, 64)), key=lambda each: each.rate)
    found.append(line("overload", f"{name}: peak of 4, 32, 64 in flight", "interlock", peak))
    calm = _beside(address, asked, Load(4), asked, quiet, pids, seconds)
    found.append(line("overload", f"{name}: another model's caller, 4 of this in flight", "interlock", calm.other))
    for times in _TIMES:
        memory = _memory(pids)
        flood = _beside(address, asked, Load(rate=times * peak.rate), asked, quiet, pids, seconds)
        case = f"{name}: {times} × its peak offered"
        note = f"{', '.join(flood.flood.failures)}; memory + {(_memory(pids) - memory) / 2**20:.0f} MiB"
        found.append(
            line(
                "overload",
                case,
                "interlock",
                flood.flood,
                ratio=flood.flood.rate / peak.rate,
                over="the peak",
                target=0.9,
                most=False,
                note=note,
            )
        )
        found.append(line("overload", f"{case}: a polite caller of it", "interlock", flood.same))
        ratio = flood.other.p99_ms / calm.other.p99_ms
        found.append(
            line(
                "overload", f"{case}: another model's caller", "interlock", flood.other, ratio=ratio, over="p99 before"
            )
        )
    after = drive(address, asked, Load(4), pids, seconds)
    found.append(
        line(
            "overload",
            f"{name}: 4 in flight, just after",
            "interlock",
            after,
            ratio=after.rate / peak.rate,
            over="the peak",
        )
    )
    return found


@dataclass(frozen=True, slots=True)
class _Beside:
    """What three callers found at the same time."""

    flood: Driven
    same: Driven
    """Of the one that asks little of the same model."""
    other: Driven
    """Of the one that asks little of another model."""


def _beside(
    address: str,
    asked: Sequence[bytes],
    load: Load,
    same: Sequence[bytes],
    other: Sequence[bytes],
    pids: Sequence[int],
    seconds: float,
) -> _Beside:
    with ThreadPoolExecutor(2) as pool:
        beside = [
            pool.submit(drive, address, requests, _POLITE, pids, seconds, timeout_s=_TIMEOUT_S)
            for requests in (same, other)
        ]
        flood = drive(address, asked, load, pids, seconds, processes=2, timeout_s=_TIMEOUT_S)
        return _Beside(flood, beside[0].result(), beside[1].result())


def _memory(pids: Sequence[int]) -> int:
    return sum(int(Path(f"/proc/{pid}/statm").read_text().split()[1]) * 4096 for pid in pids)
