"""What is printed on stdout, which nobody may be reading: the copy of the history, and that the server is ready."""

from __future__ import annotations

import asyncio
import json
import os
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

import pytest
from interlock.audit import is_head
from interlock_server.control.announcing import announce
from interlock_server.control.auditing import Auditing
from interlock_server.control.patient_output import PatientOutput
from interlock_server.process.boot import Boot
from interlock_server.settings import Settings

from tests.support import eventually_async
from tests.unit.server.rig import Rig


@dataclass(frozen=True)
class Pipe:
    """What a server prints into, and who may read it."""

    read_end: int
    write_end: int

    def fill(self) -> None:
        """Leave no room."""
        os.set_blocking(self.write_end, False)
        with suppress(BlockingIOError):
            while True:
                os.write(self.write_end, b"\n" * 4096)
        os.set_blocking(self.write_end, True)

    def read(self) -> bytes:
        """Return all that is there."""
        os.set_blocking(self.read_end, False)
        found = b""
        with suppress(BlockingIOError):
            while part := os.read(self.read_end, 1 << 20):
                found += part
        return found


@pytest.fixture
def pipe() -> Iterator[Pipe]:
    found = Pipe(*os.pipe())
    yield found
    os.close(found.read_end)
    os.close(found.write_end)


def test_what_is_not_read_in_time_is_kept_and_goes_first_the_next_time(pipe: Pipe) -> None:
    output = PatientOutput(pipe.write_end, 0.0)
    lines = b"".join(b"%d %s\n" % (number, b"x" * (number % 9000)) for number in range(0, 20_000, 199))
    with pytest.raises(TimeoutError, match="nobody has read stdout for 0 s"):
        output.put(lines)
    found = pipe.read()
    assert output.left == len(lines) - len(found) > 0
    with pytest.raises(TimeoutError):
        output.put(b"the end\n")
    while output.left:
        found += pipe.read()
        with suppress(TimeoutError):
            output.drain()
    assert found + pipe.read() == lines + b"the end\n"


async def test_a_copy_that_nobody_reads_holds_no_stop_up_and_loses_nothing(
    rig: Rig, pipe: Pipe, tmp_path: Path, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("interlock_server.control.auditing._LAST_PATIENCE_S", 0.0)
    settings = Settings.load({"audit_export": "-", "audit_export_every_s": 0.01}, None)
    auditing = Auditing(rig.database, settings, tmp_path, "r", PatientOutput(pipe.write_end, 0.0))
    await rig.add()
    pipe.fill()
    auditing.start()
    await eventually_async(lambda: "nobody has read stdout" in auditing.why_not_copied, "it is not read")
    await rig.add()
    found = pipe.read()
    await eventually_async(lambda: (tmp_path / "audit.exported").exists(), "what was left is read, and so noted")
    await rig.add()
    last = (await auditing.head()).head.seq
    told = (tmp_path / "audit.exported").read_text
    await eventually_async(lambda: told().startswith(f"{last}:"), "so is the rest")
    lines = [each for each in (found + pipe.read()).splitlines() if each]
    assert [json.loads(each)["seq"] for each in lines if not is_head(each)] == list(range(1, last + 1))
    assert is_head(lines[-1])

    pipe.fill()
    await rig.add()
    await auditing.close()
    assert "stopping, with events in the history that are not copied: nobody has read stdout for 0 s" in caplog.text


async def test_a_server_that_nobody_listens_to_is_ready_all_the_same(
    rig: Rig, pipe: Pipe, caplog: pytest.LogCaptureFixture
) -> None:
    await eventually_async(lambda: rig.standing.complete, "every worker is ready")
    boot, output = Boot("", "", "h:1", "h:2", "h:3", announce=True), PatientOutput(pipe.write_end, 0.0)
    pipe.fill()
    await announce(rig.standing, asyncio.Event(), boot, output)
    assert "nobody was told on stdout that the server is ready (nobody has read stdout for 0 s" in caplog.text
    pipe.read()
    output.drain()
    assert pipe.read() == b"interlock ready grpc=h:1 http=h:2 admin=h:3\n", "who reads later is told"
