from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
from interlock.errors import (
    AliasNotFound,
    AlreadyExists,
    DataLoss,
    FailedPrecondition,
    GenerationConflict,
    IncompatibleSignature,
    InternalError,
    InvalidArgument,
    InvalidName,
    ModelNotFound,
    NotFound,
    NothingToRollBack,
    NotInStack,
    RegistryUnavailable,
    VersionInUse,
    VersionNotFound,
    VersionNotServable,
)
from interlock.model import VersionState
from interlock.types import ModelRef
from interlock_registry.domain import Action, Route, Target
from interlock_registry.registry import Registry

from tests.databases import REFUSED_BY_RULE, SqlitePlace
from tests.unit.registry.builders import BREAKING, MODEL, Desk, attempt, digest, heartbeat, manifest, new_version


def kept(desk: Desk) -> list[int]:
    return [each.version for each in desk.registry.desired_model(MODEL).keep]


# --- register ---


def test_the_first_version_is_1_and_is_read_as_it_was_registered(desk: Desk) -> None:
    version = desk.register().version
    assert version == desk.registry.version(ModelRef(MODEL, version=1))
    new = new_version()
    assert (version.model, version.version, version.state) == (MODEL, 1, VersionState.VALIDATED)
    assert (version.signature, version.config, version.tags) == (new.signature, new.config, new.tags)
    assert (version.digest, version.size_bytes) == (manifest().digest, manifest().size_bytes)
    assert (version.note, version.created_by, version.report_json) == ("a note", "ada", '{"load_s":0.5}')
    assert (version.proven, version.golden_samples, version.aliases, version.pinned) == (True, 3, (), False)
    assert version.created_at.tzinfo is not None


def test_a_registered_version_is_not_loaded_until_something_wants_it(desk: Desk) -> None:
    assert desk.register().committed.desired.keep == ()


def test_a_version_tells_what_it_takes_to_load_it(desk: Desk) -> None:
    desk.register()
    (spec,) = desk.promote(1).desired.keep
    new = new_version()
    assert (spec.graph, spec.golden) == (new.manifest.graph, new.golden)
    assert (spec.digest, spec.signature, spec.config) == (new.manifest.digest, new.signature, new.config)
    assert (spec.tolerances, spec.joinable) == (new.tolerances, True)
    assert spec == desk.registry.desired_version(MODEL, 1)
    assert desk.registry.manifest(MODEL, 1) == new.manifest


def test_a_version_without_golden_samples_has_none(desk: Desk) -> None:
    new = replace(new_version(), golden=None, golden_samples=0, proven=False)
    version = desk.registry.register(new, attempt(Action.REGISTER)).version
    assert (version.proven, version.golden_samples) == (False, 0)
    assert desk.registry.desired_version(MODEL, 1).golden is None


def test_two_versions_may_share_an_artifact(desk: Desk) -> None:
    first, second = desk.register(seed="same").version, desk.register(seed="same").version
    assert (first.digest, first.version, second.version) == (second.digest, 1, 2)


def test_a_model_name_that_differs_only_in_case_is_refused(desk: Desk) -> None:
    desk.register("Digits")
    with pytest.raises(AlreadyExists, match="'dIGITS' differs only in case from 'Digits'"):
        desk.register("dIGITS")
    assert [model.name for model in desk.registry.models().items] == ["Digits"]
    assert desk.register("Digits").version.version == 2


def test_an_invalid_model_name_is_refused(desk: Desk) -> None:
    with pytest.raises(InvalidName):
        desk.register("no/slashes")


def test_an_attempt_on_another_model_is_a_mistake_of_the_caller(desk: Desk) -> None:
    with pytest.raises(ValueError, match="'other'"):
        desk.registry.register(new_version(), attempt(Action.REGISTER, "other"))


def test_a_number_is_never_given_out_twice(desk: Desk) -> None:
    for _ in range(3):
        desk.register()
    desk.retire(3)
    assert desk.delete(3).desired.newest == 3
    assert desk.register().version.version == 4
    assert desk.registry.desired_model(MODEL).newest == 4
    assert desk.registry.version(ModelRef(MODEL, version=3)).state is VersionState.DELETED


