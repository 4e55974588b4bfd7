"""Commands of trainers: export and register."""

from __future__ import annotations

import dataclasses
import os
import sys
from collections.abc import Sequence
from pathlib import Path

import click

from interlock_client.cli import printing, render
from interlock_client.cli.bar import progress
from interlock_client.cli.parse import Pair, PairType, serving_config, unique
from interlock_client.cli.session import Session, admin_address, output_option


@click.command()
@click.argument("target", metavar="MODULE:ATTR")
@click.option("--out", type=click.Path(path_type=Path, dir_okay=False), required=True, help="The ONNX file to write.")
@click.option(
    "--input",
    "inputs",
    multiple=True,
    required=True,
    metavar="NAME=DTYPE[D1,D2,...]",
    help="An input; sizes are numbers or names, the first name being the batch. May be repeated.",
)
@click.option(
    "--samples",
    type=click.Path(path_type=Path, exists=True, dir_okay=False),
    help="An npz of real inputs by name, for parity and golden samples.",
)
@output_option
def export(target: str, out: Path, inputs: Sequence[str], samples: Path | None, output: str) -> None:
    """Export a PyTorch module to ONNX, prove parity and write golden samples.

    ATTR is a module, or a function that returns one, in the module MODULE.
    """
    from interlock_client.torch.command import export_command

    here = os.getcwd()
    if here not in sys.path:  # as `python -m` does: MODULE is the user's file
        sys.path.insert(0, here)
    report = export_command(target, out, inputs, samples)
    if output == "json":
        printing.print_json(report)
    else:
        printing.print_table(render.record(report))


@click.command()
@click.argument("model")
@click.argument("file", type=click.Path(path_type=Path))
@click.option("--golden", type=click.Path(path_type=Path), metavar="FILE.npz", help="Golden samples to replay.")
@click.option("--config", type=click.Path(path_type=Path), help="TOML or JSON file with how to serve it.")
@click.option("--note", default="", metavar="TEXT", help="Kept with the version.")
@click.option("--tag", "tags", type=PairType(), multiple=True, metavar="K=V", help="Kept with the version; may repeat.")
@click.option("--sign", type=click.Path(path_type=Path), metavar="KEY", help="Sign it with this private key's file.")
@click.option("--promote", is_flag=True, help="Then point stable at it.")
@click.option(
    "--idempotency-key", default="", metavar="KEY", help="Sent again, the same key and files give the same version."
)
@output_option
@admin_address
@click.pass_obj
def register(
    session: Session,
    model: str,
    file: Path,
    golden: Path | None,
    config: Path | None,
    note: str,
    tags: Sequence[Pair],
    sign: Path | None,
    promote: bool,
    idempotency_key: str,
    output: str,
) -> None:
    """Upload an ONNX file as the next version of MODEL."""
    labels = unique(tags, "--tag")
    serving = None if config is None else serving_config(config)
    with session.open_admin() as admin:
        with progress(f"uploading {file.name}", f"validating {file.name}") as report:
            version = admin.register(
                model,
                file,
                golden=golden,
                config=serving,
                note=note,
                tags=labels,
                sign=sign,
                idempotency_key=idempotency_key,
                progress=report,
            )
        if output == "table":
            proof = f"proven by {version.golden_samples} samples" if version.proven else "NOT proven: no golden samples"
            signed = "".join(f", signed by {each.name or each.key}" for each in version.signed_by)
            click.echo(f"registered {version.model}@{version.version}, {proof}{signed}")
        if promote:
            key = f"{idempotency_key}/promote" if idempotency_key else ""
            done = admin.promote(model, version.version, idempotency_key=key)
            if output == "table":
                printing.print_table(render.switch(done))
            version = dataclasses.replace(version, aliases=tuple(sorted({*version.aliases, done.alias})))
    if output == "json":
        printing.print_json(version)
