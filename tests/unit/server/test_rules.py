"""The table of authorisation: it names everything that is served, and nothing else; roles mean what they say."""

from __future__ import annotations

from fnmatch import fnmatchcase
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from interlock.access import PERMISSIONS, Grant, Permission, Powers, Role
from interlock.errors import InvalidArgument, PermissionDenied
from interlock.protocols.pool import POOL
from interlock.v1 import admin_pb2
from interlock_server.access.gate import Caller, admit
from interlock_server.access.rules import ROUTES, RPCS, Rule, Scope
from interlock_server.control.http import app
from starlette.routing import Route

SERVICES = (
    "inference.GRPCInferenceService",
    "grpc.health.v1.Health",
    "grpc.reflection.v1.ServerReflection",
    "grpc.reflection.v1alpha.ServerReflection",
)


def served_rpcs() -> dict[str, object]:
    """Return the request descriptor of every RPC of every service that faces callers, by full path."""
    services = [POOL.FindServiceByName(name) for name in SERVICES]
    services += admin_pb2.DESCRIPTOR.services_by_name.values()
    return {f"/{each.full_name}/{method.name}": method.input_type for each in services for method in each.methods}


def served_routes() -> set[str]:
    # What the handlers need plays no part in which routes there are.
    routes = app(None, None, None, _no_backend(), None).routes  # type: ignore[arg-type]
    assert all(isinstance(route, Route) for route in routes)
    found = set()
    for route in routes:
        assert isinstance(route, Route)
        found |= {f"{method} {route.path}" for method in (route.methods or set()) - {"HEAD"}}
    return found


def _no_backend() -> object:
    from interlock_server.rest.app import Rest
    from interlock_server.rest.body import Limits

    return Rest(None, lambda: True, Limits(1, 1, 1, 1, 1.0))  # type: ignore[arg-type]


def test_every_rpc_of_every_service_has_a_rule_and_no_rule_is_left_over() -> None:
    assert set(RPCS) == set(served_rpcs())


def test_every_route_has_a_rule_and_no_rule_is_left_over() -> None:
    assert set(ROUTES) == served_routes()


@pytest.mark.parametrize("path", sorted(path for path, rule in RPCS.items() if rule.scope is Scope.MODEL))
def test_a_rule_about_a_model_names_a_field_of_the_request(path: str) -> None:
    fields = served_rpcs()[path].fields_by_name  # type: ignore[attr-defined]
    assert RPCS[path].field in fields


def test_every_change_and_every_inference_is_about_a_model() -> None:
    told = {Scope.MODEL, Scope.HANDLER}
    shared = {path for path in RPCS if "SharedMemory" in path}
    for path, rule in RPCS.items():
        if rule.permission in (Permission.SWITCH, Permission.PUBLISH, Permission.FETCH, Permission.ASK):
            assert rule.scope in told or path in shared, path


def caller(*grants: str) -> Caller:
    return Caller("token:t", Powers(tuple(map(Grant.parse, grants))))


SEE = Rule(Permission.SEE, Scope.MODEL, "model")
ADMITTED = [
    (("viewer",), SEE, "m", True),
    (("viewer",), SEE, "", True),
    (("viewer:fraud-*",), SEE, "fraud-1", True),
    (("viewer:fraud-*",), SEE, "fraud-1@3", True),
    (("viewer:fraud-*",), SEE, "fraud-1:canary", True),
    (("viewer:fraud-*",), SEE, "x@fraud-1", False),
    (("viewer:fraud-*",), SEE, "Fraud-1", False),
    (("viewer:fraud-*",), SEE, "m", False),
    (("viewer:fraud-*",), SEE, "", False),
    (("viewer:*",), SEE, "", True),
    (("viewer:a", "viewer:b"), SEE, "b", True),
    (("invoker",), SEE, "m", False),
    (("invoker",), Rule(Permission.ASK, Scope.HANDLER), "", True),
    (("invoker:m",), Rule(Permission.ASK, Scope.HANDLER), "", True),
    (("viewer",), Rule(Permission.ASK, Scope.HANDLER), "", False),
    (("invoker:m",), Rule(Permission.PROBE), "", True),
    (("viewer:m",), Rule(Permission.SEE, Scope.EVERY), "", False),
    (("operator",), Rule(Permission.ADMINISTER, Scope.EVERY), "", False),
    (("admin:m",), Rule(Permission.ADMINISTER, Scope.EVERY), "", False),
    (("admin",), Rule(Permission.ADMINISTER, Scope.EVERY), "", True),
    (("admin",), None, "", False),
]


@pytest.mark.parametrize(("grants", "rule", "model", "is_admitted"), ADMITTED)
def test_a_call_is_admitted_by_a_grant_of_its_permission_for_its_model(
    grants: tuple[str, ...], rule: Rule | None, model: str, is_admitted: bool
) -> None:
    if is_admitted:
        admit(caller(*grants), rule, model)
        return
    with pytest.raises(PermissionDenied) as refused:
        admit(caller(*grants), rule, model)
    assert refused.value.facts["caller"] == "token:t"


@given(
    st.lists(st.text("ab.*?-", min_size=1, max_size=5), min_size=1, max_size=4),
    st.text("abAB.-|$\n", max_size=6),
)
def test_several_grants_cover_what_one_of_their_globs_matches(globs: list[str], model: str) -> None:
    powers = Powers(tuple(Grant(Role.VIEWER, each) for each in globs))
    assert powers.on(Permission.SEE, model) == any(fnmatchcase(model, each) for each in globs)
    assert not powers.on(Permission.ASK, model)


def test_a_refusal_says_who_may_not_do_what_and_which_roles_may() -> None:
    with pytest.raises(PermissionDenied) as refused:
        caller("viewer").need(Permission.SWITCH, "m")
    assert refused.value.message == (
        "token:t may not switch model 'm': that takes one of the roles operator, admin on model 'm'"
    )
    assert refused.value.facts == {
        "caller": "token:t",
        "permission": "switch",
        "model": "m",
        "roles": "operator, admin",
    }


def test_only_an_admin_holds_every_permission_and_each_is_held_by_somebody() -> None:
    assert [role for role, held in PERMISSIONS.items() if held == frozenset(Permission)] == [Role.ADMIN]
    others = frozenset[Permission]().union(*(held for role, held in PERMISSIONS.items() if role is not Role.ADMIN))
    assert frozenset(Permission) - others == {Permission.ADMINISTER}


@pytest.mark.parametrize("text", ["", "king", "viewer:", "viewer:a b", "viewer:" + "a" * 129, "Viewer", "viewer:[ab]"])
def test_what_is_no_grant_is_refused(text: str) -> None:
    with pytest.raises(InvalidArgument):
        Grant.parse(text)


@pytest.mark.parametrize("text", ["viewer", "admin", "publisher:fraud-*", "invoker:m?"])
def test_a_grant_is_written_as_it_is_read(text: str) -> None:
    assert str(Grant.parse(text)) == text


def test_the_matrix_in_the_docs_names_every_rule() -> None:
    page = (Path(__file__).parents[3] / "docs" / "authorisation.md").read_text()
    assert all(name.rpartition("/")[2] in page for name in RPCS)
    assert all(name in page for name in ROUTES)
