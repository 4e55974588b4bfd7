"""The command that compares two versions: diff."""

from __future__ import annotations

from pathlib import Path

import click

from interlock_client.cli import printing, render_diff
from interlock_client.cli.diff_page import page
from interlock_client.cli.session import Session, admin_address, output_option


@click.command()
@click.argument("model")
@click.argument("before")
@click.argument("after")
@click.option("--html", type=click.Path(path_type=Path, dir_okay=False), help="Write a page that needs nothing else.")
@click.option("--all", "everything", is_flag=True, help="List every tensor, also those that both versions share.")
@output_option
@admin_address
@click.pass_obj
def diff(
    session: Session, model: str, before: str, after: str, html: Path | None, everything: bool, output: str
) -> None:
    """Tell in what two versions differ; BEFORE and AFTER are numbers or aliases."""
    with session.open_admin() as admin:
        found = admin.diff(model, before, after)
    if html is not None:
        printing.write_text(html, page(found))
        printing.print_note(f"wrote {html}")
    if output == "json":
        printing.print_json(found)
    else:
        printing.print_table(*render_diff.diff(found, everything=everything))
