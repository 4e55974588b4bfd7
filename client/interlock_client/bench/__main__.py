"""One load process: reads its order and then loads from standard input, a line each, and writes a line for each.

It ends when standard input does, so that no load outlives the command.
"""

from __future__ import annotations

import json
import signal
import sys
from pathlib import Path
from typing import Final

import grpc

from interlock_client.bench.caller import Caller
from interlock_client.bench.plan import Order, Turn

READY: Final = "ready"
UNREACHABLE: Final = "unreachable"


def main() -> int:
    """Serve loads until there are no more."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C reaches the whole group: the command ends us in its own way
    order = Order.from_json(sys.stdin.readline())
    caller = Caller(order, [Path(name).read_bytes() for name in order.requests])
    try:
        caller.connect()
    except grpc.FutureTimeoutError:
        _say(UNREACHABLE)
        return 1
    _say(READY)
    for line in sys.stdin:
        _say(json.dumps(caller.run(Turn.from_json(line)).to_json()))
    caller.close()
    return 0


def _say(line: str) -> None:
    sys.stdout.write(line + "\n")
    sys.stdout.flush()


if __name__ == "__main__":
    sys.exit(main())
