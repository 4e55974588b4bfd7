"""All points of an operation, one after another, each on a fresh copy of the same registry."""

from __future__ import annotations

import shutil
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

from tests.crashpoints import points
from tests.crashpoints.operations import ACKNOWLEDGED
from tests.crashpoints.points import Point
from tests.crashpoints.verdict import look, violations


@dataclass(slots=True)
class Result:
    """What came of an operation's points."""

    operation: str
    tried: Counter[str] = field(default_factory=Counter)
    """Points by fault."""
    survived: int = 0
    """Of them, runs that ended well all the same."""
    violations: list[str] = field(default_factory=list)


def enumerate_points(operation: str, base: Path, root: Path, choose: Callable[[list[Point]], list[Point]]) -> Result:
    """Try the points of an operation that are chosen, on copies of a folder that was prepared."""
    root.mkdir()
    work, trace = root / "work", root / "trace"
    shutil.copytree(base, work)
    before = look(work)
    all_points = points.points(operation, work, trace)
    after = look(work)
    result = Result(operation)
    for point in choose(all_points):
        shutil.rmtree(work)
        shutil.copytree(base, work)
        outcome = points.run_to(point, operation, work, trace)
        result.tried[point.fault] += 1
        result.survived += outcome.said.startswith(ACKNOWLEDGED)
        for each in violations(operation, work, point, outcome, before, after):
            result.violations.append(f"{operation} {point.fault} at {point.call} {point.number}: {each}")
    return result
