"""What a child may use, what it may reach, and how much of the sandbox is wanted: values alone."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from enum import Enum
from pathlib import Path
from typing import Any, Final

_GIB: Final = 1 << 30
_BYTES_PER_S: Final = 64 << 20
"""At least so much of a model is read, hashed, written and loaded in a second of a child's time."""


class Sandbox(Enum):
    """How much of the kernel's help is wanted."""

    AUTO = "auto"
    """What this kernel has."""
    STRICT = "strict"
    """All of it, or nothing is done."""
    OFF = "off"
    """None: only the walls that every kernel has."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ToolLimits:
    """What one child may use; it is killed at the first limit it crosses."""

    wall_s: float = 60.0
    cpu_s: int = 60
    memory_bytes: int = 2 * _GIB
    """Address space."""
    file_bytes: int = _GIB
    """The largest file that it may write."""
    disk_bytes: int = 4 * _GIB
    """All that it may write."""
    sandbox: Sandbox = Sandbox.AUTO

    @classmethod
    def for_model(cls, size_bytes: int, *, wall_s: float = 60.0, cpu_s: int = 60) -> ToolLimits:
        """Return limits that grow with a model of that many bytes; `wall_s` and `cpu_s` are those of an empty one."""
        more_s = size_bytes // _BYTES_PER_S
        return cls(
            wall_s=wall_s + more_s,
            cpu_s=cpu_s + more_s,
            memory_bytes=max(2 * _GIB, 6 * size_bytes),
            file_bytes=max(_GIB, 2 * size_bytes),
            disk_bytes=max(2 * _GIB, 4 * size_bytes),
        )

    def to_json(self) -> dict[str, Any]:
        """Return what `from_json` reads."""
        return {
            "wall_s": self.wall_s,
            "cpu_s": self.cpu_s,
            "memory_bytes": self.memory_bytes,
            "file_bytes": self.file_bytes,
            "disk_bytes": self.disk_bytes,
            "sandbox": self.sandbox.value,
        }

    @classmethod
    def from_json(cls, data: Mapping[str, Any]) -> ToolLimits:
        """Read limits."""
        return cls(**{**data, "sandbox": Sandbox(data["sandbox"])})


@dataclass(frozen=True, slots=True)
class Reach:
    """Which files a child may see; of the rest of the machine only its own program."""

    readable: tuple[Path, ...] = ()
    """Files, and directories with all that is below them."""
    writable: tuple[Path, ...] = ()
    """Likewise; they are there when the child starts, and what is not there is out of reach."""

    def to_json(self) -> dict[str, Any]:
        """Return what `from_json` reads."""
        return {"readable": [str(each) for each in self.readable], "writable": [str(each) for each in self.writable]}

    @classmethod
    def from_json(cls, data: Mapping[str, Any]) -> Reach:
        """Read a reach."""
        return cls(tuple(map(Path, data["readable"])), tuple(map(Path, data["writable"])))
