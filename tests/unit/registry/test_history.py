from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta

import pytest
from interlock.errors import (
    Aborted,
    AlreadyExists,
    GenerationConflict,
    IdempotencyKeyReused,
    InterlockError,
    InvalidArgument,
    InvalidName,
    ModelNotFound,
    NotInStack,
    PrepareFailed,
    RegistryUnavailable,
    VersionNotFound,
)
from interlock.model import EventFilter
from interlock.types import ModelRef
from interlock_registry import paging
from interlock_registry.domain import Action, Page, Recalled
from interlock_registry.registry import Registry
from interlock_registry.sql import reader

from tests.databases import Place, PostgresPlace, SqlitePlace
from tests.unit.registry.builders import MODEL, Desk, attempt, new_version


class Clock:
    def __init__(self) -> None:
        self.now = datetime(2026, 5, 1, 12, 0, tzinfo=UTC)

    def __call__(self) -> datetime:
        self.now += timedelta(minutes=1)
        return self.now


@pytest.fixture
def timed(place: Place) -> Iterator[Desk]:
    registry = Registry.open(place.url, clock=Clock())
    yield Desk(registry, place)
    registry.close()


# --- events ---


def test_every_change_is_one_event_with_its_facts(timed: Desk) -> None:
    timed.register()
    timed.register()
    timed.promote(1)
    timed.promote(2)
    timed.rollback()
    timed.remove_alias()
    timed.pin(2)
    timed.unpin(2)
    timed.retire(2)
    timed.delete(2)
    events = timed.registry.events().items
    assert [(e.action, e.alias, e.from_version, e.to_version, e.outcome) for e in reversed(events)] == [
        ("register", "", 0, 1, "ok"),
        ("register", "", 0, 2, "ok"),
        ("promote", "stable", 0, 1, "ok"),
        ("promote", "stable", 1, 2, "ok"),
        ("rollback", "stable", 2, 1, "ok"),
        ("alias.remove", "stable", 1, 0, "ok"),
        ("pin", "", 0, 2, "ok"),
        ("unpin", "", 0, 2, "ok"),
        ("retire", "", 0, 2, "ok"),
        ("delete", "", 0, 2, "ok"),
    ]
    assert [event.seq for event in events] == list(range(10, 0, -1))
    assert {(event.actor, event.request_id, event.model) for event in events} == {("ada", "r-1", MODEL)}
    assert timed.registry.verify_chain().is_whole


def test_a_refusal_is_exactly_one_event_and_changes_nothing(desk: Desk) -> None:
    desk.register()
    before = desk.registry.state()
    asked = attempt(Action.PROMOTE, version=7, alias="stable", reason="please")
    with pytest.raises(VersionNotFound) as caught:
        desk.registry.plan_promote(MODEL, 7)
    desk.registry.refuse(asked, caught.value)
    refused, registered = desk.registry.events().items
    assert (refused.action, refused.outcome, refused.to_version) == ("promote", "VERSION_NOT_FOUND", 7)
    assert (refused.reason, refused.detail) == ("please", caught.value.message)
    assert registered.outcome == "ok"
    assert desk.registry.state() == before
    assert desk.registry.verify_chain().is_whole


def test_a_change_that_fails_writes_no_event_of_its_own(desk: Desk) -> None:
    desk.register()
    desk.promote(1)
    with pytest.raises(InterlockError):
        desk.retire(1)
    assert len(desk.registry.events().items) == 2


def test_a_refusal_may_name_what_could_never_exist(desk: Desk) -> None:
    wild = attempt(Action.PROMOTE, model="\ud800\0" + "x" * 5000, alias="é" * 5000, reason="r" * 9999, key="k" * 999)
    desk.registry.refuse(wild, InvalidName("model", wild.model, "a name"))
    (event,) = desk.registry.events().items
    assert (event.outcome, len(event.model), len(event.reason)) == ("INVALID_NAME", 1024, 1024)
    assert desk.registry.verify_chain().is_whole


def test_events_are_listed_by_model_and_up_to_a_moment(timed: Desk) -> None:
    timed.register("a")
    timed.register("b")
    timed.register("a")
    everything = timed.registry.events().items
    assert [event.model for event in everything] == ["a", "b", "a"]
    assert [event.seq for event in timed.registry.events(EventFilter(model="a")).items] == [3, 1]
    assert timed.registry.events(EventFilter(model="c")).items == ()
    assert [event.seq for event in timed.registry.events(EventFilter(until=everything[1].time)).items] == [2, 1]
    assert [event.seq for event in timed.registry.events(EventFilter(model="a", until=everything[1].time)).items] == [1]
    assert timed.registry.events(EventFilter(until=everything[2].time - timedelta(microseconds=1))).items == ()


