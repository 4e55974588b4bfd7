from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from interlock_server.process.backoff import FIRST_S, HEALTHY_S, LONGEST_S, Backoff
from interlock_server.process.boot import EXIT_REFUSED, Boot, switch_socket, worker_socket
from interlock_server.process.datadir import DataDir, DataDirRefused, DataLock
from interlock_server.process.ports import PortInUse, ReservedPort, listen
from interlock_server.process.supervisor import insists

from tests.support import eventually

# --- backoff ---


@pytest.mark.parametrize(
    ("lives_s", "delay_s"),
    [
        ([], 0.0),
        ([0.0], FIRST_S),
        ([0.0, 0.0], 2 * FIRST_S),
        ([0.0] * 5, 16 * FIRST_S),
        ([0.0] * 8, 128 * FIRST_S),
        ([0.0] * 9, LONGEST_S),
        ([0.0] * 1000, LONGEST_S),
        ([0.0] * 5 + [HEALTHY_S], FIRST_S),
        ([0.0] * 5 + [HEALTHY_S - 0.1], 32 * FIRST_S),
        ([HEALTHY_S] * 5, FIRST_S),
    ],
)
def test_a_child_that_dies_young_waits_ever_longer(lives_s: list[float], delay_s: float) -> None:
    backoff = Backoff()
    for lived_s in lives_s:
        backoff = backoff.after(lived_s)
    assert backoff.delay_s == pytest.approx(delay_s)


@given(st.lists(st.floats(0, 100), max_size=50))
def test_no_history_makes_a_child_wait_longer_than_the_longest_delay(lives_s: list[float]) -> None:
    backoff = Backoff()
    for lived_s in lives_s:
        backoff = backoff.after(lived_s)
        assert FIRST_S <= backoff.delay_s <= LONGEST_S


# --- ports ---


@pytest.mark.parametrize(("after_s", "forces"), [(0.0, False), (0.4, False), (0.5, True), (60.0, True)])
def test_a_second_signal_forces_the_end_unless_it_is_the_echo_of_the_first(after_s: float, forces: bool) -> None:
    assert insists(after_s) is forces


@pytest.fixture
def reserve() -> Iterator[Callable[..., ReservedPort]]:
    held: list[ReservedPort] = []

    def make(port: int = 0, host: str = "127.0.0.1") -> ReservedPort:
        held.append(ReservedPort.reserve(host, port, flag="--grpc-port"))
        return held[-1]

    yield make
    for each in held:
        each.close()


Reserve = Callable[..., ReservedPort]


def test_port_0_picks_a_free_one(reserve: Reserve) -> None:
    first, second = reserve(), reserve()
    assert first.port != second.port
    assert first.address == f"127.0.0.1:{first.port}"


def test_a_reserved_port_is_listened_on_as_often_as_children_come(reserve: Reserve) -> None:
    held = reserve()
    for _ in range(2):
        with listen("127.0.0.1", held.port), socket.create_connection(("127.0.0.1", held.port), timeout=60):
            pass


def test_nobody_answers_on_a_port_that_is_only_reserved(reserve: Reserve) -> None:
    held = reserve()
    with pytest.raises(ConnectionRefusedError):
        socket.create_connection(("127.0.0.1", held.port), timeout=60)


@pytest.mark.parametrize("listening", [False, True], ids=["reserved only", "listened on"])
def test_a_second_server_does_not_get_a_reserved_port(reserve: Reserve, listening: bool) -> None:
    held = reserve()
    listener = listen("127.0.0.1", held.port) if listening else None
    try:
        with pytest.raises(PortInUse, match=rf"port {held.port} on 127.0.0.1 is in use .* --grpc-port \(0 picks one\)"):
            reserve(held.port)
    finally:
        if listener is not None:
            listener.close()


@pytest.mark.parametrize("options", [(), ("SO_REUSEADDR",), ("SO_REUSEPORT",), ("SO_REUSEADDR", "SO_REUSEPORT")])
def test_a_foreign_listener_is_found_whatever_options_it_has(reserve: Reserve, options: tuple[str, ...]) -> None:
    with socket.socket() as foreign:
        for option in options:
            foreign.setsockopt(socket.SOL_SOCKET, getattr(socket, option), 1)
        foreign.bind(("127.0.0.1", 0))
        foreign.listen()
        with pytest.raises(PortInUse, match="in use by another process"):
            reserve(foreign.getsockname()[1])


