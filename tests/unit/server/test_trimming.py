"""When freed memory is given back, and that it really goes."""

from __future__ import annotations

import subprocess
import sys

import pytest
from interlock_server.worker.trimming import REST_S, WORTH_BYTES, Memory, Trim

MIB = 1 << 20
SLACK = 40 * MIB
"""What others than the allocator hold."""


@pytest.mark.parametrize(
    ("resident", "used", "after_s", "is_due"),
    [
        pytest.param(60 * MIB, 20 * MIB, REST_S, False, id="nothing is free"),
        pytest.param(60 * MIB + WORTH_BYTES, 20 * MIB, REST_S, True, id="much is free"),
        pytest.param(60 * MIB + WORTH_BYTES, 20 * MIB, REST_S - 1, False, id="given back a moment ago"),
        pytest.param(60 * MIB + WORTH_BYTES - 1, 20 * MIB, REST_S, False, id="not worth it"),
        pytest.param(60 * MIB + WORTH_BYTES, 20 * MIB + WORTH_BYTES, REST_S, False, id="more held, but in use"),
    ],
)
def test_memory_is_given_back_where_much_is_held_that_nobody_uses(
    resident: int, used: int, after_s: float, is_due: bool
) -> None:
    memory = Memory(resident, used)
    assert Trim(0.0, SLACK).look(memory).is_due(memory, after_s) is is_due


def test_what_was_in_use_when_memory_was_given_back_counts_once_it_is_freed() -> None:
    busy, idle = Memory(60 * MIB + WORTH_BYTES, 20 * MIB + WORTH_BYTES), Memory(60 * MIB + WORTH_BYTES, 20 * MIB)
    assert Trim(0.0, busy.slack_bytes).look(idle).is_due(idle, REST_S)


def test_memory_that_was_freed_is_seen_and_goes_back_to_the_system() -> None:
    # In a process of its own: the test process's memory is the work of a thousand tests.
    program = """
from interlock_server.worker.allocator import give_back_memory
from interlock_server.worker.trimming import WORTH_BYTES, _looker

look, size = _looker(), 100_000
assert look is not None
before = look()
kept = [size * b"x" for _ in range(1500)]  # each of a size that is not mapped by itself
last = size * b"x"  # so that the end of the heap stays in use, and nothing goes back by itself
assert look().slack_bytes - before.slack_bytes < WORTH_BYTES, "it is in use"
kept.clear()
assert look().slack_bytes - before.slack_bytes >= WORTH_BYTES, "it was freed, and is still held"
give_back_memory()
assert look().slack_bytes - before.slack_bytes < WORTH_BYTES, "it was given back"
print("given back")
"""
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, timeout=120, check=False)
    assert done.stdout == "given back\n", done.stderr


def test_what_requests_free_is_used_again_and_what_a_load_frees_goes_back() -> None:
    program = """
import resource
from interlock_server.worker.allocator import give_back_once_freed, keep_for_requests

SIZE, TIMES = 20_000_000, 10
ONCE = SIZE // resource.getpagesize()

def faults() -> int:
    before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
    for _ in range(TIMES):
        SIZE * b"x"
    return resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before

keep_for_requests()
with give_back_once_freed():
    assert faults() > (TIMES - 1) * ONCE, "each was had anew"
assert faults() < 2 * ONCE, "only the first was had anew"
print("used again")
"""
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, timeout=120, check=False)
    assert done.stdout == "used again\n", done.stderr
