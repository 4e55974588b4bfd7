"""A bar for bytes that travel."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from rich.console import Console
from rich.progress import BarColumn, DownloadColumn, Progress, TextColumn, TransferSpeedColumn

Report = Callable[[int, int], None]
"""Called with bytes done and bytes in all."""


@contextmanager
def progress(doing: str, afterwards: str) -> Iterator[Report | None]:
    """Show a bar on a terminal, with other words once all bytes are there; elsewhere none, so that logs stay clean."""
    if not sys.stderr.isatty():
        yield None
        return
    columns = (TextColumn("{task.description}"), BarColumn(), DownloadColumn(), TransferSpeedColumn())
    with Progress(*columns, console=Console(stderr=True), transient=True) as bar:
        task = bar.add_task(doing, total=None)

        def report(done: int, total: int) -> None:
            bar.update(task, completed=done, total=total, description=afterwards if done == total else doing)

        yield report
