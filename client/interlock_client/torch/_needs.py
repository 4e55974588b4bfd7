"""What an export needs installed, and what it was made with."""

from __future__ import annotations

import importlib.util
import platform
from collections.abc import Mapping
from importlib.metadata import PackageNotFoundError, version
from typing import Final

from interlock import __version__
from interlock.errors import ExportRefused

_PACKAGES: Final = ("torch", "onnx", "onnxscript", "onnxruntime")


def require() -> None:
    """Check that everything needed is there; raises ExportRefused with the command that installs it."""
    missing = [name for name in _PACKAGES if importlib.util.find_spec(name) is None]
    if missing:
        raise ExportRefused(
            f"an export needs {', '.join(missing)}, which {'is' if len(missing) == 1 else 'are'} not installed here: "
            "pip install 'interlock[torch,cpu]' (or [torch,gpu])",
            facts={"missing": ",".join(missing)},
        )


def environment() -> Mapping[str, str]:
    """Return the versions that an export was made with; no paths, no names of people or machines."""
    found = {"interlock": __version__, "python": platform.python_version(), "machine": platform.machine()}
    for name in (*_PACKAGES, "numpy"):
        try:
            found[name] = version(name)
        except PackageNotFoundError:
            # onnxruntime-gpu ships the same package under another name.
            found[name] = version("onnxruntime-gpu") if name == "onnxruntime" else "unknown"
    return found
