"""What the system tests have in common: versions of one model that give themselves away by their factor."""

from __future__ import annotations

from pathlib import Path
from typing import Final

from interlock_client import Admin

from tests import models
from tests.server import Server

SCALES: Final = {version: float(version + 1) for version in range(1, 9)}
"""Version v of `m` multiplies by v + 1."""


def register(admin: Admin, folder: Path, count: int, model: str = "m") -> None:
    """Register versions 1 to `count`, proven, of a model."""
    for version in range(1, count + 1):
        scale = SCALES[version]
        file = models.write(folder / f"{model}-{version}.onnx", models.affine(scale=scale))
        golden = models.affine_golden(folder / f"{model}-{version}.npz", scale=scale)
        assert admin.register(model, file, golden=golden).version == version


def serve_two(server: Server, folder: Path) -> None:
    """Register two versions of `m` and promote both, so that 2 is live and 1 under it."""
    with server.admin() as admin:
        register(admin, folder, 2)
        admin.promote("m", 1)
        admin.promote("m", 2)


def worker_pid(server: Server) -> int:
    """Return the process id of the serving worker; raises LookupError between two lives of it."""
    return server.pid_of("worker")


def control_pid(server: Server) -> int:
    """Return the process id of the control process; raises LookupError between two lives of it."""
    return server.pid_of("control")


def pid_or_zero(server: Server, module: str) -> int:
    """Return the process id of a child, 0 between two lives of it."""
    try:
        return server.pid_of(module)
    except (LookupError, FileNotFoundError):
        return 0
