"""Which derived forms there are for the versions of this replica: looked up in memory, for every snapshot."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Final

from interlock_registry.derived import Form, Held, Recipe, cpu_features, installed_runtime
from interlock_registry.derived_store import DerivedStore

from interlock_server.snapshot import Snapshot, VersionKey, VersionSpec

_USUAL: Final = "CPU"
_PROVIDERS: Final = frozenset({_USUAL})
"""Providers whose optimiser runs in the model tool; on others a session's weights leave for the device anyway."""
_MAX_RECIPES: Final = 100_000


class Forms:
    """The forms on disk by what they depend on. Deriving fills it; everybody may ask."""

    def __init__(self, store: DerivedStore, provider: Callable[[], str], *, enabled: bool) -> None:
        """Take the store and where to learn what provider the workers run on ("" while it is not known)."""
        self._store = store
        self._provider = provider
        self._enabled = enabled
        self._runtime: Final = installed_runtime()
        self._cpu: Final = cpu_features()
        self._by_key: dict[str, Form] = {}
        self._records: dict[str, str] = {}
        """The sha256 of each form's record."""
        self._recipes: dict[str, Recipe] = {}
        self._recipes_provider = ""
        self._located: _Located | None = None
        self._placed: dict[VersionKey, _Placed] = {}

    def take(self, held: Sequence[Held]) -> None:
        """Take over what is on disk now."""
        self._by_key = {each.form.key: each.form for each in held}
        self._records = {each.form.key: each.form.record_sha256 for each in held}
        self._located = None

    def forget(self, key: str) -> None:
        """Give a form to no worker any more."""
        self._by_key.pop(key, None)
        self._records.pop(key, None)
        self._located = None

    def get(self, recipe: Recipe) -> Form | None:
        """Return a recipe's form, or None."""
        return self._by_key.get(recipe.key)

    def of(self, spec: VersionSpec) -> Form | None:
        """Return a version's form, or None."""
        recipe = self.recipe(spec)
        return None if recipe is None else self.get(recipe)

    def recipe(self, spec: VersionSpec) -> Recipe | None:
        """Return what a version's form depends on; None where it gets none, or while no worker has answered."""
        return self._recipe(spec, self._provider())

    def _recipe(self, spec: VersionSpec, provider: str) -> Recipe | None:
        if provider not in _PROVIDERS or not self._enabled:
            return None
        if provider != self._recipes_provider or len(self._recipes) > _MAX_RECIPES:
            self._recipes.clear()
            self._recipes_provider = provider
        found = self._recipes.get(spec.graph_sha256)
        if found is None:
            found = self._recipes[spec.graph_sha256] = Recipe(
                graph_sha256=spec.graph_sha256, runtime=self._runtime, cpu=self._cpu, provider=provider
            )
        return found

    def with_form(self, spec: VersionSpec) -> VersionSpec:
        """Return a spec that names its derived form, if there is one.

        A worker may be told what to load before it has said what it runs on. One on another provider takes no form.
        """
        recipe = self._recipe(spec, self._provider() or _USUAL)
        record_sha256 = None if recipe is None else self._records.get(recipe.key)
        if recipe is None or record_sha256 is None:
            return spec
        known = self._placed.get(spec.key)
        if known is not None and known.asked is spec and known.answer.derived_sha256 == record_sha256:
            return known.answer
        path = str(self._store.record_path(recipe.key))
        answer = replace(spec, derived_path=path, derived_sha256=record_sha256)
        self._placed[spec.key] = _Placed(spec, answer)
        return answer

    def located(self, snapshot: Snapshot) -> Snapshot:
        """Return a snapshot whose versions name the derived forms that there are."""
        provider = self._provider()
        last = self._located
        if last is None or last.asked is not snapshot or last.provider != provider:
            if len(self._placed) > 2 * len(snapshot.keep):
                self._placed.clear()  # most of them are kept no more
            keep = tuple(map(self.with_form, snapshot.keep))
            last = self._located = _Located(snapshot, provider, replace(snapshot, keep=keep))
        return last.answer


@dataclass(frozen=True, slots=True)
class _Placed:
    """A spec with its form, so that it is the same one in every snapshot."""

    asked: VersionSpec
    answer: VersionSpec


@dataclass(frozen=True, slots=True)
class _Located:
    """The last answer, since the same snapshot is asked for at every turn."""

    asked: Snapshot
    provider: str
    answer: Snapshot
