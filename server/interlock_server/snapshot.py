"""What the control process tells its workers: a whole picture, never a difference. Pure."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from itertools import repeat

from interlock.golden import Tolerance
from interlock.model import ServingConfig
from interlock.statement import Signed
from interlock.types import Signature
from interlock_registry.domain import Route

from interlock_server.access.holder import Holder
from interlock_server.levers import Lever


@dataclass(frozen=True, slots=True)
class VersionSpec:
    """All that a worker needs to load a version."""

    model: str
    version: int
    digest: str
    manifest_path: str
    """Of the artifact: the bytes behind `digest`, which list the tensors that lie beside the graph."""
    graph_path: str
    graph_sha256: str
    golden_path: str
    """"" where the version has no golden samples."""
    golden_sha256: str
    signature: Signature
    config: ServingConfig
    tolerances: Mapping[str, Tolerance]
    """By provider: "CPU", "CUDA"."""
    joinable: bool
    """A batch of two agreed with two singles when it was validated."""
    damage: str = ""
    """What is wrong with its stored bytes, which must not be loaded then; "" where nothing is known to be."""
    memory_bytes: int = 0
    """What loading it was measured to take; 0: unknown. It decides whether workers are told, and is not for them."""
    suspect: bool = False
    """A worker crashed while it ran it: it runs alone, so that the next crash has one culprit."""
    poison: tuple[int, ...] = ()
    """Fingerprints of requests that have brought down workers, and are not run again."""
    quarantine: str = ""
    """Why it must not be loaded, having brought down workers again and again; "" where it may."""
    derived_path: str = ""
    """The record of its derived form, which is loaded if all its files are whole; "" where there is none."""
    derived_sha256: str = ""
    signed: tuple[Signed, ...] = ()
    """What was signed of it: a start from the last-known-good snapshot looks at it again. Workers are not told."""
    distrust: str = ""
    """Why it must not be loaded, its signatures being what they are; "" where it may."""

    @property
    def key(self) -> VersionKey:
        """What tells it from all other versions."""
        return VersionKey(self.model, self.version)


@dataclass(frozen=True, slots=True, order=True)
class VersionKey:
    """A model and a version number."""

    model: str
    version: int

    def __str__(self) -> str:
        return f"{self.model}@{self.version}"


@dataclass(frozen=True, slots=True)
class WayBack:
    """Where a rollback of an alias would lead, which is loaded, and the lever that says that it was taken."""

    model: str
    alias: str
    version: int
    generation: int
    """The alias's after the rollback."""
    lever: Lever


@dataclass(frozen=True, slots=True)
class Snapshot:
    """Every route and every version to have loaded."""

    incarnation: str
    """The registry's; within one, the epoch never goes back."""
    epoch: int
    routes: tuple[Route, ...]
    keep: tuple[VersionSpec, ...]
    models: tuple[str, ...] = ()
    """Every registered model, also one of which nothing is kept."""
    newest: tuple[int, ...] = ()
    """The highest version number that was given out of each of the models; none at all where they are not known."""
    holders: tuple[Holder, ...] = ()
    """Everybody who is known."""
    ways_back: tuple[WayBack, ...] = ()
    levers: str = ""
    """Where the levers can be looked at; "" where there are none."""

    @property
    def known(self) -> Mapping[str, int]:
        """Every registered model with the highest version number that was given out of it, or 0."""
        return dict(zip(self.models, self.newest or repeat(0), strict=False))

    def way_back(self, model: str, alias: str) -> WayBack | None:
        """Return where a rollback of an alias would lead; None where that is not kept loaded."""
        return next((way for way in self.ways_back if (way.model, way.alias) == (model, alias)), None)

    def without_levers(self) -> Snapshot:
        """Return what is left of it when the process that had the levers is gone."""
        return replace(self, ways_back=(), levers="")


def primary(route: Route) -> int:
    """Return the version that answers a route's requests: its heaviest target that is no shadow."""
    return max((target for target in route.targets if not target.shadow), key=lambda target: target.weight).version
