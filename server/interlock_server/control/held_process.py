"""A process that answered, held by a descriptor: its number may be another's after it has ended."""

from __future__ import annotations

import os
import signal


class HeldProcess:
    """Holds at most one process at a time."""

    def __init__(self) -> None:
        self.pid = 0
        """Of the process that was held last, which may have ended since."""
        self._pidfd = -1

    def hold(self, pid: int) -> bool:
        """Hold another process instead; False where there is none of that number."""
        self.close()
        if pid:
            try:
                self._pidfd = os.pidfd_open(pid)
            except ProcessLookupError:
                return False
            self.pid = pid
        return self._pidfd >= 0

    def signal(self, how: signal.Signals) -> bool:
        """Send the held process a signal; False where it had ended by itself."""
        if self._pidfd < 0:
            return True
        try:
            signal.pidfd_send_signal(self._pidfd, how)
        except ProcessLookupError:
            return False
        return True

    def close(self) -> None:
        """Let go of the process. Idempotent."""
        if self._pidfd >= 0:
            os.close(self._pidfd)
            self._pidfd = -1
