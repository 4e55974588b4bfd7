"""`interlock token` and `interlock identity`: who is known to the servers on a registry.

They work on the registry itself, beside running servers or before the first one: whoever can write a data directory,
or has the password of a fleet's database, may do everything anyway.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Final, TypeVar

import click
from interlock.access import Credential, Grant, Proof
from interlock.errors import InvalidArgument
from interlock_registry.credentials import Issued
from interlock_registry.domain import Action

from interlock_server.process.datadir import DataDir
from interlock_server.settings import Settings
from interlock_server.upkeep import printing
from interlock_server.upkeep.commands import placed
from interlock_server.upkeep.durations import Duration
from interlock_server.upkeep.place import attempt, make, opened, private

F = TypeVar("F", bound=Callable[..., Any])

_DAY_S: Final = 86400.0
_DEFAULT_S: Final = 90 * _DAY_S


@dataclass(frozen=True, slots=True)
class _Shown:
    """A credential as it is printed."""

    id: str
    name: str
    roles: tuple[str, ...]
    state: str
    created_at: datetime
    created_by: str
    expires_at: datetime | None


@click.group()
def token() -> None:
    """Make, list and end tokens, on this machine's registry."""


@click.group()
def identity() -> None:
    """Say whose certificates are known, on this machine's registry."""


def _given(function: F) -> F:
    """Add what a new credential is given."""
    for option in (
        click.option("--reason", default="", help="Goes into the history."),
        click.option(
            "--expires",
            type=Duration(),
            default=None,
            help="How long it is good for (90s, 24h, 365d), or 0 for ever. [default: 90d]",
        ),
        click.option(
            "--role",
            "roles",
            multiple=True,
            required=True,
            metavar="ROLE[:GLOB]",
            help="viewer, invoker, publisher, approver, operator or admin, of the models that GLOB matches, else of "
            "all. May be repeated.",
        ),
    ):
        function = option(function)
    return function


@token.command("create")
@click.argument("name")
@_given
@placed
def create_token(
    name: str,
    roles: Sequence[str],
    expires: float | None,
    reason: str,
    data: Path | None,
    config: Path | None,
    output: str,
) -> None:
    """Make a token and print it, once: only its hash is kept. The first one is made so, too."""
    grants = [Grant.parse(each) for each in roles]
    _make_place(data, config)
    with opened(data, config) as place:
        made = place.registry.credentials.issue(
            attempt(Action.ISSUE_TOKEN, reason), name, grants, lifetime_s=_lifetime_s(expires)
        )
    _print_token(made, output)


@token.command("rotate")
@click.argument("name")
@click.option("--overlap", type=Duration(), default=0.0, help="How long the old secret stays good (90s, 24h).")
@click.option("--expires", type=Duration(), default=None, help="How long the new one is good for. [default: 90d]")
@click.option("--reason", default="", help="Goes into the history.")
@placed
def rotate_token(
    name: str, overlap: float, expires: float | None, reason: str, data: Path | None, config: Path | None, output: str
) -> None:
    """Replace a token's secret, and print the new one."""
    with opened(data, config) as place:
        made = place.registry.credentials.rotate(
            attempt(Action.ROTATE_TOKEN, reason), name, overlap_s=overlap, lifetime_s=_lifetime_s(expires)
        )
    _print_token(made, output)


@identity.command("allow", short_help="Know the holder of a certificate by NAME in it.")
@click.argument("name")
@_given
@placed
def allow_identity(
    name: str,
    roles: Sequence[str],
    expires: float | None,
    reason: str,
    data: Path | None,
    config: Path | None,
    output: str,
) -> None:
    """Know the holder of a certificate by NAME in it: an alternative name (mail, host, URI) or the common name."""
    grants = [Grant.parse(each) for each in roles]
    _make_place(data, config)
    with opened(data, config) as place:
        made = place.registry.credentials.allow(
            attempt(Action.ALLOW_IDENTITY, reason), name, grants, lifetime_s=_lifetime_s(expires)
        )
    _print((made,), output)


