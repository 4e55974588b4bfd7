"""How the commands print: tables, or one JSON document."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Iterable, Sequence
from datetime import datetime
from enum import Enum
from typing import Final

import click
from interlock.shown import shown, shown_json
from rich import box
from rich.console import Console
from rich.table import Table

_WIDE: Final = 4096
"""Columns where there is no terminal: a pipe must not cut words."""


def print_json(value: object) -> None:
    """Print a value as one JSON document: dataclasses by field, moments in RFC 3339, enums by value."""
    click.echo(shown_json(json.dumps(value, indent=2, ensure_ascii=False, default=_plain)))


def _plain(value: object) -> object:
    if isinstance(value, Enum):
        return value.value
    if isinstance(value, datetime):
        return value.isoformat().replace("+00:00", "Z")
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        return {field.name: getattr(value, field.name) for field in dataclasses.fields(value)}
    raise TypeError(f"{type(value).__name__} has no JSON form here")


def print_table(columns: Sequence[str], rows: Iterable[Sequence[str]]) -> None:
    """Print a table, as wide as it needs to be where nobody watches a terminal."""
    table = Table(*columns, box=box.SIMPLE_HEAD, pad_edge=False)
    for row in rows:
        table.add_row(*map(shown, row))
    if table.row_count:
        console = Console(markup=False, emoji=False, highlight=False)
        if console.is_terminal:
            console.print(table)
            return
        wide = Console(markup=False, emoji=False, highlight=False, width=_WIDE)
        with wide.capture() as captured:
            wide.print(table)
        for line in captured.get().splitlines():
            click.echo(line.rstrip())


def moment(value: datetime) -> str:
    """Write a moment in this machine's time zone."""
    return value.astimezone().strftime("%Y-%m-%d %H:%M:%S")


def size(count: int) -> str:
    """Write a count of bytes."""
    amount = float(count)
    for unit in ("B", "KiB", "MiB", "GiB"):
        if amount < 1024 or unit == "GiB":
            break
        amount /= 1024
    return f"{count} B" if unit == "B" else f"{amount:.1f} {unit}"
