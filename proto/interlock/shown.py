"""What strangers wrote, made fit for a terminal: none of it may drive the terminal of whoever reads it. Pure."""

from __future__ import annotations

import json
import re
from typing import Final

_UNPRINTABLE: Final = re.compile(r"[^\n -~]")


def shown(text: str) -> str:
    """Return a text with control characters as escapes; lines stay lines."""
    return _UNPRINTABLE.sub(_escaped, text)


def shown_json(document: str) -> str:
    """Return JSON text with the control characters that JSON may hold as they are as JSON's own escapes."""
    return _UNPRINTABLE.sub(_escaped_for_json, document)


def _escaped(found: re.Match[str]) -> str:
    character = found[0]
    return character if character.isprintable() else character.encode("unicode_escape").decode()


def _escaped_for_json(found: re.Match[str]) -> str:
    character = found[0]
    return character if character.isprintable() else json.dumps(character)[1:-1]
