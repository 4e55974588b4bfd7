"""What tables are made of: rows, and how times, sizes and strangers' texts are written."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from datetime import datetime
from typing import Final

from interlock.shown import shown
from rich import box
from rich.table import Table

_NUMERIC: Final = frozenset({"version", "versions", "newest", "size", "seq", "in flight", "generation", "from", "to"})
_WHOLE: Final = frozenset({"servable"})
"""What is copied into commands, and is not to be broken on a narrow terminal."""


def rows(columns: Sequence[str], lines: Iterable[Sequence[object]]) -> Table:
    """Return a table with a head."""
    table = Table(box=box.SIMPLE_HEAD, pad_edge=False)
    for name in columns:
        table.add_column(name, justify="right" if name in _NUMERIC else "left", no_wrap=name in _WHOLE)
    for line in lines:
        table.add_row(*(clean(cell) for cell in line))
    return table


def pairs(lines: Iterable[tuple[str, object]]) -> Table:
    """Return names with their values."""
    table = Table.grid(padding=(0, 2))
    for name, value in lines:
        table.add_row(name, clean(value))
    return table


def clean(value: object) -> str:
    """Show control characters as escapes: what a stranger wrote into a note must not drive this terminal."""
    return shown(str(value))


def moment(value: datetime) -> str:
    """Write a time as local time."""
    return value.astimezone().strftime("%Y-%m-%d %H:%M:%S")


def size(count: int) -> str:
    """Write a number of bytes in the biggest fitting unit."""
    amount = float(count)
    for unit in ("B", "KiB", "MiB", "GiB"):
        if amount < 1024 or unit == "GiB":
            break
        amount /= 1024
    return f"{count} B" if unit == "B" else f"{amount:.1f} {unit}"
