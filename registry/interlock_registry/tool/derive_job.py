"""What the parent asks of a child that makes a derived form, and what comes back."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from interlock.errors import InvalidArgument

from interlock_registry.manifest import Blob, checked_digest
from interlock_registry.tool.job import ModelLimits


@dataclass(frozen=True, slots=True, kw_only=True)
class DeriveJob:
    """The order to optimise a graph, to take it apart and to compare its answers with those of the original."""

    model: Path
    golden: Path | None
    """Inputs to compare the answers to; made up where there are none."""
    joinable: bool
    """Golden samples may be cut into slices of rows."""
    folder: Path
    """An empty directory inside of `own`, for the form's graph and tensors, and for files that nobody needs then."""
    graph: Path
    """A file for the graph as it is tried: in the directory that the form's graph will be in, from which downwards
    tensors are looked for."""
    own: Path
    """Where tensors are that the optimiser changed, and where new ones will be: a directory beside the graph."""
    shared: Path | None
    """Where the artifact's tensors lie, named by their digests: a directory beside the graph. None where they lie
    elsewhere, so that unchanged tensors are copied."""
    limits: ModelLimits = field(default_factory=ModelLimits)

    def to_json(self) -> dict[str, Any]:
        """Return what `from_json` reads."""
        return {
            "model": str(self.model),
            "golden": None if self.golden is None else str(self.golden),
            "joinable": self.joinable,
            "folder": str(self.folder),
            "graph": str(self.graph),
            "own": str(self.own),
            "shared": None if self.shared is None else str(self.shared),
            "limits": asdict(self.limits),
        }

    @classmethod
    def from_json(cls, data: Mapping[str, Any]) -> DeriveJob:
        """Read a job."""
        golden, shared = data["golden"], data["shared"]
        return cls(
            model=Path(data["model"]),
            golden=None if golden is None else Path(golden),
            joinable=bool(data["joinable"]),
            folder=Path(data["folder"]),
            graph=Path(data["graph"]),
            own=Path(data["own"]),
            shared=None if shared is None else Path(shared),
            limits=ModelLimits(**data["limits"]),
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class DeriveReport:
    """What the child made."""

    graph: Blob
    own: tuple[Blob, ...]
    shared: tuple[Blob, ...]
    is_packed: bool
    """Tensors carry what kernels make of them at load, so that sessions share that too."""
    compared: int
    """Runs whose answers were equal to the bit; at least one."""
    plain_load_s: float
    load_s: float

    def to_json(self) -> dict[str, Any]:
        """Return what `from_json` reads."""
        return asdict(self)

    @classmethod
    def from_json(cls, data: Mapping[str, Any]) -> DeriveReport:
        """Read a report; raises KeyError, TypeError, ValueError where it is not one."""
        return cls(
            graph=_blobs([data["graph"]])[0],
            own=_blobs(data["own"]),
            shared=_blobs(data["shared"]),
            is_packed=bool(data["is_packed"]),
            compared=int(data["compared"]),
            plain_load_s=float(data["plain_load_s"]),
            load_s=float(data["load_s"]),
        )


def _blobs(data: Sequence[Mapping[str, Any]]) -> tuple[Blob, ...]:
    try:
        return tuple(Blob(checked_digest(str(each["digest"])), int(each["size_bytes"])) for each in data)
    except InvalidArgument as error:
        raise ValueError(error.message) from error
