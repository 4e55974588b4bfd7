"""The parent's side of the load: starts the processes, stops them, gathers what they saw."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from types import TracebackType
from typing import Final, Self

from tests.bench.load.order import Order
from tests.bench.load.records import Records

_END_S: Final = 60.0


class Load:
    """A running load. Leaving the context ends it; `stop` returns the records."""

    def __init__(
        self,
        *,
        address: str,
        model: str,
        questions: Path,
        folder: Path,
        clients: int,
        processes: int,
        rate: float = 0.0,
        max_s: float,
        checked: bool = True,
    ) -> None:
        """Spread `clients` evenly over `processes`; `rate` 0 is a closed loop."""
        self._orders = [
            Order(
                address=address,
                model=model,
                questions=str(questions),
                result=str(folder / f"records-{index}.npz"),
                first_client=clients * index // processes,
                clients=clients * (index + 1) // processes - clients * index // processes,
                all_clients=clients,
                rate=rate,
                max_s=max_s,
                checked=checked,
            )
            for index in range(processes)
        ]
        self._running: list[subprocess.Popen[str]] = []

    def __enter__(self) -> Self:
        for order in self._orders:
            process = subprocess.Popen(
                [sys.executable, "-m", "tests.bench.load"], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
            )
            self._running.append(process)
            assert process.stdin is not None
            process.stdin.write(order.to_json() + "\n")
            process.stdin.flush()
        for process in self._running:
            assert process.stdout is not None
            if process.stdout.readline() != "ready\n":
                raise RuntimeError(f"a load process did not get ready and ended with {process.wait(_END_S)}")
        return self

    @property
    def pids(self) -> list[int]:
        """The load's processes."""
        return [process.pid for process in self._running]

    def stop(self) -> Records:
        """End the load and return what all clients saw."""
        for process in self._running:
            assert process.stdin is not None
            process.stdin.close()
        for process in self._running:
            status = process.wait(_END_S)
            if status != 0:
                raise RuntimeError(f"a load process ended with {status}")
        self._release()
        return Records.merge([Records.load(Path(order.result)) for order in self._orders])

    def _release(self) -> None:
        for process in self._running:
            for pipe in (process.stdin, process.stdout):
                assert pipe is not None
                pipe.close()
        self._running = []

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        for process in self._running:
            process.kill()
            process.wait(_END_S)
        self._release()