def _list(proof: Proof, data: Path | None, config: Path | None, output: str) -> None:
    with opened(data, config) as place:
        found = place.registry.credentials.all()
    _print([each for each in found if each.proof is proof], output)


@token.command("list", short_help="List the tokens, ended ones too.")
@placed
def list_tokens(data: Path | None, config: Path | None, output: str) -> None:
    """List the tokens, ended ones too; their secrets are known to nobody here."""
    _list(Proof.TOKEN, data, config, output)


@identity.command("list")
@placed
def list_identities(data: Path | None, config: Path | None, output: str) -> None:
    """List whose certificates are known, or were."""
    _list(Proof.CERTIFICATE, data, config, output)


def _revoke(
    proof: Proof, action: Action, called: str, reason: str, data: Path | None, config: Path | None, output: str
) -> None:
    with opened(data, config) as place:
        ended = place.registry.credentials.revoke(attempt(action, reason), proof, called)
    if output == "json":
        _print(ended, output)
        return
    click.echo(f"revoked {', '.join(f'{each.name} ({each.id})' for each in ended)}")


@token.command("revoke", short_help="End a token, by its name or id.")
@click.argument("name")
@click.option("--reason", default="", help="Goes into the history.")
@placed
def revoke_token(name: str, reason: str, data: Path | None, config: Path | None, output: str) -> None:
    """End a token, by its name or id; running servers refuse it within a second."""
    _revoke(Proof.TOKEN, Action.REVOKE_TOKEN, name, reason, data, config, output)


@identity.command("revoke", short_help="Know the holder of a certificate no longer.")
@click.argument("name")
@click.option("--reason", default="", help="Goes into the history.")
@placed
def revoke_identity(name: str, reason: str, data: Path | None, config: Path | None, output: str) -> None:
    """Know the holder of a certificate no longer; running servers refuse him within a second."""
    _revoke(Proof.CERTIFICATE, Action.REVOKE_IDENTITY, name, reason, data, config, output)


def _make_place(data: Path | None, config: Path | None) -> None:
    """Make the data directory and the registry that a first server will find."""
    settings = Settings.load({} if data is None else {"data": data}, config)
    folder = DataDir(settings.data.absolute())
    if settings.db or folder.database.exists():
        return
    from interlock_registry.registry import Registry

    make(folder)
    with private():
        Registry.open(settings.database_url, backup_dir=folder.state).close()


def _lifetime_s(expires: float | None) -> float | None:
    if expires is None:
        return _DEFAULT_S
    if expires < 0:
        raise InvalidArgument(f"--expires is {expires:g} s; it is a time from now on, or 0 for ever")
    return expires or None


def _print_token(made: Issued, output: str) -> None:
    if output == "json":
        printing.print_json({"token": made.token, "credential": _shown(made.credential)})
        return
    click.echo(made.token)
    expires = made.credential.expires_at
    until = "for ever" if expires is None else f"until {printing.moment(expires)}"
    click.echo(
        f"{made.credential.name} ({made.credential.id}), {' '.join(map(str, made.credential.grants))}, good {until}. "
        "This is the only time that it is shown.",
        err=True,
    )


def _print(found: Sequence[Credential], output: str) -> None:
    shown = [_shown(each) for each in found]
    if output == "json":
        printing.print_json(shown)
        return
    if not shown:
        click.echo("there are none yet; --help of this group says how to make one")
        return
    printing.print_table(
        ("id", "name", "roles", "state", "created", "by", "expires"),
        (
            (
                each.id,
                each.name,
                " ".join(each.roles),
                each.state,
                printing.moment(each.created_at),
                each.created_by,
                "never" if each.expires_at is None else printing.moment(each.expires_at),
            )
            for each in shown
        ),
    )


def _shown(each: Credential) -> _Shown:
    now = datetime.now(UTC)
    state = "valid" if each.is_valid(now) else "revoked" if each.revoked_at is not None else "expired"
    return _Shown(
        each.id, each.name, tuple(map(str, each.grants)), state, each.created_at, each.created_by, each.expires_at
    )
