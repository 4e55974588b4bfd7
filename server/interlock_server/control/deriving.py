"""Making derived forms: one at a time, by the model tool; dropping what is damaged or has to make room.

Nobody's load depends on one: where a form is missing, damaged or refused, the artifact's own graph is loaded.
"""

from __future__ import annotations

import asyncio
import logging
import shutil
import time
from collections import OrderedDict
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Final

from interlock.errors import DataLoss, InterlockError, InvalidModel, StorageFull
from interlock.model import LoadedFrom, ServableState
from interlock_registry import disk
from interlock_registry.derived import Form, Held, Recipe, bytes_of, evictions
from interlock_registry.derived_store import OWN, SHARED, DerivedStore, Workplace
from interlock_registry.manifest import Manifest
from interlock_registry.tool import DeriveJob, Sandbox, ToolLimits, derive

from interlock_server.control.database import Database
from interlock_server.control.forms import Forms
from interlock_server.control.metrics import ControlMetrics
from interlock_server.control.replica import Replica
from interlock_server.control.workers import Prepared, Workers
from interlock_server.settings import Settings
from interlock_server.snapshot import VersionKey, VersionSpec

log = logging.getLogger("interlock.deriving")

_MAX_ORDERS: Final = 256
"""Forms that wait to be made; one more is made when its version is promoted."""
_MAX_REMADE: Final = 2
"""How often a form that workers could not use is made again."""
_ROOM: Final = 4
"""Free disk that making a form takes, in sizes of the model: the optimiser's file, the tensors, and some to spare."""


@dataclass(frozen=True, slots=True, eq=False)
class _Order:
    recipe: Recipe
    spec: VersionSpec
    done: asyncio.Future[None] = field(default_factory=lambda: asyncio.get_running_loop().create_future())


@dataclass(frozen=True, slots=True)
class _Fallback:
    """A version that a worker process loaded from the artifact although it was given a form."""

    pid: int
    key: VersionKey


