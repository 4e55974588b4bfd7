"""The probe: a child that goes behind the walls, runs against them, and says which held. As JSON, on both ends."""

from __future__ import annotations

import json
import sys
from typing import Final

from interlock_registry.walls import enclosure
from interlock_registry.walls.limits import Reach, ToolLimits

_MAX_REQUEST: Final = 1 << 16


def main() -> None:
    """Answer which walls hold on this machine."""
    request = json.loads(sys.stdin.buffer.read(_MAX_REQUEST))
    reach = Reach.from_json(request["reach"])
    held = enclosure.enter(ToolLimits.from_json(request["limits"]), reach, request["parent"])
    sys.stdout.write(json.dumps(held))


if __name__ == "__main__":
    main()
