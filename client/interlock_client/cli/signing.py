"""Commands of those who sign: key, sign, verify."""

from __future__ import annotations

from pathlib import Path

import click
from interlock.keys import PublicKey, SigningKey

from interlock_client.cli import printing
from interlock_client.cli.session import Session, admin_address, output_option


@click.group()
def key() -> None:
    """Make keys to sign with; they stay where they are made."""


@key.command("create", short_help="Make a private key in FILE and print its public half.")
@click.argument("file", type=click.Path(path_type=Path, dir_okay=False))
@output_option
def create_key(file: Path, output: str) -> None:
    """Make a private key in FILE, for your eyes only, and print its public half."""
    made = SigningKey.create(file).public
    _print(made, output)
    if output == "table":
        click.echo(
            f"the private key is in {file}. On the server: interlock trust add {made} --name NAME [--models GLOB]",
            err=True,
        )


@key.command("show", short_help="Print the public half of a key.")
@click.argument("key", metavar="KEY")
@output_option
def show_key(key: str, output: str) -> None:
    """Print the public half of a key: of a private key's file, or of a public key."""
    _print(PublicKey.read(key), output)


def _print(public: PublicKey, output: str) -> None:
    if output == "json":
        printing.print_json({"id": public.id, "public_key": str(public)})
    else:
        click.echo(f"{public} {public.id}")


@click.command()
@click.argument("ref")
@click.option("--key", type=click.Path(path_type=Path), required=True, metavar="FILE", help="Your private key.")
@click.option("--file", type=click.Path(path_type=Path), metavar="FILE.onnx", help="It must be made of this model...")
@click.option("--golden", type=click.Path(path_type=Path), metavar="FILE.npz", help="...and these golden samples.")
@click.option("--reason", default="", help="Goes into the history.")
@click.option("--idempotency-key", default="", metavar="KEY", help="Sent again, the same request is done once.")
@output_option
@admin_address
@click.pass_obj
def sign(
    session: Session,
    ref: str,
    key: Path,
    file: Path | None,
    golden: Path | None,
    reason: str,
    idempotency_key: str,
    output: str,
) -> None:
    """Sign a version that is registered already; REF is MODEL, MODEL@3 or MODEL:ALIAS.

    What is signed is what the server has stored. Without --file you take its word for that being your model.
    """
    if golden is not None and file is None:
        raise click.UsageError("--golden goes with --file")
    with session.open_admin() as admin:
        version = admin.sign(ref, key, path=file, golden=golden, reason=reason, idempotency_key=idempotency_key)
    if output == "json":
        printing.print_json(version)
    else:
        click.echo(f"signed {version.model}@{version.version}")


@click.command()
@click.argument("ref")
@click.option("--key", required=True, metavar="KEY", help="The public key, or a file that holds it.")
@output_option
@admin_address
@click.pass_obj
def verify(session: Session, ref: str, key: str, output: str) -> None:
    """Check here that a version is as KEY has signed it; exits 1 if it is not."""
    with session.open_admin() as admin:
        version = admin.verify(ref, key)
    if output == "json":
        printing.print_json(version)
    else:
        click.echo(f"{version.model}@{version.version} is as that key has signed it")
