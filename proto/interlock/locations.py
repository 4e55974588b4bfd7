"""Where a model may keep its data beside itself. Pure: the one rule for clients, servers and the model tool."""

from __future__ import annotations

import unicodedata
from pathlib import PurePosixPath
from typing import Final

MAX_LOCATION: Final = 255
"""Characters."""


def is_plain_location(location: str) -> bool:
    """Say whether a location is a relative path that stays in its directory, spelt the only way that it can be."""
    path = PurePosixPath(location)
    return (
        0 < len(location) <= MAX_LOCATION
        and location != "."
        and not path.is_absolute()
        and ".." not in path.parts
        and str(path) == location
        and "\\" not in location
        and not any(unicodedata.category(char)[0] == "C" for char in location)
    )
