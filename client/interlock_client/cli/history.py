"""The command that shows the history: log."""

from __future__ import annotations

import json
import time
from collections.abc import Sequence
from datetime import datetime
from pathlib import Path
from typing import Final

import click
from interlock.model import EventFilter
from interlock.shown import shown_json

from interlock_client import Admin, ChainHead, DataLoss, Event, InterlockError
from interlock_client.cli import audit, printing, render
from interlock_client.cli.parse import HeadType, MomentType, VersionType
from interlock_client.cli.session import Session, admin_address, output_option

_PERIOD_S: Final = 1.0
_TAIL: Final = 10
_LIMIT: Final = 100
_ACTIONS: Final = (
    "register",
    "quantize",
    "approve",
    "approval.withdraw",
    "promote",
    "rollback",
    "alias.remove",
    "pin",
    "unpin",
    "retire",
    "delete",
    "sign",
    "trust",
    "audit.key",
)


@click.command()
@click.argument("model", required=False)
@click.option("--alias", help="Only what was done to this alias.")
@click.option("--version", type=VersionType(), metavar="VERSION", help="Only moves from or to this version.")
@click.option("--action", type=click.Choice(_ACTIONS), help="Only attempts of this kind.")
@click.option("--actor", help="Only by actors whose name contains this, in any case.")
@click.option("--outcome", metavar="ok|refused|REASON", help="Only granted ones, refused ones, or refused for REASON.")
@click.option("--since", type=MomentType(), metavar="TIME", help="Only from then on.")
@click.option("--until", type=MomentType(), metavar="TIME", help="Only up to then.")
@click.option("--before", type=click.IntRange(min=1), metavar="SEQ", help="Only before this event: the next page.")
@click.option("--limit", type=click.IntRange(min=1), help=f"Events at most. [default: {_LIMIT}; {_TAIL} with --follow]")
@click.option("--reverse", is_flag=True, help="Oldest first.")
@click.option("--follow", is_flag=True, help="Oldest first, and then what happens, until Ctrl-C.")
@click.option("--at", type=MomentType(), metavar="TIME", help="Where each alias pointed then, not the events.")
@click.option("--verify", is_flag=True, help="Hash the whole history here and say where it breaks, if it does.")
@click.option("--known", type=HeadType(), metavar="SEQ:HASH", help="With --verify: what an earlier one printed.")
@click.option("--head", is_flag=True, help="The end of the history, signed by the server's audit key.")
@click.option("--export", metavar="FILE", help="Write the whole history with its signed head into a new FILE, or -.")
@click.option(
    "--against",
    type=click.Path(path_type=Path),
    metavar="FILE",
    help="With --verify: a copy that was kept; tells what was cut off or written anew since.",
)
@click.option("--offline", is_flag=True, help="With --against: look at the copy only, and ask no server.")
@click.option(
    "--audit-key", "keys", multiple=True, metavar="KEY", help="With --against: who may have signed; may repeat."
)
@output_option
@admin_address
@click.pass_obj
def log(
    session: Session,
    model: str | None,
    alias: str | None,
    version: int | None,
    action: str | None,
    actor: str | None,
    outcome: str | None,
    since: datetime | None,
    until: datetime | None,
    before: int | None,
    limit: int | None,
    reverse: bool,
    follow: bool,
    at: datetime | None,
    verify: bool,
    known: ChainHead | None,
    head: bool,
    export: str | None,
    against: Path | None,
    offline: bool,
    keys: Sequence[str],
    output: str,
) -> None:
    """Show the history, newest first: who changed what, when and why, and what was refused.

    A TIME is 2026-01-31T12:00 (local), 2026-01-31T12:00:00Z or '10 minutes ago'.
    """
    where = EventFilter(
        model=model,
        alias=alias,
        version=version,
        action=action,
        actor=actor,
        outcome=outcome,
        since=since,
        until=until,
        before=before,
        oldest_first=reverse,
    )
    _check(where, limit=limit, follow=follow, at=at, verify=verify, known=known, head=head, export=export)
    _check_copy(against, verify=verify, known=known, offline=offline, keys=keys)
    if against is not None:
        copy = audit.verified(against, keys)
        known = audit.place(copy)
        if output == "table":
            audit.say(copy, against)
        if offline:
            return
    with session.open_admin() as admin:
        if head:
            audit.show_head(admin, output)
        elif export is not None:
            audit.export(admin, export)
        elif verify:
            _verify(admin, known, output)
        elif at is not None:
            _at(admin, at, model, output)
        elif follow:
            _follow(admin, where, limit or _TAIL, output)
        else:
            _list(admin, where, limit or _LIMIT, output)


