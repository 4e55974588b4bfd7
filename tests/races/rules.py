"""The races: what the racers are told in a round, and which outcomes are allowed. Pure."""

from __future__ import annotations

import random
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

from tests.races.orders import Order, Outcome

USED, GONE, LOST, EMPTY = "VERSION_IN_USE", "VERSION_NOT_SERVABLE", "GENERATION_CONFLICT", "NOTHING_TO_ROLL_BACK"


@dataclass(frozen=True, slots=True)
class Round:
    """What a round begins with: its model, two versions that nothing refers to, and where `stable` is."""

    model: str
    fresh: tuple[int, int]
    live: int
    generation: int
    number: int
    is_served: bool
    """By a server, which can be asked for answers meanwhile."""


Team = Sequence[Sequence[Order]]
Told = Sequence[Sequence[Outcome]]


@dataclass(frozen=True, slots=True)
class Race:
    name: str
    orders: Callable[[Round], Team]
    fault: Callable[[Round, Told], str]
    """Says what must not have happened; "" where nothing did."""
    events: Callable[[Told], int]
    """How many events there must be: one for each attempt that is not answered from its key."""


def jittered(team: Team, dice: random.Random) -> Team:
    """Let everybody start within some milliseconds, so that every overlap comes up."""
    return [[replace(order, delay_s=dice.choice((0, dice.uniform(0, 0.004)))) for order in orders] for orders in team]


def reasons(outcomes: Sequence[Outcome]) -> list[str]:
    return [each.reason for each in outcomes]


# --- one key, many senders ---


def _same_key(now: Round) -> Team:
    order = Order("promote", now.model, now.fresh[0], key=f"{now.model}-{now.number}")
    return [[order]] * 3


def _same_key_fault(now: Round, told: Told) -> str:
    answers = {(each.reason, each.version) for outcomes in told for each in outcomes}
    return "" if answers == {("ok", now.fresh[0])} else f"one key had the answers {answers}"


# --- lost races ---


def _expect(now: Round) -> Team:
    return [[Order("promote", now.model, version, expect=now.generation)] for version in (*now.fresh, now.fresh[0])]


def _expect_fault(now: Round, told: Told) -> str:
    found = sorted(each.reason for outcomes in told for each in outcomes)
    return "" if found == [LOST, LOST, "ok"] else f"of three that expected generation {now.generation}: {found}"


# --- taking away what somebody else begins to use ---


def _retire(now: Round) -> list[Order]:
    return [Order("retire", now.model, now.fresh[0]), Order("delete", now.model, now.fresh[0])]


def _either(user: Sequence[Outcome], taker: Sequence[Outcome]) -> str:
    """Exactly one of them wins."""
    allowed = [(["ok"], [USED]), ([GONE], ["ok", "ok"])]
    found = (reasons(user), reasons(taker))
    return "" if found in allowed else f"use and deletion ended as {found}"


def _promote_delete(now: Round) -> Team:
    return [[Order("promote", now.model, now.fresh[0])], _retire(now)]


def _pin_delete(now: Round) -> Team:
    return [[Order("pin", now.model, now.fresh[0])], _retire(now)]


def _in_use(now: Round) -> Team:
    return [
        [Order("promote", now.model, now.fresh[0])],
        [Order("retire", now.model, now.live), Order("delete", now.model, now.live)],
        [Order("infer", now.model)] * (5 if now.is_served else 0),
    ]


def _in_use_fault(now: Round, told: Told) -> str:
    found = [reasons(outcomes) for outcomes in told[:2]]
    if found != [["ok"], [USED]]:
        return f"a version in use was taken away: {found}"
    strange = [each for each in told[2] if each.reason != "ok" or each.version not in (now.live, now.fresh[0])]
    return f"callers got {strange}" if strange else ""


def _attempts(told: Told) -> int:
    return sum(each.order.action != "infer" for outcomes in told for each in outcomes)


# --- one alias, two directions ---


def _rollback_promote(now: Round) -> Team:
    return [[Order("promote", now.model, now.fresh[0])], [Order("rollback", now.model)]]


def _rollback_promote_fault(now: Round, told: Told) -> str:
    promoted, back = (reasons(outcomes) for outcomes in told)
    if back not in (["ok"], [LOST], [EMPTY]) or promoted not in (["ok"], [LOST], ["PREEMPTED"]):
        return f"a promote and a rollback ended as {promoted} and {back}"
    return "" if "ok" in (*promoted, *back) else "both lost"


# --- the same bytes, many senders ---


def _register(now: Round) -> Team:
    return [[Order("register", now.model, key=key)] for key in (f"r{now.number}", f"r{now.number}", "")]


def _register_fault(now: Round, told: Told) -> str:
    once, again, other = (outcomes[0] for outcomes in told)
    if {once.reason, again.reason, other.reason} != {"ok"}:
        return f"registrations ended as {[reasons(outcomes) for outcomes in told]}"
    return (
        "" if once.version == again.version != other.version else f"numbers {once.version}, {again.version} for a key"
    )


RACES = (
    Race("same-key", _same_key, _same_key_fault, lambda told: 1),
    Race("expect", _expect, _expect_fault, _attempts),
    Race("promote-delete", _promote_delete, lambda now, told: _either(told[0], told[1]), _attempts),
    Race("pin-delete", _pin_delete, lambda now, told: _either(told[0], told[1]), _attempts),
    Race("in-use", _in_use, _in_use_fault, _attempts),
    Race("rollback-promote", _rollback_promote, _rollback_promote_fault, _attempts),
    Race("register", _register, _register_fault, lambda told: 2),
)
