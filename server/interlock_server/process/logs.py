"""Structured logs on stderr: text on a terminal, JSON lines otherwise. Standard library only.

Nobody waits for a log: a line that cannot be written, or for which there is no room since nobody reads, is counted.
"""

from __future__ import annotations

import json
import logging
import os
import time
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

from interlock_server.process.log_sink import LogSink

_STDERR: Final = 2
_CHATTY: Final[Mapping[str, int]] = {
    "alembic": logging.WARNING,
    "asyncio": logging.WARNING,
    "sqlalchemy": logging.WARNING,
    "uvicorn": logging.ERROR,  # it warns of what strangers send, as often as they do, and of packages to install
}
"""Libraries, and from which level on they are of use to an operator."""
_STANDARD: Final = frozenset(logging.makeLogRecord({}).__dict__) | {"message", "asctime", "taskName"}


TRACES: Final = "interlock.trace"
"""The logger of traces of requests: they have a switch of their own, and no level keeps them away."""


@dataclass(frozen=True, slots=True)
class Kept:
    """Which lines are logged."""

    debug: bool
    info: bool
    warning: bool
    error: bool


class _Sieve(logging.Filter):
    """Holds lines back by their level, which may change at any time."""

    def __init__(self, kept: Kept) -> None:
        super().__init__()
        self.kept = kept

    def filter(self, record: logging.LogRecord) -> bool:
        if record.name == TRACES:
            return True
        if record.levelno >= logging.ERROR:
            return self.kept.error
        if record.levelno >= logging.WARNING:
            return self.kept.warning
        return self.kept.info if record.levelno >= logging.INFO else self.kept.debug


class _Handler(logging.Handler):
    """Formats on the thread that logs, and hands the line to the sink."""

    def __init__(self, sink: LogSink) -> None:
        super().__init__()
        self.sink = sink
        self._told = 0

    def emit(self, record: logging.LogRecord) -> None:
        try:
            line = self._line(record)
        except Exception:  # noqa: BLE001 - a record that cannot be printed must not fail whoever logs it
            self.handleError(record)
            return
        lost = self.sink.dropped - self._told
        told = self._line(_loss(lost)) if lost else b""
        if self.sink.put(told + line):
            self._told += lost

    def _line(self, record: logging.LogRecord) -> bytes:
        return f"{self.format(record)}\n".encode(errors="backslashreplace")

    def flush(self) -> None:
        self.sink.flush()


def _loss(lost: int) -> logging.LogRecord:
    message = "%d log lines were lost: they could not be written, or nobody read them"
    return logging.LogRecord("interlock.logs", logging.WARNING, __file__, 0, message, (lost,), None)


_sieve = _Sieve(Kept(debug=False, info=True, warning=True, error=True))
_sink = LogSink(_STDERR)


def kept() -> Kept:
    """Return which lines are logged now."""
    return _sieve.kept


def keep(wanted: Kept) -> None:
    """Log these lines from now on, whatever the process began with."""
    _sieve.kept = wanted
    levels = (
        (wanted.debug, logging.DEBUG),
        (wanted.info, logging.INFO),
        (wanted.warning, logging.WARNING),
        (wanted.error, logging.ERROR),
    )
    lowest = min((level for on, level in levels if on), default=logging.CRITICAL + 1)
    logging.getLogger().setLevel(lowest)
    for name, level in _CHATTY.items():
        logging.getLogger(name).setLevel(logging.NOTSET if wanted.debug else level)


def configure(process: str, level: str, form: str) -> None:
    """Send this process's log to stderr; `form` is auto, text or json."""
    global _sink
    _sink = LogSink(_STDERR)
    handler = _Handler(_sink)
    text = form == "text" or (form == "auto" and os.isatty(_STDERR))
    handler.setFormatter(_TextFormatter(process) if text else _JsonFormatter(process))
    handler.addFilter(_sieve)
    logging.getLogger().handlers[:] = [handler]
    logging.getLogger(TRACES).setLevel(logging.INFO)
    keep(from_level(level))


def flush() -> None:
    """Wait a moment until what was logged is written, before somebody else writes to stderr."""
    _sink.flush()


def dropped() -> int:
    """Return how many lines of this process were lost."""
    return _sink.dropped


def from_level(level: str) -> Kept:
    """Return the lines that a setting `log_level` keeps."""
    least = getattr(logging, level.upper())
    return Kept(
        debug=least <= logging.DEBUG,
        info=least <= logging.INFO,
        warning=least <= logging.WARNING,
        error=least <= logging.ERROR,
    )


def _facts(record: logging.LogRecord) -> Mapping[str, object]:
    return {key: value for key, value in record.__dict__.items() if key not in _STANDARD}


class _JsonFormatter(logging.Formatter):
    def __init__(self, process: str) -> None:
        super().__init__()
        self._process = process

    def format(self, record: logging.LogRecord) -> str:
        line: dict[str, object] = {
            "time": time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(record.created)) + f".{int(record.msecs):03d}Z",
            "level": record.levelname.lower(),
            "process": self._process,
            "pid": os.getpid(),
            "logger": record.name,
            "message": record.getMessage(),
            **_facts(record),
        }
        if record.exc_info:
            line["exception"] = self.formatException(record.exc_info)
        return json.dumps(line, default=str)


def _one_line(text: str) -> str:
    """Return a text without what would begin another line, or drive the terminal: callers' words are in it."""
    return "".join(each if each.isprintable() else each.encode("unicode_escape").decode() for each in text)


class _TextFormatter(logging.Formatter):
    def __init__(self, process: str) -> None:
        super().__init__()
        self._process = process

    def format(self, record: logging.LogRecord) -> str:
        clock = time.strftime("%H:%M:%S", time.localtime(record.created))
        facts = "".join(f" {key}={value}" for key, value in _facts(record).items())
        said = _one_line(f"{record.getMessage()}{facts}")
        line = f"{clock} {record.levelname.lower():<7} {self._process:<10} {said}"
        return f"{line}\n{self.formatException(record.exc_info)}" if record.exc_info else line
