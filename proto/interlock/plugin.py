"""What a package that adds commands to `interlock` says of them, so that help need not import them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class CommandLines:
    """The commands of one package in a line each; found through the entry-point group `interlock.command_lines`."""

    lines: Mapping[str, str]
    """By command. At most 66 characters: what 80 columns leave beside the names."""
    needs: tuple[str, ...]
    """Modules without which none of them runs."""
