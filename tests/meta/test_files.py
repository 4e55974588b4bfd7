"""What every file of the repository keeps to."""

from __future__ import annotations

import os
import re
from pathlib import Path
from typing import Final

import pytest

from tests.meta.repository import GENERATED, ROOT, SOURCE_ROOTS, text_of, tracked

MOST_LINES: Final = 500
_DRAWERS: Final = frozenset({"utils.py", "util.py", "helpers.py", "helper.py", "common.py", "misc.py"})
_MARKS: Final = "|".join(("TO" + "DO", "FIX" + "ME", "X" + "XX"))
_FORBIDDEN: Final = {
    "a path of one machine": r"(?<![\w.])/(?:root|work|home/\w+|Users/\w+|tmp)/\w",
    "the host of a package index": r"python" r"hosted|py" r"pi\.(?:org|python)|download\.py" r"torch|files\.pytho" r"n",
    "a note to self": rf"\b(?:{_MARKS})\b",
    "a conflict marker": r"^(?:<{7}|>{7}) ",
    "a private key": r"BEGIN [A-Z ]*PRIVATE" r" KEY",
}


def _own_code() -> list[Path]:
    return [path for path in tracked() if path.suffix == ".py" and not GENERATED.search(path.name)]


def test_no_hand_written_file_is_longer_than_its_budget() -> None:
    lengths = {
        str(path): len((ROOT / path).read_text().splitlines()) for path in _own_code() if "migrations" not in path.parts
    }
    assert {path: lines for path, lines in lengths.items() if lines > MOST_LINES} == {}


def test_no_module_of_a_package_is_a_drawer_for_everything() -> None:
    assert [str(path) for path in _own_code() if path.parts[0] in SOURCE_ROOTS and path.name in _DRAWERS] == []


def test_every_source_root_holds_exactly_one_package() -> None:
    found = {root: sorted({path.parts[1] for path in tracked() if path.parts[0] == root}) for root in SOURCE_ROOTS}
    assert found == {
        "proto": ["interlock"],
        "registry": ["interlock_registry"],
        "server": ["interlock_server"],
        "client": ["interlock_client"],
    }


@pytest.mark.parametrize("what", _FORBIDDEN)
def test_no_file_contains(what: str) -> None:
    pattern = re.compile(_FORBIDDEN[what], re.MULTILINE)
    found = [
        f"{path}:{text[: match.start()].count(chr(10)) + 1}: {match[0]}"
        for path in tracked()
        if (text := text_of(path)) is not None and path.name != "LICENSE"
        for match in pattern.finditer(text)
    ]
    assert found == []


def test_scripts_can_be_run() -> None:
    scripts = [path for path in tracked() if (ROOT / path).read_bytes().startswith(b"#!")]
    assert Path(".ci/run") in scripts
    assert [str(path) for path in scripts if not os.access(ROOT / path, os.X_OK)] == []
