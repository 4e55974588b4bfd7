"""The command that shows a replica: status."""

from __future__ import annotations

import json
import time
from typing import Final

import click
from interlock.shown import shown_json
from rich.console import Group, RenderableType
from rich.live import Live

from interlock_client import Admin, InterlockError
from interlock_client.cli import printing, render
from interlock_client.cli.session import Session, admin_address, output_option

_PERIOD_S: Final = 1.0


@click.command()
@click.option("--watch", is_flag=True, help="Show it again every second, until Ctrl-C.")
@output_option
@admin_address
@click.pass_obj
def status(session: Session, watch: bool, output: str) -> None:
    """Show what the server is and does: workers, loaded versions, aliases."""
    with session.open_admin() as admin:
        if watch:
            _watch_json(admin) if output == "json" else _watch_table(admin)
            return
        found = admin.status()
    if output == "json":
        printing.print_json(found)
    else:
        printing.print_table(*render.status(found))


def _watch_json(admin: Admin) -> None:
    """Print one object a line; a failed look is an object with `error`."""
    while True:
        try:
            found = printing.plain(admin.status())
        except InterlockError as error:
            found = {"error": error.message, "reason": error.reason}
        click.echo(shown_json(json.dumps(found, ensure_ascii=False)))
        time.sleep(_PERIOD_S)


def _watch_table(admin: Admin) -> None:
    """Redraw where that can be done, else print one look after the other: `Live` would show nothing until its end."""
    console = printing.console()
    if not console.is_terminal or console.is_dumb_terminal:
        while True:
            printing.print_table(_look(admin))
            time.sleep(_PERIOD_S)
    with Live(console=console, auto_refresh=False, screen=False) as live:
        while True:
            live.update(_look(admin), refresh=True)
            time.sleep(_PERIOD_S)


def _look(admin: Admin) -> RenderableType:
    try:
        return Group(*render.status(admin.status()))
    except InterlockError as error:  # the point of watching is to see it come back
        return error.message
