"""Which walls hold on this machine: found out by a child that runs against them, before a stranger's model does."""

from __future__ import annotations

import json
import os
import tempfile
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Final

from interlock.errors import InternalError, StartupRefused

from interlock_registry.tool.child import run
from interlock_registry.walls import enclosure
from interlock_registry.walls.limits import Reach, Sandbox, ToolLimits

_OURS: Final = ("process", "wall-clock", "disk-limit")
"""Walls that the parent puts up: a process of its own that it ends in time."""
_WHY: Final = {
    enclosure.FILES: "Landlock: Linux 6.2 or newer, with landlock among the security modules (lsm=) of its boot",
    enclosure.CALLS: "seccomp filters, on x86_64 or aarch64",
}
_LIMITS: Final = ToolLimits(wall_s=30.0, cpu_s=10)


@dataclass(frozen=True, slots=True)
class Walls:
    """The walls that model tool children stand behind."""

    held: tuple[str, ...]
    missing: tuple[str, ...]
    """What `strict` would demand beside them."""

    @property
    def explanation(self) -> str:
        """What the missing ones need."""
        return "; ".join(f"{name} needs {_WHY[name]}" if name in _WHY else name for name in self.missing)


async def probe(sandbox: Sandbox) -> Walls:
    """Have a child try the walls; raises InternalError where it fails, StartupRefused where `strict` lacks one."""
    with tempfile.TemporaryDirectory(prefix="interlock-walls-") as folder:
        request = {
            "parent": os.getpid(),
            "limits": replace(_LIMITS, sandbox=sandbox).to_json(),
            "reach": Reach((Path(folder),)).to_json(),
        }
        ended = await run("interlock_registry.walls", json.dumps(request).encode(), Path(folder), _LIMITS)
    try:
        held = tuple(map(str, json.loads(ended.reply)))
    except (TypeError, ValueError) as error:
        raise InternalError(
            f"the model tool's sandbox cannot be tried: its child ended with {ended.code}: "
            f"{ended.stderr.strip()[-300:]}"
        ) from error
    walls = Walls((*_OURS, *held), enclosure.missing(held))
    if sandbox is Sandbox.STRICT and walls.missing:
        raise StartupRefused(
            f"the setting sandbox is 'strict', and this machine lacks {', '.join(walls.missing)}: {walls.explanation}; "
            "mend that, or set sandbox to 'auto' and accept less"
        )
    return walls
