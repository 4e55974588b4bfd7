"""What the supervisor hands to a child, and what a child does first. Standard library only.

The hand-over is a JSON object on the child's standard input: not in its arguments, where `ps` would show a database
password, and not in its environment, which it would pass on.
"""

from __future__ import annotations

import ctypes
import gc
import json
import os
import resource
import signal
import sys
from dataclasses import asdict, dataclass
from typing import Final

EXIT_REFUSED: Final = 78
"""A child's exit status for "this can never start": the supervisor gives up instead of trying again (EX_CONFIG)."""

_PR_SET_PDEATHSIG: Final = 1
_OPEN_FILES: Final = 65_536


@dataclass(frozen=True, slots=True)
class Boot:
    """All that a child process is told."""

    settings_json: str
    """The settings, as `Settings.model_dump_json()` wrote them."""
    runtime_dir: str
    """Holds the unix sockets; 0700, gone when the server stops."""
    inference_address: str
    http_address: str
    admin_address: str
    worker: int = 0
    """The worker's index."""
    supervisor: int = 0
    """The process id of the supervisor: a child whose parent is another one has lost it."""
    heartbeat: int = -1
    """The descriptor that a byte is written to while the event loop turns; -1: nobody looks."""
    announce: bool = False
    """Print the ready line: the control process's first start does, its restarts do not."""

    def to_bytes(self) -> bytes:
        """Return the hand-over as it goes through the pipe."""
        return json.dumps(asdict(self)).encode()


def worker_socket(runtime_dir: str, index: int) -> str:
    """Return the path of a worker's unix socket."""
    return os.path.join(runtime_dir, f"worker-{index}.sock")


def switch_socket(worker_socket: str) -> str:
    """Return the path of the unix socket on which a worker takes snapshots, beside the one that it has."""
    return f"{worker_socket.removesuffix('.sock')}.swap"


def control_socket(runtime_dir: str) -> str:
    """Return the path of the control process's unix socket."""
    return os.path.join(runtime_dir, "control.sock")


def agreed_settings(runtime_dir: str) -> str:
    """Return the path of the file with what all workers were told alike; with ".lock" behind it, of its lock."""
    return os.path.join(runtime_dir, "agreed-settings")


def process_names(workers: int) -> list[str]:
    """Return what the processes of a replica that callers reach are called."""
    return ["control", *(f"worker-{index}" for index in range(workers))]


def receive() -> Boot:
    """Read the hand-over, and tie this process's life to its parent's."""
    libc = ctypes.CDLL(None, use_errno=True)
    if libc.prctl(_PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0) != 0:
        raise OSError(ctypes.get_errno(), "prctl(PR_SET_PDEATHSIG) failed")
    boot = Boot(**json.loads(sys.stdin.buffer.read()))
    if os.getppid() != boot.supervisor:  # it died before the signal was armed
        sys.exit(EXIT_REFUSED)
    return boot


def open_missing_streams() -> None:
    """Have something behind standard input, output and error where they were closed.

    Else the next file that is opened takes their number: what is printed, by whichever library, would go into it.
    """
    for descriptor in range(3):
        try:
            os.fstat(descriptor)
        except OSError:
            opened = os.open(os.devnull, os.O_RDWR)
            assert opened == descriptor, f"{opened} was opened for {descriptor}"
            os.set_inheritable(descriptor, True)


def allow_open_files() -> None:
    """Let this process and its children open as many files as the system lets them, within reason.

    What is usual at first (1,024) is less than the connections that the settings allow, and a process that has no
    descriptor left for its database or a model serves nobody.
    """
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = _OPEN_FILES if hard == resource.RLIM_INFINITY else min(hard, _OPEN_FILES)
    if soft != resource.RLIM_INFINITY and soft < wanted:
        resource.setrlimit(resource.RLIMIT_NOFILE, (wanted, hard))


def freeze_heap() -> None:
    """Take what the imports made out of the garbage collector's rounds.

    A full round over some 50,000 objects stops every thread for 10 to 20 ms, and finds nothing among them.
    """
    gc.collect()
    gc.freeze()


def refuse(message: str) -> int:
    """Say on stderr why this process will never start, and return the exit status that says so."""
    print(f"interlock: {message}", file=sys.stderr, flush=True)  # noqa: T201
    return EXIT_REFUSED
