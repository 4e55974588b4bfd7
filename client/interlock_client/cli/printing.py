"""How results reach stdout: as one JSON document, or as tables as wide as the reader allows."""

from __future__ import annotations

import base64
import dataclasses
import json
import math
from collections.abc import Mapping
from datetime import UTC, datetime
from enum import Enum
from pathlib import Path
from typing import Final

import click
import numpy as np
from interlock.errors import InvalidArgument
from interlock.shown import shown, shown_json
from rich.console import Console, RenderableType

from interlock_client._whole import written

_WIDE: Final = 4096
"""Columns where there is no terminal: a pipe must not cut words."""


def plain(value: object) -> object:
    """Return a value as JSON types: dataclasses by field, times in RFC 3339, enums by value, arrays as lists."""
    if isinstance(value, Enum):
        return value.value
    if isinstance(value, datetime):
        return value.astimezone(UTC).isoformat().replace("+00:00", "Z")
    if isinstance(value, Path):
        return str(value)
    if isinstance(value, bytes):
        return _text_or_base64(value)
    if isinstance(value, float) and not math.isfinite(value):
        return "NaN" if math.isnan(value) else "Infinity" if value > 0 else "-Infinity"  # JSON has no such numbers
    if isinstance(value, np.ndarray):
        return plain(value.tolist())
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        return {field.name: plain(getattr(value, field.name)) for field in dataclasses.fields(value)}
    if isinstance(value, Mapping):
        return {str(key): plain(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [plain(item) for item in value]
    return value


def _text_or_base64(value: bytes) -> object:
    try:
        return value.decode()
    except UnicodeDecodeError:
        return {"base64": base64.b64encode(value).decode()}


def print_json(value: object) -> None:
    """Print a value as one JSON document."""
    click.echo(shown_json(json.dumps(plain(value), indent=2, ensure_ascii=False, allow_nan=False)))


def print_table(*parts: RenderableType) -> None:
    """Print tables and texts, as wide as they need to be where nobody watches a terminal."""
    made = console()
    if made.is_terminal:
        made.print(*parts, sep="\n")
        return
    with made.capture() as captured:
        made.print(*parts, sep="\n")
    for line in captured.get().splitlines():
        click.echo(line.rstrip())


def print_note(text: str) -> None:
    """Print a remark that is no part of the result, on stderr."""
    click.echo(shown(text), err=True)


def write_text(path: Path, text: str) -> None:
    """Write a file whole or not at all; raises InvalidArgument where it cannot be written."""
    try:
        with written(path, overwrite=True) as file:
            file.write(text.encode())
    except OSError as error:
        raise InvalidArgument(f"{str(path)!r} cannot be written: {error.strerror}") from error


def console() -> Console:
    """Return a console that shows what it is given, and no markup or emoji that a note might hold."""
    made = Console(markup=False, emoji=False, highlight=False)
    return made if made.is_terminal else Console(markup=False, emoji=False, highlight=False, width=_WIDE)
