"""The map of faults names tests that exist, and says what is covered by none."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Final

from tests.meta.repository import ROOT

_PAGE: Final = ROOT / "docs" / "reliability.md"
_ROW: Final = re.compile(r"^\| ([A-J])(\d+) \| ([^|]+) \| ([^|]+) \|$", re.MULTILINE)
_TEST: Final = re.compile(r"`([a-z_/]+\.py)::(test_\w+)`")
_LAST: Final = {"A": 12, "B": 16, "C": 17, "D": 14, "E": 14, "F": 14, "G": 12, "H": 12, "I": 11, "J": 7}
_OPEN: Final = ("not yet: ", "does not apply: ")


def test_every_fault_has_one_row() -> None:
    found = [(letter, int(number)) for letter, number, _, _ in _ROW.findall(_PAGE.read_text())]
    assert found == [(letter, number) for letter, last in _LAST.items() for number in range(1, last + 1)]


def test_every_test_that_is_named_exists() -> None:
    missing: list[str] = []
    for path, name in _TEST.findall(_PAGE.read_text()):
        file = Path(ROOT, "tests", path)
        if not file.is_file() or not re.search(rf"^\s*(async )?def {name}\(", file.read_text(), re.MULTILINE):
            missing.append(f"{path}::{name}")
    assert missing == []


def test_a_row_names_tests_or_says_why_not() -> None:
    rows = _ROW.findall(_PAGE.read_text())
    assert [row for row in rows if not _TEST.search(row[3]) and not row[3].startswith(_OPEN)] == []


def test_the_page_counts_what_is_open_rightly() -> None:
    text = _PAGE.read_text()
    rows = [covered for _, _, _, covered in _ROW.findall(text)]
    lacking = sum(row.startswith("not yet: ") for row in rows)
    foreign = sum(row.startswith("does not apply: ") for row in rows)
    told = re.search(
        r"Of\s(\d+) faults (\d+) are covered; (\d+) are marked \*not yet\*[^@]+?, (\d+) do\snot apply", text
    )
    assert told is not None
    assert [int(each) for each in told.groups()] == [len(rows), len(rows) - lacking - foreign, lacking, foreign]
