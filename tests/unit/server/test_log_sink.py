"""Whoever logs never waits for whoever reads the log."""

from __future__ import annotations

import contextlib
import fcntl
import logging
import os
from collections.abc import Iterator
from pathlib import Path

import pytest
from interlock_server.process.log_sink import MOST_BYTES, LogSink
from interlock_server.process.logs import _Handler

from tests.support import eventually

LINE = b"x" * 999 + b"\n"
_F_SETPIPE_SZ = 1031


class Pipe:
    """A pipe of one page, so that it is full soon, and the sinks that write to it."""

    def __init__(self) -> None:
        self.read, self.write = os.pipe()
        fcntl.fcntl(self.write, _F_SETPIPE_SZ, 4096)
        self._sinks: list[LogSink] = []

    def sink(self, most_bytes: int = MOST_BYTES) -> LogSink:
        """Return a sink that writes to this pipe."""
        self._sinks.append(LogSink(self.write, most_bytes=most_bytes))
        return self._sinks[-1]

    def stop_reading(self) -> None:
        """Close the end that is read."""
        if self.read >= 0:
            os.close(self.read)
            self.read = -1

    def close(self) -> None:
        """Let every sink fail on what it still has; only then may another pipe have the number of this one."""
        self.stop_reading()
        for sink in self._sinks:
            eventually(lambda sink=sink: sink.waiting_bytes == 0, "the sink has nothing more to write")  # type: ignore[misc]
        os.close(self.write)


@pytest.fixture
def pipe() -> Iterator[Pipe]:
    with contextlib.closing(Pipe()) as made:
        yield made


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


def test_lines_reach_a_pipe_in_order(pipe: Pipe) -> None:
    sink = pipe.sink()
    lines = [f"{number}\n".encode() for number in range(100)]
    for line in lines:
        assert sink.put(line)
    assert drained(pipe.read, b"99\n") == b"".join(lines)
    sink.flush()
    assert sink.dropped == 0


def test_a_reader_who_stops_reading_costs_lines_and_nobody_waits(pipe: Pipe) -> None:
    sink = pipe.sink(20_000)
    taken = [sink.put(LINE) for _ in range(100)]  # would block for ever if it waited
    assert 20 <= sum(taken) <= 25  # what the queue holds, and what went into the pipe meanwhile
    assert sink.dropped == 100 - sum(taken)

    got = b""
    while len(got) < sum(taken) * len(LINE):
        got += os.read(pipe.read, 65536)
    sink.flush(10.0)
    assert sink.put(b"again\n")
    assert drained(pipe.read, b"again\n") == b"again\n"


def test_what_cannot_be_written_is_counted(pipe: Pipe) -> None:
    pipe.stop_reading()
    full = os.open("/dev/full", os.O_WRONLY)
    for sink in (pipe.sink(), LogSink(full)):
        sink.put(LINE)
        eventually(lambda sink=sink: sink.dropped == 1, "the line is counted as lost")  # type: ignore[misc]
    os.close(full)


def test_an_end_does_not_wait_for_ever_for_its_last_lines(pipe: Pipe) -> None:
    sink = pipe.sink()
    for _ in range(10):
        sink.put(LINE)
    sink.flush(0.01)
    assert sink.dropped == 0


def test_the_log_says_itself_how_many_lines_were_lost(pipe: Pipe) -> None:
    handler = _Handler(pipe.sink(8000))
    handler.setFormatter(logging.Formatter("%(message)s"))

    def log(message: str) -> None:
        handler.handle(logging.LogRecord("test", logging.INFO, __file__, 1, message, None, None))

    for _ in range(50):
        log("y" * 900)
    lost = handler.sink.dropped
    assert lost > 30
    got: list[bytes] = []
    os.set_blocking(pipe.read, False)

    def emptied() -> bool:
        try:
            got.append(os.read(pipe.read, 65536))
        except BlockingIOError:
            handler.sink.flush(0.01)
            return handler.sink.waiting_bytes == 0
        return False

    eventually(emptied, "all that was taken is written")
    log("after the flood")
    os.set_blocking(pipe.read, True)
    lines = (b"".join(got) + drained(pipe.read, b"flood")).decode().splitlines()
    assert lines[-1] == "after the flood"
    assert sum(int(line.split()[0]) for line in lines if "log lines were lost" in line) == lost
