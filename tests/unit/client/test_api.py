"""The public face: what is exported and documented, light imports, and strangers in the same process."""

from __future__ import annotations

import ast
import copy
import inspect
import pickle
import re
import subprocess
import sys
from collections.abc import Callable

import interlock_client
import pytest
from interlock import errors
from interlock_client import Admin, AsyncAdmin, AsyncClient, Client

CLIENTS = [Client, AsyncClient, Admin, AsyncAdmin]


def methods(cls: type) -> list[str]:
    return [name for name, member in vars(cls).items() if inspect.isfunction(member) and not name.startswith("_")]


@pytest.mark.parametrize("cls", CLIENTS)
def test_every_method_is_documented(cls: type) -> None:
    assert cls.__doc__
    assert all(inspect.getdoc(getattr(cls, name)) for name in methods(cls))


def test_what_is_public_is_sorted_and_there() -> None:
    assert interlock_client.__all__ == sorted(interlock_client.__all__)
    assert all(hasattr(interlock_client, name) for name in interlock_client.__all__)
    assert {"Admin", "AsyncAdmin", "AsyncClient", "Client", "InferResult", "InterlockError"} < set(
        interlock_client.__all__
    )


def test_every_error_that_a_client_can_meet_is_exported() -> None:
    tree = {
        name
        for name, found in vars(errors).items()
        if isinstance(found, type) and issubclass(found, errors.InterlockError)
    }
    assert tree - set(interlock_client.__all__) == {"StartupRefused"}


def sent(error: errors.InterlockError) -> errors.InterlockError:
    arrived: errors.InterlockError = pickle.loads(pickle.dumps(error))  # noqa: S301 - as a pool of processes does
    return arrived


@pytest.mark.parametrize("way", [copy.copy, copy.deepcopy, sent])
def test_every_error_arrives_whole_in_another_process(
    way: Callable[[errors.InterlockError], errors.InterlockError],
) -> None:
    for cls in errors.by_reason().values():
        error = cls.rebuild("why", facts={"model": "m"}, violations=[errors.Violation("x", "is")], retry_after_s=0.5)
        again = way(error)
        assert type(again) is cls and again.args == ("why",)
        assert vars(again) == vars(error)


def test_what_is_imported_when_it_is_asked_for_is_what_type_checkers_see() -> None:
    [checked] = [
        node
        for node in ast.parse(inspect.getsource(interlock_client)).body
        if isinstance(node, ast.If) and isinstance(node.test, ast.Name) and node.test.id == "TYPE_CHECKING"
    ]
    seen = {
        alias.name: node.module for node in checked.body if isinstance(node, ast.ImportFrom) for alias in node.names
    }
    assert seen == interlock_client._HOMES
    assert {*seen, "__version__"} == set(interlock_client.__all__)


def test_a_name_that_is_not_there_is_an_error_and_those_that_are_can_be_listed() -> None:
    assert set(interlock_client.__all__) < set(dir(interlock_client))
    with pytest.raises(AttributeError, match="module 'interlock_client' has no attribute 'Clyent'"):
        interlock_client.Clyent  # type: ignore[attr-defined]  # noqa: B018 - a type checker finds it, too
    everything: dict[str, object] = {}
    exec("from interlock_client import *", everything)
    assert set(interlock_client.__all__) < set(everything)


def test_help_waits_for_neither_grpc_nor_numpy() -> None:
    code = (
        "import sys; from interlock_client.cli.entry import run; run(['--help']); "
        "print(sorted({'grpc', 'numpy', 'google.protobuf'} & set(sys.modules)))"
    )
    assert run(code).splitlines()[-1] == "[]"


def run(code: str) -> str:
    done = subprocess.run(
        [sys.executable, "-W", "error", "-c", code], capture_output=True, text=True, timeout=120, check=False
    )
    assert done.returncode == 0, done.stderr
    return done.stdout.strip()


@pytest.mark.parametrize("module", ["interlock_client", "interlock_client.cli"])
def test_the_client_imports_nothing_heavy(module: str) -> None:
    heavy = "{'onnx', 'onnxruntime', 'torch', 'sqlalchemy', 'pydantic', 'interlock_server', 'interlock_registry'}"
    assert run(f"import {module}, sys; print(sorted({heavy} & set(sys.modules)))") == "[]"


def test_help_and_a_client_command_import_nothing_of_what_the_server_needs() -> None:
    code = (
        "import sys; from interlock_client.cli.entry import run; run(['--help']); run(['models', '--help']);"
        "ours = {'interlock_server', 'interlock_server.commands'};"
        "heavy = {'onnx', 'onnxruntime', 'torch', 'sqlalchemy', 'alembic', 'pydantic', 'starlette', 'uvicorn'};"
        "print([n for n in sys.modules if n in heavy"
        " or (n.startswith(('interlock_server', 'interlock_registry')) and n not in ours)])"
    )
    assert run(code).endswith("[]")


@pytest.mark.parametrize(
    "names", [["tritonclient.grpc", "interlock_client"], ["interlock_client", "tritonclient.grpc"]]
)
def test_tritonclient_and_this_client_share_a_process_in_either_order(names: list[str]) -> None:
    pytest.importorskip("tritonclient.grpc")
    code = (
        "; ".join(f"import {name}" for name in names) + "; print(interlock_client.Client, tritonclient.grpc.InferInput)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=120, check=False)
    assert done.returncode == 0, done.stderr
    assert re.search("Client.*InferInput", done.stdout)
