"""How often callers may ask, and fail to say who they are."""

from __future__ import annotations

from pathlib import Path
from typing import ClassVar

import pytest
from interlock.access import Grant, Permission, Proof, Role, new_token, token_key
from interlock.errors import PermissionDenied, RateExceeded, Unauthenticated
from interlock.protocols.health_pb2 import HealthCheckRequest
from interlock_server.access.board import Board, Taken
from interlock_server.access.gate import ANYBODY, Caller, Gate, Manners, Refused
from interlock_server.access.guard import GuardedHandler
from interlock_server.access.holder import Holder
from interlock_server.access.rates import Rates
from interlock_server.access.rules import ROUTES, RPCS, Rule
from interlock_server.front.seam import Arity, Call, Conversation
from interlock_server.settings import Settings

from tests.unit.server.builders import RecordingCall

LIVE = "/inference.GRPCInferenceService/ServerLive"
INFER = "/inference.GRPCInferenceService/ModelInfer"
CHECK = "/grpc.health.v1.Health/Check"
TOKEN = new_token()
HOLDER = Holder(Proof.TOKEN, "ci", token_key(TOKEN), (Grant(Role.INVOKER, "m"),))


class Clock:
    now = 0.0

    def __call__(self) -> float:
        return self.now


def enter(gate: Gate, rule: Rule | None = None, named: str = "", *, token: str = "", address: str = "a") -> object:
    found = gate.enter(
        rule or RPCS[LIVE],
        lambda: named,
        authorization=f"Bearer {token}" if token else None,
        certificate=tuple,
        address=lambda: address,
    )
    return type(found.error) if isinstance(found, Refused) else found.name


def test_a_bucket_gives_its_burst_and_then_as_much_as_it_fills() -> None:
    clock = Clock()
    rates = Rates(2.0, 3.0, clock=clock)
    assert [rates.take("a") for _ in range(4)] == [0.0, 0.0, 0.0, 0.5]
    assert rates.take("b") == 0.0, "each has its own"
    clock.now = 0.75
    assert rates.take("a") == 0.0
    assert rates.take("a") == pytest.approx(0.25)
    clock.now = 100.0
    assert [rates.take("a") for _ in range(4)] == [0.0, 0.0, 0.0, 0.5], "it holds no more than its burst"


def test_there_are_never_more_buckets_than_there_is_room_for() -> None:
    rates = Rates(1.0, 1.0, most=2, clock=Clock())
    for key in ("a", "b", "c", "c"):
        rates.take(key)
    assert rates.take("b") > 0
    assert rates.take("a") == 0.0, "the one that was used longest ago was given up"


def test_processes_share_what_one_caller_may_ask_however_his_connections_are_spread(tmp_path: Path) -> None:
    clock = Clock()
    names = ["control", "worker-0", "worker-1"]

    def begin(name: str) -> Rates:
        board = Board(str(tmp_path), name, [each for each in names if each != name])
        return Rates(1.0, 4.0, board=board, clock=clock)

    control, first, second = map(begin, names)
    assert [each.take("a") for each in (control, first, second, first)] == [0.0] * 4
    assert [each.take("a") for each in (control, first, second)] == [1.0] * 3, "all of it is taken, wherever he asks"
    assert first.take("b") == 0.0, "another caller has his own"
    clock.now = 2.0
    assert [first.take("a"), first.take("a"), second.take("a")] == [0.0, 0.0, 1.0], "what one leaves another has"
    clock.now = 3.0
    assert begin("worker-1").take("a") == 0.0, "a worker that comes back knows what the others let him take"
    assert first.take("a") == 1.0
    clock.now = 100.0
    assert [second.take("a") for _ in range(5)] == [0.0] * 4 + [1.0]


def test_a_board_gives_the_place_of_who_came_longest_ago_to_who_comes_now(tmp_path: Path) -> None:
    mine, other = Board(str(tmp_path), "a", ["b"]), Board(str(tmp_path), "b", ["a"])
    for number in range(20_000):
        mine.take(f"10.0.{number >> 8}.{number & 255}", 1.0, float(number))
    newest = other.look("10.0.78.31", 20_000.0, 1.0)
    assert (newest.by_others, newest.left) == (1, 2.0)
    assert other.look("10.0.0.0", 20_000.0, 1.0) == Taken(0, float("inf"))
    for each in (mine, mine, other):
        each.close()


