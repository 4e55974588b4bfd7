"""Durations as people write them."""

from __future__ import annotations

import re
from typing import Any, Final

import click

_DURATION: Final = re.compile(r"(\d+(?:\.\d+)?)\s*(s|m|h|d)?")
_SECONDS: Final = {"s": 1.0, "m": 60.0, "h": 3600.0, "d": 86400.0, None: 1.0}
_MOST_S: Final = 36_500 * 86_400.0
"""Clocks end somewhere after that."""


class Duration(click.ParamType[float]):
    """`90`, `90s`, `30m`, `24h` or `7d`, in seconds."""

    name = "duration"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> float:
        """Read a duration; a wrong one is wrong usage."""
        if isinstance(value, int | float):
            return float(value)
        found = _DURATION.fullmatch(str(value).strip())
        if found is None:
            self.fail(f"{value!r} is not a duration: write 90s, 30m, 24h or 7d", param, ctx)
        seconds = float(found[1]) * _SECONDS[found[2]]
        if seconds > _MOST_S:
            self.fail(f"{value!r} is longer than {_MOST_S / _SECONDS['d']:g}d, the longest duration", param, ctx)
        return seconds
