"""The routing table: ref → servable. Immutable; a switch replaces the whole table by one assignment."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Self

from interlock.errors import AliasNotFound, ModelNotFound, VersionNotLoaded
from interlock.types import STABLE, ModelRef
from interlock_registry.domain import Route

from interlock_server.front.seam import Trailing
from interlock_server.snapshot import VersionKey, primary
from interlock_server.worker.servable import Servable


@dataclass(frozen=True, slots=True)
class Resolved:
    """What a ref means now."""

    servable: Servable
    alias: str
    """"" when it was asked for by number."""
    generation: int
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
class _ModelRoutes:
    aliases: dict[str, Resolved] = field(default_factory=dict)
    versions: dict[int, Resolved] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class RouteTable:
    """Everything that can be asked for in this worker."""

    models: Mapping[str, _ModelRoutes]

    @classmethod
    def build(
        cls, routes: Iterable[Route], servables: Mapping[VersionKey, Servable], known: Iterable[str] = ()
    ) -> Self:
        """Make a table; a route to a version that is not among the servables is left out.

        `known` are models that exist even if nothing of them is loaded.
        """
        models: dict[str, _ModelRoutes] = {name: _ModelRoutes() for name in known}
        for key, servable in servables.items():
            versions = models.setdefault(key.model, _ModelRoutes()).versions
            versions[key.version] = Resolved(servable, "", 0)
        for route in routes:
            entry = models.setdefault(route.model, _ModelRoutes())
            target = servables.get(VersionKey(route.model, primary(route)))
            if target is not None:
                entry.aliases[route.alias] = Resolved(target, route.alias, route.generation)
        return cls(models)

    def resolve(self, ref: ModelRef) -> Resolved:
        """Return what a ref means; raises ModelNotFound, AliasNotFound, VersionNotLoaded."""
        model = self.models.get(ref.model)
        if model is None:
            raise ModelNotFound(ref.model)
        if ref.version is not None:
            found = model.versions.get(ref.version)
            if found is None:
                raise VersionNotLoaded(ref.model, ref.version)
            return found
        alias = ref.alias or STABLE
        found = model.aliases.get(alias)
        if found is None:
            raise AliasNotFound(ref.model, alias)
        return found
