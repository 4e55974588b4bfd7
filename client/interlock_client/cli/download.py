"""The command that gives a version back as a file."""

from __future__ import annotations

from pathlib import Path

import click

from interlock_client.cli import printing
from interlock_client.cli.bar import progress
from interlock_client.cli.cells import clean
from interlock_client.cli.session import Session, admin_address, output_option


@click.command()
@click.argument("ref")
@click.argument("file", metavar="FILE.onnx", type=click.Path(path_type=Path, dir_okay=False))
@click.option("--force", is_flag=True, help="Overwrite FILE where it is there.")
@click.option("--external-data", is_flag=True, help="Put the tensors into FILE.onnx.data; over 2 GiB they always are.")
@click.option(
    "--golden",
    metavar="FILE.npz",
    type=click.Path(path_type=Path, dir_okay=False),
    help="Write its golden samples too; with them it can be registered elsewhere.",
)
@click.option("--key", default="", metavar="KEY", help="Only as KEY has signed it: the public key, or a file with it.")
@click.option("--require-signed", is_flag=True, help="Only with a signature that counts with the server.")
@output_option
@admin_address
@click.pass_obj
def pull(
    session: Session,
    ref: str,
    file: Path,
    force: bool,
    external_data: bool,
    golden: Path | None,
    key: str,
    require_signed: bool,
    output: str,
) -> None:
    """Write a version to an ONNX file again; REF is MODEL, MODEL@3 or MODEL:ALIAS."""
    with session.open_admin() as admin, progress(f"pulling {ref}", f"writing {file.name}") as report:
        pulled = admin.pull(
            ref,
            file,
            overwrite=force,
            external_data=external_data,
            golden=golden,
            key=key,
            require_signed=require_signed,
            progress=report,
        )
    for each in pulled.version.signed_by:
        if each.fault:
            printing.print_note(f"note: a signature of it counts for nothing with the server: {clean(each.fault)}")
    if output == "json":
        printing.print_json(pulled)
        return
    written = ", ".join(str(path) for path in pulled.paths)
    size = sum(path.stat().st_size for path in pulled.paths)
    by = ", ".join(clean(each.name) for each in pulled.version.signed_by if not each.fault)
    signed = f", signed by {by}" if by else ""
    click.echo(f"pulled {pulled.version.model}@{pulled.version.version} to {written}, {size} bytes{signed}")
