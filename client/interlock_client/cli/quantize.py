"""The command of narrower forms: quantize."""

from __future__ import annotations

from collections.abc import Sequence

import click
from interlock.quantization import Form

from interlock_client.cli import printing, render
from interlock_client.cli.parse import Pair, PairType, unique
from interlock_client.cli.session import Session, admin_address, output_option


@click.command()
@click.argument("ref")
@click.option(
    "--to",
    type=click.Choice([form.value for form in Form]),
    default=Form.INT8.value,
    show_default=True,
    help="The form to make.",
)
@click.option("--atol", type=click.FloatRange(min=0), help="How far answers may be off; else what fits the form.")
@click.option("--rtol", type=click.FloatRange(min=0), help="The same, as a share of each golden output.")
@click.option("--note", default="", metavar="TEXT", help="Kept with the version.")
@click.option("--tag", "tags", type=PairType(), multiple=True, metavar="K=V", help="Kept with the version; may repeat.")
@click.option("--reason", default="", metavar="TEXT", help="Why, for the history.")
@click.option(
    "--idempotency-key", default="", metavar="KEY", help="Sent again, the same key does the same thing only once."
)
@output_option
@admin_address
@click.pass_obj
def quantize(
    session: Session,
    ref: str,
    to: str,
    atol: float | None,
    rtol: float | None,
    note: str,
    tags: Sequence[Pair],
    reason: str,
    idempotency_key: str,
    output: str,
) -> None:
    """Make a version of REF in a narrower form, and tell what that costs; nothing serves it until it is promoted."""
    with session.open_admin() as admin:
        done = admin.quantize(
            ref,
            to,
            atol=atol,
            rtol=rtol,
            note=note,
            tags=unique(tags, "--tag"),
            reason=reason,
            idempotency_key=idempotency_key,
        )
    if output == "json":
        printing.print_json(done)
    else:
        printing.print_table(*render.quantized(done))