class Deriving:
    """The one writer of the derived forms. Its owner calls `start` and `close`."""

    def __init__(
        self,
        store: DerivedStore,
        forms: Forms,
        settings: Settings,
        metrics: ControlMetrics,
        database: Database,
        replica: Replica,
        workers: Workers,
    ) -> None:
        self._store = store
        self._forms = forms
        self._settings = settings
        self._metrics = metrics
        self._database = database
        self._replica = replica
        self._workers = workers
        self._orders: OrderedDict[str, _Order] = OrderedDict()
        self._making: _Order | None = None
        self._refused: set[str] = set()
        """Keys of forms that are not made: the model is too small, or cannot be taken apart."""
        self._no_room: dict[str, int] = {}
        """How many bytes forms take that were made and found no room beside what is kept."""
        self._remade: dict[str, int] = {}
        self._provider = ""
        self._fallbacks: frozenset[_Fallback] = frozenset()
        self._settled: frozenset[_Fallback] = frozenset()
        """Those that were acted upon."""
        self._wake = asyncio.Event()
        self._task: asyncio.Task[None] | None = None

    async def start(self) -> None:
        """Clear away what a predecessor left half-way, read what is there, and begin to work."""
        try:
            await asyncio.to_thread(self._store.sweep)
        except OSError as error:
            log.error("derived forms that were left half-way stay until the next start: %s", error)
        await self._read()
        self._task = asyncio.create_task(self._work())

    async def close(self) -> None:
        """Stop, and end a child that is at work. Idempotent."""
        if self._task is not None:
            self._task.cancel()
            await asyncio.gather(self._task, return_exceptions=True)
            self._task = None
        for order in self._orders.values():
            order.done.set_result(None)
        self._orders.clear()

    # --- what there is to do ---

    def look(self) -> None:
        """Note that the versions to keep loaded have changed."""
        self._wake.set()

    def watch(self) -> None:
        """Note that a worker may have changed: one that could not use a form says so in its status."""
        provider = self._workers.reported.provider
        found = frozenset(
            _Fallback(worker.pid, VersionKey(servable.model, servable.version))
            for worker in self._workers.reported.statuses
            for servable in worker.servables
            if servable.loaded_from is LoadedFrom.FALLBACK and servable.state is ServableState.READY
        )
        if provider != self._provider or found != self._fallbacks:
            self._provider, self._fallbacks = provider, found
            self._wake.set()

    async def registered(self, model: str, version: int) -> None:
        """Have the form of a new version made while nobody waits for it; raises nothing."""
        try:
            found = await self._database.read(lambda registry: registry.desired_version(model, version))
        except InterlockError as error:
            log.debug("its derived form is not made ahead: %s", error.message)  # PREPARE makes it
            return
        await self._order_missing([self._replica.spec(found)])

    async def prepare(self, spec: VersionSpec) -> Prepared:
        """Have every worker load and prove a version, from its form if there is one; raises as Workers.prepare."""
        return await self._workers.prepare(self._forms.with_form(spec))

    async def ensure(self, spec: VersionSpec, *, make: bool) -> None:
        """Wait until a version's form is there, or it is known that there will be none; raises nothing.

        Without `make` an absent one is not waited for. A caller that stops waiting stops nothing.
        """
        recipe = self._forms.recipe(spec)
        if recipe is None:
            return
        form = self._forms.get(recipe)
        if form is not None and await asyncio.to_thread(self._store.is_whole, form):
            await asyncio.to_thread(self._store.touch, form)
            return
        if form is not None:
            self._forms.forget(recipe.key)
        if make and self._may_make(recipe) and await asyncio.to_thread(self._is_worth_it, spec):
            order = self._order(spec, recipe, first=True)
            if order is not None:
                await asyncio.shield(order.done)

    # --- orders ---

    def _order(self, spec: VersionSpec, recipe: Recipe, *, first: bool) -> _Order | None:
        key = recipe.key
        if self._task is None:
            return None  # not begun, or ended
        if self._making is not None and self._making.recipe.key == key:
            return self._making
        if key not in self._orders and len(self._orders) >= _MAX_ORDERS and not first:
            return None
        order = self._orders.setdefault(key, _Order(recipe, spec))
        if first:
            self._orders.move_to_end(key, last=False)
        self._wake.set()
        return order

    async def _order_missing(self, specs: Sequence[VersionSpec]) -> None:
        recipes = ((spec, self._forms.recipe(spec)) for spec in specs)
        missing = [
            (spec, recipe)
            for spec, recipe in recipes
            if recipe is not None and self._forms.get(recipe) is None and self._may_make(recipe)
        ]
        sizes = await asyncio.to_thread(lambda: [_size_bytes(spec) for spec, _ in missing])
        for (spec, recipe), size_bytes in zip(missing, sizes, strict=True):
            if size_bytes is None:
                continue
            if size_bytes >= self._settings.derived_min_bytes:
                self._order(spec, recipe, first=False)
            else:
                self._refused.add(recipe.key)

    def _may_make(self, recipe: Recipe) -> bool:
        if recipe.key in self._refused:
            return False
        needed_bytes = self._no_room.get(recipe.key)
        return needed_bytes is None or self._kept_bytes() + needed_bytes <= self._settings.derived_cache_bytes

    def _kept_bytes(self) -> int:
        forms = [self._forms.of(spec) for spec in self._replica.snapshot().keep]
        return bytes_of([Held(form, 0.0) for form in forms if form is not None])

    def _is_worth_it(self, spec: VersionSpec) -> bool:
        size_bytes = _size_bytes(spec)
        return size_bytes is not None and size_bytes >= self._settings.derived_min_bytes

    # --- work ---

    async def _work(self) -> None:
        while True:
            await self._wake.wait()
            self._wake.clear()
            try:
                await self._look_round()
            except Exception:
                log.exception("derived forms could not be looked after")
            while self._orders:  # whatever that was: promotes wait for these
                _, self._making = self._orders.popitem(last=False)
                await self._make(self._making)

    async def _look_round(self) -> None:
        kept = {spec.key: spec for spec in self._replica.snapshot().keep}
        found = self._fallbacks
        for fallback in found - self._settled:
            if fallback.key in kept:
                await self._discard(kept[fallback.key])
        self._settled = found
        await self._order_missing(tuple(kept.values()))

    async def _discard(self, spec: VersionSpec) -> None:
        """Drop a form that a worker could not use; it is made again, but not for ever."""
        recipe = self._forms.recipe(spec)
        if recipe is None or self._forms.get(recipe) is None:
            return
        self._remade[recipe.key] = self._remade.get(recipe.key, 0) + 1
        if self._remade[recipe.key] > _MAX_REMADE:
            log.error("its derived form cannot be used and is not made again", extra={"version": str(spec.key)})
            self._refused.add(recipe.key)
        self._forms.forget(recipe.key)
        await asyncio.to_thread(self._store.drop, [recipe.key])
        await self._read()

    async def _make(self, order: _Order) -> None:
        started = time.monotonic()
        said = {"version": str(order.spec.key)}
        outcome = "failed"
        try:
            form = await self._derive(order)
            if await self._make_room(form):
                outcome = "made"
                log.info("derived form made", extra={**said, "duration_s": round(time.monotonic() - started, 3)})
            else:
                outcome = "refused"
                self._no_room[form.key] = bytes_of([Held(form, 0.0)])
                log.warning("no derived form: what is kept loaded fills derived_cache_bytes; raise it", extra=said)
        except InvalidModel as error:
            outcome = "refused"
            self._refused.add(order.recipe.key)
            log.warning("no derived form, the artifact is loaded instead: %s", error.message, extra=said)
        except InterlockError as error:
            log.error("no derived form could be made: %s", error.message, extra=said)
        except OSError as error:
            why = disk.failure(error, f"the derived forms {self._store.root / OWN}")
            log.error("no derived form could be made: %s", why.message, extra=said)
        except Exception:
            log.exception("no derived form could be made", extra=said)
        finally:
            self._metrics.derived(outcome, time.monotonic() - started)
            self._settle()

    def _settle(self) -> None:
        if self._making is not None and not self._making.done.done():
            self._making.done.set_result(None)
        self._making = None

    async def _derive(self, order: _Order) -> Form:
        size_bytes = await asyncio.to_thread(_size_bytes, order.spec)
        if size_bytes is None:
            raise DataLoss(f"the manifest {order.spec.digest} cannot be read; restore it from a backup")
        free = shutil.disk_usage(self._store.root).free
        if free < _ROOM * size_bytes:
            raise StorageFull(f"making it takes {_ROOM * size_bytes} bytes of disk, {free} are free; {disk.MAKE_ROOM}")
        workplace = await asyncio.to_thread(self._store.workplace)
        try:
            report = await derive(
                self._job(order.spec, workplace),
                # Twice the model: its optimised copy is written, with what kernels make of the weights.
                self._limits(2 * size_bytes),
            )
            form = Form(recipe=order.recipe, graph=report.graph, own=report.own, shared=report.shared)
            await asyncio.to_thread(self._store.add, form, workplace)
        finally:
            await asyncio.to_thread(workplace.discard)
        return form

    def _job(self, spec: VersionSpec, workplace: Workplace) -> DeriveJob:
        graph, shared = Path(spec.graph_path).absolute(), self._store.root / SHARED
        return DeriveJob(
            model=graph,
            golden=Path(spec.golden_path).absolute() if spec.golden_path else None,
            joinable=spec.joinable,
            folder=workplace.folder,
            graph=workplace.graph,
            own=self._store.root / OWN,
            # A fleet's blobs lie elsewhere, out of reach of a graph that lies here.
            shared=shared if graph.parent == shared else None,
        )

    def _limits(self, size_bytes: int) -> ToolLimits:
        settings = self._settings
        limits = ToolLimits.for_model(size_bytes, wall_s=settings.validate_wall_s, cpu_s=settings.validate_cpu_s)
        memory_bytes = settings.validate_memory_bytes or limits.memory_bytes
        return replace(limits, memory_bytes=memory_bytes, sandbox=Sandbox(settings.sandbox))

    async def _make_room(self, form: Form) -> bool:
        """Drop what is longest unused and not kept; False where the new form finds no room even so."""
        cap_bytes = self._settings.derived_cache_bytes
        recipes = [self._forms.recipe(spec) for spec in self._replica.snapshot().keep]
        kept = frozenset({recipe.key for recipe in recipes if recipe is not None} | {form.key})
        held = await asyncio.to_thread(self._store.held)
        dropped = frozenset(evictions(held, kept, cap_bytes))
        fits = bytes_of([each for each in held if each.form.key not in dropped]) <= cap_bytes
        gone = dropped if fits else {form.key}
        if gone:
            await asyncio.to_thread(self._store.drop, gone)
        if fits:
            self._metrics.evicted(len(dropped))
        await self._read()
        return fits

    async def _read(self) -> None:
        held = await asyncio.to_thread(self._store.held)
        self._forms.take(held)
        self._metrics.derived_held(len(held), bytes_of(held))


def _size_bytes(spec: VersionSpec) -> int | None:
    """Return the size of an artifact, its tensors included; None where it is damaged: the worker says in what way."""
    try:
        return Manifest.from_json(Path(spec.manifest_path).read_text()).size_bytes
    except (OSError, UnicodeDecodeError, DataLoss):
        return None
