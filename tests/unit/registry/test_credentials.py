"""Credentials in the registry: issued, rotated, revoked, each with its event; secrets are nowhere."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta

import pytest
from interlock.access import Credential, Grant, Proof, Role, token_key
from interlock.errors import AlreadyExists, InvalidArgument, NotFound
from interlock_registry.domain import Action, Attempt
from interlock_registry.registry import Registry

from tests.databases import Place

GRANTS = [Grant(Role.PUBLISHER, "fraud-*"), Grant(Role.VIEWER)]


class Clock:
    def __init__(self) -> None:
        # Behind the time by which expiry is judged, so that what is short-lived has expired.
        self.now = datetime.now(UTC) - timedelta(days=1)

    def __call__(self) -> datetime:
        return self.now


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def registry(place: Place, clock: Clock) -> Iterator[Registry]:
    opened = Registry.open(place.url, clock=clock)
    yield opened
    opened.close()


def attempt(action: Action) -> Attempt:
    return Attempt(action=action, actor="local:me", request_id="r", model="", reason="because")


def issue(registry: Registry, name: str = "ci", lifetime_s: float | None = None) -> str:
    return registry.credentials.issue(attempt(Action.ISSUE_TOKEN), name, GRANTS, lifetime_s=lifetime_s).token


def known(registry: Registry) -> list[Credential]:
    return list(registry.desired().credentials)


def test_a_token_is_kept_as_its_hash_with_what_it_may(registry: Registry, clock: Clock) -> None:
    before = registry.desired().epoch
    token = issue(registry, lifetime_s=10.0**9)
    (found,) = known(registry)
    assert (found.name, found.key, found.grants) == ("ci", token_key(token), tuple(GRANTS))
    assert (found.created_at, found.created_by) == (clock.now, "local:me")
    assert found.expires_at == clock.now + timedelta(seconds=10.0**9)
    assert registry.desired().epoch == before + 1, "servers must notice"
    (event,) = registry.events().items
    assert (event.action, event.actor, event.reason, event.outcome) == ("token.issue", "local:me", "because", "ok")
    assert event.detail == f"ci ({found.id}): publisher:fraud-* viewer"
    assert token not in str(event) and token_key(token) not in str(event)
    assert token_key(token) not in repr(found)
    assert registry.verify_chain().is_whole


def test_a_name_has_one_valid_token(registry: Registry) -> None:
    issue(registry)
    with pytest.raises(AlreadyExists, match="interlock token rotate ci"):
        issue(registry)
    registry.credentials.revoke(attempt(Action.REVOKE_TOKEN), Proof.TOKEN, "ci")
    issue(registry)


def test_a_revoked_token_is_listed_and_known_no_longer(registry: Registry) -> None:
    issue(registry)
    epoch = registry.desired().epoch
    (ended,) = registry.credentials.revoke(attempt(Action.REVOKE_TOKEN), Proof.TOKEN, known(registry)[0].id)
    assert known(registry) == []
    assert registry.desired().epoch == epoch + 1
    assert [each.id for each in registry.credentials.all()] == [ended.id]
    with pytest.raises(NotFound, match="no valid token has the id or the name 'ci'"):
        registry.credentials.revoke(attempt(Action.REVOKE_TOKEN), Proof.TOKEN, "ci")


def test_a_rotated_token_keeps_its_roles_and_the_old_one_its_overlap(registry: Registry, clock: Clock) -> None:
    old = issue(registry)
    clock.now += timedelta(seconds=1)
    new = registry.credentials.rotate(attempt(Action.ROTATE_TOKEN), "ci", overlap_s=10.0**9, lifetime_s=None)
    assert {each.key for each in known(registry)} == {token_key(old), token_key(new.token)}
    assert {each.grants for each in known(registry)} == {tuple(GRANTS)}
    assert [each.expires_at for each in known(registry)] == [clock.now + timedelta(seconds=10.0**9), None]
    clock.now += timedelta(seconds=1)
    last = registry.credentials.rotate(attempt(Action.ROTATE_TOKEN), "ci", overlap_s=0, lifetime_s=None)
    assert [each.key for each in known(registry)] == [token_key(last.token)]
    with pytest.raises(NotFound):
        registry.credentials.rotate(attempt(Action.ROTATE_TOKEN), "other", overlap_s=0, lifetime_s=None)


def test_an_expired_token_is_not_known_and_its_name_is_free(registry: Registry, clock: Clock) -> None:
    issue(registry, lifetime_s=1.0)
    clock.now += timedelta(seconds=2)
    assert known(registry) == []
    issue(registry)


def test_a_certificate_is_known_by_a_name_in_it(registry: Registry) -> None:
    allow = attempt(Action.ALLOW_IDENTITY)
    made = registry.credentials.allow(allow, "spiffe://example.org/trainer", GRANTS, lifetime_s=None)
    assert known(registry) == [made]
    with pytest.raises(AlreadyExists):
        registry.credentials.allow(allow, "spiffe://example.org/trainer", GRANTS, lifetime_s=None)
    with pytest.raises(NotFound):
        registry.credentials.revoke(attempt(Action.REVOKE_TOKEN), Proof.TOKEN, made.id)
    registry.credentials.revoke(attempt(Action.REVOKE_IDENTITY), Proof.CERTIFICATE, made.name)
    assert known(registry) == []


@pytest.mark.parametrize("name", ["", "a b", "-x", "x" * 129, "ä"])
def test_a_name_must_be_one(registry: Registry, name: str) -> None:
    with pytest.raises(InvalidArgument):
        issue(registry, name)


def test_a_credential_without_a_role_is_refused(registry: Registry) -> None:
    with pytest.raises(InvalidArgument, match="--role"):
        registry.credentials.issue(attempt(Action.ISSUE_TOKEN), "ci", [], lifetime_s=None)
    assert known(registry) == []
