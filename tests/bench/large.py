"""A model too large for one ONNX file, from PyTorch to the server and back: export, register, promote, infer, pull.

    python -m tests.bench.large [--bytes 2200000000] [--folder DIR]

The model is four tables of numbers that are looked up and added, so that every answer is known beforehand and what it
takes is what its bytes take. All but a few KiB are in the first table: one tensor over 2 GiB, and others beyond it in
the same file. It needs about six times its size of disk.
"""

from __future__ import annotations

import argparse
import shutil
import tempfile
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

import numpy as np
import onnxruntime as ort
import torch
from interlock.types import Array
from interlock_client import LoadedFrom
from interlock_client.torch import export
from rich.table import Table

from tests.bench.artifacts import disk_bytes
from tests.screen import screen
from tests.server import Server

_TABLES: Final = 4
_WIDTH: Final = 64
_FEW: Final = 16
"""Rows of a small table: enough that it is kept outside of the graph."""
_IDS: Final = np.asarray([[0, 1, 7], [2, 5, 3]], np.int64)
_TIMEOUT_S: Final = 1200.0


class Tables(torch.nn.Module):
    """Four embeddings, added: row `n` of table `t` is full of `n + t / 8`."""

    def __init__(self, size_bytes: int) -> None:
        super().__init__()
        many = size_bytes // (_WIDTH * 4) - _FEW * (_TABLES - 1)
        values = torch.arange(many, dtype=torch.float32).unsqueeze(1).expand(many, _WIDTH)
        self.tables = torch.nn.ParameterList(
            torch.nn.Parameter(values[: _FEW if number else many] + number / 8, requires_grad=False)
            for number in range(_TABLES)
        )

    def forward(self, ids: torch.Tensor) -> torch.Tensor:
        return torch.stack([torch.nn.functional.embedding(ids, table) for table in self.tables]).sum(dim=0)


def expected(ids: Array) -> Array:
    """What the model answers."""
    one = ids.astype(np.float32) * _TABLES + sum(range(_TABLES)) / 8
    return np.broadcast_to(one[..., None], (*ids.shape, _WIDTH))


@dataclass
class Course:
    """What a round trip took and left."""

    size_bytes: int
    files: int = 0
    """Of the export."""
    took_s: dict[str, float] = field(default_factory=dict)
    worker_pss_bytes: int = 0
    disk_bytes: dict[str, int] = field(default_factory=dict)
    loaded_from: LoadedFrom | None = None
    answers: list[Array] = field(default_factory=list)
    """Of the exported model, the served one, the one that was pulled."""
    pulled: tuple[str, ...] = ()
    """The names of the pulled files."""
    largest_message_bytes: int = 0
    """The graph's: the rest lies outside."""

    def step(self, name: str, work: Callable[[], None]) -> None:
        """Do a step and note what it took."""
        began = time.monotonic()
        work()
        self.took_s[name] = time.monotonic() - began


def round_trip(folder: Path, size_bytes: int) -> Course:
    """Take a model of that size all the way; external data is used however small it is."""
    course = Course(size_bytes)
    source = folder / "source" / "m.onnx"
    pulled = folder / "pulled" / "m.onnx"
    source.parent.mkdir(parents=True)
    pulled.parent.mkdir()

    def make() -> None:
        # Above 2 GiB it does so by itself.
        outside = True if size_bytes < 1 << 31 else None
        result = export(
            Tables(size_bytes).eval(), source, torch.from_numpy(_IDS), batch_sizes=[1, 2], external_data=outside
        )
        course.files = 1 + len(result.data_paths)
        course.largest_message_bytes = result.model_path.stat().st_size

    course.step("export", make)
    course.answers.append(_run(source))
    with Server(folder / "data").start(timeout_s=120.0) as server, server.admin() as admin:
        golden = source.with_suffix(".npz")
        course.step("register", lambda: _done(admin.register("large", source, golden=golden, timeout=_TIMEOUT_S)))
        shutil.rmtree(source.parent)
        course.step("promote", lambda: _done(admin.promote("large", 1, timeout=_TIMEOUT_S)))
        with server.client(timeout=120.0) as client:
            course.step("first answer", lambda: course.answers.append(client.infer("large", {"ids": _IDS})["y"]))
        (worker,) = server.status().workers
        course.loaded_from = worker.servables[0].loaded_from
        course.worker_pss_bytes = _pss(server.pid_of("worker"))
        course.disk_bytes["data directory"] = disk_bytes(server.data)
        course.disk_bytes["of it blobs"] = disk_bytes(server.data / "blobs")

        def fetch() -> None:
            course.pulled = tuple(path.name for path in admin.pull("large", pulled, external_data=True).paths)

        course.step("pull", fetch)
    course.answers.append(_run(pulled))
    return course


def _done(_: object) -> None:
    """Throw an answer away."""


def _run(model: Path) -> Array:
    session = ort.InferenceSession(str(model), providers=["CPUExecutionProvider"])
    return np.asarray(session.run(None, {session.get_inputs()[0].name: _IDS})[0])


def _pss(pid: int) -> int:
    for line in Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines():
        if line.startswith("Pss:"):
            return int(line.split()[1]) * 1024
    raise LookupError(f"process {pid} does not say its PSS")


def main(arguments: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(prog="tests.bench.large")
    parser.add_argument("--bytes", type=int, default=2_200_000_000)
    parser.add_argument("--folder", type=Path, help="where there is room; default: the usual place for such things")
    asked = parser.parse_args(arguments)
    with tempfile.TemporaryDirectory(prefix="bench-large-", dir=asked.folder) as folder:
        course = round_trip(Path(folder), asked.bytes)
    table = Table("what", "figure")
    table.add_row("model", f"{course.size_bytes / 1e9:.2f} GB in {course.files} files")
    table.add_row("right answers", str(sum(np.array_equal(each, expected(_IDS)) for each in course.answers)) + " of 3")
    for name, took_s in course.took_s.items():
        table.add_row(name, f"{took_s:.1f} s")
    table.add_row("worker's memory (PSS)", f"{course.worker_pss_bytes / 1e9:.2f} GB")
    for name, size in course.disk_bytes.items():
        table.add_row(f"disk, {name}", f"{size / 1e9:.2f} GB")
    table.add_row("loaded from", course.loaded_from.value.lower() if course.loaded_from else "-")
    screen().print(table)


if __name__ == "__main__":
    main()
