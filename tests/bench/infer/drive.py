"""A load from `interlock bench`'s own generator, and what it cost the server's processes."""

from __future__ import annotations

import os
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import numpy as np
from interlock.protocols import open_inference_pb2 as pb
from interlock.types import Array
from interlock_client import Tls
from interlock_client.bench.fleet import Fleet
from interlock_client.bench.plan import Load
from interlock_client.bench.result import LoadResult, load_result

from tests.bench.machine import busy, cpu_s, family, others_cores

_WARM_S: Final = 0.5
_CHEAP: Final = (sys.executable, "-m", "tests.bench.infer.flood")


@dataclass(frozen=True, slots=True, kw_only=True)
class Driven:
    """What one load found."""

    answered: int
    failed: int
    failures: tuple[str, ...]
    rate: float
    p50_ms: float
    p99_ms: float
    cpu_us: float
    server_cores: float = 0.0
    load_cores: float = 0.0
    """What the server's processes and those of the load took; 0 where that was not looked at."""
    others_cores: float
    """Cores that work beside the server and the load took meanwhile."""


@contextmanager
def processes_of(
    address: str,
    requests: Sequence[bytes],
    *,
    processes: int = 1,
    connections: int = 1,
    timeout_s: float = 10.0,
    tls: Tls | None = None,
    token: str = "",
    cheap: bool = False,
) -> Iterator[Fleet]:
    """Run load processes; `cheap` ones leave the machine to the server (`flood.py`)."""
    with (
        tempfile.TemporaryDirectory(prefix="interlock-bench-") as folder,
        Fleet(
            address=address,
            requests=requests,
            folder=Path(folder),
            processes=processes,
            connections=connections,
            timeout_s=timeout_s,
            seed=0,
            tls=tls,
            token=token,
            **({"command": _CHEAP} if cheap else {}),
        ) as fleet,
    ):
        yield fleet


def together(
    loads: Sequence[tuple[Fleet, Load]], pids: Sequence[int], seconds: float, warm_s: float = _WARM_S
) -> list[Driven]:
    """Put loads on a server at the same time and return what each found, and what all cost; warm-up left out."""
    windows = [fleet.start(load, warmup_s=warm_s, duration_s=seconds) for fleet, load in loads]
    time.sleep(max(0.0, windows[-1].from_s - time.monotonic()))
    everyone = family(os.getpid())
    before, cpu_before = busy(everyone), cpu_s(pids)
    time.sleep(max(0.0, windows[-1].until_s - time.monotonic()))
    used_s, after = cpu_s(pids) - cpu_before, busy(everyone)
    return [
        _driven(
            load_result(load, fleet.gather(window), rows=1, warmup_s=warm_s, server=None),
            used_s,
            others_cores(before, after),
        )
        for (fleet, load), window in zip(loads, windows, strict=True)
    ]


def _driven(found: LoadResult, used_s: float, others: float) -> Driven:
    return Driven(
        answered=found.answered,
        failed=found.failed,
        failures=tuple(f"{each.count} {each.status}" for each in found.failures),
        rate=found.rate,
        p50_ms=found.latency.p50_s * 1e3,
        p99_ms=found.latency.p99_s * 1e3,
        cpu_us=used_s / max(1, found.answered + found.failed) * 1e6,
        server_cores=used_s / found.duration_s,
        load_cores=found.client_cores,
        others_cores=others,
    )


def drive(
    address: str,
    requests: Sequence[bytes],
    load: Load,
    pids: Sequence[int],
    seconds: float,
    *,
    processes: int = 1,
    connections: int = 1,
    timeout_s: float = 10.0,
    warm_s: float = _WARM_S,
    tls: Tls | None = None,
    token: str = "",
) -> Driven:
    """Put a load on a server and return what it found and cost, warm-up left out."""
    with processes_of(
        address,
        requests,
        processes=processes,
        connections=connections,
        timeout_s=timeout_s,
        tls=tls,
        token=token,
    ) as fleet:
        return together([(fleet, load)], pids, seconds, warm_s)[0]


def request(model: str, array: Array, name: str = "x") -> bytes:
    """Serialise a request of one FP32 input."""
    made = pb.ModelInferRequest(model_name=model)
    made.inputs.add(name=name, datatype="FP32", shape=array.shape)
    made.raw_input_contents.append(np.ascontiguousarray(array, np.float32).tobytes())
    return made.SerializeToString()
