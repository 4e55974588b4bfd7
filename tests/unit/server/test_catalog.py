from __future__ import annotations

import gc
import os
import threading
import weakref
from dataclasses import replace
from pathlib import Path

import pytest
from interlock.errors import AliasNotFound, ModelNotFound, NotReady, VersionNotFound, VersionNotLoaded
from interlock.model import ServableState
from interlock.types import ModelRef
from interlock_registry.domain import Route, Target
from interlock_server.levers import LeverFrame
from interlock_server.snapshot import Snapshot, VersionKey, VersionSpec, WayBack, primary
from interlock_server.worker.catalog import Catalog
from interlock_server.worker.routes import RouteTable
from interlock_server.worker.servable import Servable

from tests.support import eventually
from tests.unit.server.batching import Outcome, settle, work
from tests.unit.server.builders import bare_spec, route, snapshot, version_spec
from tests.unit.server.conftest import NewCatalog


def settled(catalog: Catalog) -> None:
    eventually(lambda: all(each.settled for each in catalog.servables()), "everything is loaded or has failed")


def ask(catalog: Catalog, ref: str) -> float:
    """Run [1, 1] through what a ref means."""
    outcome = Outcome()
    servable = catalog.resolve(ModelRef.parse(ref)).servable
    batcher = servable.lease()
    assert batcher is not None, servable.status()

    if batcher.submit(work(outcome)):
        batcher.run_here()
    settle(outcome)
    servable.release()
    return float(outcome.answers[0].ravel()[0])


def stuck_spec(folder: Path, version: int) -> VersionSpec:
    """A version whose loading hangs, reading its file, until `let_go`, and then fails."""
    pipe = folder / f"pipe-{version}.onnx"
    os.mkfifo(pipe)
    return replace(bare_spec(version), manifest_path=str(pipe))


def let_go(spec: VersionSpec) -> None:
    with open(spec.manifest_path, "wb"):
        pass


# --- routes ---


def test_a_route_leads_to_its_heaviest_target_that_is_no_shadow() -> None:
    targets = (Target(1, 10), Target(2, 60), Target(3, 90, shadow=True))
    assert primary(Route(model="m", alias="stable", generation=1, targets=targets)) == 2


@pytest.mark.parametrize(
    ("ref", "version", "alias", "generation"),
    [("m", 1, "stable", 4), ("m:stable", 1, "stable", 4), ("m:canary", 2, "canary", 7), ("m@2", 2, "", 0)],
)
def test_a_ref_means_what_its_alias_or_number_says(ref: str, version: int, alias: str, generation: int) -> None:
    servables = {VersionKey("m", number): Servable(bare_spec(number)) for number in (1, 2)}
    table = RouteTable.build([route("m", 1, generation=4), route("m", 2, "canary", 7)], servables)
    found = table.resolve(ModelRef.parse(ref))
    assert (found.servable.spec.version, found.alias, found.generation) == (version, alias, generation)


@pytest.mark.parametrize(
    ("ref", "error"),
    [("other", ModelNotFound), ("m@3", VersionNotLoaded), ("m:canary", AliasNotFound), ("m:gone", AliasNotFound)],
)
def test_a_ref_that_means_nothing_says_what_is_missing(ref: str, error: type[Exception]) -> None:
    servables = {VersionKey("m", 1): Servable(bare_spec(1))}
    table = RouteTable.build([route("m", 1), route("m", 9, "gone")], servables)
    with pytest.raises(error):
        table.resolve(ModelRef.parse(ref))


# --- apply ---


def test_before_the_first_snapshot_nothing_is_known_and_that_is_temporary(catalog: Catalog) -> None:
    with pytest.raises(NotReady, match="starting"):
        catalog.resolve(ModelRef("m"))
    assert (catalog.epoch, catalog.incarnation, catalog.settled) == (-1, "", False)


def test_who_asks_while_the_first_snapshot_is_taken_is_told_to_come_again(catalog: Catalog, tmp_path: Path) -> None:
    pipe = tmp_path / "levers"
    os.mkfifo(pipe)
    descriptor = os.open(pipe, os.O_RDONLY | os.O_NONBLOCK)
    first = replace(snapshot(version_spec(tmp_path)), levers=f"{os.getpid()}/{descriptor}/levers")
    applying = threading.Thread(target=catalog.apply, args=(first,))
    applying.start()
    try:
        # It holds at the levers, until somebody opens their other end.
        eventually(lambda: len(catalog._servables) == 1, "the snapshot is being taken")
        with pytest.raises(NotReady, match="starting"):
            catalog.resolve(ModelRef("m"))
    finally:
        eventually(lambda: open_for_writing(pipe) and not applying.is_alive(), "the levers were looked at")
        os.close(descriptor)
    settled(catalog)
    assert ask(catalog, "m") == 1.0


