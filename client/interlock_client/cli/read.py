"""Commands that read the registry: models, versions, show."""

from __future__ import annotations

import click

from interlock_client.cli import printing, render
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
        status = admin.status() if output == "table" else None
    if status is None:
        printing.print_json(found)
    else:
        printing.print_table(render.version(found, status))
