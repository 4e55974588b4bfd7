from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest
from interlock.types import ModelRef
from interlock_registry.garbage import Cause, FileKind, LastUse, StoredFile, judge

DAY = 86400.0
NOON = datetime(2026, 11, 22, 12, tzinfo=UTC)
BLOB = "ab" * 32


def file(name: str = BLOB, kind: FileKind = FileKind.BLOB, changed_at: datetime = NOON) -> StoredFile:
    return StoredFile(name=name, kind=kind, size_bytes=10, changed_at=changed_at, inode=1, mode=0o400, links=1)


def hours(count: float) -> timedelta:
    return timedelta(hours=count)


@pytest.mark.parametrize(
    ("found", "referenced", "held", "last_use", "cause", "due"),
    [
        (file(), {BLOB}, set(), None, None, None),
        (file(), set(), {BLOB}, None, None, None),
        (file(), {BLOB}, {BLOB}, None, None, None),
        (file(), set(), set(), None, Cause.UNUSED, NOON + hours(24)),
        (file(), set(), set(), NOON + hours(5), Cause.DELETED, NOON + hours(29)),
        (file(), set(), set(), NOON - hours(5), Cause.DELETED, NOON + hours(24)),
        (file(".incoming-1", FileKind.INCOMING), set(), set(), None, Cause.UNFINISHED, NOON + hours(24)),
        (file(f".condemned-{BLOB}", FileKind.CONDEMNED), set(), set(), NOON, Cause.DELETED, NOON + hours(24)),
        (file(f".condemned-{BLOB}", FileKind.CONDEMNED), {BLOB}, set(), NOON, None, None),
        (file("README", FileKind.UNKNOWN), set(), set(), None, None, None),
    ],
    ids=[
        "in use",
        "held by a registration",
        "in use and held",
        "never used",
        "of a deleted version, counted from the deletion",
        "of a deleted version, written anew since",
        "half written",
        "half collected",
        "half collected, and in use since",
        "none of ours",
    ],
)
def test_garbage_is(
    found: StoredFile,
    referenced: set[str],
    held: set[str],
    last_use: datetime | None,
    cause: Cause | None,
    due: datetime | None,
) -> None:
    uses = {BLOB: LastUse((ModelRef("digits", version=3),), last_use)} if last_use else {}
    garbage = judge([found], referenced=referenced, held=held, last_uses=uses, grace_s=DAY)
    assert [(each.cause, each.due) for each in garbage] == ([] if cause is None else [(cause, due)])


def test_a_half_written_file_has_an_hour_however_short_the_grace_period() -> None:
    (garbage,) = judge(
        [file(".incoming-1", FileKind.INCOMING)], referenced=set(), held=set(), last_uses={}, grace_s=0.0
    )
    assert garbage.due == NOON + hours(1)


@pytest.mark.parametrize(
    ("count", "why"),
    [
        (1, "of the deleted digits@1"),
        (3, "of the deleted digits@1, digits@2, digits@3"),
        (5, "of the deleted digits@1, digits@2, digits@3 and 2 more"),
    ],
)
def test_the_reason_names_some_of_the_versions(count: int, why: str) -> None:
    versions = tuple(ModelRef("digits", version=number) for number in range(1, count + 1))
    uses = {BLOB: LastUse(versions, NOON)}
    (garbage,) = judge([file()], referenced=set(), held=set(), last_uses=uses, grace_s=DAY)
    assert garbage.why == why
