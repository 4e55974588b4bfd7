"""The servers that are compared, each a process (or a family of them) of its own."""

from __future__ import annotations

import socket
import subprocess
import sys
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from tests.bench.machine import family
from tests.server import Server

MODEL: Final = "tiny"
INTERLOCK: Final = "interlock"
BARE: Final = "grpc.aio + onnxruntime"
ECHO: Final = "grpcio echo"
AIO_ECHO: Final = "grpc.aio echo"
_END_S: Final = 10.0


@dataclass(frozen=True, slots=True)
class Target:
    """A running server."""

    name: str
    address: str
    pids: tuple[int, ...]
    """All of its processes: each one's processor time counts."""
    checked: bool
    """Whether it answers with the model's outputs."""


Starting = AbstractContextManager[Target]
"""A server that runs while its context does."""


def echo_on(front: str) -> str:
    """Return the name of a front's echo."""
    return f"echo on {front}"


def front_of(target: str) -> str:
    """Return the front of an Interlock by its name; "" for other servers."""
    return target.removeprefix(f"{INTERLOCK} ") if target.startswith(INTERLOCK) else ""


@contextmanager
def interlock(folder: Path, model: Path, front: str = "core") -> Iterator[Target]:
    """Run Interlock with the model promoted."""
    with Server(folder / f"data-{front}", "--front", front) as server:
        with server.admin() as admin:
            admin.register(MODEL, model)
            admin.promote(MODEL, 1)
        assert server.process is not None
        yield Target(f"{INTERLOCK} {front}", server.grpc, tuple(family(server.process.pid)), checked=True)


@contextmanager
def bare(model: Path) -> Iterator[Target]:
    """Run the least server that runs the model."""
    with process("tests.bench.infer.bare_server", str(model)) as (pid, address):
        yield Target(BARE, address, (pid,), checked=True)


@contextmanager
def echo() -> Iterator[Target]:
    """Run the server that only echoes, on grpcio's threads."""
    with process("tests.bench.infer.echo_server", "sync") as (pid, address):
        yield Target(ECHO, address, (pid,), checked=False)


@contextmanager
def aio_echo() -> Iterator[Target]:
    """Run the server that only echoes, on grpc.aio."""
    with process("tests.bench.infer.echo_server", "aio") as (pid, address):
        yield Target(AIO_ECHO, address, (pid,), checked=False)


@contextmanager
def front_echo(front: str) -> Iterator[Target]:
    """Run a front of ours with nothing behind it."""
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
        probe.bind(("127.0.0.1", 0))
        address = f"127.0.0.1:{probe.getsockname()[1]}"
        with process("tests.bench.infer.front_echo", front, address) as (pid, _):
            yield Target(echo_on(front), address, (pid,), checked=False)


@contextmanager
def process(module: str, *arguments: str) -> Iterator[tuple[int, str]]:
    """Run a module that prints its address and serves until its standard input ends."""
    command = [sys.executable, "-m", module, *arguments]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdin is not None and process.stdout is not None
        try:
            yield process.pid, process.stdout.readline().strip()
            process.stdin.close()
            process.wait(_END_S)
        finally:
            process.kill()
