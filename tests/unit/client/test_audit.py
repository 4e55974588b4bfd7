"""Copies of the history that are kept elsewhere: whole, cut off, written anew, and signed by somebody else."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pytest
from interlock import audit
from interlock.audit import DOMAIN, Head, SignedHead
from interlock.chain import START, ChainHead, Link
from interlock.errors import DataLoss, InvalidArgument
from interlock.keys import SigningKey
from interlock.v1 import admin_pb2 as pb
from interlock_registry.chain import Draft, seal

from tests.unit.client.cli.conftest import interlock  # noqa: F401 - the fixture
from tests.unit.client.cli.samples import Command
from tests.unit.client.kinds import Kind
from tests.unit.client.scripted import NOON, ScriptedServer
from tests.unit.client.test_history import hand_out


@pytest.fixture(scope="module")
def key(tmp_path_factory: pytest.TempPathFactory) -> SigningKey:
    return SigningKey.create(tmp_path_factory.mktemp("audit") / "audit.key")


def history(key: SigningKey, length: int = 4, *, actor: str = "ann") -> list[Link]:
    """Make a history whose first event announces a key."""
    links: list[Link] = []
    head = START
    for number in range(length):
        links.append(
            seal(
                Draft(
                    time=NOON,
                    actor=actor,
                    action=audit.ACTION if number == 0 else "promote",
                    model="" if number == 0 else "digits",
                    alias="",
                    from_version=0,
                    to_version=number,
                    reason="",
                    request_id="r",
                    outcome="ok",
                    detail=f"replica r1 signs the history's head by {key.public} {key.public.id}"
                    if number == 0
                    else "",
                ),
                after=head,
            )
        )
        head = ChainHead(links[-1].seq, links[-1].hash)
    return links


def signed(key: SigningKey, links: Sequence[Link]) -> SignedHead:
    head = Head(incarnation="i", seq=links[-1].seq, hash=links[-1].hash, time=NOON, replica="r1")
    return SignedHead(head, key.public, key.sign(DOMAIN + head.to_json().encode()))


def copy(key: SigningKey, links: Sequence[Link]) -> list[bytes]:
    return [*(link.body for link in links), signed(key, links).to_line().encode()]


def test_a_whole_copy_is_whole(key: SigningKey) -> None:
    links = history(key)
    found = audit.verify(copy(key, links))
    assert (found.why, found.report.events, found.signed) == ("", 4, signed(key, links))
    assert audit.verify(copy(key, links), [key.public]).why == ""
    # A copy that grows has a head after each piece.
    grown = [*copy(key, links[:2]), *copy(key, links)[2:]]
    assert audit.verify(grown).why == ""


@pytest.mark.parametrize(
    ("harm", "why"),
    [
        (lambda lines: lines[:-1], "no signed head is in it"),
        (lambda lines: [*lines[:-2], lines[-1]], "the head says that event 4"),
        (lambda lines: [lines[0], *lines[2:]], "event 2 is missing"),
        (lambda lines: [*lines[:2], lines[2].replace(b"digits", b"digitz"), *lines[3:]], "does not follow event 3"),
        (lambda lines: [*lines[:3], b"{}", *lines[3:]], "line 4: event 0 is damaged"),
        (lambda lines: [*lines[:-1], lines[-1].replace(b'"r1"', b'"r2"')], "the signature of the head is not of key"),
        (lambda lines: [*lines[:-1], b'{"head":1}'], "a signed head cannot be read"),
        (lambda lines: [*lines, lines[1]], "event 5 is missing"),
    ],
)
def test_a_harmed_copy_says_where(key: SigningKey, harm: Callable[[list[bytes]], list[bytes]], why: str) -> None:
    assert why in audit.verify(harm(copy(key, history(key)))).why


def test_a_head_by_another_key_counts_for_nothing(key: SigningKey, tmp_path: Path) -> None:
    eve = SigningKey.create(tmp_path / "eve.key")
    assert "which no event before it announces" in audit.verify(copy(eve, history(key))).why
    # Whoever writes everything anew announces his own key: that shows to those who know the right one.
    anew = copy(eve, history(eve))
    assert audit.verify(anew).why == ""
    assert "which is not the one that was given" in audit.verify(anew, [key.public]).why


def serve(server: ScriptedServer, key: SigningKey, links: Sequence[Link]) -> None:
    server.behaviours["ReadChain"] = hand_out(list(links))
    head = signed(key, links).to_line()
    server.behaviours["GetHead"] = lambda *_: pb.GetHeadResponse(signed_head=head)


def test_an_export_is_verified_on_the_way(kind: Kind, server: ScriptedServer, key: SigningKey, tmp_path: Path) -> None:
    links = history(key, 5)
    serve(server, key, links)
    assert kind.admin(server.address).export_log(tmp_path / "copy") == signed(key, links)
    assert (tmp_path / "copy").read_bytes().splitlines() == copy(key, links)
    with pytest.raises(InvalidArgument, match="is not overwritten"):
        kind.admin(server.address).export_log(tmp_path / "copy")
    server.behaviours["ReadChain"] = hand_out(links[:3])
    with pytest.raises(DataLoss, match="ends before the head"):
        kind.admin(server.address).export_log(tmp_path / "short")
    assert not (tmp_path / "short").exists()


def test_a_server_that_lost_or_changed_its_past_is_found_by_a_copy(
    interlock: Command,  # noqa: F811
    server: ScriptedServer,
    monkeypatch: pytest.MonkeyPatch,
    key: SigningKey,
    tmp_path: Path,
) -> None:
    monkeypatch.setenv("INTERLOCK_ADMIN", server.address)
    links = history(key, 5)
    serve(server, key, links)
    file = tmp_path / "copy"
    assert interlock("log", "--export", file).code == 0
    against: Any = ("log", "--verify", "--against", file)
    done = interlock(*against)
    assert done.code == 0 and "whole up to event 5" in done.out
    serve(server, key, history(key, 7))
    assert interlock(*against).code == 0, "it went on"
    serve(server, key, links[:3])
    done = interlock(*against)
    assert done.code == 1 and "event 5 is known to have been there" in done.err
    serve(server, key, history(key, 5, actor="eve"))
    done = interlock(*against)
    assert done.code == 1 and "it was written anew" in done.err
    server.behaviours.clear()
    assert interlock(*against, "--offline", "--audit-key", str(key.public)).code == 0
    assert interlock("log", "--offline").code == 2 and interlock("log", "--against", file).code == 2
