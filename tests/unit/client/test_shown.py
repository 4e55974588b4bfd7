"""What strangers wrote drives nobody's terminal."""

from __future__ import annotations

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st
from interlock.shown import shown, shown_json
from interlock_client.cli.entry import _failed


@given(st.text())
def test_only_lines_and_what_can_be_seen_is_printed_and_json_stays_what_it_was(text: str) -> None:
    assert all(each.isprintable() or each == "\n" for each in shown(text))
    document = shown_json(json.dumps([text], ensure_ascii=False))
    assert document.isprintable()
    assert json.loads(document) == [text]


def test_what_can_be_seen_stays_as_it_is() -> None:
    assert shown("größer 数\nzwei") == "größer 数\nzwei"
    assert shown("\x1b[2J\x9b\u202e") == r"\x1b[2J\x9b\u202e"


def test_an_errors_message_is_one_line_without_control_characters(capsys: pytest.CaptureFixture[str]) -> None:
    assert _failed("it said \x1b]0;mine\x07\nand more") == 1
    assert capsys.readouterr().err == r"interlock: it said \x1b]0;mine\x07 and more" + "\n"