def open_for_writing(pipe: Path) -> bool:
    os.close(os.open(pipe, os.O_WRONLY))
    return True


def test_an_empty_snapshot_is_settled_at_once(catalog: Catalog) -> None:
    catalog.apply(snapshot())
    assert catalog.settled


def test_a_snapshot_loads_what_it_keeps_and_routes_to_it(catalog: Catalog, tmp_path: Path) -> None:
    one, two = version_spec(tmp_path, 1), version_spec(tmp_path, 2)
    applied = catalog.apply(snapshot(one, two, routes=[route("m", 2)]))
    assert applied.waiting == ("m:stable",) or applied.waiting == ()
    settled(catalog)
    assert ask(catalog, "m") == 2.0
    assert ask(catalog, "m@1") == 1.0
    assert catalog.apply(snapshot(one, two, routes=[route("m", 1)], epoch=2)).waiting == ()
    assert ask(catalog, "m") == 1.0


def test_an_alias_leads_back_as_soon_as_its_lever_is_pulled(catalog: Catalog, tmp_path: Path) -> None:
    frame = LeverFrame()
    one, two = version_spec(tmp_path, 1), version_spec(tmp_path, 2)

    def picture(epoch: int, generation: int, version: int) -> Snapshot:
        lever = frame.lever("m", "stable", incarnation="one", generation=generation + 1, version=1)
        assert lever is not None
        made = snapshot(one, two, routes=[route("m", version, generation=generation)], epoch=epoch)
        return replace(made, ways_back=(WayBack("m", "stable", 1, generation + 1, lever),), levers=frame.place)

    first = picture(1, 2, 2)
    catalog.apply(first)
    settled(catalog)
    assert catalog.levers == frame.place
    before = catalog.resolve(ModelRef("m"))
    frame.pull(first.ways_back[0].lever)
    after = catalog.resolve(ModelRef("m"))
    assert [(each.servable.spec.version, each.generation) for each in (before, after)] == [(2, 2), (1, 3)]
    assert ("interlock-generation", "3") in after.facts
    assert catalog.resolve(ModelRef("m", version=2)).servable.spec.version == 2, "asked for by number it is there"
    catalog.prepare(one, 10.0)
    assert catalog.resolve(ModelRef("m")).servable.spec.version == 1

    catalog.apply(snapshot(one, two, routes=[route("m", 1, generation=3)], epoch=2))
    assert catalog.resolve(ModelRef("m")).servable.spec.version == 1
    assert catalog.levers == ""
    catalog.apply(picture(3, 4, 2))
    assert catalog.resolve(ModelRef("m")).servable.spec.version == 2, "the lever of another way back is not its own"
    frame.close()


def test_levers_that_cannot_be_looked_at_are_done_without(catalog: Catalog, tmp_path: Path) -> None:
    catalog.apply(replace(snapshot(version_spec(tmp_path, 1)), levers="1/9999/absent"))
    assert catalog.levers == ""
    settled(catalog)
    assert ask(catalog, "m") == 1.0


def test_what_is_routed_to_is_loaded_first(catalog: Catalog, tmp_path: Path) -> None:
    specs = [version_spec(tmp_path, number) for number in range(1, 6)]
    order: list[int] = []

    def note() -> None:
        ready = {each.spec.version for each in catalog.servables() if each.state is ServableState.READY}
        order.extend(sorted(ready - set(order)))

    catalog.subscribe(note)
    catalog.apply(snapshot(*specs, routes=[route("m", 4)]))
    eventually(lambda: len(order) == 5, "all are ready")
    assert order[0] == 4


def test_an_older_epoch_is_ignored(catalog: Catalog, tmp_path: Path) -> None:
    one, two = version_spec(tmp_path, 1), version_spec(tmp_path, 2)
    catalog.apply(snapshot(one, two, routes=[route("m", 2)], epoch=5))
    settled(catalog)
    assert catalog.apply(snapshot(one, routes=[route("m", 1)], epoch=4)).epoch == 5
    assert ask(catalog, "m") == 2.0


def test_the_same_epoch_is_taken_again_since_what_is_prepared_may_differ(catalog: Catalog, tmp_path: Path) -> None:
    one, two = version_spec(tmp_path, 1), version_spec(tmp_path, 2)
    catalog.apply(snapshot(one, two, routes=[route("m", 1)], epoch=5))
    settled(catalog)
    catalog.apply(snapshot(one, routes=[route("m", 1)], epoch=5))
    assert [each.spec.version for each in catalog.servables()] == [1]


