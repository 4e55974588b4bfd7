"""What all errors have."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import ClassVar, Final, Self


@dataclass(frozen=True, slots=True)
class Violation:
    """One thing wrong with a request: where, and what (google.rpc.BadRequest)."""

    field: str
    description: str


class InterlockError(Exception):
    """The root: catch it to catch everything that Interlock raises."""

    reason: ClassVar[str] = "INTERNAL"

    def __init__(
        self,
        message: str,
        *,
        facts: Mapping[str, str] | None = None,
        violations: Sequence[Violation] = (),
        retry_after_s: float | None = None,
    ) -> None:
        super().__init__(message)
        self.message = message
        self.facts: Final[Mapping[str, str]] = dict(facts or {})
        self.violations: Final = tuple(violations)
        self.retry_after_s: Final = retry_after_s

    def __reduce__(self) -> tuple[object, ...]:
        """Say how to copy it, to another process too, past the subclass's own constructor."""
        return (_empty, (type(self), self.message), self.__dict__)

    @classmethod
    def rebuild(
        cls,
        message: str,
        *,
        facts: Mapping[str, str],
        violations: Sequence[Violation] = (),
        retry_after_s: float | None = None,
    ) -> Self:
        """Make an instance from what came over the wire, past the subclass's own constructor."""
        error = cls.__new__(cls)
        InterlockError.__init__(error, message, facts=facts, violations=violations, retry_after_s=retry_after_s)
        return error


def _empty(cls: type[InterlockError], message: str) -> InterlockError:
    return cls.__new__(cls, message)
