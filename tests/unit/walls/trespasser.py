"""A program that goes behind the walls and then tries whatever a hostile model might; it tells what came of each."""

from __future__ import annotations

import contextlib
import ctypes
import errno
import json
import os
import socket
import subprocess
import sys
import threading
from collections.abc import Callable
from pathlib import Path

from interlock_registry.walls import enclosure
from interlock_registry.walls.limits import Reach, ToolLimits


def read(path: str) -> Callable[[], object]:
    return lambda: Path(path).read_bytes()


def write(path: Path) -> Callable[[], object]:
    return lambda: path.write_bytes(b"x")


def allocate() -> None:
    with contextlib.suppress(MemoryError):
        bytearray(100 << 30)
        return
    raise PermissionError("out of memory")


def thread() -> None:
    made = threading.Thread(target=lambda: None)
    made.start()
    made.join()


def connect(address: str, port: int) -> Callable[[], object]:
    return lambda: socket.create_connection((address, port), timeout=5).close()


def fork() -> None:
    if os.fork() == 0:
        os._exit(0)


def unshare() -> None:
    libc = ctypes.CDLL(None, use_errno=True)
    if libc.unshare(0x10000000) != 0:  # a user namespace
        code = ctypes.get_errno()
        raise OSError(code, os.strerror(code))


def main() -> None:
    """Try everything."""
    home, port, parent = Path(sys.argv[1]), int(sys.argv[2]), os.getppid()
    uploads, scratch, secret = home / "upload", home / "upload" / "scratch", home / "secret"
    score = Path("/proc/self/oom_score_adj").open()  # noqa: SIM115 - behind the walls it could not be opened any more
    held = enclosure.enter(ToolLimits(), Reach((uploads,), (scratch,)), parent)
    acts: dict[str, Callable[[], object]] = {
        "read the upload": read(str(uploads / "model")),
        "write into the scratch directory": write(scratch / "part"),
        "read what it wrote": read(str(scratch / "part")),
        "rename what it wrote": lambda: (scratch / "part").rename(scratch / "other"),
        "remove what it wrote": (scratch / "other").unlink,
        "start a thread": thread,
        "import a library": lambda: __import__("sqlite3"),
        "read a neighbour": read(str(secret)),
        "read /etc/passwd": read("/etc/passwd"),
        "read the parent's environment": read(f"/proc/{parent}/environ"),
        "list the neighbours": lambda: os.listdir(home),
        "change the upload": write(uploads / "model"),
        "write beside the upload": write(uploads / "more"),
        "remove the upload": (uploads / "model").unlink,
        "move the upload": lambda: (uploads / "model").rename(scratch / "model"),
        "write outside": write(home / "new"),
        "cut a neighbour short": lambda: os.truncate(secret, 0),
        "change a neighbour's mode": lambda: os.chmod(secret, 0o777),
        "give a neighbour away": lambda: os.chown(secret, 1, 1),
        "age a neighbour": lambda: os.utime(secret, (0, 0)),
        "hard link a neighbour": lambda: os.link(secret, scratch / "link"),
        "make a symbolic link": lambda: os.symlink(secret, scratch / "link"),
        "make a pipe in the scratch directory": lambda: os.mkfifo(scratch / "pipe"),
        "fork": fork,
        "run a program": lambda: subprocess.run([sys.executable, "-c", ""], check=True),
        "become another program": lambda: os.execv("/bin/true", ["true"]),
        "connect by TCP": connect("127.0.0.1", port),
        "send by UDP": lambda: socket.socket(socket.AF_INET, socket.SOCK_DGRAM).close(),
        "open a unix socket": lambda: socket.socket(socket.AF_UNIX).close(),
        "signal the parent": lambda: os.kill(parent, 0),
        "signal everybody": lambda: os.kill(-1, 0),
        "slow the parent down": lambda: os.setpriority(os.PRIO_PROCESS, parent, 19),
        "make a user namespace": unshare,
        "take 100 GB": allocate,
    }
    found: dict[str, str] = {}
    for name, act in acts.items():
        try:
            act()
            found[name] = "done"
        except PermissionError:
            found[name] = "refused"
        except OSError as error:
            # Landlock says of a file that may not leave its directory that it is on another device.
            found[name] = "refused" if error.errno == errno.EXDEV else f"failed: {error}"
    sys.stdout.write(json.dumps({"held": held, "acts": found, "oom_score_adj": int(score.read())}))


if __name__ == "__main__":
    main()
