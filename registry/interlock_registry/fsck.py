"""What must be so in a registry and its artifact store, and what is said where it is not. Pure."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence, Set
from dataclasses import dataclass
from enum import Enum

from interlock.errors import DataLoss
from interlock.model import Alias, AliasAt, VersionState
from interlock.types import ModelRef

from interlock_registry.domain import Route
from interlock_registry.garbage import FileKind, StoredFile
from interlock_registry.manifest import Manifest

_RESTORE = "restore the registry from a backup"


class Severity(Enum):
    """How bad a finding is."""

    ERROR = "error"
    """Something is lost or wrong."""
    NOTE = "note"
    """Nothing is lost; somebody may want to tidy up."""


class Repair(Enum):
    """What can be done about a finding without losing anything."""

    MARK = "mark as damaged"
    CLEAR = "clear the mark"
    REMOVE = "remove the leftover"
    PUT_BACK = "put it back"
    RELEASE = "let go of what a dead registration holds"
    INDEX = "index the artifact again"
    PROTECT = "make it read-only"


@dataclass(frozen=True, slots=True, kw_only=True)
class Finding:
    """Something that is not as it must be, and what to do about it."""

    severity: Severity
    subject: str
    """What it is about: a version, an alias, a blob's digest, a file's name."""
    what: str
    remedy: str
    repair: Repair | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class ModelPicture:
    """What is stored of a model, but for its versions' contents."""

    name: str
    next_version: int
    states: Mapping[int, VersionState]
    aliases: Sequence[Alias]
    routes: Sequence[Route]
    pins: Sequence[int]
    history: Sequence[AliasAt]
    """Where the events say that the aliases point now."""


@dataclass(frozen=True, slots=True)
class ArtifactPicture:
    """What is stored of an artifact."""

    digest: str
    manifest: str
    indexed: Mapping[str, int]
    """Sizes of the blobs by digest, as they are looked up when garbage is collected."""


def check_model(model: ModelPicture) -> Iterator[Finding]:
    """Check that versions, aliases, stacks, routes, pins and history of a model agree with each other."""
    yield from _check_numbers(model)
    for alias in model.aliases:
        yield from _check_alias(model, alias)
    routed = {route.alias for route in model.routes}
    for name in sorted(routed - {alias.alias for alias in model.aliases}):
        yield _broken(f"{model.name}:{name}", "a route is there whose alias is not")
    for pin in model.pins:
        if model.states.get(pin) is not VersionState.VALIDATED:
            yield _broken(f"{model.name}@{pin}", f"it is pinned and {_state(model, pin)}")
    yield from _check_history(model)


def _check_numbers(model: ModelPicture) -> Iterator[Finding]:
    expected = set(range(1, model.next_version))
    for number in sorted(expected - model.states.keys()):
        yield _broken(f"{model.name}@{number}", "the version was given out and is gone, without a tombstone")
    for number in sorted(model.states.keys() - expected):
        yield _broken(f"{model.name}@{number}", f"the model has given out versions below {model.next_version} only")


def _check_alias(model: ModelPicture, alias: Alias) -> Iterator[Finding]:
    subject = f"{model.name}:{alias.alias}"
    for number in (alias.version, *alias.stack):
        if model.states.get(number) is not VersionState.VALIDATED:
            where = "points at" if number == alias.version else "has in its stack"
            yield _broken(subject, f"the alias {where} version {number}, which is {_state(model, number)}")
    if len({alias.version, *alias.stack}) != 1 + len(alias.stack):
        yield _broken(subject, f"a version is twice among {alias.version} and the stack {list(alias.stack)}")
    routes = [route for route in model.routes if route.alias == alias.alias]
    if not routes:
        yield _broken(subject, "the alias has no route, so that nothing is served by it")
    for route in routes:
        if route.generation != alias.generation:
            yield _broken(subject, f"its route is of generation {route.generation}, the alias of {alias.generation}")
        targets = {target.version for target in route.targets}
        if alias.version not in targets:
            yield _broken(subject, f"its route leads to {sorted(targets)}, the alias points at {alias.version}")
        for number in sorted(targets - {alias.version}):
            if model.states.get(number) is not VersionState.VALIDATED:
                yield _broken(subject, f"its route leads to version {number}, which is {_state(model, number)}")


def _check_history(model: ModelPicture) -> Iterator[Finding]:
    told = {each.alias: each.version for each in model.history}
    found = {alias.alias: alias.version for alias in model.aliases}
    for name in sorted(told.keys() | found.keys()):
        if told.get(name) != found.get(name):
            said = f"at version {told[name]}" if name in told else "nowhere"
            is_ = f"at version {found[name]}" if name in found else "nowhere"
            what = f"the history says that the alias points {said}, it points {is_}: somebody has moved it past us"
            yield _broken(f"{model.name}:{name}", what)


