"""Probes that nobody answers: what follows for a worker, and for none when it was the prober that stood still."""

from __future__ import annotations

import asyncio
import subprocess
import sys
from pathlib import Path

import pytest
from interlock_server.control.silence import PROBE_TIMEOUT_S, Silence
from interlock_server.control.workers import Workers
from interlock_server.process.boot import worker_socket
from interlock_server.rpc.worker_link import WorkerLink


def given_up(*moments: float) -> Silence:
    """Return the state after probes that began at 0 and were given up at these times."""
    silence = Silence(0.0)
    for now in moments:
        silence = silence.after(now)
    return silence


@pytest.mark.parametrize(
    ("moments", "is_absent", "is_wedged"),
    [
        pytest.param([1.0], False, False, id="one"),
        pytest.param([1.0, 2.1], True, False, id="two"),
        pytest.param([1.0, 2.1, 3.2], True, False, id="three"),
        pytest.param([1.0, 2.1, 3.2, 4.3], True, True, id="four"),
        pytest.param([60.0], False, False, id="this process stood still"),
        pytest.param([60.0, 61.0], False, False, id="and went on"),
        pytest.param([1.0, 2.1, 60.0, 61.0], True, False, id="it stood still in between"),
        pytest.param([1.0, 2.1, 60.0, 61.1, 62.2], True, True, id="and the worker was silent all the same"),
        pytest.param([0.1 * each for each in range(1, 40)], True, False, id="refused at once, but somebody listens"),
        pytest.param([0.1 * each for each in range(1, 42)], True, True, id="for long"),
    ],
)
def test_a_silent_worker_is_absent_first_and_wedged_later(
    moments: list[float], is_absent: bool, is_wedged: bool
) -> None:
    silence = given_up(*moments)
    assert (silence.is_absent, silence.is_wedged) == (is_absent, is_wedged)


def test_a_probe_of_a_busy_machine_may_come_late() -> None:
    assert given_up(PROBE_TIMEOUT_S + 0.9).probes == 1


@pytest.mark.slow
async def test_whoever_listens_on_a_workers_socket_and_never_answers_is_killed(tmp_path: Path) -> None:
    path = worker_socket(str(tmp_path), 0)
    program = (
        "import socket, sys, time\n"
        "line = socket.socket(socket.AF_UNIX); line.bind(sys.argv[1]); line.listen()\n"
        "print('listens', flush=True); time.sleep(1000)"
    )
    wedged = subprocess.Popen([sys.executable, "-c", program, path], stdout=subprocess.PIPE)
    assert wedged.stdout is not None
    try:
        assert await asyncio.to_thread(wedged.stdout.readline) == b"listens\n"
        workers = Workers([WorkerLink("worker-0", path)], lambda: None, apply_timeout_s=1.0, prepare_timeout_s=1.0)
        workers.start()
        try:
            assert await asyncio.to_thread(wedged.wait, 30) == -9
        finally:
            await workers.close()
    finally:
        wedged.kill()
        wedged.wait(60)
        wedged.stdout.close()
