from __future__ import annotations

import json
from pathlib import Path

import pytest
from interlock_registry.documents import read_memory
from interlock_server.control.admission import Holding, Room, available_bytes, sessions_of, why_not
from interlock_server.placing import on_cpu

MIB = 1 << 20
ONE = (Holding("worker-0", 100 * MIB),)
TWO = (*ONE, Holding("worker-1", 300 * MIB))


@pytest.mark.parametrize(
    ("candidate", "holdings", "room", "said"),
    [
        (50 * MIB, ONE, Room(50 * MIB), ""),
        (50 * MIB + 1, ONE, Room(50 * MIB), "this machine has 50.0 MiB left"),
        (50 * MIB, TWO, Room(99 * MIB), "in each of 2 workers"),
        (50 * MIB, TWO, Room(100 * MIB), ""),
        (50 * MIB, ONE, Room(60 * MIB, reserve_bytes=11 * MIB), "11.0 MiB must stay free"),
        (50 * MIB, ONE, Room(1 << 40, worker_bytes=150 * MIB), ""),
        (50 * MIB, TWO, Room(1 << 40, worker_bytes=150 * MIB), "worker-1 holds 300.0 MiB"),
        (0, TWO, Room(0, worker_bytes=1), ""),
        (50 * MIB, (), Room(0), ""),
    ],
)
def test_what_was_measured_decides_whether_a_version_fits(
    candidate: int, holdings: tuple[Holding, ...], room: Room, said: str
) -> None:
    found = why_not(candidate, 1, holdings, room)
    assert (said in found) if said else (found == ""), found


@pytest.mark.parametrize(
    ("instances", "threads", "cpu", "sessions"),
    [(1, 2, True, 1), (2, 2, True, 2), (9, 2, True, 2), (2, 2, False, 1), (1, 1, True, 1), (2, 1, True, 1)],
)
def test_sessions_are_counted_as_they_are_made(instances: int, threads: int, cpu: bool, sessions: int) -> None:
    assert sessions_of(instances, threads, cpu=cpu) == sessions
    if cpu:
        assert sessions == len(on_cpu(instances, threads))


def test_each_session_takes_memory() -> None:
    assert why_not(50 * MIB, 2, ONE, Room(100 * MIB)) == ""
    assert "50.0 MiB of memory in each of its 2 sessions" in why_not(50 * MIB, 2, ONE, Room(100 * MIB - 1))


def test_a_containers_limit_counts_where_less_is_left_of_it(tmp_path: Path) -> None:
    meminfo, cgroup = tmp_path / "meminfo", tmp_path / "cgroup"
    meminfo.write_text("MemTotal: 900 kB\nMemAvailable:     800 kB\n")
    assert available_bytes(meminfo, cgroup) == 800 * 1024
    cgroup.mkdir()
    (cgroup / "memory.current").write_text("500000\n")
    (cgroup / "memory.stat").write_text("anon 1\ninactive_file 100000\n")
    for limit, left in (("max", 800 * 1024), ("600000", 200000), ("100", 0), ("9000000", 800 * 1024)):
        (cgroup / "memory.max").write_text(f"{limit}\n")
        assert available_bytes(meminfo, cgroup) == left
    assert available_bytes() > 0


def test_a_report_that_tells_no_memory_is_no_obstacle() -> None:
    assert read_memory(json.dumps({"memory_bytes": 7})) == 7
    assert read_memory("{}") == 0
    assert read_memory(json.dumps({"memory_bytes": "7"})) == 0
