"""Many versions in one statement: as one JSON text, so that the statement is the same however many they are.

A list of parameters would be written, sent and planned anew each time, and takes most of the time that way.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Self

from sqlalchemy import Boolean, ColumnElement, bindparam
from sqlalchemy.ext.compiler import compiles
from sqlalchemy.sql.compiler import SQLCompiler
from sqlalchemy.sql.functions import FunctionElement
from sqlalchemy.sql.operators import OperatorType


class Among(FunctionElement[bool]):
    """Whether a model and a version are one of the pairs that `wanted` binds, written by `pairs`."""

    type = Boolean()
    inherit_cache = True

    def __init__(self, model: ColumnElement[str], version: ColumnElement[int]) -> None:
        super().__init__(model, version, bindparam("wanted"))

    def self_group(self, against: OperatorType | None = None) -> Self:
        """Stay as it is: SQLite would be asked whether this `= 1`, and would take no index for that."""
        return self


def pairs(versions: Mapping[str, Sequence[int]]) -> str:
    """Write versions, given by model, as `Among` reads them."""
    return json.dumps([(model, number) for model, numbers in versions.items() for number in numbers])


@compiles(Among, "sqlite")
def _in_sqlite(element: Among, compiler: SQLCompiler, **options: object) -> str:
    model, version, wanted = (compiler.process(each, **options) for each in element.clauses)
    # Without the datatypes of the columns SQLite takes no index, and reads every version there is.
    name, number = "CAST(json_extract(value, '$[0]') AS TEXT)", "CAST(json_extract(value, '$[1]') AS INTEGER)"
    return f"({model}, {version}) IN (SELECT {name}, {number} FROM json_each({wanted}))"


@compiles(Among, "postgresql")
def _in_postgresql(element: Among, compiler: SQLCompiler, **options: object) -> str:
    model, version, wanted = (compiler.process(each, **options) for each in element.clauses)
    listed = f"json_array_elements(CAST({wanted} AS json)) AS pair"
    # Knowing that none comes twice, PostgreSQL looks each up by its index; else it reads every version there is.
    return f"({model}, {version}) IN (SELECT DISTINCT pair ->> 0, (pair ->> 1)::bigint FROM {listed})"
