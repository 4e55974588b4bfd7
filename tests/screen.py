"""Where the proofs and benchmarks print their tables."""

from __future__ import annotations

import sys
from typing import Final

from rich.console import Console

_WIDE: Final = 160


def screen() -> Console:
    """Return standard output as a console: as wide as its terminal, and wide where it is none, as a log is."""
    return Console(width=None if sys.stdout.isatty() else _WIDE)