def test_a_caller_that_asks_too_often_is_told_when_to_come_again() -> None:
    gate = Gate(lambda: (HOLDER,), Settings.load({"max_requests_per_s": 0.001}, None).manners)
    assert enter(gate, token=TOKEN) == "token:ci"
    refused = gate.enter(
        RPCS[LIVE], str, authorization=f"Bearer {TOKEN}", certificate=tuple, address=lambda: "another address"
    )
    assert isinstance(refused, Refused) and isinstance(refused.error, RateExceeded)
    assert refused.error.retry_after_s is not None and 500.0 < refused.error.retry_after_s <= 1000.0
    assert refused.error.facts == {"caller": "token:ci", "limit": "0.001"}
    assert refused.after_s == 0.0
    assert gate.refused() == {"RATE_EXCEEDED": 1}


def test_each_request_of_a_conversation_counts() -> None:
    gate = Gate(lambda: (HOLDER,), Manners(requests_per_s=0.001))
    caller = gate.enter(RPCS[INFER], str, authorization=f"Bearer {TOKEN}", certificate=tuple, address=str)
    assert isinstance(caller, Caller)
    caller.need(Permission.ASK, "m")
    with pytest.raises(RateExceeded):
        caller.need(Permission.ASK, "m")


def test_failures_are_slowed_by_address_and_lock_nobody_out() -> None:
    said: dict[str, object] = {"max_failed_auth_per_minute": 2, "failed_auth_delay_s": 0.5}
    gate = Gate(lambda: (HOLDER,), Settings.load(said, None).manners)
    assert [enter(gate, token="wrong") for _ in range(3)] == [Unauthenticated, Unauthenticated, RateExceeded]
    assert enter(gate) is RateExceeded, "to show nothing is to fail, too"
    assert enter(gate, address="b") is Unauthenticated
    assert enter(gate, token=TOKEN) == "token:ci"
    assert enter(gate, RPCS[INFER], token=TOKEN) == "token:ci"
    held = gate.enter(RPCS[LIVE], str, authorization=None, certificate=tuple, address=lambda: "a")
    assert isinstance(held, Refused) and held.after_s == 0.5
    assert gate.refused() == {"UNAUTHENTICATED": 3, "RATE_EXCEEDED": 3}


def test_a_probe_needs_no_credential_where_the_settings_say_so() -> None:
    check, watch, ready = RPCS[CHECK], RPCS["/grpc.health.v1.Health/Watch"], ROUTES["GET /readyz"]
    closed, open_ = Gate(lambda: (HOLDER,)), Gate(lambda: (HOLDER,), Manners(open_probes=True))
    assert enter(closed, check) is enter(closed, ready) is Unauthenticated
    assert enter(open_, check) == enter(open_, check, "inference.GRPCInferenceService") == ANYBODY.name
    assert enter(open_, ready) == enter(open_, ready, token="wrong") == ANYBODY.name
    assert enter(open_, check, "model/m") is enter(open_, watch) is enter(open_) is Unauthenticated
    for gate in (open_, closed):
        assert enter(gate, check, "model/m:canary", token=TOKEN) == "token:ci"
        assert enter(gate, watch, "model/m@3", token=TOKEN) == "token:ci"
        assert enter(gate, check, "model/other", token=TOKEN) is PermissionDenied


class Answering:
    """A handler that lets every call end well."""

    methods: ClassVar = {CHECK: Arity.UNARY, LIVE: Arity.UNARY}

    def handle(self, call: Call) -> None:
        call.done(b"")

    def converse(self, call: Conversation) -> None:
        call.done()

    def settle(self) -> None:
        pass


def test_a_failure_too_many_is_answered_late_and_others_are_not_held_up() -> None:
    guarded = GuardedHandler(
        Answering(), Gate(lambda: (HOLDER,), Manners(open_probes=True, failures_per_minute=1, failure_delay_s=0.01))
    )
    first, late = RecordingCall(LIVE, b""), RecordingCall(LIVE, b"")
    guarded.handle(first)
    guarded.handle(late)
    assert isinstance(first.error, Unauthenticated) and late.error is None
    known = RecordingCall(LIVE, b"", {"authorization": f"Bearer {TOKEN}"})
    guarded.handle(known)
    assert known.reply == b"" and known.caller is not None
    for service in ("", "inference.GRPCInferenceService"):
        probe = RecordingCall(CHECK, HealthCheckRequest(service=service).SerializeToString())
        guarded.handle(probe)
        assert probe.reply == b""
    assert late.error is None
    late.ring()
    assert isinstance(late.error, RateExceeded)


def test_a_call_knows_its_address_without_the_port() -> None:
    call = RecordingCall(LIVE, b"")
    assert call.origin() == ""
    for peer, host in (("ipv4:10.1.2.3:4711", "ipv4:10.1.2.3"), ("ipv6:%5B::1%5D:9", "ipv6:%5B::1%5D")):
        call.address = lambda peer=peer: peer
        assert call.origin() == host
