"""A server whose surroundings are odd: nothing behind stdin and stdout, nobody reads its log, a locale of its own."""

from __future__ import annotations

import os
import signal
import subprocess
import urllib.request
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from interlock_client import Admin, Client
from interlock_registry.fleet import ReplicaRecord
from interlock_registry.registry import Registry

from tests import databases, models
from tests.server import clean_environment, serve_command
from tests.support import eventually

SURROUNDINGS = {"LC_ALL": "C", "LANG": "tr_TR.UTF-8", "TZ": "Pacific/Kiritimati", "INTERLOCK_LOG_LEVEL": "debug"}


@pytest.fixture
def unread() -> Iterator[int]:
    """The writing end of a pipe that is full, and that nobody reads."""
    read, write = os.pipe()
    os.set_blocking(write, False)
    try:
        while True:
            os.write(write, b"." * 65536)
    except BlockingIOError:
        os.set_blocking(write, True)
    yield write
    os.close(read)
    os.close(write)


def served(data: Path) -> list[ReplicaRecord]:
    """Return what a server that can say nothing on stdout has written of itself into its registry."""
    registry = Registry.open(databases.of(data).url, migrate=False)
    try:
        return [each for each in registry.fleet.look().replicas if each.live and each.ready]
    finally:
        registry.close()


def test_a_server_serves_with_closed_streams_an_unread_log_and_an_odd_locale(tmp_path: Path, unread: int) -> None:
    data = tmp_path / "data"
    data.mkdir()
    Registry.open(databases.of(data).url).close()
    kept = databases.setting(data)
    env = clean_environment(**SURROUNDINGS, **({"INTERLOCK_DB": kept} if kept else {}))
    command = ["sh", "-c", 'exec "$@" <&- >&-', "sh", *serve_command(data)]
    process = subprocess.Popen(command, stderr=unread, env=env, start_new_session=True)
    try:
        # What was found once counts: a replica that is late with a heartbeat is not live for a moment.
        found: list[ReplicaRecord] = []

        def ready() -> bool:
            found.extend(() if found else served(data))
            return bool(found) or process.poll() is not None

        eventually(ready, "the server is ready")
        assert found, f"it ended with {process.poll()}"
        (record,) = found
        with Admin(record.address) as admin, Client(record.inference_address) as client:
            admin.register("m", models.write(tmp_path / "m.onnx", models.affine(2.0)))
            admin.promote("m", 1, reason="größer als zuvor \N{SNOWMAN}")
            assert np.array_equal(client.infer("m", {"x": np.array([[1, 2]], np.float32)})["y"], [[2, 4]])
            http = admin.status().http_address
            assert next(iter(admin.log("m", limit=1))).reason.endswith("\N{SNOWMAN}")
        with urllib.request.urlopen(f"http://{http}/metrics", timeout=60) as response:
            assert b"interlock_control_log_lines_dropped_total" in response.read()
        process.send_signal(signal.SIGTERM)
        assert process.wait(60) == 0
    finally:
        process.kill()
        process.wait(60)