def test_a_refused_registration_costs_no_number_and_leaves_no_model(desk: Desk) -> None:
    broken = replace(new_version(), golden_samples=0)
    with pytest.raises(InternalError, match="ck_golden_samples_samples"):
        desk.registry.register(broken, attempt(Action.REGISTER))
    assert desk.registry.models().items == ()
    assert desk.register().version.version == 1


# --- promote and rollback ---


def test_a_promote_makes_the_alias_its_route_and_its_keep_set(desk: Desk) -> None:
    desk.register()
    committed = desk.promote(1)
    (alias,) = committed.desired.aliases
    assert (alias.alias, alias.version, alias.generation, alias.stack) == ("stable", 1, 1, ())
    assert committed.desired.routes == (Route(model=MODEL, alias="stable", generation=1, targets=(Target(1, 100),)),)
    assert [each.version for each in committed.desired.keep] == [1]
    assert committed.desired == desk.registry.desired_model(MODEL)
    assert committed.epoch == desk.registry.state().epoch


def test_promotes_push_and_rollbacks_pop(desk: Desk) -> None:
    for _ in range(4):
        desk.register()
    for version in (1, 2, 3, 4):
        desk.promote(version)
    alias = desk.registry.alias(MODEL, "stable")
    assert alias is not None
    assert (alias.version, alias.stack, alias.generation, kept(desk)) == (4, (1, 2, 3), 4, [3, 4])
    desk.rollback()
    assert kept(desk) == [2, 3]
    desk.rollback(to_version=1)
    alias = desk.registry.alias(MODEL, "stable")
    assert alias is not None
    assert (alias.version, alias.stack, alias.generation, kept(desk)) == (1, (), 6, [1])
    with pytest.raises(NothingToRollBack):
        desk.rollback()


def test_a_stack_that_was_cut_and_grown_again_is_read_in_order(desk: Desk) -> None:
    for _ in range(5):
        desk.register()
    for version in (1, 2, 3, 2, 4, 5):
        desk.promote(version)
    alias = desk.registry.alias(MODEL, "stable")
    assert alias is not None
    assert (alias.version, alias.stack) == (5, (1, 2, 4))


def test_keep_depth_is_a_setting(desk: Desk) -> None:
    for version in (1, 2, 3):
        desk.register()
        desk.promote(version)
    deeper = Registry.open(desk.place.url, keep_depth=2)
    assert [each.version for each in deeper.desired_model(MODEL).keep] == [1, 2, 3]
    deeper.close()


def test_promoting_the_live_version_changes_nothing_but_is_an_event(desk: Desk) -> None:
    desk.register()
    first = desk.promote(1)
    again = desk.promote(1)
    assert again == first
    assert [event.action for event in desk.registry.events().items] == ["promote", "promote", "register"]


def test_aliases_move_apart_from_each_other(desk: Desk) -> None:
    desk.register()
    desk.register()
    desk.promote(1)
    desk.promote(2, alias="canary")
    stable, canary = desk.registry.alias(MODEL, "stable"), desk.registry.alias(MODEL, "canary")
    assert stable is not None
    assert canary is not None
    assert (stable.version, stable.generation, canary.version, canary.generation) == (1, 1, 2, 1)
    assert desk.registry.version(ModelRef(MODEL, alias="canary")).aliases == ("canary",)


def test_a_plan_changes_nothing(desk: Desk) -> None:
    desk.register()
    before = desk.registry.state()
    move = desk.registry.plan_promote(MODEL, 1)
    assert (move.from_version, move.to_version, move.generation_before, move.generation_after) == (0, 1, 0, 1)
    assert desk.registry.state() == before
    assert desk.registry.alias(MODEL, "stable") is None


def test_a_stale_plan_loses(desk: Desk) -> None:
    for _ in range(3):
        desk.register()
    desk.promote(1)
    stale = desk.registry.plan_promote(MODEL, 2)
    desk.promote(3)
    with pytest.raises(GenerationConflict, match="at generation 2, not 1") as caught:
        desk.registry.commit_move(stale, attempt(Action.PROMOTE, version=2, alias="stable"), "{}")
    assert caught.value.facts["actual"] == "2"
    alias = desk.registry.alias(MODEL, "stable")
    assert alias is not None
    assert alias.version == 3


