"""Virtual environments of other people's packages, kept beside our own: made once, anew when the packages change."""

from __future__ import annotations

import hashlib
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Final

ROOT: Final = Path(__file__).parent.parent


def folder_of(name: str) -> Path:
    """Return where the environment of that name is, or would be."""
    return ROOT / f".venv-{name}"


def set_up(name: str, packages: Sequence[str], *flags: str) -> Path:
    """Make an environment with these packages unless it is there, and return its folder; may use the network.

    `flags` go to pip. Raises CalledProcessError.
    """
    folder = folder_of(name)
    stamp = folder / "interop-packages"
    wanted = hashlib.sha256(repr((sys.version, tuple(packages))).encode()).hexdigest()
    if stamp.exists() and stamp.read_text() == wanted:
        return folder
    subprocess.run([sys.executable, "-m", "venv", "--clear", str(folder)], check=True)
    quiet = ("--disable-pip-version-check", "--no-input", "--quiet", *flags)
    subprocess.run([str(folder / "bin" / "python"), "-m", "pip", "install", *quiet, *packages], check=True)
    stamp.write_text(wanted)
    return folder