def test_another_incarnation_is_taken_whatever_its_epoch(catalog: Catalog, tmp_path: Path) -> None:
    one, two = version_spec(tmp_path, 1), version_spec(tmp_path, 2)
    catalog.apply(snapshot(one, epoch=50))
    settled(catalog)
    assert catalog.apply(snapshot(two, epoch=1, incarnation="two")).epoch == 1
    settled(catalog)
    assert (catalog.incarnation, ask(catalog, "m")) == ("two", 2.0)


def test_what_a_snapshot_does_not_keep_is_drained_and_unloaded(catalog: Catalog, tmp_path: Path) -> None:
    one, two = version_spec(tmp_path, 1), version_spec(tmp_path, 2)
    catalog.apply(snapshot(one, two))
    settled(catalog)
    old = catalog.resolve(ModelRef("m", version=1)).servable
    assert old.lease() is not None
    catalog.apply(snapshot(two, epoch=2))
    with pytest.raises(VersionNotLoaded):
        catalog.resolve(ModelRef("m", version=1))
    eventually(lambda: old.state is ServableState.DRAINING, "it drains")
    old.release()
    eventually(lambda: old.state is ServableState.UNLOADED, "it is unloaded")


def test_a_version_dropped_before_its_turn_to_load_is_never_loaded(catalog: Catalog, tmp_path: Path) -> None:
    stuck, waiting = stuck_spec(tmp_path, 1), version_spec(tmp_path, 2)
    catalog.apply(snapshot(stuck, waiting, routes=[route("m", 1)]))
    eventually(lambda: catalog.servables()[0].state is ServableState.LOADING, "the first is being read")
    dropped = catalog.resolve(ModelRef("m", version=2)).servable
    catalog.apply(snapshot(stuck, routes=[route("m", 1)], epoch=2))
    eventually(lambda: dropped.state is ServableState.UNLOADED, "it was dropped without having been loaded")
    let_go(stuck)
    settled(catalog)
    assert dropped.state is ServableState.UNLOADED


def test_a_version_that_cannot_be_loaded_fails_alone(catalog: Catalog, tmp_path: Path) -> None:
    good, bad = version_spec(tmp_path, 1), version_spec(tmp_path, 2, content=b"nonsense")
    catalog.apply(snapshot(good, bad, routes=[route("m", 1), route("m", 2, "canary")]))
    settled(catalog)
    assert catalog.settled
    assert ask(catalog, "m") == 1.0
    failed = catalog.resolve(ModelRef("m", alias="canary")).servable
    assert failed.state is ServableState.FAILED
    assert "ONNX Runtime cannot load it" in failed.reason


# --- prepare ---


def test_a_prepared_version_is_ready_and_not_routed_to(catalog: Catalog, tmp_path: Path) -> None:
    one, two = version_spec(tmp_path, 1), version_spec(tmp_path, 2)
    catalog.apply(snapshot(one))
    prepared = catalog.prepare(two, 10.0)
    assert (prepared.state, prepared.resident, prepared.reason) == (ServableState.READY, False, "")
    assert ask(catalog, "m") == 1.0
    assert catalog.prepare(two, 10.0).resident


def test_what_is_loaded_only_if_it_is_kept_does_not_come_back_once_it_was_dropped(
    catalog: Catalog, tmp_path: Path
) -> None:
    one, two = version_spec(tmp_path, 1), version_spec(tmp_path, 2)
    assert catalog.prepare(one, 10.0, if_kept=True).state is ServableState.UNLOADED
    catalog.apply(snapshot(one, two))
    assert catalog.prepare(two, 10.0, if_kept=True).state is ServableState.READY
    catalog.apply(snapshot(one, epoch=2))
    assert catalog.prepare(two, 10.0, if_kept=True).state is ServableState.UNLOADED
    assert [each.spec.version for each in catalog.servables()] == [1]


def test_a_worker_stays_ready_while_another_version_is_prepared(catalog: Catalog, tmp_path: Path) -> None:
    catalog.apply(snapshot(version_spec(tmp_path, 1)))
    settled(catalog)
    eventually(lambda: catalog.settled, "the first snapshot is settled")
    slow = stuck_spec(tmp_path, 2)
    thread = threading.Thread(target=catalog.prepare, args=(slow, 10.0))
    thread.start()
    eventually(lambda: len(catalog.servables()) == 2, "the candidate is there")
    assert not catalog.servables()[1].settled
    assert catalog.settled
    let_go(slow)
    thread.join(60)