def test_two_plans_to_make_one_alias_cannot_both_win(desk: Desk) -> None:
    desk.register()
    desk.register()
    plans = [desk.registry.plan_promote(MODEL, version) for version in (1, 2)]
    desk.registry.commit_move(plans[0], attempt(Action.PROMOTE, version=1, alias="stable"), "{}")
    with pytest.raises(GenerationConflict, match="at generation 1, not 0"):
        desk.registry.commit_move(plans[1], attempt(Action.PROMOTE, version=2, alias="stable"), "{}")


@pytest.mark.parametrize("expected", [0, 2, 99])
def test_an_expected_generation_that_is_not_the_aliass_is_refused(desk: Desk, expected: int) -> None:
    desk.register()
    desk.promote(1)
    with pytest.raises(GenerationConflict):
        desk.registry.plan_promote(MODEL, 1, expected_generation=expected)
    with pytest.raises(GenerationConflict):
        desk.registry.plan_rollback(MODEL, expected_generation=expected)
    with pytest.raises(GenerationConflict):
        desk.remove_alias(expected=expected)
    assert desk.registry.plan_promote(MODEL, 1, expected_generation=1).generation_before == 1


def test_expecting_generation_0_means_that_the_alias_must_not_exist(desk: Desk) -> None:
    desk.register()
    assert desk.registry.plan_promote(MODEL, 1, expected_generation=0).generation_before == 0
    with pytest.raises(GenerationConflict, match="at generation 0, not 1"):
        desk.registry.plan_promote(MODEL, 1, expected_generation=1)


def test_a_signature_that_breaks_callers_is_refused_unless_allowed(desk: Desk) -> None:
    desk.register()
    desk.register(signature=BREAKING)
    desk.promote(1)
    with pytest.raises(IncompatibleSignature, match="input 'x' is gone; input 'image' is new"):
        desk.registry.plan_promote(MODEL, 2)
    move = desk.registry.plan_promote(MODEL, 2, allow_breaking=True)
    assert move.breaking == ("input 'x' is gone", "input 'image' is new")
    desk.promote(2)
    with pytest.raises(IncompatibleSignature):
        desk.registry.plan_rollback(MODEL)
    assert desk.registry.plan_rollback(MODEL, allow_breaking=True).to_version == 1


def test_the_first_version_of_an_alias_breaks_nobody(desk: Desk) -> None:
    desk.register()
    desk.register(signature=BREAKING)
    desk.promote(1)
    assert desk.registry.plan_promote(MODEL, 2, "canary").breaking == ()


def test_what_is_not_there_is_said_by_name(desk: Desk) -> None:
    with pytest.raises(ModelNotFound):
        desk.registry.plan_promote("nothing", 1)
    with pytest.raises(ModelNotFound):
        desk.registry.desired_model("nothing")
    with pytest.raises(ModelNotFound):
        desk.registry.versions("nothing")
    with pytest.raises(ModelNotFound):
        desk.registry.version(ModelRef("nothing", version=1))
    with pytest.raises(ModelNotFound):
        desk.registry.version(ModelRef("nothing"))
    desk.register()
    with pytest.raises(VersionNotFound, match="no version 2"):
        desk.registry.plan_promote(MODEL, 2)
    with pytest.raises(VersionNotFound):
        desk.registry.desired_version(MODEL, 2)
    with pytest.raises(AliasNotFound):
        desk.registry.plan_rollback(MODEL)
    with pytest.raises(AliasNotFound):
        desk.registry.version(ModelRef(MODEL))
    with pytest.raises(InvalidName):
        desk.registry.plan_promote(MODEL, 1, "Not An Alias")
    desk.promote(1)
    with pytest.raises(NotInStack):
        desk.registry.plan_rollback(MODEL, to_version=9)


# --- removal, pins, retirement ---


