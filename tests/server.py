"""A real `interlock serve` for tests: a process of its own, free ports, its log kept for failures."""

from __future__ import annotations

import os
import re
import select
import signal
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final, Self

from interlock.model import ReplicaStatus, Version
from interlock_client import Admin, Client
from interlock_registry.manifest import Manifest

from tests import databases, tied
from tests.support import eventually

_READY = re.compile(r"interlock ready grpc=(\S+) http=(\S+) admin=(\S+)\n")

_CALM: Final = {"INTERLOCK_APPLY_TIMEOUT_S": "10"}
"""On a machine that also runs other tests a worker may not get the processor within the second that is the default."""


def clean_environment(**extra: str) -> dict[str, str]:
    """Return this process's environment without settings of Interlock, and with `extra`."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith("INTERLOCK_")}
    return {**kept, **extra}


def serve_command(data: Path, flags: Sequence[str] = (), *, interlock: Path | None = None) -> list[str]:
    """Return the command line of a server on free ports; `interlock` is the command of another environment."""
    ports = ("--grpc-port", "0", "--http-port", "0", "--admin-port", "0")
    return [str(interlock or Path(sys.executable).with_name("interlock")), "serve", "--data", str(data), *ports, *flags]


@dataclass(frozen=True, slots=True)
class Refusal:
    """How a server that would not start ended."""

    status: int
    stderr: str


def refused(data: Path, *flags: str, env: Mapping[str, str] | None = None, timeout_s: float = 120.0) -> Refusal:
    """Start a server that must refuse to start, and return what it said."""
    done = subprocess.run(
        serve_command(data, flags),
        capture_output=True,
        text=True,
        timeout=timeout_s,
        env=clean_environment(**(env or {})),
        check=False,
    )
    return Refusal(done.returncode, done.stderr)


class Server:
    """A running server. Use it as a context manager: leaving it sends SIGTERM and checks that it ended well."""

    def __init__(
        self, data: Path, *flags: str, env: Mapping[str, str] | None = None, interlock: Path | None = None
    ) -> None:
        self.data = data
        self.flags = flags
        self._interlock = interlock
        kept = databases.setting(data)
        self._env = clean_environment(**{**_CALM, **({"INTERLOCK_DB": kept} if kept else {}), **(env or {})})
        self.log_path = data.with_name(f"{data.name}.log")
        self.process: subprocess.Popen[bytes] | None = None
        self.grpc = self.http = self.admin_address = ""

    def start(self, timeout_s: float = 120.0) -> Self:
        """Start it and wait for the ready line."""
        with self.log_path.open("ab") as log:
            self.process = subprocess.Popen(
                serve_command(self.data, self.flags, interlock=self._interlock),
                stdout=subprocess.PIPE,
                stderr=log,
                env=self._env,
                start_new_session=True,
            )
        tied.tie(self.process)
        assert self.process.stdout is not None
        seen = b""
        deadline = time.monotonic() + timeout_s
        while (found := _READY.search(seen.decode(errors="replace"))) is None:
            readable, _, _ = select.select([self.process.stdout], [], [], max(0.0, deadline - time.monotonic()))
            chunk = os.read(self.process.stdout.fileno(), 4096) if readable else b""
            if not chunk:
                self.kill_everything()
                raise AssertionError(f"the server did not get ready; its log:\n{self.log()[-4000:]}")
            seen += chunk
        self.grpc, self.http, self.admin_address = found.groups()
        return self

    def stop(self, timeout_s: float = 120.0) -> int:
        """Send SIGTERM and return the exit status."""
        assert self.process is not None
        self.process.send_signal(signal.SIGTERM)
        status = self.process.wait(timeout_s)
        self._closed()
        return status

    def kill_everything(self) -> None:
        """Kill -9 the supervisor and with it, by its death signal, all of its children. Idempotent."""
        if self.process is None:
            return
        children = self._children()
        self.process.kill()
        self.process.wait(60)
        for pid in children:
            eventually(lambda pid=pid: not _alive(pid), f"process {pid} ended with the supervisor")  # type: ignore[misc]
        self._closed()

    def _closed(self) -> None:
        assert self.process is not None and self.process.stdout is not None
        self.process.stdout.close()
        self.process = None

    def __enter__(self) -> Self:
        return self.start() if self.process is None else self

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        if self.process is None:
            return
        if kind is not None:
            self.kill_everything()
            return
        try:
            status = self.stop()
        except subprocess.TimeoutExpired:
            self.kill_everything()
            raise
        assert status == 0, f"the server ended with {status}; its log:\n{self.log()[-4000:]}"

    # --- talk to it ---

    def client(self, *, timeout: float = 60.0, retries: int = 0) -> Client:
        """Return an inference client, by default without retries: they would hide failures."""
        return Client(self.grpc, timeout=timeout, retries=retries)

    def admin(self, *, retries: int = 0) -> Admin:
        """Return an admin client, by default without retries."""
        return Admin(self.admin_address, retries=retries)

    def manifest(self, version: Version) -> Manifest:
        """Return what a version's artifact consists of, as its own blob says."""
        return Manifest.from_json((self.data / "blobs" / version.digest).read_text())

    def graph(self, version: Version) -> Path:
        """Return the blob that holds a version's graph."""
        return self.data / "blobs" / self.manifest(version).graph.digest

    def status(self) -> ReplicaStatus:
        """Return what the server says of itself."""
        with self.admin() as admin:
            return admin.status()

    def log(self) -> str:
        """Return everything that it has logged."""
        return self.log_path.read_text(errors="replace")

    # --- its processes ---

    def _children(self) -> list[int]:
        assert self.process is not None
        path = Path(f"/proc/{self.process.pid}/task/{self.process.pid}/children")
        return [int(pid) for pid in path.read_text().split()] if path.exists() else []

    def pid_of(self, module: str) -> int:
        """Return the process id of the child that runs `interlock_server.<module>`: worker or control."""
        for pid in self._children():
            try:
                command = Path(f"/proc/{pid}/cmdline").read_bytes().split(b"\0")
            except (FileNotFoundError, ProcessLookupError):
                continue  # it ended just now
            if f"interlock_server.{module}".encode() in command:
                return pid
        raise LookupError(f"no child runs {module}")


def _alive(pid: int) -> bool:
    try:
        state = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
    except FileNotFoundError:
        return False
    return state != "Z"
