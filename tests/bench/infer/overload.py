"""Ten times what a model can do: how much of it is still answered, and what everybody else feels of it."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Final

import numpy as np
from interlock.model import ServingConfig
from interlock_client.bench.plan import Load

from tests import models, tied
from tests.bench.infer.drive import Driven, processes_of, request, together
from tests.bench.infer.line import Line
from tests.bench.infer.parts import Model, line, serving

_TIMES: Final = (2, 10)
_TINY: Final = "tiny"
_TIMEOUT_S: Final = 1.0
_CONNECTIONS: Final = 2
_DEPTHS: Final = (4, 32, 64, 256)
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
        Model(_TINY, models.mlp(10, 20, 10, 1), ServingConfig()),
    ]
    found: list[Line] = []
    with serving(folder / "overload", wanted, env=_ONE_THREAD) as (address, pids):
        quiet = [request(_TINY, small)]
        for name in ("slow", "joined", _TINY):
            asked = [request(name, small if name == _TINY else x)]
            found += _flooded(address, name, asked, quiet, pids, seconds)
    return found


def _flooded(
    address: str, name: str, asked: Sequence[bytes], quiet: Sequence[bytes], pids: Sequence[int], seconds: float
) -> list[Line]:
    found: list[Line] = []
    with (
        processes_of(address, asked, connections=_CONNECTIONS, timeout_s=_TIMEOUT_S, cheap=True) as crowd,
        processes_of(address, asked, timeout_s=_TIMEOUT_S) as same,
        processes_of(address, quiet, timeout_s=_TIMEOUT_S) as other,
    ):

        def beside(load: Load) -> tuple[Driven, Driven, Driven]:
            flood, polite, apart = together([(crowd, load), (same, _POLITE), (other, _POLITE)], pids, seconds)
            return flood, polite, apart

        peaks = [together([(crowd, Load(each))], pids, seconds)[0] for each in _DEPTHS]
        peak = max(peaks, key=lambda each: each.rate)
        at = Load(_DEPTHS[peaks.index(peak)])
        found.append(line("overload", f"{name}: peak, {at}", "interlock", peak, note=_cores(peak)))
        with _neighbour():
            shared = together([(crowd, at)], pids, seconds)[0]
        found.append(
            line("overload", f"{name}: {at} beside a process that only spins", "interlock", shared, note=_cores(shared))
        )
        calm = beside(Load(4))[2]
        found.append(line("overload", f"{name}: another model's caller, 4 of this in flight", "interlock", calm))
        # Ten times what a tiny model can do is more than two cores can send and throw away.
        for times in _TIMES if name != _TINY else _TIMES[:1]:
            memory = _memory(pids)
            flood, polite, apart = beside(Load(rate=times * peak.rate))
            case = f"{name}: {times} × its peak offered"
            grown = f"memory + {(_memory(pids) - memory) / 2**20:.0f} MiB"
            found.append(
                line(
                    "overload",
                    case,
                    "interlock",
                    flood,
                    ratio=flood.rate / shared.rate,
                    over="beside one that spins",
                    target=0.9,
                    most=False,
                    note=", ".join(
                        [f"{flood.rate / peak.rate:.2f} of the peak", *flood.failures, grown, _cores(flood)]
                    ),
                )
            )
            found.append(line("overload", f"{case}: a polite caller of it", "interlock", polite))
            ratio = apart.p99_ms / calm.p99_ms
            found.append(
                line("overload", f"{case}: another model's caller", "interlock", apart, ratio=ratio, over="p99 before")
            )
        after = together([(crowd, Load(4))], pids, seconds)[0]
    found.append(
        line(
            "overload",
            f"{name}: 4 in flight, just after",
            "interlock",
            after,
            ratio=after.rate / peaks[0].rate,
            over="before",
        )
    )
    return found


@contextmanager
def _neighbour() -> Iterator[None]:
    """Keep a core busy with something else, as it is with refusals and with their callers during a flood."""
    with subprocess.Popen([sys.executable, "-c", "while True: pass"]) as process:
        tied.tie(process)
        try:
            yield
        finally:
            process.kill()


def _cores(found: Driven) -> str:
    return f"{found.server_cores:.2f} cores, {found.load_cores:.2f} for the load"


def _memory(pids: Sequence[int]) -> int:
    return sum(int(Path(f"/proc/{pid}/statm").read_text().split()[1]) * 4096 for pid in pids)
