"""Kills for want of memory are told from others by what the kernel has counted."""

from __future__ import annotations

import signal
from pathlib import Path

import pytest
from interlock_server.process.memory import KILLED, MemoryWatch

V2 = ("0::/box\n", "cgroup/box/memory.events", "low 0\nhigh 0\nmax 9\noom 4\noom_kill {}\noom_group_kill 0\n")
V2_ROOT = ("0::/host/path\n", "cgroup/memory.events", "oom 1\noom_kill {}\n")
V1 = ("8:pids:/\n4:memory:/box\n0::/\n", "cgroup/memory/box/memory.oom_control", "under_oom 0\noom_kill {}\n")
V1_ROOT = ("4:cpu,memory:/host/path\n", "cgroup/memory/memory.oom_control", "under_oom 0\noom_kill {}\n")
MACHINE = ("8:pids:/\n", "proc/vmstat", "nr_free_pages 1\noom_kill {}\nthp 0\n")


def write(root: Path, name: str, text: str) -> None:
    path = root / name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)


@pytest.mark.parametrize("kind", [V2, V2_ROOT, V1, V1_ROOT, MACHINE], ids=["v2", "v2 root", "v1", "v1 root", "machine"])
def test_a_sigkill_is_the_kernels_if_it_has_counted_one_more(tmp_path: Path, kind: tuple[str, str, str]) -> None:
    lines, name, text = kind
    write(tmp_path, "proc/self/cgroup", lines)
    write(tmp_path, "proc/vmstat", "oom_kill 100\n")
    write(tmp_path, name, text.format(2))
    watch = MemoryWatch(str(tmp_path / "proc"), str(tmp_path / "cgroup"))
    assert watch.why_killed(-signal.SIGKILL) == ""
    write(tmp_path, name, text.format(3))
    assert watch.why_killed(-signal.SIGKILL) == KILLED
    assert watch.why_killed(-signal.SIGKILL) == "", "each one is counted once"
    write(tmp_path, name, text.format(4))
    assert watch.why_killed(-signal.SIGSEGV) == ""


def test_a_kernel_that_does_not_count_blames_nobody(tmp_path: Path) -> None:
    assert MemoryWatch(str(tmp_path / "proc"), str(tmp_path / "cgroup")).why_killed(-signal.SIGKILL) == ""


def test_this_kernel_counts() -> None:
    assert MemoryWatch().why_killed(-signal.SIGKILL) == ""