def test_preparing_says_why_it_failed(catalog: Catalog, tmp_path: Path) -> None:
    prepared = catalog.prepare(version_spec(tmp_path, 2, content=b"nonsense"), 10.0)
    assert prepared.state is ServableState.FAILED
    assert "cannot load" in prepared.reason


def test_a_failed_version_is_loaded_afresh_by_the_next_prepare(catalog: Catalog, tmp_path: Path) -> None:
    good = version_spec(tmp_path, 2)
    content = Path(good.graph_path).read_bytes()
    Path(good.graph_path).unlink()
    assert catalog.prepare(good, 10.0).state is ServableState.FAILED
    Path(good.graph_path).write_bytes(content)
    assert catalog.prepare(good, 10.0).state is ServableState.READY


def test_preparing_gives_up_after_its_timeout(catalog: Catalog, tmp_path: Path) -> None:
    slow = stuck_spec(tmp_path, 2)
    with pytest.raises(NotReady, match="prepare_timeout_s"):
        catalog.prepare(slow, 0.01)
    let_go(slow)


def test_a_candidate_is_kept_by_a_snapshot_that_names_it_and_dropped_by_one_that_does_not(
    catalog: Catalog, tmp_path: Path
) -> None:
    one, two = version_spec(tmp_path, 1), version_spec(tmp_path, 2)
    catalog.apply(snapshot(one))
    catalog.prepare(two, 10.0)
    candidate = catalog.resolve(ModelRef("m", version=2)).servable
    catalog.apply(snapshot(one, two, routes=[route("m", 1)]))
    assert catalog.resolve(ModelRef("m", version=2)).servable is candidate
    catalog.apply(snapshot(one))
    eventually(lambda: candidate.state is ServableState.UNLOADED, "it is unloaded")


# --- the end ---


def test_draining_everything_unloads_everything_and_may_be_repeated(new_catalog: NewCatalog, tmp_path: Path) -> None:
    catalog = new_catalog()
    catalog.apply(snapshot(version_spec(tmp_path, 1), version_spec(tmp_path, 2)))
    settled(catalog)
    servables = catalog.servables()
    catalog.drain_all()
    assert {each.state for each in servables} == {ServableState.UNLOADED}
    assert catalog.servables() == ()
    catalog.drain_all()


def test_switching_back_and_forth_under_load_never_leaves_the_alias_without_an_answer(
    catalog: Catalog, tmp_path: Path
) -> None:
    one, two = version_spec(tmp_path, 1), version_spec(tmp_path, 2)
    catalog.apply(snapshot(one, two))
    settled(catalog)
    stop = threading.Event()
    answers: list[float] = []

    def client() -> None:
        while not stop.is_set():
            answers.append(ask(catalog, "m"))

    thread = threading.Thread(target=client)
    thread.start()
    for epoch in range(2, 60):
        catalog.apply(snapshot(one, two, routes=[route("m", 1 + epoch % 2, generation=epoch)], epoch=epoch))
        so_far = len(answers)
        # A client that met no answer has ended with an error, and the count stands still.
        eventually(lambda so_far=so_far: len(answers) > so_far, "requests go on")  # type: ignore[misc]
    stop.set()
    thread.join(60)
    assert set(answers) == {1.0, 2.0}


def test_unloading_gives_the_session_back(catalog: Catalog, tmp_path: Path) -> None:
    catalog.apply(snapshot(version_spec(tmp_path, 1)))
    settled(catalog)
    servable = weakref.ref(catalog.servables()[0])
    catalog.apply(snapshot(epoch=2))
    eventually(lambda: gc.collect() >= 0 and servable() is None, "nothing holds the servable any more")


def test_a_registered_model_of_which_nothing_is_loaded_is_known() -> None:
    table = RouteTable.build([], {}, {"idle": 2, "of an old file": 0})

    with pytest.raises(AliasNotFound, match="interlock promote idle"):
        table.resolve(ModelRef.parse("idle"))
    with pytest.raises(VersionNotLoaded, match="interlock pin idle 2"):
        table.resolve(ModelRef.parse("idle@2"))
    with pytest.raises(VersionNotFound, match="model 'idle' has no version 3; `interlock versions idle`"):
        table.resolve(ModelRef.parse("idle@3"))
    with pytest.raises(VersionNotLoaded):
        table.resolve(ModelRef("of an old file", version=9))
    with pytest.raises(ModelNotFound):
        table.resolve(ModelRef.parse("nobody"))
