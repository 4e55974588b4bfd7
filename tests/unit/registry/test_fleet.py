from __future__ import annotations

import pytest
from interlock.errors import Aborted, GenerationConflict, Preempted
from interlock_registry.domain import Action
from interlock_registry.fleet import LIVE_S, Census, ReplicaRecord, Rollout, Vote, behind, judge, on_half
from interlock_registry.fleet_registry import Fence, RolloutIncomplete

from tests.unit.registry.builders import MODEL, Desk, attempt, heartbeat

# --- decisions ---


def record(name: str, *, silent_s: float = 0.0, boot: str = "first", epoch: int = 7) -> ReplicaRecord:
    return ReplicaRecord(
        replica=name, boot=boot, address=name, inference_address=name, epoch=epoch, ready=True, silent_s=silent_s
    )


A, B, C = record("a"), record("b"), record("c")
DEAD = record("d", silent_s=LIVE_S)
YES_B, YES_C = Vote(replica="b", boot="first", prepared=True), Vote(replica="c", boot="first", prepared=True)
NO_C = Vote(replica="c", boot="first", prepared=False, reason="out of memory")


@pytest.mark.parametrize(
    ("replicas", "votes", "waiting", "failed"),
    [
        ((A,), (), "", ""),
        ((A, B), (), "b", ""),
        ((A, B), (YES_B,), "", ""),
        ((A, B, C), (YES_B,), "c", ""),
        ((A, B, C), (YES_B, NO_C), "", "c"),
        ((A, B, C), (NO_C,), "b", "c"),
        ((A, B, DEAD), (YES_B,), "", ""),
        ((A, record("c", silent_s=LIVE_S)), (NO_C,), "", ""),
        ((A, record("c", boot="second")), (NO_C,), "c", ""),
        ((A, record("c", boot="second")), (YES_C,), "c", ""),
        ((B, C), (YES_B, YES_C), "", ""),
    ],
    ids=[
        "alone",
        "one is waited for",
        "all have",
        "one of two has",
        "one failed",
        "one failed and one is waited for",
        "a dead one is not waited for",
        "a dead one's failure does not count",
        "a failure of a process that has ended does not count",
        "nor does its success",
        "the coordinator itself looks dead",
    ],
)
def test_a_rollout_is_judged_by_the_replicas_that_live_now(
    replicas: tuple[ReplicaRecord, ...], votes: tuple[Vote, ...], waiting: str, failed: str
) -> None:
    verdict = judge(replicas, votes, coordinator="a")
    assert [label.split()[1] for label in verdict.waiting] == list(waiting)
    assert [label.split()[1] for label in verdict.failed] == list(failed)
    assert verdict.may_commit == (not waiting and not failed)


@pytest.mark.parametrize(
    ("replicas", "holders", "enough"),
    [
        ((A,), "", False),
        ((A,), "a", True),
        ((A, B), "b", True),
        ((A, B, C), "a", False),
        ((A, B, C), "bc", True),
        ((A, DEAD), "d", False),
        ((A, B, DEAD), "ad", True),
        ((), "a", False),
    ],
)
def test_a_rollback_needs_the_version_on_half_of_the_live_replicas(
    replicas: tuple[ReplicaRecord, ...], holders: str, enough: bool
) -> None:
    assert on_half(Census(1, replicas, frozenset(holders))) is enough


def test_behind_are_live_replicas_at_an_older_epoch_or_without_the_version() -> None:
    old = record("b", epoch=6)
    assert behind(Census(1, (A, old, C, DEAD), frozenset("ab")), epoch=7) == (old, C)


# --- heartbeats ---


def holders(desk: Desk, *versions: int) -> list[frozenset[str]]:
    return [each.holders for each in desk.registry.fleet.censuses(MODEL, versions)]


def test_a_heartbeat_says_who_is_there_by_the_databases_clock(desk: Desk) -> None:
    desk.registry.fleet.beat(heartbeat("a", epoch=3), None)
    desk.registry.fleet.beat(heartbeat("b"), None)
    view = desk.registry.fleet.look()
    assert [(each.replica, each.address, each.epoch) for each in view.replicas] == [
        ("a", "a:8002", 3),
        ("b", "b:8002", 0),
    ]
    assert all(each.live and each.silent_s < LIVE_S for each in view.replicas)
    assert [each.replica for each in view.others("a")] == ["b"]
    assert view.state == desk.registry.state()


