"""What a racer is told to do and what it answers; both travel as JSON lines."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass


@dataclass(frozen=True, slots=True)
class Order:
    """One attempt."""

    action: str
    model: str
    version: int = 0
    """What it is about; for a rollback 0 is the top of the stack."""
    key: str = ""
    expect: int | None = None
    delay_s: float = 0.0
    """How long to wait first, so that every overlap comes up in time."""


@dataclass(frozen=True, slots=True)
class Outcome:
    """How an attempt ended."""

    order: Order
    reason: str
    """"ok", or the reason of the refusal."""
    version: int = 0
    generation: int = 0


def write_orders(orders: Sequence[Order]) -> str:
    return json.dumps([asdict(order) for order in orders]) + "\n"


def read_orders(line: str) -> list[Order]:
    return [Order(**each) for each in json.loads(line)]


def write_outcomes(outcomes: Sequence[Outcome]) -> str:
    return json.dumps([asdict(each) for each in outcomes])


def read_outcomes(line: str) -> list[Outcome]:
    return [Outcome(**{**each, "order": Order(**each["order"])}) for each in json.loads(line)]
