"""How far a proof that takes minutes has come."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Final

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

EVERY_S: Final = 5.0


@contextmanager
def progress(
    doing: str, total: int, unit: str, *, console: Console | None = None, clock: Callable[[], float] = time.monotonic
) -> Iterator[Callable[[int], None]]:
    """Yield what is told how many of all are done, on any thread: a bar on a terminal, else lines, seconds apart."""
    console = console or Console(stderr=True)
    if console.is_terminal:
        columns = (TextColumn(doing), BarColumn(), MofNCompleteColumn(), TextColumn(unit), TimeElapsedColumn())
        with Progress(*columns, console=console, transient=True) as bar:
            task = bar.add_task(doing, total=total)
            yield lambda done: bar.update(task, completed=done)
        return
    began = said = clock()

    def say(done: int) -> None:
        nonlocal said
        now = clock()
        if now - said >= EVERY_S:
            said = now
            console.print(f"{doing}: {done} of {total} {unit}, {now - began:.0f} s", highlight=False, soft_wrap=True)

    yield say
