"""Commands about approvals: approve, approvals."""

from __future__ import annotations

import click

from interlock_client.cli import printing, render
from interlock_client.cli.parse import VersionType
from interlock_client.cli.session import Session, admin_address, output_option


@click.command()
@click.argument("model")
@click.argument("version", type=VersionType())
@click.option("--alias", default="stable", show_default=True, help="The alias that may move on to it.")
@click.option("--withdraw", is_flag=True, help="Take your approval back.")
@click.option("--reason", default="", metavar="TEXT", help="Why, for the history.")
@click.option(
    "--idempotency-key", default="", metavar="KEY", help="Sent again, the same key does the same thing only once."
)
@output_option
@admin_address
@click.pass_obj
def approve(
    session: Session,
    model: str,
    version: int,
    alias: str,
    withdraw: bool,
    reason: str,
    idempotency_key: str,
    output: str,
) -> None:
    """Agree that an alias may move on to a version which somebody else has registered and will promote."""
    with session.open_admin() as admin:
        change = admin.withdraw_approval if withdraw else admin.approve
        done = change(model, version, alias=alias, reason=reason, idempotency_key=idempotency_key)
    if output == "json":
        printing.print_json(done)
    else:
        click.echo(f"{'withdrawn' if withdraw else 'approved'}: {model}@{version} as {alias}, by {done.approver}")


@click.command()
@click.argument("model", required=False)
@output_option
@admin_address
@click.pass_obj
def approvals(session: Session, model: str | None, output: str) -> None:
    """List what was approved by whom, newest first, and whether it still counts."""
    with session.open_admin() as admin:
        found = admin.approvals(model)
    if output == "json":
        printing.print_json(found)
    else:
        printing.print_table(render.approvals(found))
