"""The blocking and the asyncio clients are one API: the same methods, signatures, words and steps."""

from __future__ import annotations

import ast
import inspect
import textwrap
from collections.abc import Callable, Iterator

import pytest
from interlock_client import Admin, AsyncAdmin, AsyncClient, Client

TWINS = [(Client, AsyncClient), (Admin, AsyncAdmin)]
PLAIN = {"__init__", "target"}
"""What is no coroutine in either."""
RENAMED = {"__aenter__": "__enter__", "__aexit__": "__exit__"}
WORDS = [
    ("an async context manager for one event loop", "a context manager that any number of threads may share"),
    ("bytes in all, from another thread", "bytes in all, perhaps from another thread"),
]
"""What is said otherwise of the asyncio client, and what is said of the blocking one in its place."""
STEPS = [("asyncio.to_thread(plan, ", "plan("), ("AsyncConnection(", "SyncConnection(")]
"""What is done otherwise."""


def own(kind: type) -> dict[str, object]:
    """Return what a class defines, by the names that the blocking one has for it."""
    ignored = {"__module__", "__qualname__", "__firstlineno__", "__static_attributes__", "__annotations__", "__doc__"}
    ignored |= {"__dict__", "__weakref__"}
    return {RENAMED.get(name, name): value for name, value in vars(kind).items() if name not in ignored}


def function(member: object) -> Callable[..., object]:
    found = member.fget if isinstance(member, property) else member
    assert inspect.isfunction(found), f"{member!r} is neither a method nor a property"
    return found


def pairs() -> Iterator[tuple[str, object, object]]:
    for blocking, waiting in TWINS:
        ours, theirs = own(blocking), own(waiting)
        assert list(ours) == list(theirs), f"{blocking.__name__} and {waiting.__name__} have other methods or order"
        for name, member in ours.items():
            yield f"{blocking.__name__}.{name}", member, theirs[name]


def as_blocking(text: str, table: list[tuple[str, str]]) -> str:
    for said, instead in table:
        text = text.replace(said, instead)
    return text


class _Awaited(ast.NodeTransformer):
    """Makes of a coroutine the function that does the same without waiting for others."""

    def visit_Await(self, node: ast.Await) -> ast.expr:
        found = self.visit(node.value)
        assert isinstance(found, ast.expr)
        return found

    def visit_AsyncFunctionDef(self, node: ast.AsyncFunctionDef) -> ast.FunctionDef:
        self.generic_visit(node)
        fields = {name: getattr(node, name) for name in node._fields}
        return ast.FunctionDef(**{**fields, "name": RENAMED.get(node.name, node.name)})


def steps(member: object) -> str:
    tree = ast.parse(textwrap.dedent(inspect.getsource(function(member))))
    (made,) = tree.body
    assert isinstance(made, ast.FunctionDef | ast.AsyncFunctionDef)
    if ast.get_docstring(made) is not None:
        del made.body[0]
    return ast.unparse(ast.fix_missing_locations(_Awaited().visit(tree)))


@pytest.mark.parametrize(("name", "blocking", "waiting"), [pytest.param(*each, id=each[0]) for each in pairs()])
def test_a_method_is_the_same_in_both_but_for_the_waiting(name: str, blocking: object, waiting: object) -> None:
    ours, theirs = function(blocking), function(waiting)
    assert type(blocking) is type(waiting)
    assert inspect.signature(ours) == inspect.signature(theirs)
    is_awaited = name.partition(".")[2] not in PLAIN
    assert (inspect.iscoroutinefunction(ours), inspect.iscoroutinefunction(theirs)) == (False, is_awaited)
    assert as_blocking(inspect.getdoc(theirs) or "", WORDS) == (inspect.getdoc(ours) or "")
    assert as_blocking(steps(theirs), STEPS) == steps(ours)


@pytest.mark.parametrize(("blocking", "waiting"), TWINS)
def test_both_are_described_alike(blocking: type, waiting: type) -> None:
    assert as_blocking(inspect.getdoc(waiting) or "", WORDS) == inspect.getdoc(blocking)