def check_artifact(artifact: ArtifactPicture) -> Iterator[Finding]:
    """Check that a manifest can be read, has its name, and is indexed as it says."""
    try:
        manifest = Manifest.from_json(artifact.manifest)
    except DataLoss as error:
        yield _broken(artifact.digest, error.message)
        return
    if manifest.digest != artifact.digest:
        yield _broken(artifact.digest, f"the stored manifest has the digest {manifest.digest}")
    elif {each.digest: each.size_bytes for each in manifest.blobs} != artifact.indexed:
        yield Finding(
            severity=Severity.ERROR,
            subject=artifact.digest,
            what="the artifact's blobs are not indexed as its manifest says: garbage collection might remove them",
            remedy="`interlock fsck --repair` indexes it again",
            repair=Repair.INDEX,
        )


def check_file(file: StoredFile) -> Iterator[Finding]:
    """Check that a file belongs into an artifact store, and is as its blobs are."""
    match file.kind:
        case FileKind.UNKNOWN:
            yield _note(file.name, "a file that is none of ours is among the blobs", "look at it and move it away")
        case FileKind.INCOMING:
            yield _note(
                file.name,
                "a write was interrupted",
                "`interlock gc --delete` removes it in time, the next start of the server at once",
                Repair.REMOVE,
            )
        case FileKind.CONDEMNED:
            yield _note(
                file.name,
                "a collection was interrupted, and has not put back what it was about to remove",
                "`interlock gc --delete` and the next start of the server do that",
                Repair.PUT_BACK,
            )
        case FileKind.BLOB:
            if file.links > 1:
                what = f"the blob has {file.links} names: whoever writes through another one damages it"
                yield _note(file.name, what, "replace the other names by copies")
            if file.mode & 0o222:
                yield _note(
                    file.name,
                    f"the blob can be written (mode {file.mode:o})",
                    "`interlock fsck --repair` makes it read-only",
                    Repair.PROTECT,
                )


def damaged(digest: str, why: str, users: Sequence[ModelRef], *, known: bool) -> Finding:
    """Report a blob that is gone or not what it was."""
    named = ", ".join(map(str, users[:5])) + (f" and {len(users) - 5} more" if len(users) > 5 else "")
    return Finding(
        severity=Severity.ERROR,
        subject=digest,
        what=f"{why.partition('; ')[0]}; of {named}",
        remedy=f"register the same file again, or restore blobs/{digest} from a backup",
        repair=None if known else Repair.MARK,
    )


def unread(digest: str, why: str) -> Finding:
    """Report a blob of which nobody knows whether it is whole."""
    return Finding(
        severity=Severity.ERROR,
        subject=digest,
        what=f"it was not checked: {why}",
        remedy="let this user read that file, which is to be a file of its own, and check again",
    )


def stale_mark(digest: str) -> Finding:
    """Report a blob that is marked as damaged and is not."""
    return _note(
        digest,
        "the blob is marked as damaged and is whole, or of no version",
        "`interlock fsck --repair`",
        Repair.CLEAR,
    )


def dead_holds(count: int) -> Finding:
    """Report blobs that a registration holds which has died."""
    return _note(
        f"{count} blobs", "a registration that has died holds them", "`interlock gc --delete` lets go", Repair.RELEASE
    )


def unneeded(files: Sequence[StoredFile], needed: Set[str]) -> Iterator[Finding]:
    """Report how much no version has (any more)."""
    loose = [file for file in files if file.kind is FileKind.BLOB and file.name not in needed]
    if loose:
        size = sum(file.size_bytes for file in loose)
        yield _note(f"{len(loose)} blobs", f"{size} bytes that no version has (any more)", "`interlock gc` tells more")


def broken_chain(why: str, at: int) -> Finding:
    """Report that the history is not what was written."""
    return _broken(f"event {at}", f"the history is broken here: {why}")


def unreadable(ref: ModelRef, why: str) -> Finding:
    """Report a version whose row is damaged."""
    return _broken(str(ref), why)


def dangling(table: str, count: int) -> Finding:
    """Report rows that refer to nothing."""
    return _broken(table, f"{count} of its rows refer to rows that are not there")


def _state(model: ModelPicture, number: int) -> str:
    state = model.states.get(number)
    return "not there" if state is None else state.value


def _broken(subject: str, what: str) -> Finding:
    return Finding(severity=Severity.ERROR, subject=subject, what=what, remedy=_RESTORE)


def _note(subject: str, what: str, remedy: str, repair: Repair | None = None) -> Finding:
    return Finding(severity=Severity.NOTE, subject=subject, what=what, remedy=remedy, repair=repair)