def test_a_removed_alias_is_gone_with_its_stack_and_route(desk: Desk) -> None:
    desk.register()
    desk.register()
    desk.promote(1)
    desk.promote(2)
    removed = desk.remove_alias().desired
    assert (removed.aliases, removed.routes, removed.keep) == ((), (), ())
    assert desk.registry.alias(MODEL, "stable") is None
    with pytest.raises(AliasNotFound):
        desk.remove_alias()


def test_a_generation_is_never_given_out_twice(desk: Desk) -> None:
    desk.register()
    desk.promote(1)
    old = desk.registry.plan_promote(MODEL, 1)
    desk.remove_alias(expected=1)
    (alias,) = desk.promote(1).desired.aliases
    assert (alias.generation, alias.stack) == (3, ())
    with pytest.raises(GenerationConflict):
        desk.registry.commit_move(old, attempt(Action.PROMOTE, version=1, alias="stable"), "{}")


def test_a_pin_keeps_a_version_until_it_is_taken_away(desk: Desk) -> None:
    desk.register()
    pinned = desk.pin(1)
    assert (pinned.desired.pins, kept(desk)) == ((1,), [1])
    assert desk.registry.version(ModelRef(MODEL, version=1)).pinned
    assert desk.pin(1) == pinned
    unpinned = desk.unpin(1)
    assert (unpinned.desired.pins, unpinned.desired.keep, unpinned.epoch) == ((), (), pinned.epoch + 1)
    with pytest.raises(NotFound, match="is not pinned"):
        desk.unpin(1)


def test_a_version_in_use_is_not_retired_and_the_refusal_names_every_use(desk: Desk) -> None:
    desk.register()
    desk.register()
    desk.promote(1)
    desk.promote(2)
    desk.promote(1, alias="canary")
    desk.pin(1)
    with pytest.raises(VersionInUse) as caught:
        desk.retire(1)
    assert caught.value.facts["by"] == (
        "alias 'canary' points at it (promote another, or `interlock alias rm digits canary`); "
        "it is in the stack of alias 'stable'; it is pinned (`interlock unpin digits 1`)"
    )


def test_a_version_that_a_route_leads_to_is_not_retired(desk: Desk) -> None:
    desk.register()
    desk.register()
    desk.promote(1)
    with desk.sql() as connection:
        connection.execute("INSERT INTO route_targets VALUES ('digits', 'stable', 2, 10, false)")
    assert kept(desk) == [1, 2]
    with pytest.raises(VersionInUse, match="the route of alias 'stable' leads to it"):
        desk.retire(2)


def test_a_version_goes_from_validated_to_retired_to_deleted(desk: Desk) -> None:
    desk.register()
    with pytest.raises(VersionInUse, match="it is not retired; `interlock retire digits 1` comes first"):
        desk.delete(1)
    desk.retire(1)
    with pytest.raises(FailedPrecondition, match="is RETIRED and cannot become RETIRED"):
        desk.retire(1)
    desk.delete(1)
    with pytest.raises(FailedPrecondition, match="is DELETED and cannot become DELETED"):
        desk.delete(1)
    assert desk.registry.version(ModelRef(MODEL, version=1)).state is VersionState.DELETED


def test_a_retired_version_is_neither_promoted_nor_pinned(desk: Desk) -> None:
    desk.register()
    plan = desk.registry.plan_promote(MODEL, 1)
    desk.retire(1)
    with pytest.raises(VersionNotServable, match="is RETIRED"):
        desk.registry.plan_promote(MODEL, 1)
    with pytest.raises(VersionNotServable, match="is RETIRED"):
        desk.registry.commit_move(plan, attempt(Action.PROMOTE, version=1, alias="stable"), "{}")
    with pytest.raises(VersionNotServable, match="is RETIRED"):
        desk.pin(1)


# --- the epoch ---


def test_each_change_raises_the_epoch_by_one(desk: Desk) -> None:
    epochs = [desk.registry.state().epoch]
    epochs.append(desk.register().committed.epoch)
    for change in (desk.promote, desk.pin, desk.unpin):
        epochs.append(change(1).epoch)
    epochs.append(desk.remove_alias().epoch)
    epochs.append(desk.retire(1).epoch)
    epochs.append(desk.delete(1).epoch)
    assert epochs == list(range(8))
    assert desk.registry.desired().epoch == 7


