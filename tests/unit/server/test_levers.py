from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from interlock_server.levers import LEVERS, Lever, LeverFrame, LeverView


@pytest.fixture
def frame() -> Iterator[LeverFrame]:
    made = LeverFrame()
    yield made
    made.close()


def lever(
    frame: LeverFrame, alias: str = "stable", *, incarnation: str = "one", generation: int = 3, version: int = 1
) -> Lever:
    found = frame.lever("m", alias, incarnation=incarnation, generation=generation, version=version)
    assert found is not None
    return found


def test_a_pulled_lever_is_seen_by_whoever_looks_and_no_other_is(frame: LeverFrame) -> None:
    stable, canary = lever(frame), lever(frame, "canary")
    view = LeverView(frame.place)
    assert not view.pulled(stable) and not view.pulled(canary)
    frame.pull(stable)
    assert view.pulled(stable) and not view.pulled(canary)
    assert LeverView(frame.place).pulled(stable), "also by one who comes later"


def test_a_way_back_keeps_its_lever_until_it_is_another_one(frame: LeverFrame) -> None:
    first = lever(frame)
    assert lever(frame) == first
    frame.pull(first)
    view = LeverView(frame.place)
    others = [lever(frame, generation=4), lever(frame, generation=4, version=2), lever(frame, incarnation="two")]
    others.append(lever(frame))  # an alias that was removed and made anew has the numbers of the old one again
    assert len({first, *others}) == 5
    assert [view.pulled(other) for other in others] == [False] * 4


def test_where_all_levers_are_given_out_there_is_none(frame: LeverFrame) -> None:
    for index in range(LEVERS):
        assert frame.lever(f"m{index}", "stable", incarnation="one", generation=1, version=1) is not None
    assert frame.lever("one-more", "stable", incarnation="one", generation=1, version=1) is None
    assert frame.lever("m7", "stable", incarnation="one", generation=2, version=2) is not None


def test_another_process_sees_it_and_goes_on_seeing_it_when_the_frame_is_gone(frame: LeverFrame) -> None:
    first, second = lever(frame), lever(frame, "canary")
    code = (
        "import sys\n"
        "from interlock_server.levers import Lever, LeverView\n"
        f"view = LeverView({frame.place!r})\n"
        "print('looking', flush=True)\n"
        "sys.stdin.readline()\n"
        f"print(view.pulled({first!r}), view.pulled({second!r}), flush=True)\n"
    )
    with subprocess.Popen([sys.executable, "-c", code], stdin=subprocess.PIPE, stdout=subprocess.PIPE) as other:
        assert other.stdin is not None and other.stdout is not None
        assert other.stdout.readline() == b"looking\n"
        frame.pull(second)
        frame.close()
        frame.close()
        other.stdin.write(b"\n")
        other.stdin.flush()
        assert other.stdout.readline() == b"False True\n"


def test_what_is_no_frame_or_another_one_is_not_looked_at(tmp_path: Path, frame: LeverFrame) -> None:
    process, number, name = frame.place.split("/")
    with (tmp_path / "file").open("wb") as file:
        file.truncate(8 * LEVERS)
        for place in (
            f"{process}/{file.fileno()}/{name}",
            f"{process}/9999/{name}",
            f"{process}/{number}/interlock-levers-of-before",  # of a process that had the same number
            "nonsense",
        ):
            with pytest.raises(OSError):
                LeverView(place)
    assert LeverView(frame.place).place == frame.place
