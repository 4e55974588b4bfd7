"""`interlock trust`: whose signatures count with this server. It edits the file; servers look at it every second."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

import click
from interlock.access import credential_name, is_glob
from interlock.errors import InvalidArgument, StartupRefused
from interlock.keys import PublicKey

from interlock_server.process.datadir import DataDir
from interlock_server.settings import Settings
from interlock_server.trust import keys as files
from interlock_server.trust.keys import TrustedKey, TrustedKeys
from interlock_server.upkeep import printing
from interlock_server.upkeep.commands import placed
from interlock_server.upkeep.place import actor, make


@dataclass(frozen=True, slots=True)
class _Shown:
    """A key as it is printed."""

    id: str
    name: str
    models: tuple[str, ...]
    state: str
    added_at: datetime
    added_by: str
    not_before: datetime | None
    not_after: datetime | None
    revoked_why: str
    public_key: str


@click.group()
def trust() -> None:
    """Say whose signatures count, on this machine's server."""


@trust.command("add", short_help="Trust what a key signs.")
@click.argument("key", metavar="PUBLIC_KEY")
@click.option("--name", required=True, help="What the key is called from now on.")
@click.option(
    "--models", multiple=True, metavar="GLOB", help="Models that it may sign; may repeat. [default: all of them]"
)
@click.option("--not-before", type=click.DateTime(), help="Signatures from before (UTC) do not count.")
@click.option("--not-after", type=click.DateTime(), help="Signatures from then on (UTC) do not count; older ones do.")
@placed
def add_key(
    key: str,
    name: str,
    models: Sequence[str],
    not_before: datetime | None,
    not_after: datetime | None,
    data: Path | None,
    config: Path | None,
    output: str,
) -> None:
    """Trust what a key signs; PUBLIC_KEY is what `interlock key create` printed, or a file that holds it."""
    for each in models:
        if not is_glob(each):
            raise InvalidArgument(f"{each[:128]!r} is no pattern of model names; write for example fraud-*")
    public = PublicKey.read(key)
    path = Path(key)
    if path.exists() and b"PRIVATE KEY" in path.read_bytes():
        raise InvalidArgument(
            f"{key!r} holds a private key, which has no place on a server; give its public half, {public}, and keep "
            "the file where versions are signed"
        )
    new = TrustedKey(
        public=public,
        name=credential_name(name),
        models=tuple(models) or ("*",),
        added_at=datetime.now(UTC),
        added_by=actor(),
        not_before=_utc(not_before),
        not_after=_utc(not_after),
    )
    _change(_path(data, config, is_new=True), lambda keys: keys.added(new))
    _print((new,), output)


@trust.command("revoke", short_help="Let nothing count that a key has ever signed.")
@click.argument("key", metavar="NAME")
@click.option("--reason", required=True, help="Told to whoever wants to promote what it signed.")
@placed
def revoke_key(key: str, reason: str, data: Path | None, config: Path | None, output: str) -> None:
    """Let nothing count that a key, by name or id, has ever signed; what serves goes on until it is loaded again."""
    changed = _change(
        _path(data, config), lambda keys: keys.revoked(key, now=datetime.now(UTC), by=actor(), why=reason)
    )
    _print((changed.called(key),), output)


@trust.command("list")
@placed
def list_keys(data: Path | None, config: Path | None, output: str) -> None:
    """List the keys, revoked ones too."""
    _print((files.read(_path(data, config)) or TrustedKeys()).keys, output)


def _path(data: Path | None, config: Path | None, *, is_new: bool = False) -> Path:
    settings = Settings.load({} if data is None else {"data": data}, config)
    if settings.trusted_keys is None and is_new:
        make(DataDir(settings.data.absolute()))
    return settings.trust_path.absolute()


def _change(path: Path, how: Callable[[TrustedKeys], TrustedKeys]) -> TrustedKeys:
    try:
        return files.change(path, how)
    except OSError as error:
        raise StartupRefused(f"the trusted keys {str(path)!r} cannot be written: {error.strerror}") from error


def _utc(moment: datetime | None) -> datetime | None:
    return None if moment is None else moment.replace(tzinfo=UTC)


def _print(found: Sequence[TrustedKey], output: str) -> None:
    shown = [_shown(each) for each in found]
    if output == "json":
        printing.print_json(shown)
        return
    if not shown:
        click.echo("no key is trusted yet; `interlock trust add PUBLIC_KEY --name NAME` adds one")
        return
    printing.print_table(
        ("id", "name", "models", "state", "added", "by", "from", "until", "why"),
        (
            (
                each.id,
                each.name,
                " ".join(each.models),
                each.state,
                printing.moment(each.added_at),
                each.added_by,
                "-" if each.not_before is None else printing.moment(each.not_before),
                "-" if each.not_after is None else printing.moment(each.not_after),
                each.revoked_why or "-",
            )
            for each in shown
        ),
    )


def _shown(key: TrustedKey) -> _Shown:
    return _Shown(
        key.public.id,
        key.name,
        key.models,
        "trusted" if key.revoked_at is None else "revoked",
        key.added_at,
        key.added_by,
        key.not_before,
        key.not_after,
        key.revoked_why,
        str(key.public),
    )
