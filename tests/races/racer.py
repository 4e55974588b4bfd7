"""A racer: `python -m tests.races.racer registry URL` or `… client ADMIN INFERENCE`. It stops at its first refusal."""

from __future__ import annotations

import sys
import time
from typing import Protocol

import numpy as np
from interlock.errors import Aborted, InterlockError
from interlock_client import Admin, Client
from interlock_registry.documents import VersionAnswer
from interlock_registry.domain import Action, Attempt
from interlock_registry.registry import Registry

from tests.races.orders import Order, Outcome, read_orders, write_outcomes
from tests.unit.registry.builders import new_version

REFUSED = {"retire": Action.RETIRE, "delete": Action.DELETE, "pin": Action.PIN, "unpin": Action.UNPIN}


class Racer(Protocol):
    def do(self, order: Order) -> Outcome:
        """Carry an order out; raises the refusal."""


class ByRegistry:
    """Uses the registry as a server's control process does."""

    def __init__(self, url: str) -> None:
        self._registry = Registry.open(url)

    def do(self, order: Order) -> Outcome:
        action = Action(order.action)
        attempt = Attempt(
            action=action,
            actor="racer",
            request_id="race",
            model=order.model,
            alias="stable" if action in (Action.PROMOTE, Action.ROLLBACK) else "",
            version=order.version,
            idempotency_key=order.key,
            request_hash=f"{order.action} {order.model} {order.version} {order.expect}",
        )
        while True:
            known = self._registry.recall(attempt)
            if known is not None:
                return _answered(order, known.result())
            try:
                return self._attempt(order, attempt)
            except InterlockError as error:
                if type(error) is Aborted and order.key:
                    continue  # its twin was faster: its answer is there
                self._registry.refuse(attempt, error)
                raise

    def _attempt(self, order: Order, attempt: Attempt) -> Outcome:
        registry = self._registry
        match attempt.action:
            case Action.PROMOTE | Action.ROLLBACK:
                if attempt.action is Action.PROMOTE:
                    move = registry.plan_promote(order.model, order.version, expected_generation=order.expect)
                else:
                    move = registry.plan_rollback(order.model, to_version=order.version)
                answer = VersionAnswer(order.model, move.to_version).to_json()
                registry.commit_move(move, attempt, answer)
                return Outcome(order, "ok", move.to_version, move.generation_after)
            case Action.REGISTER:
                made = registry.register(new_version(order.model), attempt)
                return Outcome(order, "ok", made.version.version)
            case Action.RETIRE:
                registry.retire(attempt)
            case Action.DELETE:
                registry.delete(attempt)
            case Action.PIN:
                registry.pin(attempt)
            case Action.UNPIN:
                registry.unpin(attempt)
            case _:
                raise ValueError(order.action)
        return Outcome(order, "ok", order.version)


def _answered(order: Order, answer: str) -> Outcome:
    return Outcome(order, "ok", VersionAnswer.from_json(answer).version)


class ByClient:
    """Asks a server."""

    def __init__(self, admin: str, inference: str) -> None:
        self._admin = Admin(admin, retries=0)
        self._client = Client(inference, retries=0)

    def do(self, order: Order) -> Outcome:
        admin, model, version, key = self._admin, order.model, order.version, order.key
        match order.action:
            case "promote":
                switch = admin.promote(model, version, expect=order.expect, idempotency_key=key, timeout=60)
                return Outcome(order, "ok", switch.to_version, switch.generation)
            case "rollback":
                switch = admin.rollback(model, to=version or None, idempotency_key=key, timeout=60)
                return Outcome(order, "ok", switch.to_version, switch.generation)
            case "retire":
                admin.retire(model, version, idempotency_key=key, timeout=60)
            case "delete":
                admin.delete(model, version, idempotency_key=key, timeout=60)
            case "pin":
                admin.pin(model, version, idempotency_key=key, timeout=60)
            case "unpin":
                admin.unpin(model, version, idempotency_key=key, timeout=60)
            case "infer":
                result = self._client.infer(model, {"x": np.ones((1, 2), np.float32)}, timeout=60)
                return Outcome(order, "ok", result.version)
            case "register":
                made = admin.register(model, sys.argv[4], idempotency_key=key, timeout=60)
                return Outcome(order, "ok", made.version)
            case _:
                raise ValueError(order.action)
        return Outcome(order, "ok", version)


def main() -> None:
    racer: Racer = ByRegistry(sys.argv[2]) if sys.argv[1] == "registry" else ByClient(sys.argv[2], sys.argv[3])
    print("ready", flush=True)
    for line in sys.stdin:
        outcomes: list[Outcome] = []
        for order in read_orders(line):
            time.sleep(order.delay_s)
            try:
                outcomes.append(racer.do(order))
            except InterlockError as error:
                outcomes.append(Outcome(order, error.reason))
                break
        print(write_outcomes(outcomes), flush=True)


if __name__ == "__main__":
    main()
