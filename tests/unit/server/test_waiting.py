from __future__ import annotations

import pytest
from interlock.model import ServableState, ServableStatus
from interlock_server.waiting import changes_of, requests_of


def status(model: str, version: int, in_flight: int) -> ServableStatus:
    return ServableStatus(
        model=model,
        version=version,
        state=ServableState.READY,
        reason="",
        provider="CPU",
        in_flight=in_flight,
        load_s=0.0,
    )


@pytest.mark.parametrize(
    ("statuses", "said"),
    [
        ([], ""),
        ([status("m", 1, 0)], ""),
        ([status("m", 1, 1), status("n", 1, 0)], "1 request of m@1"),
        (
            [status("a", 1, 1), status("m", 2, 3), status("m", 1, 3)],
            "3 requests of m@1, 3 requests of m@2, 1 request of a@1",
        ),
        (
            [status("m", version, version) for version in range(1, 8)],
            "7 requests of m@7, 6 requests of m@6, 5 requests of m@5, 4 requests of m@4, 3 requests of m@3, "
            "3 requests of other versions",
        ),
    ],
)
def test_a_stop_says_whose_requests_it_waits_for(statuses: list[ServableStatus], said: str) -> None:
    assert requests_of(statuses) == said


def test_a_stop_says_which_changes_it_waits_for() -> None:
    assert changes_of(["register of m", "promote of a"]) == "promote of a, register of m"
