"""The gate: who is known by what, for how long, and what it takes over when that changes."""

from __future__ import annotations

import time
from dataclasses import replace

import pytest
from interlock.access import Grant, Permission, Proof, Role, new_token, token_key
from interlock.errors import Unauthenticated
from interlock_server.access.gate import Caller, Gate, Manners, Refused
from interlock_server.access.holder import Holder
from interlock_server.access.rules import Rule, Scope

TOKEN = new_token()
BY_TOKEN = Holder(Proof.TOKEN, "ci", token_key(TOKEN), (Grant(Role.PUBLISHER),))
BY_CERTIFICATE = Holder(Proof.CERTIFICATE, "a@b", "a@b", (Grant(Role.VIEWER),))


def gate(*holders: Holder) -> Gate:
    return Gate(lambda: holders)


def test_a_token_is_known_by_its_hash() -> None:
    assert gate(BY_TOKEN).meet(f"Bearer {TOKEN}").name == "token:ci"
    assert gate(BY_TOKEN).meet(f"bearer  {TOKEN} ").name == "token:ci"


@pytest.mark.parametrize(
    ("authorization", "words"),
    [
        (None, "wants to know who calls"),
        ("", "not of the form 'Bearer TOKEN'"),
        (TOKEN, "not of the form"),
        ("Basic YTpi", "not of the form"),
        ("Bearer ", "not known here"),
        (f"Bearer {new_token()}", "not known here"),
        (f"Bearer {token_key(TOKEN)}", "not known here"),
        ("Bearer \udcff", "not known here"),
        ("Bearer " + "x" * 1000, "not of the form"),
    ],
    # Of their own: tokens are random, and every process of a test run must find the same names.
    ids=["none", "empty", "bare", "basic", "no token", "another token", "its hash", "not text", "long"],
)
def test_whoever_shows_nothing_that_is_known_is_refused(authorization: str | None, words: str) -> None:
    with pytest.raises(Unauthenticated, match=words) as refused:
        gate(BY_TOKEN).meet(authorization)
    assert "ilk_" not in refused.value.message


def test_a_certificate_is_known_by_one_of_its_names_and_a_token_goes_first() -> None:
    both = gate(BY_TOKEN, BY_CERTIFICATE)
    assert both.meet(None, lambda: ["x", "a@b"]).name == "certificate:a@b"
    assert both.meet(f"Bearer {TOKEN}", lambda: ["a@b"]).name == "token:ci"
    with pytest.raises(Unauthenticated, match=r"nobody is known by the certificate's names \(x, y\)"):
        both.meet(None, lambda: ["x", "y"])
    with pytest.raises(Unauthenticated):  # a wrong token is wrong, whatever else is shown
        both.meet(f"Bearer {new_token()}", lambda: ["a@b"])
    with pytest.raises(Unauthenticated):  # a certificate cannot be made out in the name of a token
        both.meet(None, lambda: [BY_TOKEN.key])


def test_what_has_expired_opens_nothing() -> None:
    assert gate(replace(BY_TOKEN, expires_at=time.time() + 60)).meet(f"Bearer {TOKEN}")
    with pytest.raises(Unauthenticated):
        gate(replace(BY_TOKEN, expires_at=time.time() - 0.001)).meet(f"Bearer {TOKEN}")


def test_a_change_of_who_is_known_counts_from_the_next_call_on() -> None:
    known: list[tuple[Holder, ...]] = [()]
    found = Gate(lambda: known[0])
    with pytest.raises(Unauthenticated):
        found.meet(f"Bearer {TOKEN}")
    known[0] = (BY_TOKEN,)
    before = found.meet(f"Bearer {TOKEN}")
    known[0] = (replace(BY_TOKEN),)
    assert found.meet(f"Bearer {TOKEN}") is before, "an equal picture is no reason to prepare everything anew"
    known[0] = ()
    with pytest.raises(Unauthenticated):
        found.meet(f"Bearer {TOKEN}")


def test_a_call_that_outlives_what_opened_it_is_refused_what_it_asks_next() -> None:
    known: list[tuple[Holder, ...]] = [(BY_TOKEN,)]
    caller = Gate(lambda: known[0]).meet(f"Bearer {TOKEN}")
    caller.need(Permission.PUBLISH, "m")
    known[0] = (BY_CERTIFICATE,)
    with pytest.raises(Unauthenticated, match="revoked since this call began"):
        caller.need(Permission.PUBLISH, "m")


