"""Throw broken bytes and broken requests, of gRPC and REST, at the inference methods for a while: `make fuzz`."""

from __future__ import annotations

import argparse
import sys
import tempfile
import time
from pathlib import Path

from tests.fuzz.target import Target


def main() -> int:
    """Run until the time is over; return 1 at the first finding, which is printed."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seconds", type=float, default=60.0, help="how long; default: %(default)s")
    parser.add_argument("--seed", type=int, default=None, help="repeat an earlier run; default: from the clock")
    given = parser.parse_args()
    seed = given.seed if given.seed is not None else time.time_ns() % 1_000_000
    print(f"seed {seed}", flush=True)
    with tempfile.TemporaryDirectory(prefix="fuzz-") as folder, Target(Path(folder), seed) as target:
        until = time.monotonic() + given.seconds
        while time.monotonic() < until:
            finding = target.round()
            if finding is not None:
                print(f"after {target.calls} calls: {finding}")
                return 1
    outcomes = ", ".join(f"{count} {name}" for name, count in sorted(target.outcomes.items()))
    print(f"{target.calls} calls, no finding: {outcomes}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
