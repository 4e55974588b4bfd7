from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from interlock.model import Alias, ServingConfig
from interlock.statement import Signed, SignedStatement
from interlock.types import DType, Signature, TensorSpec
from interlock.v1 import worker_pb2
from interlock_registry.domain import Committed, Desired, DesiredModel, DesiredVersion, Move, Moved, Route, Target
from interlock_registry.manifest import Blob
from interlock_server.control.blaming import Judgement
from interlock_server.control.last_known_good import LastKnownGood
from interlock_server.control.replica import Replica
from interlock_server.snapshot import Snapshot
from interlock_server.snapshot_wire import SnapshotReader, SnapshotWriter, snapshot_message, snapshot_value

from tests.unit.server.builders import bare_spec, route, snapshot

OLD = snapshot(bare_spec(1), epoch=1)
NEW = snapshot(bare_spec(1), bare_spec(2), routes=[route("m", 2, generation=2)], epoch=2)
SHORT_OLD, SHORT_NEW = snapshot(epoch=1), snapshot(routes=[route("m", 2)], epoch=2)
"""Of files of which every byte is tried."""
CURRENT, PREVIOUS = "last-known-good", "last-known-good.previous"


# --- last-known-good ---


@pytest.fixture
def saved(tmp_path: Path) -> LastKnownGood:
    return LastKnownGood(tmp_path)


def test_nothing_was_saved_yet(saved: LastKnownGood) -> None:
    assert saved.load() is None


def test_the_newest_snapshot_comes_back(saved: LastKnownGood) -> None:
    saved.save(OLD)
    saved.save(NEW)
    assert saved.load() == NEW


def test_a_file_torn_at_any_byte_gives_the_one_before_and_never_garbage(saved: LastKnownGood, tmp_path: Path) -> None:
    saved.save(SHORT_OLD)
    saved.save(SHORT_NEW)
    whole = (tmp_path / CURRENT).read_bytes()
    for length in range(len(whole)):
        (tmp_path / CURRENT).write_bytes(whole[:length])
        assert saved.load() == SHORT_OLD, f"torn after {length} bytes"
    (tmp_path / CURRENT).write_bytes(whole)
    assert saved.load() == SHORT_NEW


def test_a_file_with_any_byte_changed_gives_the_one_before(saved: LastKnownGood, tmp_path: Path) -> None:
    saved.save(SHORT_OLD)
    saved.save(SHORT_NEW)
    whole = (tmp_path / CURRENT).read_bytes()
    for place in range(len(whole)):
        changed = bytearray(whole)
        changed[place] ^= 0x20
        (tmp_path / CURRENT).write_bytes(changed)
        assert saved.load() == SHORT_OLD, f"byte {place} changed"


def test_a_crash_between_the_two_renames_leaves_the_one_before(saved: LastKnownGood, tmp_path: Path) -> None:
    saved.save(OLD)
    (tmp_path / CURRENT).rename(tmp_path / PREVIOUS)
    assert saved.load() == OLD
    saved.save(NEW)
    assert saved.load() == NEW


def test_a_crash_while_writing_leaves_both(saved: LastKnownGood, tmp_path: Path) -> None:
    saved.save(OLD)
    (tmp_path / ".last-known-good.new").write_bytes(b"half")
    assert saved.load() == OLD
    saved.save(NEW)
    assert saved.load() == NEW


def test_two_damaged_files_are_no_snapshot(saved: LastKnownGood, tmp_path: Path) -> None:
    saved.save(OLD)
    saved.save(NEW)
    for name in (CURRENT, PREVIOUS):
        (tmp_path / name).write_bytes(b"interlock-snapshot-1 junk")
    assert saved.load() is None
    assert saved.refused == (f"{CURRENT} is damaged and ignored", f"{PREVIOUS} is damaged and ignored")


def test_a_file_that_cannot_be_read_is_passed_over(saved: LastKnownGood, tmp_path: Path) -> None:
    saved.save(OLD)
    (tmp_path / CURRENT).rename(tmp_path / PREVIOUS)
    (tmp_path / CURRENT).mkdir()
    assert saved.load() == OLD