def test_a_call_that_outlives_the_time_of_what_opened_it_is_refused_too(monkeypatch: pytest.MonkeyPatch) -> None:
    now = time.time()
    caller = gate(replace(BY_TOKEN, expires_at=now + 60)).meet(f"Bearer {TOKEN}")
    caller.need(Permission.PUBLISH, "m")
    monkeypatch.setattr(time, "time", lambda: now + 60)
    with pytest.raises(Unauthenticated, match="has expired"):
        caller.need(Permission.PUBLISH, "m")


def test_a_call_outlives_a_change_of_the_others_but_not_an_end_of_its_own() -> None:
    known: list[tuple[Holder, ...]] = [(BY_TOKEN,)]
    caller = Gate(lambda: known[0]).meet(f"Bearer {TOKEN}")
    for others in ((replace(BY_TOKEN),), (BY_TOKEN, BY_CERTIFICATE), (replace(BY_TOKEN, expires_at=time.time() + 60),)):
        known[0] = others
        caller.need(Permission.PUBLISH, "m")
    known[0] = (replace(BY_TOKEN, expires_at=time.time() - 1), BY_CERTIFICATE)
    with pytest.raises(Unauthenticated):
        caller.need(Permission.PUBLISH, "m")


ASK = Rule(Permission.ASK, Scope.HANDLER)
INVOKER = replace(BY_TOKEN, grants=(Grant(Role.INVOKER, "m*"),))
USUAL = [
    ("its token", INVOKER, ASK, f"Bearer {TOKEN}", True),
    ("one that expires later", replace(INVOKER, expires_at=time.time() + 3600), ASK, f"Bearer {TOKEN}", True),
    ("one that has expired", replace(INVOKER, expires_at=time.time() - 1), ASK, f"Bearer {TOKEN}", False),
    ("another token", INVOKER, ASK, f"Bearer {TOKEN}x", False),
    ("no token", INVOKER, ASK, None, False),
    ("its hash", INVOKER, ASK, f"Bearer {token_key(TOKEN)}", False),
    ("a longer one", INVOKER, ASK, "Bearer " + "x" * 1000, False),
    ("no permission", BY_TOKEN, ASK, f"Bearer {TOKEN}", False),
    ("a certificate of that name", replace(INVOKER, proof=Proof.CERTIFICATE), ASK, f"Bearer {TOKEN}", False),
    ("no rule", INVOKER, None, f"Bearer {TOKEN}", False),
]


@pytest.mark.parametrize(("what", "holder", "rule", "authorization", "known"), USUAL, ids=[each[0] for each in USUAL])
def test_the_short_way_in_lets_in_whom_the_long_one_does_and_nobody_else(
    what: str, holder: Holder, rule: Rule | None, authorization: str | None, known: bool
) -> None:
    found = gate(holder)

    def enter() -> Caller | Refused:
        return found.enter(
            rule, lambda: "", authorization=authorization, certificate=lambda: (), address=lambda: "10.0.0.1"
        )

    assert found.usual(rule, authorization) is None, "who is known was not looked at yet"
    entered = enter()
    assert isinstance(entered, Caller) is known
    assert found.usual(rule, authorization) is (entered if known else None)


def test_the_short_way_in_is_closed_at_once_to_a_token_that_is_revoked() -> None:
    known: list[tuple[Holder, ...]] = [(INVOKER,)]
    found = Gate(lambda: known[0])
    found.meet(f"Bearer {TOKEN}")
    assert found.usual(ASK, f"Bearer {TOKEN}") is not None
    known[0] = ()
    assert found.usual(ASK, f"Bearer {TOKEN}") is None


def test_who_may_ask_so_often_only_and_what_names_a_model_take_the_long_way_in() -> None:
    known = (INVOKER,)
    counted, free = Gate(lambda: known, Manners(requests_per_s=1.0)), Gate(lambda: known)
    for each in (counted, free):
        each.meet(f"Bearer {TOKEN}")
    assert counted.usual(ASK, f"Bearer {TOKEN}") is None
    assert free.usual(Rule(Permission.DESCRIBE, Scope.MODEL, "name"), f"Bearer {TOKEN}") is None
    assert free.usual(ASK, f"Bearer {TOKEN}") is not None


def test_tokens_are_random_and_long() -> None:
    made = {new_token() for _ in range(100)}
    assert len(made) == 100
    assert all(each.startswith("ilk_") and len(each) == 47 for each in made)
