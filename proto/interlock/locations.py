"""Which files a model may consist of. Pure: the same rules for clients, servers and the model tool."""

from __future__ import annotations

import unicodedata
from pathlib import PurePosixPath
from typing import Final

from interlock.errors import InvalidModel

MAX_LOCATION: Final = 255
"""Characters."""
MAX_GRAPH_BYTES: Final = (1 << 31) - 1
"""The largest protocol buffer message there is, and so the largest graph; data beside it may be larger."""


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


def check_graph_size(name: str, size_bytes: int) -> None:
    """Refuse a graph that nobody could read, before it is hashed or sent; raises InvalidModel."""
    if size_bytes > MAX_GRAPH_BYTES:
        raise InvalidModel(
            f"{name} has {size_bytes} bytes, but one ONNX file cannot exceed 2 GiB: export the model with its weights "
            "in a file beside it (`interlock_client.torch.export` does so by itself, torch.onnx.export with "
            "external_data=True)",
            check="format",
        )
