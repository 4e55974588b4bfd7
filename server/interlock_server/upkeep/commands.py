"""`interlock gc` and `interlock fsck`: flags → one call → tables."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

import click
from interlock.errors import StartupRefused
from interlock_registry.checking import Checker
from interlock_registry.collector import Collector
from interlock_registry.derived_store import DerivedStore
from interlock_registry.derived_upkeep import DueForm, FormKeeper
from interlock_registry.domain import Action
from interlock_registry.fsck import Finding, Repair, Severity
from interlock_registry.garbage import Garbage

from interlock_server.process.datadir import DataDir, DataDirRefused, DataLock
from interlock_server.trust import keys as trusted
from interlock_server.trust.examination import examine
from interlock_server.upkeep import printing
from interlock_server.upkeep.durations import Duration
from interlock_server.upkeep.leftovers import check_folder, remove_leftover
from interlock_server.upkeep.place import Place, actor, attempt, opened

F = TypeVar("F", bound=Callable[..., Any])


def placed(function: F) -> F:
    """Add the options that say which data directory it is about, and how to print."""
    for option in (
        click.option(
            "-o",
            "--output",
            type=click.Choice(["table", "json"]),
            default="table",
            show_default=True,
            help="How to print the result.",
        ),
        click.option("--config", type=click.Path(path_type=Path), help="TOML file with the server's settings."),
        click.option("--data", type=click.Path(path_type=Path), help="Data directory. [default: ./interlock-data]"),
    ):
        function = option(function)
    return function


@click.command()
@placed
@click.option("--delete", is_flag=True, help="Remove what may go; without it, only say what would.")
@click.option("--grace", type=Duration(), help="Leave alone what is younger (90s, 24h, 7d). [default: gc_grace_s]")
@click.option("--reason", default="", help="Goes into the history.")
def gc(data: Path | None, config: Path | None, output: str, delete: bool, grace: float | None, reason: str) -> None:
    """Find blobs and derived forms that no version needs any more, and remove them with --delete.

    A server may be running.
    """
    with opened(data, config) as place:
        grace_s = place.settings.gc_grace_s if grace is None else grace
        collector = Collector(place.registry.blobs, place.store, grace_s=grace_s)
        before = collector.survey()
        collected = collector.collect(attempt(Action.COLLECT, reason)) if delete else None
        keeper = _keeper(place)
        kept = {version.graph.digest for model in place.registry.desired().models for version in model.keep}
        forms = keeper.survey(kept_graphs=kept, cap_bytes=place.settings.derived_cache_bytes)
        if delete:
            keeper.collect(forms)
    due = before.due if collected is None else collected.removed
    if output == "json":
        printing.print_json(
            {
                "deleted": delete,
                "due": [_document(each) for each in due],
                "due_bytes": _bytes(due),
                "spared": [] if collected is None else [_document(each) for each in collected.spared],
                "waiting": [_document(each) for each in before.waiting],
                "waiting_bytes": _bytes(before.waiting),
                "kept": before.kept,
                "kept_bytes": before.kept_bytes,
                "forms": list(forms),
                "forms_bytes": _forms_bytes(forms),
            }
        )
        return
    state = "removed" if delete else "may go"
    rows = [(each, state) for each in due]
    rows += [(each, f"may go after {printing.moment(each.due)}") for each in before.waiting]
    blobs = (
        (each.file.name, printing.size(each.file.size_bytes), each.why, printing.moment(each.since), what)
        for each, what in rows
    )
    derived = ((f"derived/{each.key}", printing.size(each.size_bytes), each.why, "", state) for each in forms)
    printing.print_table(("file", "size", "why", "since", ""), (*blobs, *derived))
    verb = "removed" if delete else "would remove"
    click.echo(
        f"{verb} {len(due)} files ({printing.size(_bytes(due))}); {len(before.waiting)} wait "
        f"({printing.size(_bytes(before.waiting))}); {before.kept} blobs are needed "
        f"({printing.size(before.kept_bytes)})"
        + (f"; {verb} {len(forms)} derived forms ({printing.size(_forms_bytes(forms))})" if forms else "")
        + ("" if delete or not (due or forms) else "; --delete does it")
    )


def _keeper(place: Place) -> FormKeeper:
    return FormKeeper(DerivedStore(place.data.root), place.registry.blobs.referenced)


def _forms_bytes(forms: Sequence[DueForm]) -> int:
    return sum(each.size_bytes for each in forms)


def _bytes(found: Sequence[Garbage]) -> int:
    return sum(each.file.size_bytes for each in found)


def _document(each: Garbage) -> dict[str, object]:
    return {
        "name": each.file.name,
        "size_bytes": each.file.size_bytes,
        "cause": each.cause,
        "why": each.why,
        "since": each.since,
        "due": each.due,
    }


@dataclass(frozen=True, slots=True)
class _Outcome:
    finding: Finding
    is_repaired: bool


@click.command()
@placed
@click.option("--repair", is_flag=True, help="Repair what loses nothing by it; the server must be stopped.")
@click.option("--quick", is_flag=True, help="Do not read the blobs, only look whether they are there.")
def fsck(data: Path | None, config: Path | None, output: str, repair: bool, quick: bool) -> int:
    """Check the registry, its history, signatures, every blob and derived form; exits 1 if anything is lost or wrong.

    A server may be running.
    """
    with opened(data, config) as place, _alone(place.data, must=repair) as alone:
        outcomes = list(_check(place, alone=alone, repair=repair, quick=quick))
    errors = sum(each.finding.severity is Severity.ERROR and not each.is_repaired for each in outcomes)
    if output == "json":
        printing.print_json(
            {
                "errors": errors,
                "alone": alone,
                "findings": [
                    {
                        "severity": each.finding.severity,
                        "subject": each.finding.subject,
                        "what": each.finding.what,
                        "remedy": each.finding.remedy,
                        "repair": each.finding.repair,
                        "repaired": each.is_repaired,
                    }
                    for each in outcomes
                ],
            }
        )
    else:
        printing.print_table(
            ("", "about", "what", "what to do"),
            (
                (
                    "repaired" if each.is_repaired else each.finding.severity.value,
                    each.finding.subject,
                    each.finding.what,
                    each.finding.remedy,
                )
                for each in outcomes
            ),
        )
        beside = "" if alone else "; a server is running, so what it is writing was not looked at"
        click.echo(f"{errors} errors, {len(outcomes) - errors} other findings{beside}")
    return 1 if errors else 0


def _check(place: Place, *, alone: bool, repair: bool, quick: bool) -> Iterator[_Outcome]:
    checker = Checker(place.registry, place.store, actor=actor())
    for finding in checker.check(read_blobs=not quick):
        # In a fleet's directory of blobs another replica may be writing what looks like a leftover.
        safe = not (finding.repair is Repair.REMOVE and place.settings.artifacts)
        # Marking a blob keeps it from being loaded; it does not bring it back, so it stays an error.
        done = repair and safe and checker.repair(finding) and finding.severity is Severity.NOTE
        yield _Outcome(finding, is_repaired=done)
    keeper = _keeper(place)
    for finding in keeper.check(alone=alone, read=not quick):
        yield _Outcome(finding, is_repaired=repair and keeper.remove(finding))
    for finding in _check_signatures(place):
        yield _Outcome(finding, is_repaired=False)
    if alone:
        for finding in check_folder(place.data):
            yield _Outcome(finding, is_repaired=repair and remove_leftover(place.data, finding))


def _check_signatures(place: Place) -> Iterator[Finding]:
    try:
        keys = trusted.read(place.settings.trust_path) or trusted.TrustedKeys()
    except StartupRefused as error:
        # The server refuses to start with it, and keeps to what it had read before.
        yield Finding(
            severity=Severity.ERROR,
            subject="trusted keys",
            what=error.message,
            remedy="put a good copy in its place: a backup of the data directory has it as trusted-keys-SHA256.json",
        )
        return
    yield from examine(place.registry, keys)


@contextmanager
def _alone(data: DataDir, *, must: bool) -> Iterator[bool]:
    """Keep servers out of a data directory, or tell that one is in; raises StartupRefused where it must not be."""
    try:
        lock = DataLock.take(data)
    except DataDirRefused as error:
        if must:
            raise StartupRefused(f"nothing is repaired under a running server: {error}") from error
        yield False
        return
    try:
        yield True
    finally:
        lock.close()
