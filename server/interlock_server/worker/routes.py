"""The routing table: ref → servable. Immutable; a switch replaces the whole table by one assignment."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from types import MappingProxyType
from typing import Final, Self

from interlock.errors import AliasNotFound, ModelNotFound, VersionNotFound, VersionNotLoaded
from interlock.types import STABLE, ModelRef
from interlock_registry.domain import Route

from interlock_server.front.seam import Trailing
from interlock_server.levers import Lever, LeverView
from interlock_server.snapshot import VersionKey, WayBack, primary
from interlock_server.worker.servable import Servable

_NOTHING: Final[Mapping[str, int]] = MappingProxyType({})


@dataclass(frozen=True, slots=True)
class Resolved:
    """What a ref means now."""

    servable: Servable
    alias: str
    """"" when it was asked for by number."""
    generation: int
    back: WayTaken | None = None
    """Where it leads instead once its lever is pulled."""
    facts: Trailing = field(init=False)
    """What every answer says about it."""

    def __post_init__(self) -> None:
        facts = (
            ("interlock-alias", self.alias),
            ("interlock-generation", str(self.generation)),
            ("interlock-digest", self.servable.spec.digest),
        )
        object.__setattr__(self, "facts", facts)


@dataclass(frozen=True, slots=True)
class WayTaken:
    """An alias's way back, and the lever that says that it is taken."""

    resolved: Resolved
    lever: Lever
    levers: LeverView

    @property
    def taken(self) -> bool:
        """Whether a rollback was committed that the routes do not know yet."""
        return self.levers.pulled(self.lever)


@dataclass(frozen=True, slots=True)
class _ModelRoutes:
    newest: int = 0
    """The highest version number that was given out; 0 where it is not known."""
    aliases: dict[str, Resolved] = field(default_factory=dict)
    versions: dict[int, Resolved] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class RouteTable:
    """Everything that can be asked for in this worker."""

    models: Mapping[str, _ModelRoutes]

    @classmethod
    def build(
        cls,
        routes: Iterable[Route],
        servables: Mapping[VersionKey, Servable],
        known: Mapping[str, int] = _NOTHING,
        ways_back: Iterable[WayBack] = (),
        levers: LeverView | None = None,
    ) -> Self:
        """Make a table; a route to a version that is not among the servables is left out.

        `known` are models that exist even if nothing of them is loaded, each with the highest version number that was
        given out, or 0; `ways_back` count where there are `levers`.
        """
        models: dict[str, _ModelRoutes] = {name: _ModelRoutes(newest) for name, newest in known.items()}
        for key, servable in servables.items():
            versions = models.setdefault(key.model, _ModelRoutes()).versions
            versions[key.version] = Resolved(servable, "", 0)
        for route in routes:
            entry = models.setdefault(route.model, _ModelRoutes())
            target = servables.get(VersionKey(route.model, primary(route)))
            if target is not None:
                entry.aliases[route.alias] = Resolved(target, route.alias, route.generation)
        for way in ways_back:
            back, aliases = servables.get(VersionKey(way.model, way.version)), models[way.model].aliases
            if back is not None and way.alias in aliases and levers is not None:
                taken = WayTaken(Resolved(back, way.alias, way.generation), way.lever, levers)
                aliases[way.alias] = replace(aliases[way.alias], back=taken)
        return cls(models)

    def resolve(self, ref: ModelRef) -> Resolved:
        """Return what a ref means; raises ModelNotFound, AliasNotFound, VersionNotFound, VersionNotLoaded."""
        model = self.models.get(ref.model)
        if model is None:
            raise ModelNotFound(ref.model)
        if ref.version is not None:
            found = model.versions.get(ref.version)
            if found is None and 0 < model.newest < ref.version:
                raise VersionNotFound(ref.model, ref.version)
            if found is None:
                raise VersionNotLoaded(ref.model, ref.version)
            return found
        alias = ref.alias or STABLE
        found = model.aliases.get(alias)
        if found is None:
            raise AliasNotFound(ref.model, alias)
        if found.back is not None and found.back.taken:
            return found.back.resolved
        return found
