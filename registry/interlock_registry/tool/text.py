"""Text from strangers, made fit for logs and messages."""

from __future__ import annotations

import unicodedata
from dataclasses import dataclass
from functools import cache

from google.protobuf.descriptor import Descriptor, FieldDescriptor
from google.protobuf.message import Message


def printable(text: str) -> str:
    """Return a text without control and direction characters, which could forge log lines."""
    return "".join("?" if unicodedata.category(char)[0] == "C" else char for char in text)


def not_utf8(message: Message) -> str | None:
    """Return the first text in a message, or in one inside it, that is not UTF-8, shown with its field; None: all are.

    Protocol buffers of this age hand such a text out as bytes, where everybody expects a `str`.
    """
    waiting = [message]
    while waiting:
        each = waiting.pop()
        fields = _fields(each.DESCRIPTOR)
        for name in fields.texts:
            if isinstance(found := getattr(each, name), bytes):
                return _shown(name, found)
        for name in fields.lists_of_texts:
            for found in getattr(each, name):
                if isinstance(found, bytes):
                    return _shown(name, found)
        waiting += [getattr(each, name) for name in fields.messages if each.HasField(name)]
        for name in fields.lists_of_messages:
            waiting += getattr(each, name)
    return None


@dataclass(frozen=True, slots=True)
class _Fields:
    """Those fields of a kind of message that are text, or lead to some: never the weights, which may be gigabytes."""

    texts: tuple[str, ...]
    lists_of_texts: tuple[str, ...]
    messages: tuple[str, ...]
    lists_of_messages: tuple[str, ...]


@cache
def _fields(kind: Descriptor) -> _Fields:
    def chosen(type_: int, *, repeated: bool) -> tuple[str, ...]:
        return tuple(each.name for each in kind.fields if each.type == type_ and each.is_repeated == repeated)

    return _Fields(
        texts=chosen(FieldDescriptor.TYPE_STRING, repeated=False),
        lists_of_texts=chosen(FieldDescriptor.TYPE_STRING, repeated=True),
        messages=chosen(FieldDescriptor.TYPE_MESSAGE, repeated=False),
        lists_of_messages=chosen(FieldDescriptor.TYPE_MESSAGE, repeated=True),
    )


def _shown(field: str, text: bytes) -> str:
    return f"{field} '{printable(text[:60].decode(errors='backslashreplace'))}'"
