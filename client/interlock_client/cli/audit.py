"""What `interlock log` does about copies of the history that are kept elsewhere."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import click
from interlock.audit import ExportReport, SignedHead
from interlock.keys import PublicKey

from interlock_client import Admin, ChainHead, DataLoss
from interlock_client._audit import look
from interlock_client.cli import printing, render


@dataclass(frozen=True, slots=True)
class _Shown:
    head: str
    time: str
    replica: str
    key: str
    public_key: str


def show_head(admin: Admin, output: str) -> None:
    """Print the end of the history, signed."""
    signed = admin.head()
    if output == "json":
        click.echo(signed.to_line())
    else:
        printing.print_table(render.record(_shown(signed)))


def export(admin: Admin, target: str) -> None:
    """Write the history with its signed head into a new file, or to stdout."""
    if target == "-":
        admin.export_log(sys.stdout.buffer)
        sys.stdout.buffer.flush()
        return
    signed = admin.export_log(Path(target))
    click.echo(f"{signed.head.seq} events are in {target}, signed by key {signed.key.id}", err=True)


def place(report: ExportReport) -> ChainHead:
    """Return how far the last signed head of a whole copy says that the history went."""
    assert report.signed is not None
    return report.signed.head.place


def verified(path: Path, keys: Sequence[str]) -> ExportReport:
    """Verify a copy by itself; raises DataLoss where it is not whole."""
    report = look(path, [PublicKey.read(each) for each in keys])
    if report.report.is_whole and report.signed is not None:
        return report
    raise DataLoss(
        f"the copy of the history {str(path)!r} is not whole: {report.why}", facts={"events": str(report.report.events)}
    )


def say(report: ExportReport, path: Path) -> None:
    """Print what a copy vouches for."""
    assert report.signed is not None
    signed = report.signed
    also = f"; {report.why}" if report.why else ""
    click.echo(
        f"{path} is whole up to event {signed.head.seq}, signed by key {signed.key.id} of replica "
        f"{signed.head.replica} at {signed.head.time:%Y-%m-%d %H:%M:%S} UTC{also}"
    )


def _shown(signed: SignedHead) -> _Shown:
    return _Shown(
        str(signed.head.place), signed.head.time.isoformat(), signed.head.replica, signed.key.id, str(signed.key)
    )
