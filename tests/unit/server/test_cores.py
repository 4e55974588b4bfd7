"""What a container may use is less than the cores that its machine shows."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from interlock_server.cores import Cores, Threads, quota, quota_files, threads, usable

MICROSECONDS = st.integers(min_value=1, max_value=10**12)


@given(MICROSECONDS, MICROSECONDS)
def test_a_quota_is_so_many_cores_time(limit: int, period: int) -> None:
    assert quota(str(limit), str(period)) == limit / period


@given(st.text(), st.text())
def test_what_is_no_limit_limits_nothing(limit: str, period: str) -> None:
    found = quota(limit, period)
    assert found is None or found > 0
    assert quota("max", period) is None
    assert quota("-1", period) is None
    assert quota(limit, "0") is None


@given(st.integers(1, 512), st.floats(0.01, 1024) | st.none(), st.integers(1, 64))
def test_workers_keep_within_the_quota_or_have_a_thread_each(allowed: int, share: float | None, workers: int) -> None:
    cores = Cores(allowed, share)
    each = threads(cores, workers, 0).count
    assert each >= 1
    assert each == 1 or each * workers <= min(allowed, allowed if share is None else share)
    assert 1 <= cores.whole <= allowed


@pytest.mark.parametrize(
    ("cores", "workers", "asked", "expected"),
    [
        (Cores(8), 1, 0, Threads(8, "8 cores")),
        (Cores(1), 1, 0, Threads(1, "1 core")),
        (Cores(8, 2.0), 1, 0, Threads(2, "8 cores, of whose time the CPU quota gives 2")),
        (Cores(8, 2.5), 1, 0, Threads(2, "8 cores, of whose time the CPU quota gives 2.5")),
        (Cores(8, 0.5), 1, 0, Threads(1, "8 cores, of whose time the CPU quota gives 0.5")),
        (Cores(2, 16.0), 1, 0, Threads(2, "2 cores")),
        (Cores(8, 6.0), 3, 0, Threads(2, "8 cores, of whose time the CPU quota gives 6, for 3 workers")),
        (Cores(8, 2.0), 4, 0, Threads(1, "8 cores, of whose time the CPU quota gives 2, for 4 workers")),
        (Cores(8, 2.0), 1, 5, Threads(5, "the setting intra_op_threads")),
    ],
)
def test_threads_are_what_the_quota_gives_unless_they_are_set(
    cores: Cores, workers: int, asked: int, expected: Threads
) -> None:
    assert threads(cores, workers, asked) == expected


@given(st.text())
def test_any_list_of_groups_can_be_read(groups: str) -> None:
    for files in quota_files(groups):
        assert len(files) in (1, 2)
        assert not any(each.is_absolute() for each in files)


@pytest.mark.parametrize(
    ("groups", "files", "expected"),
    [
        ("0::/\n", {"cpu.max": "200000 100000\n"}, 2.0),  # a container with a namespace of its own
        ("0::/\n", {"cpu.max": "max 100000\n"}, None),
        ("0::/\n", {}, None),
        ("0::/a.slice/b.service\n", {"a.slice/b.service/cpu.max": "150000 100000\n"}, 1.5),
        # The narrowest of a group and those above it counts.
        ("0::/a/b\n", {"a/cpu.max": "100000 100000\n", "a/b/cpu.max": "300000 100000\n"}, 1.0),
        ("0::/a/b\n", {"a/cpu.max": "300000 100000\n", "a/b/cpu.max": "max 100000\n"}, 3.0),
        ("0::/of/the/host\n", {"cpu.max": "400000 100000\n"}, 4.0),
        ("0::/\n", {"cpu.max": "\n"}, None),
        (
            "4:memory:/m\n2:cpu,cpuacct:/docker/c\n",
            {"cpu/docker/c/cpu.cfs_quota_us": "50000\n", "cpu/docker/c/cpu.cfs_period_us": "25000\n"},
            2.0,
        ),
        ("1:cpu:/c\n", {"cpu/cpu.cfs_quota_us": "300000\n", "cpu/cpu.cfs_period_us": "100000\n"}, 3.0),
        ("1:cpu:/\n", {"cpu/cpu.cfs_quota_us": "-1\n", "cpu/cpu.cfs_period_us": "100000\n"}, None),
        ("1:cpuset:/\n", {"cpu/cpu.cfs_quota_us": "1000\n", "cpu/cpu.cfs_period_us": "100000\n"}, None),
        ("", {"cpu.max": "200000 100000\n"}, None),
    ],
)
def test_the_quota_is_found_where_the_kernel_tells_it(
    tmp_path: Path, groups: str, files: dict[str, str], expected: float | None
) -> None:
    proc, mounted = tmp_path / "proc", tmp_path / "cgroup"
    (proc / "self").mkdir(parents=True)
    (proc / "self" / "cgroup").write_text(groups)
    for name, text in files.items():
        (mounted / name).parent.mkdir(parents=True, exist_ok=True)
        (mounted / name).write_text(text)
    assert usable(proc, mounted) == Cores(len(os.sched_getaffinity(0)), expected)


def test_a_kernel_without_control_groups_gives_what_affinity_says(tmp_path: Path) -> None:
    assert usable(tmp_path, tmp_path) == Cores(len(os.sched_getaffinity(0)))
    assert usable().allowed == len(os.sched_getaffinity(0))
