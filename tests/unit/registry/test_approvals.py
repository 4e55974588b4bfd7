"""Four eyes: whose approvals count, for what, and for how long."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest
from interlock.access import Grant, Proof
from interlock.approval import ApprovalRule, ApprovalState, needed, parse_rules
from interlock.errors import (
    ApprovalRequired,
    Cancelled,
    InvalidArgument,
    NotFound,
    PermissionDenied,
    VersionNotFound,
    VersionNotServable,
)
from interlock_registry.approvals import Consent
from interlock_registry.documents import ApprovalAnswer
from interlock_registry.domain import Action, Committed
from interlock_registry.registry import Registry

from tests.databases import Place
from tests.unit.registry.builders import MODEL, Desk, attempt

WEEK_S = 7 * 86400.0
TWO = Consent(2, "token:ops")
ONE = Consent(1, "token:ops")


class Clock:
    def __init__(self) -> None:
        self.ahead = timedelta()

    def __call__(self) -> datetime:
        return datetime.now(UTC) + self.ahead


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def desk(place: Place, clock: Clock) -> Iterator[Desk]:
    """A model of three versions by ada, the first one live; ann and bob may approve, ops may too."""
    registry = Registry.open(place.url, clock=clock)
    found = Desk(registry, place)
    for number in range(3):
        found.register(seed=f"weights {number}")
    found.promote(1)
    for name in ("ann", "bob", "ops", "eve"):
        role = "approver" if name != "eve" else "operator"
        registry.credentials.issue(
            attempt(Action.ISSUE_TOKEN, ""), name, [Grant.parse(f"{role}:dig*")], lifetime_s=None
        )
    yield found
    registry.close()


def approve(desk: Desk, by: str, version: int = 2, alias: str = "stable") -> int:
    answer = desk.registry.approvals.give(attempt(Action.APPROVE, MODEL, version, alias, actor=by), lifetime_s=WEEK_S)
    return ApprovalAnswer.from_json(answer).seq


def withdraw(desk: Desk, by: str) -> str:
    return desk.registry.approvals.withdraw(attempt(Action.WITHDRAW, MODEL, 2, "stable", actor=by))


def promote(desk: Desk, consent: Consent | None, version: int = 2) -> Committed:
    move = desk.registry.plan_promote(MODEL, version, consent=consent)
    return desk.registry.commit_move(move, attempt(Action.PROMOTE, MODEL, version, "stable"), "{}", consent=consent)


def states(desk: Desk) -> list[tuple[str, ApprovalState]]:
    return [(each.approver, each.state) for each in desk.registry.approvals.all(MODEL).items]


def test_an_alias_moves_on_when_enough_others_agree(desk: Desk) -> None:
    with pytest.raises(ApprovalRequired) as refused:
        promote(desk, TWO)
    assert refused.value.message == (
        "alias 'stable' of 'digits' moves on to version 2 with 2 approvals by others than ada and token:ops, and it "
        "has none; `interlock approve digits 2 --alias stable` gives one"
    )
    approve(desk, "token:ann")
    approve(desk, "token:ann")
    approve(desk, "token:ops")
    with pytest.raises(ApprovalRequired, match=r"has those of token:ann;"):
        promote(desk, TWO)
    approve(desk, "token:bob")
    assert promote(desk, TWO).desired.aliases[0].version == 2
    approval = desk.registry.approvals.all(MODEL, page_size=1).items[0]
    (event,) = desk.registry.events(page_size=2).items[1:]
    assert (event.seq, event.action, event.actor, event.to_version) == (approval.seq, "approve", "token:bob", 2)
    assert approval.digest in event.detail


def test_nobody_approves_what_he_has_registered(desk: Desk) -> None:
    with pytest.raises(PermissionDenied, match="ada registered version 2 of 'digits' and cannot approve it"):
        approve(desk, "ada")
    assert desk.registry.approvals.all().items == ()


def test_an_approval_is_for_one_version_and_one_alias(desk: Desk) -> None:
    approve(desk, "token:ann", version=3)
    approve(desk, "token:ann", alias="canary")
    with pytest.raises(ApprovalRequired):
        promote(desk, ONE)


def end_by_time(desk: Desk, clock: Clock) -> None:
    clock.ahead = timedelta(seconds=WEEK_S + 1)


def end_by_withdrawal(desk: Desk, clock: Clock) -> None:
    withdraw(desk, "token:ann")


def end_with_its_giver(desk: Desk, clock: Clock) -> None:
    desk.registry.credentials.revoke(attempt(Action.REVOKE_TOKEN, ""), Proof.TOKEN, "ann")


@pytest.mark.parametrize(
    ("end", "state"),
    [
        (end_by_time, ApprovalState.EXPIRED),
        (end_by_withdrawal, ApprovalState.WITHDRAWN),
        (end_with_its_giver, ApprovalState.VOID),
    ],
)
def test_what_has_ended_since_the_plan_does_not_count_at_the_commit(
    desk: Desk, clock: Clock, end: Callable[[Desk, Clock], None], state: ApprovalState
) -> None:
    approve(desk, "token:ann")
    assert states(desk) == [("token:ann", ApprovalState.COUNTS)]
    move = desk.registry.plan_promote(MODEL, 2, consent=ONE)
    end(desk, clock)
    assert states(desk) == [("token:ann", state)]
    with pytest.raises(ApprovalRequired):
        desk.registry.commit_move(move, attempt(Action.PROMOTE, MODEL, 2, "stable"), "{}", consent=ONE)
    assert desk.registry.desired_model(MODEL).aliases[0].version == 1


def test_who_may_not_approve_the_model_does_not_count(desk: Desk) -> None:
    approve(desk, "token:eve")
    assert states(desk) == [("token:eve", ApprovalState.VOID)]


def test_the_way_back_needs_no_approval(desk: Desk) -> None:
    approve(desk, "token:ann")
    promote(desk, ONE)
    withdraw(desk, "token:ann")
    promote(desk, ONE)  # it is there already
    promote(desk, ONE, version=1)  # it is in the stack
    with pytest.raises(ApprovalRequired):
        promote(desk, ONE)
    desk.promote(2)
    assert desk.rollback().desired.aliases[0].version == 1


def test_only_what_is_there_and_ones_own_can_be_withdrawn(desk: Desk) -> None:
    approve(desk, "token:ann")
    with pytest.raises(NotFound, match="token:bob has no approval to take back"):
        withdraw(desk, "token:bob")
    withdraw(desk, "token:ann")
    with pytest.raises(NotFound):
        withdraw(desk, "token:ann")


def test_only_versions_that_can_be_served_are_approved(desk: Desk) -> None:
    desk.retire(3)
    with pytest.raises(VersionNotServable):
        approve(desk, "token:ann", version=3)
    with pytest.raises(VersionNotFound):
        approve(desk, "token:ann", version=9)


def test_approvals_are_listed_newest_first_by_page(desk: Desk) -> None:
    given = [approve(desk, by) for by in ("token:ann", "token:bob", "token:ops")]
    first = desk.registry.approvals.all(page_size=2)
    rest = desk.registry.approvals.all(page_size=2, page_token=first.next_page_token)
    assert [each.seq for each in (*first.items, *rest.items)] == given[::-1]
    assert not rest.next_page_token
    assert desk.registry.approvals.all("other").items == ()
    assert desk.registry.approvals.one(given[0]).approver == "token:ann"
    with pytest.raises(NotFound):
        desk.registry.approvals.one(given[0] - 1)


RULES = "fraud-*:stable=2, *:stable, *:prod-*=3"


@pytest.mark.parametrize(
    ("model", "alias", "count"),
    [
        ("fraud-1", "stable", 2),
        ("m", "stable", 1),
        ("m", "canary", 0),
        ("m", "prod-eu", 3),
        ("fraud-1", "prod-eu", 3),
    ],
)
def test_the_strictest_rule_for_an_alias_holds(model: str, alias: str, count: int) -> None:
    assert needed(parse_rules(RULES), model, alias) == count


def test_a_rule_is_written_as_it_is_read() -> None:
    assert list(map(str, parse_rules(RULES))) == ["fraud-*:stable=2", "*:stable=1", "*:prod-*=3"]
    assert parse_rules("") == parse_rules(" , ") == ()


@pytest.mark.parametrize("text", [":stable", "m:Stable", "m=0", "m=10", "m=x", "m:a:b", "a b", "m:stable=1=2"])
def test_what_is_no_rule_is_refused(text: str) -> None:
    with pytest.raises(InvalidArgument, match="is no rule of approvals"):
        ApprovalRule.parse(text)


def test_an_approval_that_was_given_or_taken_back_is_not_recorded_as_refused_after_it(desk: Desk) -> None:
    given = attempt(Action.APPROVE, MODEL, 2, "stable", actor="token:ann")
    desk.registry.approvals.give(given, lifetime_s=WEEK_S)
    taken = attempt(Action.WITHDRAW, MODEL, 2, "stable", actor="token:ann")
    desk.registry.approvals.withdraw(taken)
    events = desk.registry.events()
    assert not desk.registry.refuse(given, Cancelled("the server stops"))
    assert not desk.registry.refuse(taken, Cancelled("the server stops"))
    assert desk.registry.events() == events
    assert desk.registry.refuse(replace(given), Cancelled("an equal one is another"))
