"""`make crashpoints`: every point of every operation; exits 1 if anything was not as it must be."""

from __future__ import annotations

import random
import sys
import tempfile
import time
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path

import click

from tests.crashpoints.enumeration import Result, enumerate_points
from tests.crashpoints.operations import OPERATIONS, SYNCED, prepare
from tests.crashpoints.points import FAULTS, Point
from tests.crashpoints.powerloss import lose_power


@click.command()
@click.option("--operation", "names", multiple=True, type=click.Choice(list(OPERATIONS)), help="Only these.")
@click.option("--sample", default=0, help="So many points of each operation, at random; 0: all.")
@click.option("--seed", default=0, help="Of the choice.")
@click.option("--part", default="1/1", help="K/N: every Nth point from the Kth on; power losses go with part 1.")
def main(names: tuple[str, ...], sample: int, seed: int, part: str) -> None:
    """Crash and fail at every system call that changes a file, and check everything after each."""
    this, parts = (int(number) for number in part.split("/"))

    def choose(name: str, found: list[Point]) -> list[Point]:
        chosen = found[this - 1 :: parts]
        if sample:
            chosen = random.Random(seed).sample(found, min(sample, len(found)))
        print(f"{name}: {len(chosen)} of its {len(found)} points", file=sys.stderr, flush=True)
        return chosen

    began = time.monotonic()
    with tempfile.TemporaryDirectory() as folder, ThreadPoolExecutor(2) as pool:
        base = Path(folder) / "base"
        prepare(base)
        asked = [
            pool.submit(enumerate_points, name, base, Path(folder) / name, partial(choose, name))
            for name in names or tuple(OPERATIONS)
        ]
        lost = [
            pool.submit(lose_power, name, base, Path(folder) / f"{name}-power", seeds=3)
            for name in names or SYNCED
            if name in SYNCED and not sample and this == 1
        ]
        results = [each.result() for each in asked]
        losses = [each.result() for each in lost]
    _print(results)
    for each in losses:
        print(f"{each.operation:16} {each.moments:5} power losses {len(each.violations):5} violations")
        for violation in each.violations:
            print(f"    {violation}")
    print(f"{sum(sum(each.tried.values()) for each in results)} points in {time.monotonic() - began:.0f} s")
    broken = [*(each.violations for each in results), *(each.violations for each in losses)]
    sys.exit(1 if any(broken) else 0)


def _print(results: list[Result]) -> None:
    print(f"{'operation':16}", *(f"{fault:>8}" for fault in FAULTS), f"{'done':>8} {'violations':>11}")
    for each in results:
        counts = (f"{each.tried[fault]:8}" for fault in FAULTS)
        print(f"{each.operation:16}", *counts, f"{each.survived:8} {len(each.violations):11}")
    for each in results:
        for violation in each.violations:
            print(f"    {violation}")


if __name__ == "__main__":
    main()
