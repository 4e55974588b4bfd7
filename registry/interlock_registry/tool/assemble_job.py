"""The job `assemble`: values and their JSON."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from interlock.model import FileRole

from interlock_registry.manifest import checked_digest


@dataclass(frozen=True, slots=True, kw_only=True)
class AssembleJob:
    """The wish to have a stored model as files again."""

    graph: Path
    """The blob; its tensors lie beside it."""
    name: str
    """What the model's file will be called where it is going."""
    is_outside: bool
    """Tensors go into a second file, also where one would hold all."""
    folder: Path
    """Where the files are written."""

    @property
    def data_name(self) -> str:
        """What the file of the tensors will be called, which the graph has to say."""
        return f"{self.name}.data"

    def path(self, role: FileRole) -> Path:
        """Return where a file is written: not under its name, which is a stranger's."""
        return self.folder / role.value.lower()

    def to_json(self) -> dict[str, Any]:
        """Return what `from_json` reads."""
        return {**asdict(self), "graph": str(self.graph), "folder": str(self.folder)}

    @classmethod
    def from_json(cls, data: Mapping[str, Any]) -> AssembleJob:
        """Read a job."""
        return cls(
            graph=Path(data["graph"]),
            name=str(data["name"]),
            is_outside=bool(data["is_outside"]),
            folder=Path(data["folder"]),
        )


@dataclass(frozen=True, slots=True)
class AssembledFile:
    """A file that was put together."""

    role: FileRole
    name: str
    size_bytes: int
    sha256: str


@dataclass(frozen=True, slots=True)
class Assembled:
    """The files of a model, the graph first."""

    files: tuple[AssembledFile, ...]

    def to_json(self) -> dict[str, Any]:
        """Return what `from_json` reads."""
        return {"files": [{**asdict(each), "role": each.role.value} for each in self.files]}

    @classmethod
    def from_json(cls, data: Mapping[str, Any]) -> Assembled:
        """Read what a child answered; raises KeyError, TypeError, ValueError where it is not that."""
        return cls(
            tuple(
                AssembledFile(
                    FileRole(each["role"]), str(each["name"]), int(each["size_bytes"]), checked_digest(each["sha256"])
                )
                for each in data["files"]
            )
        )
