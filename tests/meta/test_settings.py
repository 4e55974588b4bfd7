"""No setting changes nothing: each is read by what it is about."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Final

from tests.meta.repository import ROOT, tracked

_SETTINGS: Final = Path("server/interlock_server/settings.py")
_HOLDERS: Final = frozenset({"settings", "limits"})
"""What code calls the settings, and the part of them that fronts see."""
_READ_BY_THE_CHECK_ALONE: Final = frozenset({"insecure"})
"""What permits a start that is refused without it."""


def _reads(tree: ast.AST) -> Iterator[str]:
    """Yield patterns of the names that code reads of settings."""
    for node in ast.walk(tree):
        match node:
            case ast.Attribute(value=held, attr=name, ctx=ast.Load()) if _is_settings(held):
                yield re.escape(name)
            case ast.Subscript(value=held, slice=ast.Constant(value=str(name))) if _is_settings(held):
                yield re.escape(name)
            case ast.Subscript(value=held, slice=ast.JoinedStr(values=parts)) if _is_settings(held):
                yield "".join(re.escape(str(each.value)) if isinstance(each, ast.Constant) else ".*" for each in parts)


def _is_settings(node: ast.expr) -> bool:
    match node:
        case ast.Attribute(attr=name) | ast.Name(id=name):
            return name.strip("_") in _HOLDERS
    return False


def _class() -> ast.ClassDef:
    found = ast.parse((ROOT / _SETTINGS).read_text()).body
    return next(each for each in found if isinstance(each, ast.ClassDef) and each.name == "Settings")


def _derived(settings: ast.ClassDef) -> Mapping[str, frozenset[str]]:
    """Return what each property is made of."""
    return {
        each.name: frozenset(
            node.attr
            for node in ast.walk(each)
            if isinstance(node, ast.Attribute) and isinstance(node.value, ast.Name) and node.value.id == "self"
        )
        for each in settings.body
        if isinstance(each, ast.FunctionDef) and any(ast.unparse(by) == "property" for by in each.decorator_list)
    }


def test_every_setting_is_read_outside_the_settings() -> None:
    settings = _class()
    fields = {ast.unparse(each.target) for each in settings.body if isinstance(each, ast.AnnAssign)}
    derived = _derived(settings)
    server = [each for each in tracked() if each.suffix == ".py" and each.parts[0] == "server" and each != _SETTINGS]
    patterns = {pattern for path in server for pattern in _reads(ast.parse((ROOT / path).read_text()))}
    read = {name for name in fields | derived.keys() if any(re.fullmatch(each, name) for each in patterns)}
    while further := {name for each in read & derived.keys() for name in derived[each]} - read:
        read |= further
    assert len(fields) > 80
    assert fields - read == _READ_BY_THE_CHECK_ALONE
    assert derived.keys() - read == frozenset()
