"""Listings in parts: how large a part is, and the token that says where the next one begins. Pure."""

from __future__ import annotations

import base64
import binascii
import json
from collections.abc import Callable, Sequence
from typing import Final, TypeVar

from interlock.errors import InvalidArgument, Violation
from interlock.model import AliasAt

from interlock_registry.domain import AliasPlace, Page

T = TypeVar("T")

DEFAULT_SIZE: Final = 100
MAX_SIZE: Final = 1000


def page_size(asked: int) -> int:
    """Return how many items a part holds: 0 asks for the default, too many are cut; raises InvalidArgument."""
    if asked < 0:
        raise _invalid("page_size", f"page_size is {asked}; use 0 for the default, or up to {MAX_SIZE}")
    return min(asked or DEFAULT_SIZE, MAX_SIZE)


def page(found: Sequence[T], size: int, key: Callable[[T], str]) -> Page[T]:
    """Make a part of up to `size` items, of which one more was asked for to see if there is more."""
    items = tuple(found[:size])
    return Page(items, _token(key(items[-1])) if len(found) > size else "")


def name_after(token: str) -> str:
    """Return the name that a part begins after, "" for the first; raises InvalidArgument."""
    return _read(token) if token else ""


def number_below(token: str) -> int | None:
    """Return the number that a part, newest first, begins below, None for the first; raises InvalidArgument."""
    if not token:
        return None
    text = _read(token)
    if not (text.isascii() and text.isdigit() and len(text) <= 18):
        raise _invalid_token(token)
    return int(text)


def alias_key(alias: AliasAt) -> str:
    """Return the key of an alias in a listing, which `alias_after` reads back."""
    return json.dumps([alias.model, alias.alias])


def alias_after(token: str) -> AliasPlace:
    """Return the alias that a part begins after; raises InvalidArgument."""
    if not token:
        return AliasPlace()
    try:
        match json.loads(_read(token)):
            case [str() as model, str() as alias]:
                return AliasPlace(model, alias)
    except (RecursionError, ValueError) as error:
        raise _invalid_token(token) from error
    raise _invalid_token(token)


def _token(key: str) -> str:
    return base64.urlsafe_b64encode(key.encode()).decode().rstrip("=")


def _read(token: str) -> str:
    try:
        return base64.b64decode(token + "=" * (-len(token) % 4), altchars=b"-_", validate=True).decode()
    except (binascii.Error, ValueError) as error:
        raise _invalid_token(token) from error


def _invalid_token(token: str) -> InvalidArgument:
    return _invalid("page_token", f"page_token {token[:80]!r} is none of ours; pass on next_page_token unchanged")


def _invalid(field: str, why: str) -> InvalidArgument:
    return InvalidArgument(why, violations=[Violation(field, why)])