@pytest.mark.parametrize(
    ("statement", "broken_at"),
    [
        ("UPDATE events SET body = replace(body, 'ada', 'eve') WHERE seq = 2", 2),
        ("UPDATE events SET hash = replace(hash, substr(hash, 1, 1), 'x') WHERE seq = 2", 2),
        ("UPDATE events SET model = 'other' WHERE seq = 3", 3),
        ("UPDATE events SET time = '2020-01-01 00:00:00.000000' WHERE seq = 1", 1),
        ("UPDATE events SET alias = 'canary' WHERE seq = 2", 2),
        ("UPDATE events SET actor = 'eve' WHERE seq = 2", 2),
        ("DELETE FROM events WHERE seq = 1", 1),
        ("DELETE FROM events WHERE seq = 2", 2),
        ("DELETE FROM events WHERE seq = 3", 3),
        ("DELETE FROM events", 1),
        ("UPDATE epoch SET event_seq = 2", 4),
    ],
)
def test_history_that_was_changed_behind_our_back_is_found(desk: Desk, statement: str, broken_at: int) -> None:
    for _ in range(3):
        desk.register()
    edited = {
        SqlitePlace: "CAST(replace(body, 'ada', 'eve') AS BLOB)",
        PostgresPlace: "convert_to(replace(convert_from(body, 'UTF8'), 'ada', 'eve'), 'UTF8')",
    }[type(desk.place)]
    with desk.sql() as connection:
        connection.execute(statement.replace("replace(body, 'ada', 'eve')", edited))
    assert desk.registry.verify_chain().broken_at == broken_at


def test_a_long_history_is_verified_in_batches(desk: Desk) -> None:
    desk.register()
    for _ in range(1100):
        desk.registry.refuse(attempt(Action.PIN), ModelNotFound("x"))
    report = desk.registry.verify_chain()
    assert (report.is_whole, report.events) == (True, 1101)


# --- listings in parts ---


def test_listings_come_in_parts(desk: Desk) -> None:
    for name in ("a", "b", "c", "d", "e"):
        desk.register(name)
        desk.register("a")
    registry = desk.registry

    names: list[str] = []
    numbers: list[int] = []
    seqs: list[int] = []
    token = ""
    while True:
        models = registry.models(2, token)
        names += [model.name for model in models.items]
        token = models.next_page_token
        if not token:
            break
    while True:
        versions = registry.versions("a", 2, token)
        numbers += [version.version for version in versions.items]
        token = versions.next_page_token
        if not token:
            break
    while True:
        events = registry.events(page_size=3, page_token=token)
        seqs += [event.seq for event in events.items]
        token = events.next_page_token
        if not token:
            break
    assert names == ["a", "b", "c", "d", "e"]
    assert numbers == [6, 5, 4, 3, 2, 1]
    assert seqs == list(range(10, 0, -1))


