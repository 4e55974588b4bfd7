"""Text from strangers, made fit for logs and messages."""

from __future__ import annotations

import unicodedata


def printable(text: str) -> str:
    """Return a text without control and direction characters, which could forge log lines."""
    return "".join("?" if unicodedata.category(char)[0] == "C" else char for char in text)