def test_a_silent_replica_is_not_live(desk: Desk) -> None:
    desk.registry.fleet.beat(heartbeat("a"), None)
    with desk.sql() as connection:
        connection.execute("UPDATE replicas SET seen_at = '2026-01-01 00:00:00.000000'")
    (found,) = desk.registry.fleet.look().replicas
    assert not found.live
    assert desk.registry.fleet.look().others("b") == ()


def test_a_replica_that_stops_is_forgotten_at_once(desk: Desk) -> None:
    desk.registry.fleet.beat(heartbeat("a", 1, 2), None)
    desk.registry.fleet.leave("a")
    assert desk.registry.fleet.look().replicas == ()
    assert holders(desk, 1) == [set()]


def test_what_is_resident_is_told_by_differences(desk: Desk) -> None:
    fleet = desk.registry.fleet
    first = heartbeat("a", 1, 2)
    fleet.beat(first, None)
    fleet.beat(heartbeat("b", 2), None)
    assert holders(desk, 1, 2) == [{"a"}, {"a", "b"}]
    fleet.beat(heartbeat("a", 2, 3), first.residents)
    assert holders(desk, 1, 2, 3) == [set(), {"a", "b"}, {"a"}]


def test_a_new_process_of_a_replica_has_nothing_of_what_its_predecessor_had(desk: Desk) -> None:
    fleet = desk.registry.fleet
    first = heartbeat("a", 1)
    fleet.beat(first, None)
    fleet.beat(heartbeat("a", 2, boot="second"), None)
    assert holders(desk, 1, 2) == [set(), {"a"}]


# --- rollouts ---


def rollout(version: int = 1, coordinator: str = "a", alias: str = "stable") -> Rollout:
    return Rollout(
        rollout=f"r{version}",
        action="promote",
        model=MODEL,
        alias=alias,
        version=version,
        coordinator=coordinator,
        actor="ada",
        reason="why not",
        request_id="r-9",
    )


def expire(desk: Desk, year: int = 2026) -> None:
    with desk.sql() as connection:
        connection.execute(f"UPDATE rollouts SET lease_until = '{year}-01-01 00:00:00.000000'")


def begun(desk: Desk) -> Rollout:
    """A fleet of a and b, of which a leads a rollout of version 1."""
    desk.register()
    desk.registry.fleet.beat(heartbeat("a"), None)
    desk.registry.fleet.beat(heartbeat("b"), None)
    made = rollout()
    desk.registry.fleet.open(made)
    return made


def commit(desk: Desk, fence: Fence) -> None:
    move = desk.registry.plan_promote(MODEL, 1)
    desk.registry.commit_move(move, attempt(Action.PROMOTE, version=1, alias="stable"), "{}", fence)


def test_every_replica_sees_a_rollout_until_it_is_committed(desk: Desk) -> None:
    made = begun(desk)
    assert desk.registry.fleet.look().rollouts == (made,)
    with pytest.raises(RolloutIncomplete):
        commit(desk, Fence(made))
    assert desk.registry.alias(MODEL, "stable") is None
    desk.registry.fleet.vote("r1", Vote(replica="b", boot="first", prepared=True))
    assert desk.registry.fleet.progress(made).may_commit
    commit(desk, Fence(made))
    assert desk.registry.fleet.look().rollouts == ()
    with desk.sql() as connection:
        assert connection.execute("SELECT count(*) FROM rollout_votes") == [(0,)]


def test_a_replica_that_joins_at_the_last_moment_is_waited_for(desk: Desk) -> None:
    made = begun(desk)
    desk.registry.fleet.vote("r1", Vote(replica="b", boot="first", prepared=True))
    assert desk.registry.fleet.progress(made).may_commit
    desk.registry.fleet.beat(heartbeat("c"), None)
    with pytest.raises(RolloutIncomplete):
        commit(desk, Fence(made))
    desk.registry.fleet.vote("r1", Vote(replica="c", boot="first", prepared=True))
    commit(desk, Fence(made))