def test_the_incarnation_stays_over_a_restart(desk: Desk) -> None:
    before = desk.registry.state()
    desk.registry.close()
    again = Registry.open(desk.place.url)
    assert again.state() == before
    again.close()


def test_desired_state_is_that_of_every_model(desk: Desk) -> None:
    desk.register("b")
    desk.register("a")
    desk.promote(1, model="b")
    desired = desk.registry.desired()
    assert [model.name for model in desired.models] == ["a", "b"]
    assert desired.models[0].keep == ()
    assert desired.models[1] == desk.registry.desired_model("b")
    assert (desired.incarnation, desired.epoch) == (desk.registry.state().incarnation, 3)


# --- what SQL itself forbids ---


@pytest.mark.parametrize(
    "statement",
    [
        "UPDATE aliases SET version = 99",
        "INSERT INTO aliases VALUES ('digits', 'canary', 99, 1, '2026-01-01')",
        "INSERT INTO aliases VALUES ('nothing', 'stable', NULL, 1, '2026-01-01')",
        "INSERT INTO alias_stack VALUES ('digits', 'stable', 0, 99)",
        "INSERT INTO alias_stack VALUES ('digits', 'nobody', 0, 1)",
        "INSERT INTO pins VALUES ('digits', 99, '2026-01-01')",
        "INSERT INTO route_targets VALUES ('digits', 'stable', 99, 1, false)",
        "DELETE FROM versions",
        "DELETE FROM models",
        "DELETE FROM artifacts",
        "UPDATE versions SET version = 7",
        "UPDATE versions SET state = 'LOST'",
        "INSERT INTO models VALUES ('DIGITS', 'digits', 1, '2026-01-01')",
        "INSERT INTO epoch VALUES (2, 'x', 0, 0, '')",
    ],
)
def test_direct_sql_cannot_break_the_rules(desk: Desk, statement: str) -> None:
    desk.register()
    desk.promote(1)
    with desk.sql() as connection, pytest.raises(REFUSED_BY_RULE):
        connection.execute(statement)


def test_a_manifest_that_does_not_have_its_digest_is_never_served(desk: Desk) -> None:
    desk.register()
    with desk.sql() as connection:
        connection.execute("UPDATE artifacts SET manifest = replace(manifest, '1000', '1001')")
    with pytest.raises(DataLoss, match="does not have its digest"):
        desk.promote(1)
    assert desk.registry.alias(MODEL, "stable") is None


# --- limits and closing ---


def test_texts_that_cannot_be_kept_whole_are_refused(desk: Desk) -> None:
    desk.register()
    too_long = attempt(Action.PIN, version=1, reason="x" * 1025)
    with pytest.raises(InvalidArgument, match="reason has 1025 characters") as caught:
        desk.registry.pin(too_long)
    assert [violation.field for violation in caught.value.violations] == ["reason"]
    assert not desk.registry.version(ModelRef(MODEL, version=1)).pinned


def test_a_closed_registry_says_so(desk: Desk) -> None:
    desk.registry.close()
    desk.registry.close()
    with pytest.raises(RegistryUnavailable, match="closed"):
        desk.registry.state()
    with pytest.raises(RegistryUnavailable, match="closed"):
        desk.pin(1)


def test_sqlites_log_of_writes_is_moved_into_the_file_away_from_commits(path: Path) -> None:
    desk = Desk(Registry.open(f"sqlite:///{path}"), SqlitePlace(path))
    desk.register()
    for _ in range(40):
        desk.pin(1)
    before = path.stat().st_size
    desk.registry.fleet.beat(heartbeat("a"), None)
    assert path.stat().st_size > before
    desk.registry.close()


def test_an_artifact_is_kept_once_however_many_versions_have_it(desk: Desk) -> None:
    for _ in range(3):
        desk.register(seed="same")
    with desk.sql() as connection:
        assert connection.execute("SELECT count(*) FROM artifacts") == [(1,)]
    assert desk.registry.desired_version(MODEL, 3).graph.digest == digest("same")
