from __future__ import annotations

from datetime import UTC, datetime

import pytest
from interlock.model import Alias
from interlock_registry.domain import Route, Target
from interlock_registry.keep import keep_set


def alias(name: str, version: int, *stack: int) -> Alias:
    return Alias(
        model="m", alias=name, version=version, generation=1, stack=stack, updated_at=datetime(2026, 1, 1, tzinfo=UTC)
    )


def route(*targets: Target) -> Route:
    return Route(model="m", alias="stable", generation=1, targets=targets)


STABLE = alias("stable", 5, 1, 3, 4)


@pytest.mark.parametrize(
    ("aliases", "routes", "pins", "depth", "kept"),
    [
        ([], [], [], 1, ()),
        ([STABLE], [], [], 0, (5,)),
        ([STABLE], [], [], 1, (4, 5)),
        ([STABLE], [], [], 2, (3, 4, 5)),
        ([STABLE], [], [], 99, (1, 3, 4, 5)),
        ([STABLE, alias("canary", 9, 8)], [], [], 1, (4, 5, 8, 9)),
        ([], [], [7, 2], 1, (2, 7)),
        ([STABLE], [], [4, 5], 1, (4, 5)),
        ([alias("stable", 5)], [route(Target(5, 90), Target(6, 10), Target(7, 0, shadow=True))], [], 1, (5, 6, 7)),
    ],
    ids=[
        "nothing wants anything",
        "depth 0 keeps the live version alone",
        "depth 1 keeps the next rollback",
        "depth 2 keeps two",
        "a depth beyond the stack keeps all of it",
        "every alias counts",
        "pins count alone",
        "a version is kept once however often it is wanted",
        "every target of a route counts, shadows too",
    ],
)
def test_the_kept_versions_are(
    aliases: list[Alias], routes: list[Route], pins: list[int], depth: int, kept: tuple[int, ...]
) -> None:
    assert keep_set(aliases, routes, pins, depth=depth) == kept
