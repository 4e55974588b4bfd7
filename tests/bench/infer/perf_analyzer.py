"""NVIDIA's perf_analyzer as the load: a client in C++, so that what the client costs is not what is measured."""

from __future__ import annotations

import csv
import os
import re
import subprocess
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from tests import environments, tied
from tests.bench.infer.drive import Driven
from tests.bench.machine import Busy, busy, cpu_s, others_cores

_PACKAGES: Final = ("tritonclient==2.49.0", "nvidia-cuda-runtime-cu12==12.9.79")
"""The newest release whose program runs with Debian 12's C library, and the library that it is linked with."""
_WINDOWS: Final = 3
"""perf_analyzer looks at its last three windows to see whether they agree; figures are of these."""
_WINDOW: Final = re.compile(r"Pass \[\d+\] throughput: ([0-9.]+) infer/sec")
_SLACK_S: Final = 60.0


class ProgramMissing(Exception):
    """perf_analyzer cannot be started here; says what to install."""


@dataclass(frozen=True, slots=True)
class Program:
    """perf_analyzer, ready to run."""

    path: Path
    libraries: str
    """Where it finds the shared libraries that it is linked with."""

    def environment(self) -> dict[str, str]:
        """Return the environment to run it in."""
        found = (self.libraries, os.environ.get("LD_LIBRARY_PATH", ""))
        return {**os.environ, "LD_LIBRARY_PATH": ":".join(each for each in found if each)}


def set_up() -> Program:
    """Install the program in an environment of its own, unless it is there; raises ProgramMissing."""
    try:
        folder = environments.set_up("bench-perf-analyzer", _PACKAGES, "--no-deps")
    except subprocess.CalledProcessError as error:
        raise ProgramMissing(
            f"pip could not install {' and '.join(_PACKAGES)} ({error}); they are on PyPI, for x86_64"
        ) from error
    libraries = next(folder.glob("lib/python*/site-packages/nvidia/cuda_runtime/lib"), folder)
    program = Program(folder / "bin" / "perf_analyzer", str(libraries))
    tried = subprocess.run(
        [str(program.path), "--version"], env=program.environment(), capture_output=True, text=True, check=False
    )
    said = tried.stdout + tried.stderr
    if "libb64" in said:
        raise ProgramMissing(
            "perf_analyzer needs the library libb64: apt-get install --no-install-recommends libb64-0d "
            "(or name its folder in LD_LIBRARY_PATH)"
        )
    if "Perf Analyzer" not in said:
        raise ProgramMissing(f"perf_analyzer does not run here: {said.strip()}")
    return program


def analyze(
    program: Program, address: str, model: str, in_flight: int, pids: Sequence[int], seconds: float, folder: Path
) -> Driven:
    """Put a load on a server and return what it found and cost.

    The cost is of the second and third of three windows of a third of `seconds` each, rates and latencies are of all
    three, as perf_analyzer reports them. Raises RuntimeError where it reports none.
    """
    report = folder / "perf_analyzer.csv"
    report.unlink(missing_ok=True)
    command = [
        *(str(program.path), "-m", model, "-i", "grpc", "-u", address, "--async", "-v"),
        *("--concurrency-range", str(in_flight), "--measurement-interval", str(round(seconds / _WINDOWS * 1000))),
        # Three windows, whether or not they agree: their differences are the machine's.
        *("--stability-percentage", "999", "--max-trials", str(_WINDOWS), "-f", str(report)),
    ]
    windows: list[Window] = []
    lines: list[str] = []
    with subprocess.Popen(
        command, env=program.environment(), stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
    ) as process:
        assert process.stdout is not None
        mine = [*pids, process.pid]
        tied.tie(process)
        try:
            for text in process.stdout:
                lines.append(text)
                rate = window_of(text)
                if rate is not None:
                    windows.append(Window(rate, cpu_s(pids), busy(mine)))
            status = process.wait(_SLACK_S)
        finally:
            with suppress(ProcessLookupError):
                process.kill()
    if status or len(windows) != _WINDOWS or not report.exists():
        raise RuntimeError(f"perf_analyzer ended with {status} and said: {''.join(lines)[-2000:]}")
    return _driven(windows, report)


@dataclass(frozen=True, slots=True)
class Window:
    """The end of a window."""

    rate: float
    """Of the window."""
    cpu_s: float
    """What the server had used until now."""
    busy: Busy


def window_of(text: str) -> float | None:
    """Return the rate of the window whose end a line of output tells of; None for other lines."""
    found = _WINDOW.search(text)
    return None if found is None else float(found[1])


def cost_us(windows: Sequence[Window]) -> float:
    """Return what a request took of the server's processors after the first window, in microseconds."""
    return (windows[-1].cpu_s - windows[0].cpu_s) / max(1.0, _answered(windows)) * 1e6


def _answered(windows: Sequence[Window]) -> float:
    took_s = windows[-1].busy.at - windows[0].busy.at
    return sum(each.rate for each in windows[1:]) / (len(windows) - 1) * took_s


def _driven(windows: Sequence[Window], report: Path) -> Driven:
    with report.open(newline="") as file:
        row = next(csv.DictReader(file))
    return Driven(
        answered=round(_answered(windows)),
        failed=0,  # perf_analyzer ends with an error at the first failure
        failures=(),
        rate=float(row["Inferences/Second"]),
        p50_ms=float(row["p50 latency"]) / 1e3,
        p99_ms=float(row["p99 latency"]) / 1e3,
        cpu_us=cost_us(windows),
        others_cores=others_cores(windows[0].busy, windows[-1].busy),
    )