@pytest.mark.parametrize("batch", [1, 2, 500])
def test_who_does_not_see_all_models_gets_full_parts_and_learns_of_no_others(
    desk: Desk, batch: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(reader, "_MODELS_BATCH", batch)
    for name in ("hidden-0", "mine-1", "hidden-2", "mine-3", "hidden-4", "mine-5", "zz-hidden"):
        desk.register(name)
    parts: list[list[str]] = []
    token = ""
    while not parts or token:
        page = desk.registry.models(2, token, sees=lambda name: name.startswith("mine"))
        parts.append([model.name for model in page.items])
        token = page.next_page_token
        assert paging.name_after(token) in ("", parts[-1][-1])
    assert parts == [["mine-1", "mine-3"], ["mine-5"]]
    assert desk.registry.models(sees=lambda name: False) == Page((), "")


def test_a_model_is_listed_with_its_count_and_its_aliases(desk: Desk) -> None:
    desk.register()
    desk.register()
    desk.promote(1)
    desk.retire(2)
    desk.delete(2)
    (model,) = desk.registry.models().items
    assert (model.name, model.versions, model.newest) == (MODEL, 2, 2)
    assert [(alias.alias, alias.version) for alias in model.aliases] == [("stable", 1)]


@pytest.mark.parametrize("token", ["!", "ä", "YQ==x", "YWJj", "LTE", "OTk5OTk5OTk5OTk5OTk5OTk5OTk"])
def test_a_page_token_that_is_none_of_ours_is_refused(desk: Desk, token: str) -> None:
    desk.register()
    with pytest.raises(InvalidArgument, match="page_token"):
        desk.registry.versions(MODEL, 1, token)


def test_a_negative_page_size_is_refused(desk: Desk) -> None:
    with pytest.raises(InvalidArgument, match="page_size is -1"):
        desk.registry.models(-1)


# --- idempotency ---


def test_an_unknown_or_empty_key_recalls_nothing(desk: Desk) -> None:
    assert desk.registry.recall(attempt(Action.REGISTER)) is None
    assert desk.registry.recall(attempt(Action.REGISTER, key="k", request_hash="h")) is None


def test_the_same_key_and_request_get_the_same_answer(desk: Desk) -> None:
    asked = attempt(Action.REGISTER, key="k", request_hash="h")
    desk.registry.register(new_version(), asked)
    assert desk.registry.recall(asked) == Recalled('{"model":"digits","version":1}')
    moved = attempt(Action.PROMOTE, version=1, alias="stable", key="k", request_hash="h2")
    desk.registry.commit_move(desk.registry.plan_promote(MODEL, 1), moved, '{"to":1}')
    assert desk.registry.recall(moved) == Recalled('{"to":1}')


def test_a_key_belongs_to_its_actor_and_action(desk: Desk) -> None:
    desk.registry.register(new_version(), attempt(Action.REGISTER, key="k", request_hash="h"))
    assert desk.registry.recall(attempt(Action.PIN, key="k", request_hash="other")) is None
    assert desk.registry.recall(attempt(Action.REGISTER, actor="eve", key="k", request_hash="other")) is None


def test_a_key_with_another_request_is_refused(desk: Desk) -> None:
    desk.registry.register(new_version(), attempt(Action.REGISTER, key="k", request_hash="h"))
    other = attempt(Action.REGISTER, key="k", request_hash="other")
    with pytest.raises(IdempotencyKeyReused) as caught:
        desk.registry.recall(other)
    with pytest.raises(IdempotencyKeyReused):
        desk.registry.register(new_version(), other)
    desk.registry.refuse(other, caught.value)
    assert desk.registry.recall(attempt(Action.REGISTER, key="k", request_hash="h")) is not None


def test_a_twin_that_was_answered_meanwhile_is_not_done_again(desk: Desk) -> None:
    asked = attempt(Action.REGISTER, key="k", request_hash="h")
    desk.registry.register(new_version(), asked)
    with pytest.raises(Aborted, match="repeat it to get that answer"):
        desk.registry.register(new_version(), asked)
    assert desk.registry.versions(MODEL).items[0].version == 1


def test_a_refusal_by_the_domain_is_recalled_as_itself(desk: Desk) -> None:
    asked = attempt(Action.ROLLBACK, version=9, alias="stable", key="k", request_hash="h")
    desk.registry.refuse(asked, NotInStack(MODEL, "stable", 9, (1, 2)))
    recalled = desk.registry.recall(asked)
    assert recalled is not None
    with pytest.raises(NotInStack, match="can be rolled back to 2, 1") as caught:
        recalled.result()
    assert caught.value.facts["stack"] == "2, 1"


@pytest.mark.parametrize(
    "error",
    [
        GenerationConflict(MODEL, "stable", 1, 2),
        RegistryUnavailable("down"),
        PrepareFailed(MODEL, 1, "out of memory"),
        IdempotencyKeyReused("k"),
    ],
    ids=lambda error: error.reason,
)
def test_a_refusal_that_may_change_is_not_recalled(desk: Desk, error: InterlockError) -> None:
    asked = attempt(Action.PROMOTE, version=1, alias="stable", key="k", request_hash="h")
    desk.registry.refuse(asked, error)
    assert desk.registry.recall(asked) is None
    assert [event.outcome for event in desk.registry.events().items] == [error.reason]


def test_a_second_refusal_under_a_key_keeps_the_first(desk: Desk) -> None:
    asked = attempt(Action.REGISTER, key="k", request_hash="h")
    desk.registry.refuse(asked, AlreadyExists("first"))
    desk.registry.refuse(asked, AlreadyExists("second"))
    recalled = desk.registry.recall(asked)
    assert recalled is not None
    with pytest.raises(AlreadyExists, match="first"):
        recalled.result()
    assert len(desk.registry.events().items) == 2


def test_a_key_that_is_too_long_to_keep_is_refused_and_the_refusal_is_an_event(desk: Desk) -> None:
    asked = attempt(Action.REGISTER, key="k" * 257, request_hash="h")
    with pytest.raises(InvalidArgument, match="idempotency_key has 257 characters") as caught:
        desk.registry.register(new_version(), asked)
    desk.registry.refuse(asked, caught.value)
    assert desk.registry.recall(asked) is None
    assert len(desk.registry.events().items) == 1


def test_old_answers_are_forgotten(timed: Desk) -> None:
    old = attempt(Action.REGISTER, key="old", request_hash="h")
    new = attempt(Action.REGISTER, key="new", request_hash="h")
    timed.registry.register(new_version(), old)
    timed.registry.register(new_version(), new)
    assert timed.registry.forget_answers(older_than_s=90) == 1
    assert timed.registry.recall(old) is None
    assert timed.registry.recall(new) is not None
    assert timed.registry.version(ModelRef(MODEL, version=1)).version == 1
