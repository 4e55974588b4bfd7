"""What is concluded from the workers' last reports, as tables."""

from __future__ import annotations

from dataclasses import replace

import pytest
from interlock.model import ServableState, ServableStatus, WorkerStatus
from interlock.types import ModelRef
from interlock_registry.domain import Route, Target
from interlock_server.control.reported import Reported, is_busy
from interlock_server.levers import Lever
from interlock_server.rpc.worker_link import WorkerReport
from interlock_server.snapshot import Snapshot, VersionKey, WayBack
from interlock_server.vitals import Vitals

from tests.unit.server.builders import bare_spec

ONE, TWO = VersionKey("m", 1), VersionKey("m", 2)
BOTH = frozenset({ONE, TWO})
SNAPSHOT = Snapshot(
    incarnation="i",
    epoch=7,
    routes=(Route(model="m", alias="stable", generation=3, targets=(Target(version=2, weight=100),)),),
    keep=(bare_spec(1), bare_spec(2)),
    ways_back=(WayBack("m", "stable", 1, 4, Lever(0, 1)),),
    levers="here",
)


def report(
    one: ServableState = ServableState.READY,
    two: ServableState = ServableState.READY,
    *,
    epoch: int = 7,
    incarnation: str = "i",
    settled: bool = True,
    levers: str = "here",
) -> WorkerReport:
    servables = tuple(
        ServableStatus(model="m", version=version, state=state, reason="", provider="CPU", in_flight=0, load_s=0.0)
        for version, state in ((1, one), (2, two))
    )
    status = WorkerStatus(
        index=0, pid=1, reachable=True, epoch=epoch, provider="CPU", front="core", servables=servables
    )
    return WorkerReport(status, incarnation, settled, False, b"", Vitals(), levers)


WELL = report()
LOADING = report(one=ServableState.LOADING)


@pytest.mark.parametrize(
    ("reports", "resident"),
    [
        ((), False),
        ((None,), False),
        ((WELL,), True),
        ((WELL, None), True),  # one that is away gets it when it comes back
        ((WELL, LOADING), False),
        ((report(epoch=6),), False),
        ((report(incarnation="older"),), False),
        ((WELL, report(epoch=6)), False),
    ],
)
def test_a_version_is_resident_by_reports_of_this_picture_alone(
    reports: tuple[WorkerReport | None, ...], resident: bool
) -> None:
    assert Reported(reports).resident(ONE, SNAPSHOT) is resident


def test_what_the_picture_does_not_keep_is_not_resident_however_ready() -> None:
    assert Reported((WELL,)).ready(ONE)
    assert not Reported((WELL,)).resident(ONE, replace(SNAPSHOT, keep=(bare_spec(2),)))


@pytest.mark.parametrize(
    ("reports", "way"),
    [
        ((WELL,), True),
        ((WELL, WELL), True),
        ((WELL, None), False),  # it may come back any moment, with an older picture
        ((WELL, report(levers="")), False),
        ((report(levers="of a control process before this one"),), False),
        ((LOADING,), False),
    ],
)
def test_a_lever_is_enough_only_where_every_worker_looks_at_it(
    reports: tuple[WorkerReport | None, ...], way: bool
) -> None:
    found = Reported(reports).way_back("m", "stable", SNAPSHOT)
    assert found == (SNAPSHOT.ways_back[0] if way else None)
    assert Reported(reports).way_back("m", "stable", SNAPSHOT.without_levers()) is None
    assert Reported(reports).way_back("m", "canary", SNAPSHOT) is None


@pytest.mark.parametrize(
    ("ref", "reports", "serving"),
    [
        ("m", (WELL,), True),
        ("m", (report(two=ServableState.FAILED),), False),
        ("m", (WELL, report(two=ServableState.LOADING, settled=False)), True),  # not on the port yet
        ("m", (report(settled=False),), False),
        ("m", (None,), False),
        ("m@1", (WELL,), True),
        ("m@3", (WELL,), None),
        ("m:canary", (WELL,), None),
        ("other", (WELL,), None),
    ],
)
def test_a_ref_is_served_where_every_worker_on_the_port_has_it_ready(
    ref: str, reports: tuple[WorkerReport | None, ...], serving: bool | None
) -> None:
    assert Reported(reports).serving(ModelRef.parse(ref), SNAPSHOT) is serving


@pytest.mark.parametrize(
    ("reports", "answering", "settled", "epoch", "ready"),
    [
        ((), (), True, -1, frozenset()),
        ((None,), (), False, -1, frozenset()),
        ((WELL, report(epoch=5)), (0, 1), True, 5, BOTH),
        ((None, LOADING), (1,), False, 7, frozenset({TWO})),
        ((report(settled=False), WELL), (1,), False, 7, BOTH),
        ((report(settled=False), None), (0,), False, 7, BOTH),
    ],
)
def test_what_is_asked_of_all_of_them(
    reports: tuple[WorkerReport | None, ...],
    answering: tuple[int, ...],
    settled: bool,
    epoch: int,
    ready: frozenset[VersionKey],
) -> None:
    found = Reported(reports)
    assert (found.answering, found.settled, found.epoch, found.ready_everywhere) == (answering, settled, epoch, ready)
    assert [status.reachable for status in found.statuses] == [each is not None for each in reports]
    assert found.any_reachable is any(found.reports)
    assert found.provider == ("CPU" if found.any_reachable else "")


def test_a_worker_is_busy_while_it_loads_or_has_not_settled() -> None:
    assert [is_busy(each) for each in (WELL, LOADING, report(settled=False))] == [False, True, True]
