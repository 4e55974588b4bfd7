"""Run ONNX's backend tests through a server: `python -m tests.conformance.backend`."""

from __future__ import annotations

import sys
import tempfile
import time
from collections import Counter
from collections.abc import Sequence
from itertools import count
from pathlib import Path

import click
import grpc
import onnx
import onnxruntime
from rich.table import Table

from tests.conformance.backend.cases import Case, every_case
from tests.conformance.backend.direct import Exchange, NotAsked, exchanges
from tests.conformance.backend.wire import Asked, ask
from tests.progress import progress
from tests.screen import screen
from tests.server import Server


@click.command()
@click.option("--part", default="1/1", show_default=True, help="Take every Nth case only, from the Ith: I/N.")
@click.option("--match", default="", help="Take only cases whose name holds this text.")
def main(part: str, match: str) -> None:
    """Register, promote and ask every case that V2 can carry and ONNX Runtime runs; exit 1 if one goes wrong."""
    index, _, parts = part.partition("/")
    chosen = [case for case in every_case() if match in case.name][int(index) - 1 :: int(parts)]
    left_out: Counter[tuple[str, str]] = Counter()
    work: list[tuple[Case, Sequence[Exchange]]] = []
    for case in chosen:
        try:
            work.append((case, exchanges(case)))
        except NotAsked as refusal:
            left_out[case.kind, str(refusal)] += 1
    started = time.monotonic()
    asked = _ask(work)
    problems = [each for each in asked if each.problem]
    console = screen()
    console.print(_table(chosen, asked))
    for (kind, why), cases in sorted(left_out.items()):
        console.print(f"left out: {cases:4} {kind}: {why}", highlight=False, markup=False)
    console.print(
        f"{len(asked)} models in {time.monotonic() - started:.0f} s; onnx {onnx.__version__}, "
        f"ONNX Runtime {onnxruntime.__version__}"
    )
    for each in problems:
        console.print(f"problem: {each.case.kind} {each.case.name}: {each.problem}", highlight=False, markup=False)
    sys.exit(1 if problems else 0)


def _ask(work: Sequence[tuple[Case, Sequence[Exchange]]]) -> list[Asked]:
    with (
        tempfile.TemporaryDirectory(prefix="interlock-conformance-") as folder,
        Server(Path(folder) / "data", "--providers", "cpu") as server,
        server.admin() as admin,
        grpc.insecure_channel(server.grpc) as channel,
        progress("through the wire", len(work), "cases") as tell,
    ):
        done = count(1)
        return ask(work, admin, channel, Path(folder), lambda: tell(next(done)))


def _table(chosen: Sequence[Case], asked: Sequence[Asked]) -> Table:
    sketch = Table(title="ONNX backend tests through the wire")
    for name in ("kind", "cases", "asked", "bit-identical"):
        sketch.add_column(name, justify="left" if name == "kind" else "right")
    kinds = sorted({case.kind for case in chosen})
    for kind in (*kinds, "all"):
        mine = [each for each in asked if kind in (each.case.kind, "all")]
        cases = sum(kind in (case.kind, "all") for case in chosen)
        equal = sum(not each.problem for each in mine)
        sketch.add_row(kind, str(cases), str(len(mine)), str(equal))
    return sketch


if __name__ == "__main__":
    main()