def test_a_port_given_back_can_be_reserved_again(reserve: Reserve) -> None:
    held = reserve()
    held.close()
    assert reserve(held.port).port == held.port


def test_a_port_whose_last_connections_linger_can_be_reserved(reserve: Reserve) -> None:
    held = reserve()
    with listen("127.0.0.1", held.port) as listener, socket.create_connection(("127.0.0.1", held.port), timeout=60):
        listener.setblocking(True)
        accepted, _ = listener.accept()
        accepted.close()  # the server closes first: the port is left in TIME_WAIT
    held.close()
    assert reserve(held.port).port == held.port


@pytest.mark.parametrize(
    ("host", "why"), [("no.such.host.invalid", "cannot be resolved"), ("192.0.2.1", "cannot be bound")]
)
def test_a_host_that_is_not_here_is_refused_with_the_flag_that_mends_it(reserve: Reserve, host: str, why: str) -> None:
    with pytest.raises(PortInUse, match=f"{why}.*--host"):
        reserve(0, host)


def test_an_ipv6_address_is_written_in_brackets(reserve: Reserve) -> None:
    try:
        held = reserve(0, "::1")
    except PortInUse:
        pytest.skip("no IPv6 here")
    assert held.address == f"[::1]:{held.port}"


# --- the data directory ---


def test_a_data_directory_is_made_for_its_owner_alone(tmp_path: Path) -> None:
    data = DataDir(tmp_path / "a" / "b")
    data.create()
    data.create()
    for folder in (data.root, data.blobs, data.state, data.uploads):
        assert folder.stat().st_mode & 0o777 == 0o700
    assert set(data.state.iterdir()) == {data.uploads, data.downloads}


def test_a_file_in_the_place_of_the_data_directory_is_refused(tmp_path: Path) -> None:
    (tmp_path / "data").write_text("")
    with pytest.raises(DataDirRefused, match=r"cannot be written .* --data"):
        DataDir(tmp_path / "data").create()


def test_a_data_directory_is_used_by_one_server_at_a_time(tmp_path: Path) -> None:
    data = DataDir(tmp_path / "data")
    data.create()
    lock = DataLock.take(data)
    with pytest.raises(DataDirRefused, match=f"in use by the server with process id {os.getpid()}"):
        DataLock.take(data)
    lock.close()
    lock.close()
    DataLock.take(data).close()


def test_the_lock_ends_with_its_process_however_it_ends(tmp_path: Path) -> None:
    data = DataDir(tmp_path / "data")
    data.create()
    program = (
        "import sys, time; from pathlib import Path; from interlock_server.process.datadir import DataDir, DataLock\n"
        "lock = DataLock.take(DataDir(Path(sys.argv[1]))); print('held', flush=True); time.sleep(1000)"
    )
    holder = subprocess.Popen([sys.executable, "-c", program, str(data.root)], stdout=subprocess.PIPE)
    assert holder.stdout is not None
    try:
        assert holder.stdout.readline() == b"held\n"
        with pytest.raises(DataDirRefused, match=f"process id {holder.pid}"):
            DataLock.take(data)
    finally:
        holder.kill()
        holder.wait(60)
        holder.stdout.close()
    DataLock.take(data).close()


def test_a_lock_that_cannot_be_opened_is_refused(tmp_path: Path) -> None:
    data = DataDir(tmp_path / "data")
    data.create()
    (data.root / "lock").mkdir()
    with pytest.raises(DataDirRefused, match="lock"):
        DataLock.take(data)


# --- the hand-over ---

BOOT = Boot(
    settings_json='{"db": "secret"}',
    runtime_dir="run",
    inference_address="127.0.0.1:1",
    http_address="127.0.0.1:2",
    admin_address="127.0.0.1:3",
    supervisor=os.getpid(),
)
CHILD = "from interlock_server.process.boot import receive; boot = receive(); print(boot.settings_json, flush=True)"


