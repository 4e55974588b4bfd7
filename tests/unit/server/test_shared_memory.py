from __future__ import annotations

import os
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from interlock.errors import (
    AlreadyExists,
    InterlockError,
    InvalidArgument,
    NotFound,
    PermissionDenied,
    ResourceExhausted,
)
from interlock_server.front.limits import Room
from interlock_server.worker import shared_memory
from interlock_server.worker.parameters import SharedSlice
from interlock_server.worker.shared_memory import Region, SharedMemory

KEY = f"interlock-test-{os.getpid()}"
FILE = Path("/dev/shm") / KEY
WHOLE = Region("r", f"/{KEY}", 0, 64)


@pytest.fixture
def memory() -> Iterator[SharedMemory]:
    FILE.write_bytes(bytes(range(64)))
    made = SharedMemory(enabled=True)
    yield made
    made.close()
    FILE.unlink(missing_ok=True)


def test_what_a_caller_puts_in_is_read_and_what_is_written_is_there(memory: SharedMemory) -> None:
    memory.register(replace(WHOLE, offset=8, byte_size=32))
    assert memory.read("x", SharedSlice("r", 4, 8)) == bytes(range(12, 20))
    assert memory.read("x", SharedSlice("r", 0, 32)) == bytes(range(8, 40))
    memory.write("y", SharedSlice("r", 16, 8), b"answer")
    assert FILE.read_bytes()[24:32] == b"answer\x1e\x1f"


def test_regions_are_listed_and_forgotten(memory: SharedMemory) -> None:
    other = replace(WHOLE, name="other", offset=32, byte_size=16)
    memory.register(WHOLE)
    memory.register(other)
    assert memory.regions() == (WHOLE, other)
    assert memory.regions("other") == (other,)
    memory.unregister("r")
    memory.unregister("r")
    assert memory.regions() == (other,)
    with pytest.raises(NotFound, match="Unable to find shared memory region: 'r'"):
        memory.regions("r")
    memory.unregister("")
    assert memory.regions() == ()


def test_nothing_is_registered_where_it_is_switched_off() -> None:
    memory = SharedMemory(enabled=False)
    with pytest.raises(PermissionDenied, match="setting shared_memory"):
        memory.register(WHOLE)
    assert memory.regions() == ()
    memory.unregister("")


REFUSED: dict[str, tuple[Region, str]] = {
    "a path": (replace(WHOLE, key="/../etc/passwd"), "is no key"),
    "a folder": (replace(WHOLE, key="/a/b"), "is no key"),
    "a name with NUL": (replace(WHOLE, key="/a\0b"), "is no key"),
    "hidden names": (replace(WHOLE, key="/."), "is no key"),
    "two dots": (replace(WHOLE, key=".."), "is no key"),
    "no key": (replace(WHOLE, key=""), "is no key"),
    "a long key": (replace(WHOLE, key="k" * 300), "is no key"),
    "an object that is not there": (replace(WHOLE, key="/interlock-test-absent"), "Unable to open"),
    "no bytes": (replace(WHOLE, byte_size=0), "invalid args"),
    "too many bytes": (replace(WHOLE, byte_size=65), "invalid args"),
    "an offset past the end": (replace(WHOLE, offset=64, byte_size=1), "invalid args"),
    "a sum that wraps in 64 bits": (replace(WHOLE, offset=2**64 - 1, byte_size=2), "invalid args"),
    "no name": (replace(WHOLE, name=""), "name"),
    "a long name": (replace(WHOLE, name="n" * 257), "name"),
}


@pytest.mark.parametrize("case", REFUSED)
def test_a_region_that_is_not_what_it_claims_is_refused(memory: SharedMemory, case: str) -> None:
    region, said = REFUSED[case]
    with pytest.raises(InvalidArgument, match=said) as caught:
        memory.register(region)
    assert caught.value.violations
    assert memory.regions() == ()


@pytest.mark.parametrize("kind", ["link", "pipe", "folder"])
def test_only_shared_memory_objects_are_opened(memory: SharedMemory, tmp_path: Path, kind: str) -> None:
    odd = FILE.with_name(f"{KEY}-{kind}")
    if kind == "link":
        secret = tmp_path / "secret"
        secret.write_bytes(bytes(64))
        odd.symlink_to(secret)
    elif kind == "pipe":
        os.mkfifo(odd)
    else:
        odd.mkdir()
    try:
        with pytest.raises(InvalidArgument, match="Unable to open shared memory region"):
            memory.register(replace(WHOLE, key=odd.name))
    finally:
        if kind == "folder":
            odd.rmdir()
        else:
            odd.unlink()


