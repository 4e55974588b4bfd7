"""PostgreSQL connections that wait for an answer so long and no longer.

The server's own limits do nothing where the server itself stands still (its machine suspended, its disk hanging), and
the network does not notice either: the kernel over there goes on acknowledging.
"""

from __future__ import annotations

import time
from collections.abc import Generator
from typing import Any, Final, TypeVar

import psycopg

T = TypeVar("T")

ANSWER_S: Final = 15.0
"""Longer than the server lets a statement run."""
_LOOK_S: Final = 0.1


def connection_class(limit_s: float = ANSWER_S) -> type[psycopg.Connection[Any]]:
    """Return a kind of connection that breaks where the server has not answered for so long."""

    class Impatient(psycopg.Connection[Any]):
        def wait(self, gen: Generator[Any, Any, T], interval: float = _LOOK_S, *more: Any, **others: Any) -> T:
            try:
                return super().wait(_until(gen, time.monotonic() + limit_s), interval, *more, **others)
            except _NoAnswer as error:
                self.pgconn.finish()  # what it was doing, it may do yet
                raise psycopg.OperationalError(f"the server has not answered for {limit_s:g} s") from error

    return Impatient


class _NoAnswer(Exception):
    pass


def _until(gen: Generator[Any, Any, T], deadline: float) -> Generator[Any, Any, T]:
    """Go through a generator of the driver's, which is sent nothing each time that nothing came from the server."""
    try:
        wanted = next(gen)
        while True:
            ready = yield wanted
            if not ready and time.monotonic() > deadline:
                raise _NoAnswer
            wanted = gen.send(ready)
    except StopIteration as end:
        found: T = end.value
        return found
