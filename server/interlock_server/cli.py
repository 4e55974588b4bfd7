"""`interlock serve`: flags → settings → the supervisor."""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from importlib import metadata
from pathlib import Path
from typing import Final

import click
from interlock.errors import StartupRefused

from interlock_server import certificates
from interlock_server.floors import FLOORS, check_floors
from interlock_server.ground import check_ground
from interlock_server.process.boot import open_missing_streams
from interlock_server.process.reload import Launch
from interlock_server.settings import Settings, meant

_ENGINES: Final = (
    "onnxruntime",
    "onnxruntime-gpu",
    "onnxruntime-directml",
    "onnxruntime-openvino",
    "onnxruntime-qnn",
    "onnxruntime-training",
    "ort-nightly",
    "ort-nightly-gpu",
)
"""Distributions that bring the package onnxruntime."""
_PREFIX: Final = "INTERLOCK_"
_CALLERS: Final = frozenset(
    ("server", "admin", "tls", "tls_ca", "tls_name", "client_cert", "client_key", "token", "token_file", "debug")
)
"""Variables with our prefix that are for who calls a server; the same environment may have both."""


@click.command()
@click.option("--data", type=click.Path(path_type=Path), help="Data directory. [default: ./interlock-data]")
@click.option("--host", help="Address to bind. [default: 127.0.0.1]")
@click.option("--grpc-port", type=int, help="Inference gRPC port; 0 picks one. [default: 8001]")
@click.option("--http-port", type=int, help="HTTP port; 0 picks one. [default: 8000]")
@click.option("--admin-port", type=int, help="Admin gRPC port; 0 picks one. [default: 8002]")
@click.option("--workers", type=int, help="Serving workers, which share the inference port. [default: 1]")
@click.option("--providers", type=click.Choice(["auto", "cpu", "cuda"]), help="Execution provider. [default: auto]")
@click.option("--front", type=click.Choice(["auto", "aio", "core", "native"]), help="gRPC front. [default: auto]")
@click.option("--sandbox", type=click.Choice(["auto", "strict", "off"]), help="Walls around uploads. [default: auto]")
@click.option("--insecure", is_flag=True, default=None, help="Allow a non-loopback host without TLS and auth.")
@click.option("--auth", type=click.Choice(["off", "on"]), help="Ask who calls, and whether they may. [default: off]")
@click.option("--tls-cert", type=click.Path(path_type=Path), help="PEM chain of the server's certificate.")
@click.option("--tls-key", type=click.Path(path_type=Path), help="PEM key of that certificate.")
@click.option("--tls-client-ca", type=click.Path(path_type=Path), help="PEM of who signs the callers' certificates.")
@click.option("--config", type=click.Path(path_type=Path), help="TOML file with any setting (docs/settings.md).")
def serve(config: Path | None, **flags: str | int | float | bool | Path | None) -> None:
    """Run the server in the foreground until SIGTERM or Ctrl-C."""
    open_missing_streams()
    os.umask(0o077)  # what it and its children write is for this user, also in a directory that others may read
    given = {name: value for name, value in flags.items() if value is not None}
    settings = Settings.load({**given}, config)
    check_engine()
    for remark in strange_variables(os.environ):
        click.echo(f"interlock: {remark}", err=True)
    if settings.database_file is not None:
        warning = check_ground(settings.database_file, allowed=settings.allow_network_filesystem)
        if warning:
            click.echo(f"interlock: {warning}", err=True)
    if settings.certificates is not None:
        certificates.read(settings.certificates)
    launch = Launch(
        {name: str(value) if isinstance(value, Path) else value for name, value in given.items()},
        None if config is None else str(config.absolute()),
    )
    dumped = settings.absolute().model_dump(mode="json")
    handed = os.memfd_create("interlock-settings", 0)
    os.write(handed, json.dumps(dumped | {"launch": asdict(launch)}).encode())
    os.lseek(handed, 0, os.SEEK_SET)
    os.set_inheritable(handed, True)
    # The supervisor must be small and import nothing that can fail: a fresh interpreter takes this process's place.
    os.execv(sys.executable, [sys.executable, "-m", "interlock_server.process.supervisor", str(handed)])


def strange_variables(environment: Mapping[str, str]) -> Sequence[str]:
    """Return a remark on each variable that looks like a setting and is none: it would be left out in silence."""
    names = sorted(name for name in environment if name.startswith(_PREFIX))
    fields = {name: name.removeprefix(_PREFIX).lower() for name in names}
    return [
        f"the variable {name} is no setting, and changes nothing{meant(field)}"
        for name, field in fields.items()
        if field not in Settings.model_fields and field not in _CALLERS
    ]


def check_engine() -> None:
    """Refuse to start unless exactly one ONNX Runtime package is installed, and is new; raises StartupRefused."""
    # Asking every installed distribution what it provides takes a fifth of a second: only where none of these is known.
    installed = [name for name in _ENGINES if _is_installed(name)] or sorted(
        set(metadata.packages_distributions().get("onnxruntime", []))
    )
    if not installed:
        raise StartupRefused(
            "no ONNX Runtime is installed; run: pip install 'interlock[server,cpu]' (or [server,gpu] for CUDA)"
        )
    if len(installed) > 1:
        raise StartupRefused(
            f"{' and '.join(installed)} are both installed and overwrite each other; run: "
            f"pip uninstall -y {' '.join(installed)} && pip install 'interlock[server,cpu]' (or [server,gpu])"
        )
    check_floors({name: metadata.version(name) for name in FLOORS if name in {*installed, "onnx"}})


def _is_installed(distribution: str) -> bool:
    try:
        metadata.distribution(distribution)
    except metadata.PackageNotFoundError:
        return False
    return True
