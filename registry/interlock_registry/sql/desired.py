"""Read what should be served: aliases, routes, pins, and the versions that these keep loaded."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping, Sequence
from typing import Final

from interlock.model import Alias
from sqlalchemy import Connection, select, tuple_

from interlock_registry.domain import DesiredModel, DesiredVersion, Route
from interlock_registry.keep import keep_set
from interlock_registry.sql import rows
from interlock_registry.sql import tables as t

_BATCH: Final = 250


def desired_models(
    connection: Connection,
    names: Sequence[str],
    *,
    aliases: Sequence[Alias],
    routes: Sequence[Route],
    pins: Mapping[str, Sequence[int]],
    keep_depth: int,
) -> tuple[DesiredModel, ...]:
    """Put together what should be served of the models called `names`, in that order."""
    aliases_of: dict[str, list[Alias]] = defaultdict(list)
    for alias in aliases:
        aliases_of[alias.model].append(alias)
    routes_of: dict[str, list[Route]] = defaultdict(list)
    for route in routes:
        routes_of[route.model].append(route)
    kept = {name: keep_set(aliases_of[name], routes_of[name], pins.get(name, ()), depth=keep_depth) for name in names}
    specs = _versions(connection, [(name, version) for name in names for version in kept[name]])
    return tuple(
        DesiredModel(
            name=name,
            aliases=tuple(aliases_of[name]),
            routes=tuple(routes_of[name]),
            pins=tuple(pins.get(name, ())),
            keep=tuple(specs[name]),
        )
        for name in names
    )


def _versions(connection: Connection, wanted: Sequence[tuple[str, int]]) -> Mapping[str, list[DesiredVersion]]:
    found: dict[str, list[DesiredVersion]] = defaultdict(list)
    versions, golden = t.versions.c, t.golden_samples.c
    query = (
        select(
            t.versions,
            t.artifacts.c.manifest,
            golden.digest.label("golden_digest"),
            golden.size_bytes.label("golden_size_bytes"),
        )
        .join(t.artifacts, t.artifacts.c.digest == versions.digest)
        .outerjoin(t.golden_samples, (golden.model == versions.model) & (golden.version == versions.version))
        .order_by(versions.model, versions.version)
    )
    for start in range(0, len(wanted), _BATCH):
        batch = wanted[start : start + _BATCH]
        for row in connection.execute(query.where(tuple_(versions.model, versions.version).in_(batch))):
            found[row.model].append(rows.desired_version(row))
    return found
