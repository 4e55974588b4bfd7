"""Four eyes: which aliases want approvals before they move on, and what an approval is. Pure."""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime
from enum import Enum
from fnmatch import fnmatchcase
from typing import Final, Self

from interlock.errors import InvalidArgument
from interlock.types import STABLE

MAX_APPROVALS: Final = 9
_RULE: Final = re.compile(r"([A-Za-z0-9._*?-]{1,128})(?::([a-z0-9_*?-]{1,63}))?(?:=([0-9]{1,3}))?")


class ApprovalState(Enum):
    """Whether an approval counts, and if not, why."""

    COUNTS = "COUNTS"
    EXPIRED = "EXPIRED"
    WITHDRAWN = "WITHDRAWN"
    VOID = "VOID"
    """Who gave it may not approve the model any more."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Approval:
    """Somebody's agreement that an alias of a model may move on to a version, of exactly these bytes."""

    seq: int
    """The event by which it was given."""
    model: str
    version: int
    alias: str
    digest: str
    """sha256 of the artifact's manifest, when it was given."""
    approver: str
    reason: str
    given_at: datetime
    expires_at: datetime
    withdrawn_at: datetime | None
    state: ApprovalState
    """At the moment of the answer."""


@dataclass(frozen=True, slots=True)
class ApprovalRule:
    """How many approvals it takes to promote to some aliases of some models; both are patterns."""

    models: str
    alias: str = STABLE
    count: int = 1

    @classmethod
    def parse(cls, text: str) -> Self:
        """Read MODELS[:ALIAS][=COUNT]; raises InvalidArgument."""
        found = _RULE.fullmatch(text.strip())
        count = int(found[3] or 1) if found else 0
        if not found or not 1 <= count <= MAX_APPROVALS:
            raise InvalidArgument(
                f"{text[:200]!r} is no rule of approvals; write MODELS:ALIAS=COUNT, for example fraud-*:stable=2 "
                f"(without an alias: {STABLE}; without a count: 1; {MAX_APPROVALS} at most)"
            )
        return cls(found[1], found[2] or STABLE, count)

    def __str__(self) -> str:
        return f"{self.models}:{self.alias}={self.count}"


def parse_rules(text: str) -> tuple[ApprovalRule, ...]:
    """Read rules with commas between them; raises InvalidArgument."""
    return tuple(ApprovalRule.parse(each) for each in text.split(",") if each.strip())


def needed(rules: Iterable[ApprovalRule], model: str, alias: str) -> int:
    """Return how many approvals a promote takes: the most that any rule for it wants; 0 where none is for it."""
    return max(
        (each.count for each in rules if fnmatchcase(model, each.models) and fnmatchcase(alias, each.alias)),
        default=0,
    )


def approvers(found: Iterable[Approval], *, digest: str, author: str, requester: str) -> tuple[str, ...]:
    """Return whose approvals stand for a promote: of those bytes, and neither its author's nor its requester's."""
    return tuple(
        dict.fromkeys(
            each.approver
            for each in found
            if each.state is ApprovalState.COUNTS and each.digest == digest and each.approver not in (author, requester)
        )
    )
