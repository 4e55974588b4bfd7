"""Settings that SIGHUP changes in a running server: which, and how each process takes them over.

`python -m interlock_server.reloading FILE` is the supervisor's reader: what to read comes on standard input, and what
came of it goes into FILE.
"""

from __future__ import annotations

import asyncio
import json
import logging
import os
import signal
import sys
from collections.abc import Callable, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Final

from interlock.errors import StartupRefused

from interlock_server.process import logs
from interlock_server.process.boot import Boot
from interlock_server.process.reload import Outcome, current_settings
from interlock_server.settings import Settings

log = logging.getLogger("interlock.settings")

RELOADABLE: Final = frozenset(
    {
        "approval_expires_s",
        "default_deadline_s",
        "diff_timeout_s",
        "drain_grace_s",
        "hang_s",
        "keep_depth",
        "log_level",
        "max_atol",
        "max_batch_size",
        "max_deadline_s",
        "max_diffs",
        "max_queue_size",
        "max_rtol",
        "max_upload_bytes",
        "max_worker_bytes",
        "memory_reserve_bytes",
        "overdue_run_s",
        "quantize_max_share",
        "require_approvals",
        "require_golden",
        "require_signed",
        "validate_cpu_s",
        "validate_memory_bytes",
        "validate_wall_s",
    }
)
"""Whoever uses one of these reads it from the settings each time, or subscribes; the others are read at the start."""


def read_again(current: Settings, flags: dict[str, object], file: Path | None) -> Outcome:
    """Read flags, variables and file once more, and keep what cannot change while the server runs."""
    try:
        wanted = Settings.load(flags, file)
    except (StartupRefused, OSError) as error:
        return Outcome(refused=error.message if isinstance(error, StartupRefused) else str(error))
    wanted = wanted.absolute()
    differ = sorted(name for name in Settings.model_fields if getattr(wanted, name) != getattr(current, name))
    changed = tuple(name for name in differ if name in RELOADABLE)
    fixed = tuple(name for name in differ if name not in RELOADABLE)
    taken = current.model_copy(update={name: getattr(wanted, name) for name in changed})
    return Outcome(taken.model_dump_json() if changed else "", "", changed, fixed)


def take_over(current: Settings, wanted: Settings) -> tuple[str, ...]:
    """Give settings the reloadable values of others; return the names of those that were different."""
    changed = tuple(sorted(name for name in RELOADABLE if getattr(wanted, name) != getattr(current, name)))
    for name in changed:
        # Settings never change but here, in one step each, so that every holder of the object sees the new value.
        current.__dict__[name] = getattr(wanted, name)
    return changed


class Reloader:
    """A child's end of SIGHUP: takes the settings over, then tells whoever keeps something that was made of them."""

    def __init__(self, boot: Boot, settings: Settings) -> None:
        """Take the settings that the process uses; they are changed in place."""
        self._path = current_settings(boot.runtime_dir)
        self._settings = settings
        self._listeners: list[Callable[[], None]] = []
        self.subscribe(self._set_log_level)
        self._log_level = settings.log_level

    def subscribe(self, listener: Callable[[], None]) -> None:
        """Call `listener` on the event loop at each SIGHUP, whether or not a setting changed; it must not block."""
        self._listeners.append(listener)

    def listen(self, loop: asyncio.AbstractEventLoop) -> None:
        """Take SIGHUP from now on, and those that came since the process was started."""
        loop.add_signal_handler(signal.SIGHUP, self.reload)
        signal.pthread_sigmask(signal.SIG_UNBLOCK, {signal.SIGHUP})

    def reload(self) -> None:
        """Take the settings over that the supervisor has published, and tell everybody."""
        try:
            with open(self._path, "rb") as file:
                wanted = Settings.model_validate_json(file.read())
        except FileNotFoundError:
            changed: tuple[str, ...] = ()  # no setting was changed since the start
        else:
            changed = take_over(self._settings, wanted)
        if changed:
            log.info("took over %s", ", ".join(changed))
        for listener in self._listeners:
            try:
                listener()
            except Exception:
                log.exception("a part of this process could not follow the settings")

    def _set_log_level(self) -> None:
        # Only where it changed: LogSettings may have set something else meanwhile.
        if self._settings.log_level != self._log_level:
            self._log_level = self._settings.log_level
            logs.keep(logs.from_level(self._log_level))


def main(arguments: Sequence[str]) -> int:
    """Read the settings again for the supervisor; return the exit status."""
    handed = json.load(sys.stdin)
    launch = handed["launch"]
    file = Path(launch["config"]) if launch["config"] is not None else None
    outcome = read_again(Settings.model_validate(handed["settings"]), launch["flags"], file)
    with open(os.open(arguments[0], os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), "w") as target:
        json.dump(asdict(outcome), target)
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