def child(program: str, boot: Boot) -> subprocess.Popen[bytes]:
    process = subprocess.Popen([sys.executable, "-c", program], stdin=subprocess.PIPE, stdout=subprocess.PIPE)
    assert process.stdin is not None
    process.stdin.write(boot.to_bytes())
    process.stdin.close()
    process.stdin = None
    return process


def test_a_child_is_told_everything_through_its_standard_input() -> None:
    output, _ = child(CHILD, BOOT).communicate(timeout=60)
    assert output == b'{"db": "secret"}\n'


def test_a_child_whose_supervisor_is_gone_ends_before_it_begins() -> None:
    orphan = child(CHILD, Boot(**{**{name: getattr(BOOT, name) for name in Boot.__slots__}, "supervisor": 1}))
    output, _ = orphan.communicate(timeout=60)
    assert (output, orphan.returncode) == (b"", EXIT_REFUSED)


def test_a_child_ends_with_its_supervisor() -> None:
    waiting = CHILD + "; import time; time.sleep(1000)"
    program = (
        "import os, subprocess, sys; from dataclasses import replace\n"
        "from interlock_server.process.boot import Boot\n"
        f"process = subprocess.Popen([sys.executable, '-c', {waiting!r}], stdin=subprocess.PIPE)\n"
        "process.stdin.write(Boot('{}', '', '', '', '', supervisor=os.getpid()).to_bytes()); process.stdin.close()\n"
        "print(process.pid, flush=True); process.wait()"
    )
    supervisor = subprocess.Popen([sys.executable, "-c", program], stdout=subprocess.PIPE)
    assert supervisor.stdout is not None
    pid = int(supervisor.stdout.readline())
    assert supervisor.stdout.readline() == b"{}\n", "the child has armed its death signal"
    supervisor.kill()
    supervisor.wait(60)
    supervisor.stdout.close()

    def ended() -> bool:
        try:
            return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] == "Z"
        except FileNotFoundError:
            return True

    eventually(ended, "the child is gone")


SUPERVISOR = """
import json, os, sys
from interlock_server.process import logs
from interlock_server.process.boot import Boot
from interlock_server.process.child import Child
from interlock_server.process.reload import Launch
from interlock_server.process.supervisor import Supervisor

sys.executable, runtime_dir = sys.argv[1:]
settings = json.dumps({"drain_grace_s": 0, "hang_s": 60, "log_level": "info"})
logs.configure("supervisor", "info", "text")
boot = Boot(settings, runtime_dir, "", "", "", supervisor=os.getpid())
children = [Child("zen", "this", boot), Child("beating", "this", boot, beats=True)]
sys.exit(Supervisor(children, settings, Launch(), runtime_dir).run())
"""
"""Its children say what their module has in store, and end."""


def test_a_supervisor_outlives_that_nothing_can_be_started_and_tries_again(tmp_path: Path) -> None:
    python = tmp_path / "python"
    command = [sys.executable, "-c", SUPERVISOR, str(python), str(tmp_path)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as supervisor:
        assert supervisor.stdout is not None and supervisor.stderr is not None
        try:
            said = [supervisor.stderr.readline() for _ in range(6)]
            assert all("cannot be started" in line and "No such file" in line for line in said), said
            descriptors = len(list(Path(f"/proc/{supervisor.pid}/fd").iterdir()))
            supervisor.send_signal(signal.SIGHUP)
            while "SIGHUP: the settings stay as they were" not in (line := supervisor.stderr.readline()):
                assert "cannot be started" in line
            assert len(list(Path(f"/proc/{supervisor.pid}/fd").iterdir())) == descriptors
            python.symlink_to(sys.executable)
            assert supervisor.stdout.readline() == "The Zen of Python, by Tim Peters\n"
        finally:
            supervisor.kill()
            supervisor.communicate(timeout=60)


def test_workers_sockets_lie_in_the_runtime_directory() -> None:
    assert worker_socket("/run/x", 3) == "/run/x/worker-3.sock"
    assert switch_socket(worker_socket("/run/x", 3)) == "/run/x/worker-3.swap"
