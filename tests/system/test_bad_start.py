"""A server that cannot run says so at once: one line that says what to do, and an exit status."""

from __future__ import annotations

import os
import signal
import socket
import sqlite3
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from interlock_client.cli.entry import run

from tests.server import Refusal, Server, clean_environment, refused, serve_command

NVIDIA = any(Path("/dev").glob("nvidia[0-9]*"))

Serve = Callable[..., Refusal]


def said(refusal: Refusal) -> str:
    """Return the one line that is meant for people."""
    assert "Traceback" not in refusal.stderr, refusal.stderr
    lines = [line for line in refusal.stderr.splitlines() if line.startswith("interlock: ")]
    assert len(lines) == 1, refusal.stderr
    return lines[0]


@pytest.fixture(scope="module")
def running(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    with Server(tmp_path_factory.mktemp("running") / "data") as server:
        yield server


@pytest.fixture
def serve(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Iterator[Serve]:
    """Run the command in this process: what it refuses before it makes way for the supervisor."""
    for name in [name for name in os.environ if name.startswith("INTERLOCK_")]:
        monkeypatch.delenv(name)

    def no_exec(*words: object) -> None:
        raise AssertionError(f"it was to be refused, and would run {words}")

    def command(data: Path, *flags: str) -> Refusal:
        status = run(serve_command(data, flags)[1:])
        return Refusal(status, capsys.readouterr().err)

    monkeypatch.setattr(os, "execv", no_exec)
    mask = os.umask(0o022)
    yield command
    os.umask(mask)


@pytest.mark.parametrize("flag", ["--grpc-port", "--http-port", "--admin-port"])
def test_a_port_in_use_is_named_with_the_flag_that_chooses_another(tmp_path: Path, flag: str) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        refusal = refused(tmp_path / "data", flag, str(port))
    assert refusal.status == 1
    assert f"port {port} on 127.0.0.1 is in use" in said(refusal) and flag in said(refusal)


def test_a_port_that_another_server_shares_readily_is_in_use_all_the_same(tmp_path: Path) -> None:
    with socket.socket() as taken:
        taken.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
        taken.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        refusal = refused(tmp_path / "data", "--grpc-port", str(taken.getsockname()[1]))
    assert refusal.status == 1
    assert "is in use" in said(refusal)


def test_the_ports_of_a_running_server_are_in_use(running: Server, tmp_path: Path) -> None:
    for flag, address in (("--grpc-port", running.grpc), ("--admin-port", running.admin_address)):
        refusal = refused(tmp_path / "other", flag, address.rpartition(":")[2])
        assert refusal.status == 1
        assert "is in use" in said(refusal)


def test_one_port_cannot_be_two(serve: Serve, tmp_path: Path) -> None:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = str(free.getsockname()[1])
    refusal = serve(tmp_path / "data", "--grpc-port", port, "--admin-port", port)
    assert refusal.status == 1
    assert "grpc_port and admin_port are both" in said(refusal)


def test_a_data_directory_belongs_to_one_server(running: Server) -> None:
    refusal = refused(running.data)
    assert running.process is not None
    assert refusal.status == 1
    assert "in use" in said(refusal) and str(running.process.pid) in said(refusal) and "--data" in said(refusal)
    assert running.status().ready, "the first one does not notice"


def test_a_data_directory_that_cannot_be_made_is_refused(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("not a directory")
    for data in (tmp_path / "file", tmp_path / "file" / "below"):
        refusal = refused(data)
        assert refusal.status == 1
        assert str(data) in said(refusal) and "--data" in said(refusal)


def test_a_lock_that_cannot_be_taken_is_refused(tmp_path: Path) -> None:
    (tmp_path / "data" / "lock").mkdir(parents=True)
    refusal = refused(tmp_path / "data")
    assert refusal.status == 1
    assert "lock" in said(refusal)


@pytest.mark.sqlite
def test_a_newer_schema_is_refused_and_left_alone(server: Server) -> None:
    server.stop()
    database = server.data / "registry.db"
    with sqlite3.connect(database) as connection:
        connection.execute("UPDATE alembic_version SET version_num = '9999'")
    connection.close()
    refusal = refused(server.data)
    assert refusal.status == 1
    assert "9999" in said(refusal) and "newer Interlock" in said(refusal)
    with sqlite3.connect(database) as connection:
        assert connection.execute("SELECT version_num FROM alembic_version").fetchall() == [("9999",)]
    connection.close()


@pytest.mark.sqlite
def test_somebody_elses_database_is_refused(tmp_path: Path) -> None:
    (tmp_path / "data").mkdir()
    with sqlite3.connect(tmp_path / "data" / "registry.db") as connection:
        connection.execute("CREATE TABLE recipes (name TEXT)")
    connection.close()
    refusal = refused(tmp_path / "data")
    assert refusal.status == 1
    assert "recipes" in said(refusal)


@pytest.mark.skipif(NVIDIA, reason="this machine has a GPU")
def test_cuda_without_a_gpu_is_refused_with_the_reason(tmp_path: Path) -> None:
    refusal = refused(tmp_path / "data", "--providers", "cuda")
    assert refusal.status == 1
    assert "--providers cuda" in said(refusal) and "--providers cpu" in said(refusal)


@pytest.mark.parametrize(
    ("flags", "mentioned"),
    [
        (["--host", "0.0.0.0"], ["0.0.0.0", "--insecure"]),
        (["--host", "::"], ["'::'", "--insecure"]),
        (["--host", "example.invalid"], ["example.invalid", "--insecure"]),
        (["--workers", "2", "--providers", "cuda"], ["workers", "2", "cuda", "1"]),
        (["--workers", "0"], ["workers", "0"]),
        (["--front", "native", "--tls-cert", "c.pem", "--tls-key", "k.pem"], ["native", "TLS"]),
        (["--grpc-port", "65536"], ["grpc_port", "65536"]),
        (["--admin-port=-1"], ["admin_port", "-1"]),
    ],
)
def test_settings_that_cannot_be_used_are_named_with_their_value(
    serve: Serve, tmp_path: Path, flags: list[str], mentioned: list[str]
) -> None:
    refusal = serve(tmp_path / "data", *flags)
    assert refusal.status == 1
    for word in mentioned:
        assert word in said(refusal)
    assert not (tmp_path / "data").exists(), "nothing was made"


def test_a_host_that_does_not_resolve_is_named(tmp_path: Path) -> None:
    refusal = refused(tmp_path / "data", "--insecure", "--host", "no-such-host.invalid")
    assert refusal.status == 1
    assert "no-such-host.invalid" in said(refusal) and "--host" in said(refusal)


@pytest.mark.parametrize(
    ("text", "mentioned"),
    [
        ("no_such_setting = 1\n", ["no_such_setting"]),
        ("keep_depth = 'plenty'\n", ["keep_depth", "plenty"]),
        ("default_deadline_s = 900.0\n", ["max_deadline_s", "900"]),
        ("this is not = = TOML\n", ["TOML"]),
    ],
)
def test_a_bad_settings_file_is_refused(serve: Serve, tmp_path: Path, text: str, mentioned: list[str]) -> None:
    config = tmp_path / "interlock.toml"
    config.write_text(text)
    refusal = serve(tmp_path / "data", "--config", str(config))
    assert refusal.status == 1
    for word in mentioned:
        assert word in said(refusal)


def test_a_settings_file_that_is_not_there_is_refused(serve: Serve, tmp_path: Path) -> None:
    refusal = serve(tmp_path / "data", "--config", str(tmp_path / "absent.toml"))
    assert refusal.status == 1
    assert "absent.toml" in said(refusal)


def test_a_settings_file_that_is_no_text_is_refused(serve: Serve, tmp_path: Path) -> None:
    config = tmp_path / "interlock.toml"
    config.write_bytes(b"\xff\xfe\x00")
    refusal = serve(tmp_path / "data", "--config", str(config))
    assert refusal.status == 1
    assert "interlock.toml" in said(refusal)


def test_a_bad_variable_is_refused_with_its_value(tmp_path: Path) -> None:
    refusal = refused(tmp_path / "data", env={"INTERLOCK_KEEP_DEPTH": "plenty"})
    assert refusal.status == 1
    assert "keep_depth" in said(refusal) and "plenty" in said(refusal)


@pytest.mark.parametrize(
    "flags", [["--no-such-flag"], ["--providers", "tpu"], ["--front", "carrier-pigeon"], ["--grpc-port", "eighty"]]
)
def test_wrong_usage_exits_with_2(serve: Serve, tmp_path: Path, flags: list[str]) -> None:
    refusal = serve(tmp_path / "data", *flags)
    assert refusal.status == 2
    assert "Traceback" not in refusal.stderr


def test_a_temporary_directory_whose_name_is_too_long_for_sockets_is_refused(tmp_path: Path) -> None:
    deep = tmp_path.joinpath(*["d" * 40] * 3)
    deep.mkdir(parents=True)
    refusal = refused(tmp_path / "data", env={"TMPDIR": str(deep)})
    assert refusal.status == 1
    assert "TMPDIR" in said(refusal) and "107" in said(refusal)
    assert list(deep.glob("interlock-*")) == []


def test_two_engines_are_refused_with_the_command_that_mends_it(tmp_path: Path) -> None:
    fake = tmp_path / "site" / "onnxruntime_gpu-1.23.0.dist-info"
    fake.mkdir(parents=True)
    (fake / "METADATA").write_text("Metadata-Version: 2.1\nName: onnxruntime-gpu\nVersion: 1.23.0\n")
    (fake / "top_level.txt").write_text("onnxruntime\n")
    refusal = refused(tmp_path / "data", env={"PYTHONPATH": str(tmp_path / "site")})
    assert refusal.status == 1
    assert "onnxruntime and onnxruntime-gpu are both installed" in said(refusal)
    assert "pip uninstall" in said(refusal)


def test_no_engine_is_refused_with_the_command_that_installs_one(tmp_path: Path) -> None:
    # This environment, seen through links to everything that is installed in it but ONNX Runtime.
    site = tmp_path / "site"
    site.mkdir()
    roots: list[str] = []
    for entry in (Path(path) for path in sys.path if "site-packages" in path):
        for item in entry.iterdir():
            if not item.name.startswith("onnxruntime") and item.suffix != ".pth" and not (site / item.name).exists():
                (site / item.name).symlink_to(item)
        for link in entry.glob("_*interlock*.pth"):
            roots += link.read_text().split()
    done = subprocess.run(
        [sys.executable, "-S", "-c", "from interlock_client.cli import main; main()", "serve"],
        env=clean_environment(PYTHONPATH=os.pathsep.join([str(site), *roots])),
        cwd=tmp_path,
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    refusal = Refusal(done.returncode, done.stderr)
    assert refusal.status == 1
    assert "no ONNX Runtime is installed" in said(refusal) and "pip install" in said(refusal)


def test_a_start_refused_for_want_of_a_directory_of_blobs_leaves_no_process_and_no_socket_behind(
    tmp_path: Path,
) -> None:
    blobs = tmp_path / "a-file" / "blobs"
    blobs.parent.write_bytes(b"")
    with tempfile.TemporaryDirectory() as scratch:  # a unix socket's path must be short
        refusal = refused(tmp_path / "data", env={"TMPDIR": scratch, "INTERLOCK_ARTIFACTS": str(blobs)})
        assert list(Path(scratch).glob("interlock-*")) == []
    assert refusal.status == 1
    why = said(refusal)
    assert f"{str(blobs)!r} cannot be used (Not a directory)" in why and "INTERLOCK_ARTIFACTS" in why


@pytest.mark.parametrize("signum", [signal.SIGTERM, signal.SIGINT], ids=["SIGTERM", "Ctrl-C"])
def test_a_stop_while_it_starts_is_quiet_and_clean(tmp_path: Path, signum: signal.Signals) -> None:
    with subprocess.Popen(
        serve_command(tmp_path / "data"),
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        env=clean_environment(),
        start_new_session=True,
        text=True,
    ) as process:
        assert process.stderr is not None
        before = ""
        while "started control" not in before:
            line = process.stderr.readline()
            assert line, before
            before += line
        os.killpg(process.pid, signum)  # Ctrl-C on a terminal is for the whole group
        output, after = process.communicate(timeout=60)
        assert process.returncode == 0, after
    assert output == "", "it was never ready"
    assert "Traceback" not in after


def test_a_ctrl_c_ends_a_running_server_quietly(tmp_path: Path) -> None:
    with Server(tmp_path / "data") as server:
        assert server.process is not None
        os.killpg(server.process.pid, signal.SIGINT)
        assert server.process.wait(60) == 0
        assert "Traceback" not in server.log()
        server.kill_everything()