def _check(
    where: EventFilter,
    *,
    limit: int | None,
    follow: bool,
    at: datetime | None,
    verify: bool,
    known: ChainHead | None,
    head: bool,
    export: str | None,
) -> None:
    if known is not None and not verify:
        raise click.UsageError("--known goes with --verify")
    if sum((follow, at is not None, verify, head, export is not None)) > 1:
        raise click.UsageError("of --follow, --at, --verify, --head and --export only one is possible")
    if (verify or head or export is not None) and (where != EventFilter() or limit is not None):
        what = "--verify" if verify else "--head" if head else "--export"
        raise click.UsageError(f"{what} is about the whole history: it takes no model and no filter")
    if at is not None and (where != EventFilter(model=where.model) or limit is not None):
        raise click.UsageError("--at takes a model, and no filter")
    if follow and (where.until is not None or where.before is not None):
        raise click.UsageError("--follow shows what is still to come: --until and --before end before that")


def _check_copy(
    against: Path | None, *, verify: bool, known: ChainHead | None, offline: bool, keys: Sequence[str]
) -> None:
    if against is not None and (not verify or known is not None):
        raise click.UsageError("--against goes with --verify, and in place of --known")
    if against is None and (offline or keys):
        raise click.UsageError("--offline and --audit-key go with --against")


def _events(admin: Admin, where: EventFilter, limit: int, *, after: int | None = None) -> list[Event]:
    return admin.log(
        where.model,
        alias=where.alias,
        version=where.version,
        action=where.action,
        actor=where.actor,
        outcome=where.outcome,
        since=where.since,
        until=where.until,
        before=where.before,
        after=after,
        oldest_first=where.oldest_first or after is not None,
        limit=limit,
    )


def _list(admin: Admin, where: EventFilter, limit: int, output: str) -> None:
    found = _events(admin, where, limit)
    if output == "json":
        printing.print_json(found)
        return
    printing.print_table(render.events(found, is_filtered=where != EventFilter()))
    if len(found) == limit and not where.oldest_first and found[-1].seq > 1:
        printing.print_note(f"there may be more; --before {found[-1].seq} shows them")


def _at(admin: Admin, at: datetime, model: str | None, output: str) -> None:
    found = admin.aliases_at(at, model=model)
    if output == "json":
        printing.print_json(found)
    else:
        printing.print_table(render.history(found, at))


def _follow(admin: Admin, where: EventFilter, limit: int, output: str) -> None:
    newest_first = _events(admin, where, limit)
    _show_lines(newest_first if where.oldest_first else newest_first[::-1], output, is_first=True)
    last = max((each.seq for each in newest_first), default=0)
    lost = False
    while True:
        time.sleep(_PERIOD_S)
        try:
            found = _events(admin, where, 1000, after=last)
        except InterlockError as error:  # the point of following is to see it come back
            if not lost:
                printing.print_note(error.message)
            lost = True
            continue
        lost = False
        _show_lines(found, output, is_first=False)
        last = max((each.seq for each in found), default=last)


def _show_lines(found: Sequence[Event], output: str, *, is_first: bool) -> None:
    """Print each event as one line: a JSON object, or a row under columns that do not move."""
    if output == "json":
        for each in found:
            click.echo(shown_json(json.dumps(printing.plain(each), ensure_ascii=False)))
    elif found or is_first:
        for line in render.event_lines(found, with_header=is_first):
            click.echo(line)


def _verify(admin: Admin, known: ChainHead | None, output: str) -> None:
    report = admin.verify_log(known=known)
    if output == "json":
        printing.print_json(report)
    elif report.is_whole:
        printing.print_table(render.chain(report))
    if not report.is_whole:
        raise DataLoss(
            f"the history is broken at event {report.broken_at}: {report.why}; the {report.events} before it are "
            "whole. Compare with a backup of the registry",
            facts={"broken_at": str(report.broken_at)},
        )
