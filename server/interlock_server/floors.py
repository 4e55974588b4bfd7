"""Releases of what reads models that are too old: each floor is where the last known hole was closed."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from typing import Final

from interlock.errors import StartupRefused

FLOORS: Final[Mapping[str, str]] = {
    "onnx": "1.21.0",
    "onnxruntime": "1.28.1",
    "onnxruntime-gpu": "1.28.1",
}
"""External data by way of links (onnx), addresses in memory as file names and sparse tensors (ONNX Runtime)."""


def check_floors(installed: Mapping[str, str]) -> None:
    """Refuse packages with holes that are known; raises StartupRefused with the command that mends it."""
    wrong = list(_too_old(installed))
    if wrong:
        named = ", ".join(f"{name} {installed[name]} (at least {FLOORS[name]} is needed)" for name in wrong)
        wanted = " ".join(f"'{name}>={FLOORS[name]}'" for name in wrong)
        raise StartupRefused(f"models can break out of {named}; run: pip install {wanted}")


def _too_old(installed: Mapping[str, str]) -> Iterator[str]:
    for name, floor in FLOORS.items():
        if name in installed and _release(installed[name]) < _release(floor):
            yield name


def _release(version: str) -> tuple[int, ...]:
    found = re.match(r"\d+(?:\.\d+)*", version)
    numbers = tuple(map(int, found.group().split("."))) if found else ()
    return (*numbers, 0, 0, 0)[: max(3, len(numbers))]
