"""Commands that change what is served: promote, rollback, alias rm, pin, unpin, retire, delete."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Final

import click
from interlock.errors import DeadlineExceeded
from interlock.model import Switch

from interlock_client.cli import printing, render
from interlock_client.cli.parse import VersionType
from interlock_client.cli.session import Session, admin_address, output_option

Function = Callable[..., Any]

_WAIT_S: Final = 60.0
"""How long `--wait` waits."""

_key = click.option(
    "--idempotency-key", default="", metavar="KEY", help="Sent again, the same key does the same thing only once."
)
_reason = click.option("--reason", default="", metavar="TEXT", help="Why, for the history.")
_expect = click.option(
    "--expect", type=click.IntRange(min=0), metavar="GENERATION", help="Refuse unless the alias is at this generation."
)


def _switch_options(function: Function) -> Function:
    for option in (
        click.option("--wait", is_flag=True, help="Return when every live replica of the fleet serves it, or fail."),
        click.option("--dry-run", is_flag=True, help="Check everything, change nothing."),
        click.option("--allow-breaking", is_flag=True, help="Accept a signature that breaks callers."),
        _expect,
        _reason,
        click.option("--alias", default="stable", show_default=True, help="The alias to move."),
        _key,
        output_option,
        admin_address,
        click.pass_obj,
    ):
        function = option(function)
    return function


def _show(done: Switch, output: str) -> None:
    if output == "json":
        printing.print_json(done)
    else:
        printing.print_table(render.switch(done))
    if done.late:
        raise DeadlineExceeded(
            f"{done.model}:{done.alias} is at version {done.to_version} and stays there, but after {_WAIT_S:g} s it "
            f"is not served by {', '.join(done.late)}; `interlock status` shows how the replicas stand"
        )


@click.command()
@click.argument("model")
@click.argument("version", type=VersionType())
@_switch_options
def promote(
    session: Session,
    model: str,
    version: int,
    alias: str,
    reason: str,
    expect: int | None,
    allow_breaking: bool,
    dry_run: bool,
    wait: bool,
    idempotency_key: str,
    output: str,
) -> None:
    """Point an alias at a version, once that is loaded, warm and golden-checked."""
    with session.open_admin() as admin:
        done = admin.promote(
            model,
            version,
            alias=alias,
            reason=reason,
            expect=expect,
            allow_breaking=allow_breaking,
            dry_run=dry_run,
            idempotency_key=idempotency_key,
            wait=_WAIT_S if wait else 0.0,
        )
    _show(done, output)


@click.command()
@click.argument("model")
@click.option("--to", type=VersionType(), metavar="VERSION", help="Go down the alias's stack to this version.")
@_switch_options
def rollback(
    session: Session,
    model: str,
    to: int | None,
    alias: str,
    reason: str,
    expect: int | None,
    allow_breaking: bool,
    dry_run: bool,
    wait: bool,
    idempotency_key: str,
    output: str,
) -> None:
    """Point an alias back at what it served before; again goes further back."""
    with session.open_admin() as admin:
        done = admin.rollback(
            model,
            to=to,
            alias=alias,
            reason=reason,
            expect=expect,
            allow_breaking=allow_breaking,
            dry_run=dry_run,
            idempotency_key=idempotency_key,
            wait=_WAIT_S if wait else 0.0,
        )
    _show(done, output)


@click.group()
def alias() -> None:
    """Change aliases themselves."""


@alias.command("rm")
@click.argument("model")
@click.argument("name", metavar="ALIAS")
@_reason
@_expect
@_key
@admin_address
@click.pass_obj
def remove(session: Session, model: str, name: str, reason: str, expect: int | None, idempotency_key: str) -> None:
    """Remove an alias and its stack."""
    with session.open_admin() as admin:
        admin.remove_alias(model, name, reason=reason, expect=expect, idempotency_key=idempotency_key)
    click.echo(f"removed {model}:{name}")


@click.command()
@click.argument("model")
@click.argument("version", type=VersionType())
@_reason
@_key
@admin_address
@click.pass_obj
def pin(session: Session, model: str, version: int, reason: str, idempotency_key: str) -> None:
    """Load a version and keep it loaded, so that MODEL@VERSION can be asked."""
    with session.open_admin() as admin:
        admin.pin(model, version, reason=reason, idempotency_key=idempotency_key)
    click.echo(f"pinned {model}@{version}")


@click.command()
@click.argument("model")
@click.argument("version", type=VersionType())
@_reason
@_key
@admin_address
@click.pass_obj
def unpin(session: Session, model: str, version: int, reason: str, idempotency_key: str) -> None:
    """Stop keeping a version loaded."""
    with session.open_admin() as admin:
        admin.unpin(model, version, reason=reason, idempotency_key=idempotency_key)
    click.echo(f"unpinned {model}@{version}")


@click.command()
@click.argument("model")
@click.argument("version", type=VersionType())
@_reason
@_key
@output_option
@admin_address
@click.pass_obj
def retire(session: Session, model: str, version: int, reason: str, idempotency_key: str, output: str) -> None:
    """Take a version out of use for good; refused while anything refers to it."""
    with session.open_admin() as admin:
        done = admin.retire(model, version, reason=reason, idempotency_key=idempotency_key)
    if output == "json":
        printing.print_json(done)
    else:
        click.echo(f"retired {model}@{version}")


@click.command()
@click.argument("model")
@click.argument("version", type=VersionType())
@_reason
@_key
@output_option
@admin_address
@click.pass_obj
def delete(session: Session, model: str, version: int, reason: str, idempotency_key: str, output: str) -> None:
    """Delete a retired version; its number is never used again."""
    with session.open_admin() as admin:
        done = admin.delete(model, version, reason=reason, idempotency_key=idempotency_key)
    if output == "json":
        printing.print_json(done)
    else:
        click.echo(f"deleted {model}@{version}")
