"""The repository index: every version with its state on this server. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Final

from interlock.model import ServableState, ServableStatus
from interlock_registry.domain import ModelStanding

READY: Final = "READY"
UNAVAILABLE: Final = "UNAVAILABLE"
_WIRE_STATE: Final[Mapping[ServableState, str]] = {
    ServableState.NEW: "LOADING",
    ServableState.LOADING: "LOADING",
    ServableState.WARMING: "LOADING",
    ServableState.READY: READY,
    ServableState.DRAINING: "UNLOADING",
    ServableState.UNLOADED: UNAVAILABLE,
    ServableState.FAILED: UNAVAILABLE,
}


@dataclass(frozen=True, slots=True)
class IndexEntry:
    """One version, or a model that has none."""

    model: str
    version: int
    """0 where the model has no version."""
    state: str
    """In Triton's words: READY, LOADING, UNLOADING, UNAVAILABLE."""
    reason: str
    """Why it is not ready; "" where it is, or where it is still loading."""


_LEAST_READY_FIRST: Final = (
    ServableState.FAILED,
    ServableState.UNLOADED,
    ServableState.DRAINING,
    ServableState.NEW,
    ServableState.LOADING,
    ServableState.WARMING,
    ServableState.READY,
)


def in_all_workers(workers: Iterable[Iterable[ServableStatus]]) -> tuple[ServableStatus, ...]:
    """Return one status for each version that any worker has: that of the worker where it is the least ready."""
    found: dict[tuple[str, int], ServableStatus] = {}
    for servables in workers:
        for each in servables:
            known = found.setdefault((each.model, each.version), each)
            if _LEAST_READY_FIRST.index(each.state) < _LEAST_READY_FIRST.index(known.state):
                found[each.model, each.version] = each
    return tuple(found.values())


def repository_index(
    standing: Iterable[ModelStanding], servables: Iterable[ServableStatus], *, only_ready: bool = False
) -> tuple[IndexEntry, ...]:
    """List every version of the registry and everything that is loaded, by model and number."""
    loaded = {(each.model, each.version): each for each in servables}
    entries = {key: _loaded(each) for key, each in loaded.items()}
    for model in standing:
        for number in model.validated:
            entries.setdefault((model.name, number), _not_loaded(model.name, number))
        for number in model.retired:
            entries.setdefault((model.name, number), IndexEntry(model.name, number, UNAVAILABLE, "retired"))
        if not model.validated and not model.retired:
            entries[model.name, 0] = IndexEntry(model.name, 0, UNAVAILABLE, "it has no version")
    found = (entries[key] for key in sorted(entries))
    return tuple(each for each in found if each.state == READY or not only_ready)


def _loaded(each: ServableStatus) -> IndexEntry:
    # One that is READY may have a reason too: why it was loaded from its artifact. To Triton's callers that is none.
    reason = "" if each.state is ServableState.READY else each.reason
    return IndexEntry(each.model, each.version, _WIRE_STATE[each.state], reason)


def _not_loaded(model: str, number: int) -> IndexEntry:
    return IndexEntry(model, number, UNAVAILABLE, f"not loaded; `interlock pin {model} {number}` loads it")
