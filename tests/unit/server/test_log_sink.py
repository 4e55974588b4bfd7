"""Whoever logs never waits for whoever reads the log."""

from __future__ import annotations

import fcntl
import logging
import os
from collections.abc import Iterator
from pathlib import Path

import pytest
from interlock_server.process.log_sink import LogSink
from interlock_server.process.logs import _Handler

from tests.support import eventually

LINE = b"x" * 999 + b"\n"
_F_SETPIPE_SZ = 1031


@pytest.fixture
def pipe() -> Iterator[tuple[int, int]]:
    """A pipe of one page, so that it is full soon."""
    read, write = os.pipe()
    fcntl.fcntl(write, _F_SETPIPE_SZ, 4096)
    yield read, write
    for each in (read, write):
        try:
            os.close(each)
        except OSError:
            continue


def drained(read: int, until: bytes) -> bytes:
    """Read on until something comes."""
    found = b""
    while until not in found:
        found += os.read(read, 65536)
    return found


def test_lines_reach_a_file_at_once_and_in_order(tmp_path: Path) -> None:
    descriptor = os.open(tmp_path / "log", os.O_WRONLY | os.O_CREAT)
    sink = LogSink(descriptor)
    assert sink.put(b"one\n") and sink.put(b"two\n")
    assert (tmp_path / "log").read_bytes() == b"one\ntwo\n"
    os.close(descriptor)


def test_lines_reach_a_pipe_in_order(pipe: tuple[int, int]) -> None:
    read, write = pipe
    sink = LogSink(write)
    lines = [f"{number}\n".encode() for number in range(100)]
    for line in lines:
        assert sink.put(line)
    assert drained(read, b"99\n") == b"".join(lines)
    sink.flush()
    assert sink.dropped == 0


def test_a_reader_who_stops_reading_costs_lines_and_nobody_waits(pipe: tuple[int, int]) -> None:
    read, write = pipe
    sink = LogSink(write, most_bytes=20_000)
    taken = [sink.put(LINE) for _ in range(100)]  # would block for ever if it waited
    assert 20 <= sum(taken) <= 25  # what the queue holds, and what went into the pipe meanwhile
    assert sink.dropped == 100 - sum(taken)

    got = b""
    while len(got) < sum(taken) * len(LINE):
        got += os.read(read, 65536)
    sink.flush(10.0)
    assert sink.put(b"again\n")
    assert drained(read, b"again\n") == b"again\n"


def test_what_cannot_be_written_is_counted(pipe: tuple[int, int]) -> None:
    read, write = pipe
    os.close(read)
    full = os.open("/dev/full", os.O_WRONLY)
    for descriptor in (write, full):
        sink = LogSink(descriptor)
        sink.put(LINE)
        eventually(lambda sink=sink: sink.dropped == 1, "the line is counted as lost")  # type: ignore[misc]
    os.close(full)


def test_an_end_does_not_wait_for_ever_for_its_last_lines(pipe: tuple[int, int]) -> None:
    _, write = pipe
    sink = LogSink(write)
    for _ in range(10):
        sink.put(LINE)
    sink.flush(0.01)
    assert sink.dropped == 0


def test_the_log_says_itself_how_many_lines_were_lost(pipe: tuple[int, int]) -> None:
    read, write = pipe
    handler = _Handler(LogSink(write, most_bytes=8000))
    handler.setFormatter(logging.Formatter("%(message)s"))

    def log(message: str) -> None:
        handler.handle(logging.LogRecord("test", logging.INFO, __file__, 1, message, None, None))

    for _ in range(50):
        log("y" * 900)
    lost = handler.sink.dropped
    assert lost > 30
    got: list[bytes] = []
    os.set_blocking(read, False)

    def emptied() -> bool:
        try:
            got.append(os.read(read, 65536))
        except BlockingIOError:
            handler.sink.flush(0.01)
            return handler.sink._bytes == 0
        return False

    eventually(emptied, "all that was taken is written")
    log("after the flood")
    os.set_blocking(read, True)
    lines = (b"".join(got) + drained(read, b"flood")).decode().splitlines()
    assert lines[-1] == "after the flood"
    assert sum(int(line.split()[0]) for line in lines if "log lines were lost" in line) == lost