def test_what_another_database_left_is_not_served(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    first, second = LastKnownGood(tmp_path, "postgresql://one:5432/m"), LastKnownGood(tmp_path, "sqlite:registry.db")
    first.save(OLD)
    assert (second.load(), second.foreign, first.foreign) == (None, "postgresql://one:5432/m", "")
    assert "is of postgresql://one:5432/m, and not of sqlite:registry.db" in caplog.text
    assert second.load() is None
    (why,) = second.refused
    assert why in caplog.text and first.refused == ()
    second.save(NEW)
    assert second.refused == (), "what was refused is not there any more"
    assert (second.load(), first.load(), first.foreign) == (NEW, OLD, "sqlite:registry.db")


def test_a_snapshot_of_a_release_that_did_not_name_its_database_is_served(saved: LastKnownGood, tmp_path: Path) -> None:
    saved.save(OLD)
    assert LastKnownGood(tmp_path, "sqlite:registry.db").load() == OLD


# --- snapshots on the wire ---

NAMES = st.from_regex(r"[A-Za-z0-9][A-Za-z0-9._-]{0,8}", fullmatch=True)
DIMS = st.one_of(st.none(), st.integers(0, 2**40), st.text("abc", min_size=1, max_size=3))
TENSORS = st.builds(TensorSpec, NAMES, st.sampled_from(DType), st.lists(DIMS, max_size=4).map(tuple))
SPECS = st.builds(
    lambda model, version, inputs, outputs, config, joinable: replace(
        bare_spec(version, model),
        signature=Signature(tuple(inputs), tuple(outputs)),
        config=config,
        joinable=joinable,
    ),
    NAMES,
    st.integers(1, 2**40),
    st.lists(TENSORS, max_size=2),
    st.lists(TENSORS, max_size=2),
    st.builds(ServingConfig, st.integers(0, 100), st.integers(0, 10**6), st.integers(1, 100)),
    st.booleans(),
)
ROUTES = st.builds(
    lambda model, alias, generation, targets: Route(
        model=model, alias=alias, generation=generation, targets=tuple(targets)
    ),
    NAMES,
    st.sampled_from(["stable", "canary"]),
    st.integers(1, 2**40),
    st.lists(st.builds(Target, st.integers(1, 99), st.integers(0, 100), st.booleans()), max_size=3),
)


@given(
    st.builds(
        Snapshot,
        st.text(max_size=8),
        st.integers(-1, 2**60),
        st.lists(ROUTES, max_size=3).map(tuple),
        st.lists(SPECS, max_size=3).map(tuple),
        newest=st.lists(st.integers(0, 2**60), max_size=3).map(tuple),
    )
)
def test_a_snapshot_is_the_same_after_the_wire(sent: Snapshot) -> None:
    message = snapshot_message(sent)
    assert snapshot_value(type(message).FromString(message.SerializeToString())) == sent


def test_parts_that_did_not_change_are_written_and_read_once() -> None:
    writer, reader = SnapshotWriter(), SnapshotReader()

    def send(sent: Snapshot) -> Snapshot:
        body = writer.request(sent).SerializeToString()
        found = reader.snapshot(worker_pb2.ApplyRequest.FromString(body))
        assert found == sent
        return found

    first, second = bare_spec(1), bare_spec(2)
    before = send(snapshot(first, second, epoch=1))
    assert before.keep == (first, second)
    changed = replace(second, graph_path="/elsewhere")
    after = send(snapshot(replace(first), changed, bare_spec(3), epoch=2))
    assert after.keep == (first, changed, bare_spec(3))
    assert after.keep[0] is before.keep[0] and after.keep[1] is not before.keep[1]
    assert after.routes[0] is not before.routes[0], "it leads to version 3 now"
    assert send(replace(after, epoch=3)).routes[0] is after.routes[0]
    assert send(snapshot(second, epoch=4)).keep == (second,)
    whole = worker_pb2.ApplyRequest(snapshot=snapshot_message(after))
    assert SnapshotReader().snapshot(whole) == after, "as one message too"
    signed = replace(
        first, signed=(Signed(SignedStatement("k", b"{}", b"v"), datetime.now(UTC), "ada"),), distrust="no"
    )
    told = reader.snapshot(writer.request(snapshot(signed, epoch=5)))
    assert told.keep == (replace(signed, signed=()),), "workers need what follows from it, not what was signed"


# --- the replica's picture ---


def version(model: str, number: int) -> DesiredVersion:
    return DesiredVersion(
        model=model,
        version=number,
        digest="d" * 64,
        graph=Blob("a" * 64, 1),
        golden=None,
        signature=Signature((), ()),
        config=ServingConfig(),
        tolerances={},
        joinable=True,
    )


def model(name: str, live: int) -> DesiredModel:
    return DesiredModel(
        name=name,
        newest=live,
        aliases=(),
        routes=(route(name, live, generation=live),),
        pins=(),
        keep=(version(name, live),),
    )


def desired(epoch: int, *models: DesiredModel, incarnation: str = "one") -> Desired:
    return Desired(incarnation, epoch, models)


@pytest.fixture
def replica() -> Replica:
    return Replica(lambda digest: Path("/blobs") / digest)


def live(replica: Replica) -> dict[str, int]:
    return {each.model: each.targets[0].version for each in replica.snapshot().routes}


def test_a_replica_knows_nothing_until_it_is_told(replica: Replica) -> None:
    assert (replica.known, replica.from_last_known_good, replica.epoch, replica.incarnation) == (False, False, -1, "")
    assert replica.aliases() == ()


def test_a_replica_serves_from_the_file_until_the_registry_is_read(replica: Replica) -> None:
    replica.fall_back(NEW)
    assert (replica.known, replica.from_last_known_good, replica.epoch) == (True, True, 2)
    assert replica.snapshot() == NEW
    assert replica.replace_all(desired(1, model("m", 1)))
    assert (replica.from_last_known_good, replica.epoch, live(replica)) == (False, 1, {"m": 1})


@pytest.mark.parametrize(
    ("incarnation", "epoch", "taken"),
    [("one", 4, False), ("one", 5, True), ("one", 6, True), ("two", 1, True)],
)
def test_a_whole_picture_is_taken_unless_a_newer_one_is_here(
    replica: Replica, incarnation: str, epoch: int, taken: bool
) -> None:
    replica.replace_all(desired(5, model("m", 1)))
    assert replica.replace_all(desired(epoch, model("m", 2), incarnation=incarnation)) is taken
    assert live(replica) == {"m": 2 if taken else 1}
    assert (replica.incarnation, replica.epoch) == ((incarnation, epoch) if taken else ("one", 5))


@pytest.mark.parametrize(
    ("epoch", "done", "version_after"),
    [(4, True, 1), (5, True, 1), (6, True, 2), (7, False, 1)],
    ids=["older: known already", "the same: known already", "the next: taken", "a gap: look again"],
)
def test_a_commit_of_ours_is_taken_only_if_nobody_wrote_in_between(
    replica: Replica, epoch: int, done: bool, version_after: int
) -> None:
    replica.replace_all(desired(5, model("m", 1), model("n", 1)))
    assert replica.replace_model(Committed(epoch, model("m", 2))) is done
    assert live(replica) == {"m": version_after, "n": 1}
    assert replica.epoch == (6 if epoch == 6 else 5)


def test_a_commit_of_a_new_model_adds_it(replica: Replica) -> None:
    replica.replace_all(desired(5, model("m", 1)))
    assert replica.replace_model(Committed(6, model("new", 1)))
    assert live(replica) == {"m": 1, "new": 1}


def test_a_change_makes_the_specs_of_its_own_model_anew_and_no_others(replica: Replica) -> None:
    replica.replace_all(desired(5, model("m", 1), model("n", 1)))
    m, n = replica.snapshot().keep
    replica.replace_model(Committed(6, model("m", 2)))
    assert replica.kept("n")[0] is n and str(replica.kept("m")[0].key) == "m@2"
    replica.replace_all(desired(7, model("m", 1), model("n", 1)))
    again, other = replica.snapshot().keep
    assert (again, other is n) == (m, True)
    replica.judge(Judgement(suspects=frozenset({n.key})))
    assert (replica.kept("n")[0].suspect, replica.kept("m")[0].suspect, replica.kept("x")) == (True, False, ())


def test_a_commit_before_anything_was_read_asks_for_a_whole_look(replica: Replica) -> None:
    assert not replica.replace_model(Committed(1, model("m", 1)))
    replica.fall_back(NEW)
    assert not replica.replace_model(Committed(3, model("m", 1)))


def moved(epoch: int, to_version: int = 1) -> Moved:
    move = Move(
        model="m",
        alias="stable",
        from_version=2,
        to_version=to_version,
        stack_after=(),
        generation_before=1,
        generation_after=2,
    )
    return Moved(move, epoch, datetime(2026, 1, 1, tzinfo=UTC))


def test_a_move_switches_the_route_and_drops_nothing_until_the_model_was_read(replica: Replica) -> None:
    replica.replace_all(desired(5, replace(model("m", 2), keep=(version("m", 1), version("m", 2))), model("n", 1)))
    assert replica.move(moved(6))
    assert (live(replica), replica.epoch) == ({"m": 1, "n": 1}, 6)
    assert [str(spec.key) for spec in replica.snapshot().keep] == ["m@1", "m@2", "n@1"]
    assert replica.unread == {"m"}
    assert replica.refresh(Committed(6, model("m", 1)))
    assert [str(spec.key) for spec in replica.snapshot().keep] == ["m@1", "n@1"]
    assert replica.unread == frozenset()
    assert replica.replace_model(Committed(6, model("m", 2)))  # known already: nothing of it is taken
    assert live(replica) == {"m": 1, "n": 1}


def test_what_is_read_of_a_moved_model_takes_no_epoch_away_from_a_commit_that_is_under_way(replica: Replica) -> None:
    both = replace(model("m", 2), keep=(version("m", 1), version("m", 2)))
    replica.replace_all(desired(5, both, model("n", 1)))
    replica.move(moved(6))
    assert not replica.refresh(Committed(7, model("m", 1)))  # epoch 7 is n's, whose commit has yet to be taken over
    assert replica.replace_model(Committed(7, model("n", 2)))
    assert (live(replica), replica.epoch) == ({"m": 1, "n": 2}, 7)
    assert replica.unread == {"m"}
    assert replica.refresh(Committed(7, model("m", 1)))
    assert replica.unread == frozenset()


@pytest.mark.parametrize(("epoch", "done"), [(4, True), (5, True), (7, False)], ids=["older", "the same", "a gap"])
def test_a_move_that_is_not_the_next_change_moves_nothing_here(replica: Replica, epoch: int, done: bool) -> None:
    replica.replace_all(desired(5, model("m", 2)))
    assert replica.move(moved(epoch)) is done
    assert (live(replica), replica.epoch, replica.unread) == ({"m": 2}, 5, frozenset())


def test_a_whole_look_reads_what_was_moved_too(replica: Replica) -> None:
    replica.replace_all(desired(5, replace(model("m", 2), keep=(version("m", 1), version("m", 2)))))
    replica.move(moved(6))
    replica.replace_all(desired(7, model("m", 1)))
    assert replica.unread == frozenset()


def test_what_is_prepared_is_kept_until_the_last_who_prepares_it_is_done(replica: Replica) -> None:
    replica.replace_all(desired(5, model("m", 1)))
    candidate = replica.spec(version("m", 2))
    with replica.preparing(candidate):
        with replica.preparing(candidate):
            assert [spec.version for spec in replica.snapshot().keep] == [1, 2]
        assert [spec.version for spec in replica.snapshot().keep] == [1, 2]
        assert [spec.version for spec in replica.committed().keep] == [1]
        replica.replace_model(Committed(6, model("m", 2)))
        assert [spec.version for spec in replica.snapshot().keep] == [2]
    assert [spec.version for spec in replica.snapshot().keep] == [2]


def test_the_versions_that_are_kept_are_found_by_their_model(replica: Replica) -> None:
    replica.replace_all(desired(5, model("m", 1), model("n", 2)))
    assert [(spec.version, spec.graph_path) for spec in replica.kept("m")] == [(1, "/blobs/" + "a" * 64)]
    assert replica.kept("nothing") == ()


def test_aliases_of_all_models_are_listed(replica: Replica) -> None:
    from datetime import UTC, datetime

    alias = Alias("m", "stable", 1, 1, (), datetime.now(UTC))
    replica.replace_all(desired(5, replace(model("m", 1), aliases=(alias,)), model("n", 1)))
    assert replica.aliases() == (alias,)
