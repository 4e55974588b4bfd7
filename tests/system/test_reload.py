"""SIGHUP changes the settings of a running server; a control process that hangs is started again."""

from __future__ import annotations

import os
import signal
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from interlock.errors import InterlockError, TooLarge
from interlock.model import ServableState

from tests import models
from tests.load import Load
from tests.server import Server
from tests.support import eventually
from tests.system.stories import SCALES, control_pid, pid_or_zero, register, worker_pid

SETTINGS = "hang_s = 30.0\nintra_op_threads = 3\n"
"""A machine that also runs other tests may let a process wait for seconds; one that is stopped is seen without it."""


@pytest.fixture(scope="module")
def config(tmp_path_factory: pytest.TempPathFactory) -> Path:
    file = tmp_path_factory.mktemp("config") / "interlock.toml"
    file.write_text(SETTINGS)
    return file


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory, config: Path) -> Iterator[Server]:
    folder = tmp_path_factory.mktemp("reload")
    with Server(folder / "data", "--config", str(config)) as running:
        with running.admin() as admin:
            register(admin, folder, 3)
            for version in (1, 2, 3):
                admin.promote("m", version)
        yield running


def hang_up(server: Server) -> int:
    """Send SIGHUP; returns how long the log was before."""
    assert server.process is not None
    before = len(server.log())
    server.process.send_signal(signal.SIGHUP)
    return before


def loaded(server: Server) -> set[int]:
    servables = server.status().workers[0].servables
    return {each.version for each in servables if each.state is ServableState.READY}


def test_a_hang_up_changes_what_is_kept_and_what_is_taken(server: Server, config: Path, tmp_path: Path) -> None:
    eventually(lambda: loaded(server) == {2, 3}, "the live version and the one under it")
    (worker,) = server.status().workers
    assert (worker.threads, worker.threads_reason) == (3, "the setting intra_op_threads"), "what it was started with"
    pids = (control_pid(server), worker_pid(server))
    config.write_text(f"{SETTINGS}keep_depth = 2\nmax_upload_bytes = 100\nmax_json_bytes = 2048\n")
    before = hang_up(server)
    eventually(lambda: loaded(server) == {1, 2, 3}, "one more version is kept")
    with server.admin() as admin, pytest.raises(TooLarge):
        admin.register("m", models.write(tmp_path / "m.onnx", models.affine(scale=9.0)))
    eventually(lambda: "max_json_bytes changed, but need" in server.log()[before:], "it is said what stays")
    assert (control_pid(server), worker_pid(server)) == pids, "nothing was started anew"


def test_a_bad_file_changes_nothing_and_says_why(server: Server, config: Path) -> None:
    config.write_text(f"{SETTINGS}keep_depth = 99\n")
    before = hang_up(server)
    eventually(lambda: "the settings stay as they were: " in server.log()[before:], "the refusal is in the log")
    assert "keep_depth is '99'" in server.log()[before:]
    config.write_text(SETTINGS)
    hang_up(server)
    eventually(lambda: loaded(server) == {2, 3}, "the default depth again")


def answers(server: Server) -> bool:
    try:
        return server.status().ready
    except InterlockError:
        return False


def test_a_control_process_that_is_stopped_is_replaced_while_inference_goes_on(server: Server) -> None:
    old, worker = control_pid(server), worker_pid(server)
    with Load(server.grpc, "m", SCALES, clients=1) as load:
        load.more(5)
        os.kill(old, signal.SIGSTOP)
        eventually(lambda: pid_or_zero(server, "control") not in (0, old), "a new control process")
        eventually(lambda: answers(server), "it answers")
        load.more(5)
    load.check(at_least=10)
    assert worker_pid(server) == worker
    eventually(lambda: "control was stopped by a signal and is killed" in server.log(), "it is said why")
    with server.client() as client:
        assert client.infer("m", {"x": np.ones((1, 2), np.float32)}).version == 3