def test_a_name_is_taken_once(memory: SharedMemory) -> None:
    memory.register(WHOLE)
    with pytest.raises(AlreadyExists, match="shared memory region 'r' already in manager"):
        memory.register(WHOLE)


def test_regions_are_bounded_in_number(memory: SharedMemory, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(shared_memory, "MAX_REGIONS", 3)
    for number in range(3):
        memory.register(replace(WHOLE, name=str(number)))
    with pytest.raises(ResourceExhausted, match="3 shared memory regions"):
        memory.register(WHOLE)


WRONG: dict[str, tuple[SharedSlice, type[InterlockError], str]] = {
    "an unknown region": (SharedSlice("q", 0, 1), NotFound, "Unable to find shared memory region: 'q'"),
    "an offset past the end": (SharedSlice("r", 64, 1), InvalidArgument, "Invalid offset for shared memory region"),
    "one byte too many": (SharedSlice("r", 60, 5), InvalidArgument, "Invalid offset \\+ byte size"),
    "a sum that wraps in 64 bits": (SharedSlice("r", 1, 2**63 - 1), InvalidArgument, "Invalid offset \\+ byte size"),
}


@pytest.mark.parametrize("case", WRONG)
def test_a_part_outside_of_its_region_is_refused(memory: SharedMemory, case: str) -> None:
    part, kind, said = WRONG[case]
    memory.register(WHOLE)
    with pytest.raises(kind, match=said):
        memory.read("input 'x'", part)
    with pytest.raises(kind, match=said):
        memory.write("output 'y'", part, b"")
    with pytest.raises(kind, match=said):
        memory.check("output 'y'", part)


def test_an_answer_that_does_not_fit_is_refused_and_writes_nothing(memory: SharedMemory) -> None:
    memory.register(WHOLE)
    with pytest.raises(InvalidArgument, match="at least 9 bytes to hold the results"):
        memory.write("output 'y'", SharedSlice("r", 0, 8), bytes(9))
    assert FILE.read_bytes() == bytes(range(64))


def test_an_object_that_is_cut_short_later_is_an_error_and_kills_nobody(memory: SharedMemory) -> None:
    memory.register(WHOLE)
    os.truncate(FILE, 10)
    part = SharedSlice("r", 0, 32)
    with pytest.raises(InvalidArgument, match="shorter now"):
        memory.read("input 'x'", part)
    with pytest.raises(InvalidArgument, match="shorter now"):
        memory.write("output 'y'", part, bytes(32))
    assert FILE.stat().st_size == 10
    assert memory.read("input 'x'", SharedSlice("r", 0, 10)) == bytes(range(10))


def test_descriptors_are_closed_with_their_regions(memory: SharedMemory) -> None:
    before = len(os.listdir("/proc/self/fd"))
    for _ in range(20):
        memory.register(WHOLE)
        memory.unregister("r")
        with pytest.raises(InvalidArgument):
            memory.register(replace(WHOLE, byte_size=65))
    assert len(os.listdir("/proc/self/fd")) == before


def test_copies_count_towards_what_may_be_here_until_nobody_has_them(memory: SharedMemory) -> None:
    room = Room(250_000)
    counting = SharedMemory(enabled=True, room=room)
    os.truncate(FILE, 100_000)
    counting.register(replace(WHOLE, byte_size=100_000))
    whole = SharedSlice("r", 0, 100_000)
    first = np.frombuffer(counting.read("input 'x'", whole), np.uint8)[10:]
    assert room.held == 100_000
    second = counting.read("input 'x'", whole)
    with pytest.raises(ResourceExhausted, match=r"hold 200000 bytes, and 100000 more .* max_in_flight_bytes") as caught:
        counting.read("input 'x'", whole)
    assert caught.value.retry_after_s
    assert len(counting.read("input 'x'", SharedSlice("r", 0, 64))) == 64  # short ones are not counted
    del first
    assert room.held == 100_000
    del second
    assert room.held == 0
    os.truncate(FILE, 10)
    with pytest.raises(InvalidArgument, match="shorter now"):
        counting.read("input 'x'", whole)
    assert room.held == 0
    counting.close()


def test_what_the_collector_gives_back_in_the_midst_of_a_count_is_counted() -> None:
    room = Room(100)
    room.take(60)
    with room._lock:
        room.give_by_finalizer(60)
    room.take(100)
    assert room.held == 100
