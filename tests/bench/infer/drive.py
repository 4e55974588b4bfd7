"""A load from `interlock bench`'s own generator, and what it cost the server's processes."""

from __future__ import annotations

import os
import tempfile
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import numpy as np
from interlock.protocols import open_inference_pb2 as pb
from interlock.types import Array
from interlock_client import Tls
from interlock_client.bench.fleet import Fleet
from interlock_client.bench.plan import Load
from interlock_client.bench.result import load_result

from tests.bench.machine import busy, cpu_s, family, others_cores

_WARM_S: Final = 0.5


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
    others_cores: float
    """Cores that work beside the server and the load took meanwhile."""


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
        ) as fleet,
    ):
        window = fleet.start(load, warmup_s=warm_s, duration_s=seconds)
        time.sleep(max(0.0, window.from_s - time.monotonic()))
        everyone = family(os.getpid())
        before, cpu_before = busy(everyone), cpu_s(pids)
        time.sleep(max(0.0, window.until_s - time.monotonic()))
        used_s, after = cpu_s(pids) - cpu_before, busy(everyone)
        found = load_result(load, fleet.gather(window), rows=1, warmup_s=warm_s, server=None)
    return Driven(
        answered=found.answered,
        failed=found.failed,
        failures=tuple(f"{each.count} {each.status}" for each in found.failures),
        rate=found.rate,
        p50_ms=found.latency.p50_s * 1e3,
        p99_ms=found.latency.p99_s * 1e3,
        cpu_us=used_s / max(1, found.answered + found.failed) * 1e6,
        others_cores=others_cores(before, after),
    )


def request(model: str, array: Array, name: str = "x") -> bytes:
    """Serialise a request of one FP32 input."""
    made = pb.ModelInferRequest(model_name=model)
    made.inputs.add(name=name, datatype="FP32", shape=array.shape)
    made.raw_input_contents.append(np.ascontiguousarray(array, np.float32).tobytes())
    return made.SerializeToString()
