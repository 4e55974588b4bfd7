"""Commands that read the registry: models, versions, show, log."""

from __future__ import annotations

from datetime import datetime

import click

from interlock_client.cli import printing, render
from interlock_client.cli.parse import MomentType
from interlock_client.cli.session import Session, admin_address, output_option


@click.command()
@output_option
@admin_address
@click.pass_obj
def models(session: Session, output: str) -> None:
    """List the models and where their aliases point."""
    with session.open_admin() as admin:
        found = admin.models()
    if output == "json":
        printing.print_json(found)
    else:
        printing.print_table(render.models(found))


@click.command()
@click.argument("model")
@output_option
@admin_address
@click.pass_obj
def versions(session: Session, model: str, output: str) -> None:
    """List a model's versions, newest first."""
    with session.open_admin() as admin:
        found = admin.versions(model)
    if output == "json":
        printing.print_json(found)
    else:
        printing.print_table(render.versions(found))


@click.command()
@click.argument("ref")
@output_option
@admin_address
@click.pass_obj
def show(session: Session, ref: str, output: str) -> None:
    """Show one version in full; REF is MODEL, MODEL@3 or MODEL:ALIAS."""
    with session.open_admin() as admin:
        found = admin.show(ref)
    if output == "json":
        printing.print_json(found)
    else:
        printing.print_table(render.version(found))


@click.command()
@click.argument("model", required=False)
@click.option("--at", type=MomentType(), metavar="TIME", help="What each alias pointed at then, not the events.")
@click.option("--limit", type=click.IntRange(min=1), default=100, show_default=True, help="Events at most.")
@output_option
@admin_address
@click.pass_obj
def log(session: Session, model: str | None, at: datetime | None, limit: int, output: str) -> None:
    """Show the history, newest first: who changed what, when, and what was refused."""
    with session.open_admin() as admin:
        if at is not None:
            aliases = admin.aliases_at(at, model=model)
            if output == "json":
                printing.print_json(aliases)
            else:
                printing.print_table(render.history(aliases, at))
            return
        found = admin.log(model, limit=limit)
    if output == "json":
        printing.print_json(found)
    else:
        printing.print_table(render.events(found))
