"""Other people's clients against a live server, each in an environment of its own: `make interop`."""

from __future__ import annotations

import argparse
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from tests.conformance.conftest import populate
from tests.interop.compiled import MissingTools
from tests.interop.programs import PROGRAMS, Program
from tests.server import Server

_SESSION_S = 300.0


def main() -> int:
    """Run every program, or those that are named; return 1 if one of them failed."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("names", nargs="*", help=f"which of {', '.join(each.name for each in PROGRAMS)}; default: all")
    parser.add_argument("--front", default="auto", help="what speaks gRPC: auto, aio, core or native")
    parser.add_argument("--workers", default="1", help="how many workers serve")
    chosen_flags = parser.parse_args()
    names = chosen_flags.names
    unknown = sorted(set(names) - {each.name for each in PROGRAMS})
    if unknown:
        parser.error(f"there is no {', '.join(unknown)}")
    chosen = [each for each in PROGRAMS if not names or each.name in names]
    for program in chosen:
        print(f"{program.name}: setting up", flush=True)
        try:
            program.set_up()
        except MissingTools as error:
            parser.exit(1, f"{program.name}: {error}\n")
    flags = ("--front", chosen_flags.front, "--workers", chosen_flags.workers)
    with tempfile.TemporaryDirectory(prefix="interop-") as made:
        folder = Path(made)
        with Server(folder / "data", *flags, env={"INTERLOCK_SHARED_MEMORY": "true"}) as server:
            with server.admin() as admin:
                populate(admin, folder)
            results = {program.name: run(program, server) for program in chosen}
    for name, passed in results.items():
        print(f"{name:<14} {'passed' if passed else 'FAILED'}")
    return 0 if all(results.values()) else 1


def run(program: Program, server: Server) -> bool:
    """Run one program's session; its output is shown."""
    began = time.monotonic()
    command = program.command(server)
    try:
        status = subprocess.run(command, timeout=_SESSION_S, check=False).returncode
    except subprocess.TimeoutExpired:
        print(f"{program.name}: not through after {_SESSION_S:g} s", file=sys.stderr)
        return False
    print(f"{program.name}: {time.monotonic() - began:.1f} s, exit status {status}", flush=True)
    return status == 0


if __name__ == "__main__":
    sys.exit(main())
