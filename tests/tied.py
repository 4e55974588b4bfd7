"""Processes that end with this one, however this one ends: what is killed by -9 cleans nothing up."""

from __future__ import annotations

import atexit
import subprocess
import sys
import threading
from typing import Final

_WATCHER: Final = """
import os, select, signal, sys
tied = []
for pid in sys.stdin:
    ended, _, _ = select.select(tied, [], [], 0)
    for handle in ended:
        os.close(handle)
    tied = [handle for handle in tied if handle not in ended]
    try:
        tied.append(os.pidfd_open(int(pid)))
    except ProcessLookupError:
        pass
for handle in tied:
    try:
        signal.pidfd_send_signal(handle, signal.SIGKILL)
    except ProcessLookupError:
        pass
"""
"""A pipe ends with the last process that could write to it, and children inherit none. A death signal would do with
less, but comes as soon as the thread has ended that started the child, and tests start servers on any thread."""

_END_S: Final = 10.0


class _Watcher:
    """One for all processes of this one, started with the first of them."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._process: subprocess.Popen[str] | None = None

    def tell(self, pid: int) -> None:
        with self._lock:
            if self._process is None:
                self._process = subprocess.Popen(
                    [sys.executable, "-I", "-S", "-c", _WATCHER],
                    stdin=subprocess.PIPE,
                    text=True,
                    start_new_session=True,
                )
                atexit.register(self._close, self._process)
            assert self._process.stdin is not None
            self._process.stdin.write(f"{pid}\n")
            self._process.stdin.flush()

    @staticmethod
    def _close(process: subprocess.Popen[str]) -> None:
        assert process.stdin is not None
        process.stdin.close()
        process.wait(_END_S)


_watcher: Final = _Watcher()


def tie(process: subprocess.Popen[bytes] | subprocess.Popen[str]) -> None:
    """Have a child that was just started killed when this process is gone."""
    _watcher.tell(process.pid)