def test_a_replicas_last_vote_counts(desk: Desk) -> None:
    made = begun(desk)
    desk.registry.fleet.vote("r1", Vote(replica="b", boot="first", prepared=False, reason="no worker"))
    assert list(desk.registry.fleet.progress(made).failed.values()) == ["no worker"]
    desk.registry.fleet.vote("r1", Vote(replica="b", boot="first", prepared=True))
    assert desk.registry.fleet.progress(made).may_commit


def test_a_rollback_of_the_alias_overtakes_a_rollout_wherever_it_is_led(desk: Desk) -> None:
    made = begun(desk)
    desk.registry.fleet.vote("r1", Vote(replica="b", boot="first", prepared=True))
    desk.register()
    move = desk.registry.plan_promote(MODEL, 2)
    fence = Fence(rolled_back_by="eve")
    desk.registry.commit_move(move, attempt(Action.ROLLBACK, version=2, alias="stable"), "{}", fence)
    with pytest.raises(Preempted, match="overtaken by a rollback by eve"):
        desk.registry.fleet.progress(made)
    with pytest.raises((Preempted, GenerationConflict)):
        commit(desk, Fence(made))


def test_a_rollback_overtakes_no_rollout_of_another_alias(desk: Desk) -> None:
    begun(desk)
    other = rollout(alias="canary", coordinator="b")
    desk.registry.fleet.end("r1")
    desk.registry.fleet.open(other)
    commit(desk, Fence(rolled_back_by="eve"))
    assert desk.registry.fleet.look().rollouts == (other,)


def test_a_refused_commit_overtakes_nothing(desk: Desk) -> None:
    made = begun(desk)
    plan = desk.registry.plan_promote(MODEL, 1)
    desk.promote(1)
    with pytest.raises(GenerationConflict):
        desk.registry.commit_move(
            plan, attempt(Action.ROLLBACK, version=1, alias="stable"), "{}", Fence(rolled_back_by="eve")
        )
    assert desk.registry.fleet.look().rollouts == (made,)


@pytest.mark.parametrize("year", [2026, 2999], ids=["its lease has run out", "the clock was put back"])
def test_a_rollout_whose_coordinator_is_silent_is_over_for_good(desk: Desk, year: int) -> None:
    made = begun(desk)
    desk.registry.fleet.renew(made)
    expire(desk, year)
    assert desk.registry.fleet.look().rollouts == ()
    for call in (desk.registry.fleet.renew, desk.registry.fleet.progress):
        with pytest.raises(Aborted, match="gave no sign of life for 5 s; nothing was changed"):
            call(made)
    desk.registry.fleet.vote("r1", Vote(replica="b", boot="first", prepared=True))
    with pytest.raises(Aborted):
        commit(desk, Fence(made))
    assert desk.registry.alias(MODEL, "stable") is None


def test_whoever_comes_next_cleans_up_behind_a_lost_coordinator_and_writes_its_event(desk: Desk) -> None:
    made = begun(desk)
    desk.registry.fleet.vote("r1", Vote(replica="b", boot="first", prepared=True))
    assert desk.registry.fleet.sweep() == ()
    expire(desk)
    assert desk.registry.fleet.sweep() == (made,)
    assert desk.registry.fleet.sweep() == ()
    event = desk.registry.events().items[0]
    assert (event.actor, event.action, event.outcome, event.to_version) == ("ada", "promote", "ABORTED", 1)
    assert (event.reason, event.request_id) == ("why not", "r-9")
    assert desk.registry.verify_chain().is_whole
    assert desk.registry.state().epoch == 1
    with desk.sql() as connection:
        assert connection.execute("SELECT count(*) FROM rollouts") == [(0,)]
        assert connection.execute("SELECT count(*) FROM rollout_votes") == [(0,)]


def test_votes_for_a_rollout_that_has_ended_and_replicas_gone_for_long_are_swept(desk: Desk) -> None:
    begun(desk)
    desk.registry.fleet.end("r1")
    desk.registry.fleet.end("r1")
    desk.registry.fleet.vote("r1", Vote(replica="b", boot="first", prepared=True))
    with desk.sql() as connection:
        connection.execute("UPDATE replicas SET seen_at = '2026-01-01 00:00:00.000000' WHERE replica = 'b'")
    desk.registry.fleet.tidy()
    assert [each.replica for each in desk.registry.fleet.look().replicas] == ["a"]
    with desk.sql() as connection:
        assert connection.execute("SELECT count(*) FROM rollout_votes") == [(0,)]
