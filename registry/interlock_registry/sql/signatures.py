"""Signed statements in one transaction: rows in, values out."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping, Sequence
from typing import Final

from interlock.model import SignedBy
from interlock.statement import Signed, SignedStatement
from sqlalchemy import Connection, Row, bindparam, delete, insert, select

from interlock_registry.sql import tables as t
from interlock_registry.sql.pairs import Among, pairs

_s: Final = t.signed_statements.c
_ORDER: Final = (_s.model, _s.version, _s.signed_at, _s.key)
_OF_ONE: Final = (
    select(t.signed_statements)
    .where(_s.model == bindparam("model"), _s.version.in_(bindparam("numbers", expanding=True)))
    .order_by(*_ORDER)
)
_OF_SOME: Final = select(t.signed_statements).where(Among(_s.model, _s.version)).order_by(*_ORDER)
_NAMES: Final = (
    select(_s.version, _s.key, _s.signed_at, _s.actor)
    .where(_s.model == bindparam("model"), _s.version.in_(bindparam("numbers", expanding=True)))
    .order_by(*_ORDER)
)
_DROP: Final = delete(t.signed_statements).where(
    _s.model == bindparam("the_model"), _s.version == bindparam("the_version"), _s.key == bindparam("the_key")
)
_INSERT: Final = insert(t.signed_statements)

Signatures = Mapping[tuple[str, int], tuple[Signed, ...]]


class SignatureRows:
    """What a transaction can tell and note of signatures."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection

    def of(self, versions: Mapping[str, Sequence[int]]) -> Signatures:
        """Return what was signed of versions, given by model; a version that nobody has signed is left out."""
        found: dict[tuple[str, int], list[Signed]] = defaultdict(list)
        if len(versions) == 1:
            ((model, numbers),) = versions.items()
            rows = self._connection.execute(_OF_ONE, {"model": model, "numbers": list(numbers)})
        else:
            rows = self._connection.execute(_OF_SOME, {"wanted": pairs(versions)})
        for row in rows:
            found[row.model, row.version].append(_signed(row))
        return {key: tuple(each) for key, each in found.items()}

    def names(self, model: str, numbers: Sequence[int]) -> Mapping[int, tuple[SignedBy, ...]]:
        """Return by which keys some versions of a model were signed."""
        found: dict[int, list[SignedBy]] = defaultdict(list)
        for row in self._connection.execute(_NAMES, {"model": model, "numbers": list(numbers)}):
            found[row.version].append(SignedBy(row.key, row.signed_at, row.actor))
        return {number: tuple(each) for number, each in found.items()}

    def put(self, model: str, number: int, signed: Signed) -> None:
        """Keep a signature; what the same key has signed of that version before is forgotten."""
        key = signed.signed.key
        self._connection.execute(_DROP, {"the_model": model, "the_version": number, "the_key": key})
        self._connection.execute(
            _INSERT,
            {
                "model": model,
                "version": number,
                "key": key,
                "statement": signed.signed.statement,
                "value": signed.signed.value,
                "signed_at": signed.at,
                "actor": signed.actor,
            },
        )


def _signed(row: Row[tuple[object, ...]]) -> Signed:
    return Signed(SignedStatement(row.key, bytes(row.statement), bytes(row.value)), row.signed_at, row.actor)
