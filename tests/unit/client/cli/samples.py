"""What the registry of these tests holds, and how a command ends."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from interlock.approval import Approval, ApprovalState
from interlock.model import (
    Alias,
    AliasAt,
    Event,
    FleetReplica,
    LoadedFrom,
    Model,
    ReplicaStatus,
    ServableState,
    ServableStatus,
    Switch,
    WorkerStatus,
)

from tests.unit.client.scripted import NOON


@dataclass(frozen=True)
class Done:
    code: int
    out: str
    err: str

    @property
    def json(self) -> Any:
        return json.loads(self.out)


Command = Callable[..., Done]


ALIAS = Alias("digits", "stable", 3, 4, (1, 2), NOON)
MODEL = Model("digits", NOON, 3, 3, (ALIAS,))
EVENT = Event(7, NOON, "ann@host", "promote", "digits", "stable", 2, 3, "better", "r1", "ok", "", "ff")
PAST = AliasAt("digits", "stable", 3, NOON, 7, "promote", "ann@host", "better")
APPROVAL = Approval(
    seq=9,
    model="digits",
    version=3,
    alias="stable",
    digest="ab" * 32,
    approver="token:bob",
    reason="looks right",
    given_at=NOON,
    expires_at=NOON,
    withdrawn_at=None,
    state=ApprovalState.EXPIRED,
)
SWITCH = Switch("digits", "stable", 2, 3, 4, (1, 2), (), (), False, True, 0.25, 0.0031)
STATUS = ReplicaStatus(
    replica="r1",
    server_version="0.1.0",
    ready=True,
    epoch=9,
    degraded=(),
    workers=(
        WorkerStatus(
            0,
            42,
            True,
            9,
            "CPU",
            "aio",
            (ServableStatus("digits", 3, ServableState.READY, "", "CPU", 2, 0.012, LoadedFrom.DERIVED),),
            2,
            "8 cores, of whose time the CPU quota gives 2",
        ),
        WorkerStatus(1, 43, False, 8, "CPU", "aio"),
    ),
    aliases=(ALIAS,),
    sandbox=("rlimits",),
    inference_address="127.0.0.1:8001",
    http_address="127.0.0.1:8000",
    admin_address="127.0.0.1:8002",
    replicas=(
        FleetReplica(
            replica="r1",
            admin_address="127.0.0.1:8002",
            inference_address="127.0.0.1:8001",
            live=True,
            ready=True,
            epoch=9,
            silent_s=0.5,
        ),
        FleetReplica(
            replica="r2",
            admin_address="127.0.0.2:8002",
            inference_address="127.0.0.2:8001",
            live=False,
            ready=True,
            epoch=8,
            silent_s=61.25,
        ),
    ),
)

VERSION_JSON = {
    "model": "digits",
    "version": 3,
    "state": "VALIDATED",
    "digest": "ab" * 32,
    "size_bytes": 2048,
    "signature": {
        "inputs": [{"name": "x", "dtype": "FP32", "shape": [None, 2]}],
        "outputs": [{"name": "y", "dtype": "FP32", "shape": [None, 2]}],
        "optional": [],
    },
    "config": {
        "max_batch_size": 32,
        "max_queue_delay_us": 0,
        "max_queue_size": 1024,
        "preferred_batch_sizes": [],
        "instances": 1,
        "non_finite": "pass",
    },
    "proven": True,
    "golden_samples": 8,
    "note": "first",
    "tags": {"team": "vision"},
    "created_at": "2026-01-31T12:00:00Z",
    "created_by": "ann@host",
    "report_json": "{}",
    "aliases": ["stable"],
    "pinned": False,
    "damage": "",
    "signed_by": [],
}
ALIAS_JSON = {
    "model": "digits",
    "alias": "stable",
    "version": 3,
    "generation": 4,
    "stack": [1, 2],
    "updated_at": "2026-01-31T12:00:00Z",
}
SWITCH_JSON = {
    "model": "digits",
    "alias": "stable",
    "from_version": 2,
    "to_version": 3,
    "generation": 4,
    "stack": [1, 2],
    "lagging": [],
    "breaking": [],
    "dry_run": False,
    "resident": True,
    "prepare_s": 0.25,
    "commit_s": 0.0031,
    "late": [],
}
EVENT_JSON = {
    "seq": 7,
    "time": "2026-01-31T12:00:00Z",
    "actor": "ann@host",
    "action": "promote",
    "model": "digits",
    "alias": "stable",
    "from_version": 2,
    "to_version": 3,
    "reason": "better",
    "request_id": "r1",
    "outcome": "ok",
    "detail": "",
    "hash": "ff",
}
APPROVAL_JSON = {
    "seq": 9,
    "model": "digits",
    "version": 3,
    "alias": "stable",
    "digest": "ab" * 32,
    "approver": "token:bob",
    "reason": "looks right",
    "given_at": "2026-01-31T12:00:00Z",
    "expires_at": "2026-01-31T12:00:00Z",
    "withdrawn_at": None,
    "state": "EXPIRED",
}
PAST_JSON = {
    "model": "digits",
    "alias": "stable",
    "version": 3,
    "since": "2026-01-31T12:00:00Z",
    "seq": 7,
    "action": "promote",
    "actor": "ann@host",
    "reason": "better",
}
STATUS_JSON = {
    "replica": "r1",
    "server_version": "0.1.0",
    "ready": True,
    "epoch": 9,
    "degraded": [],
    "workers": [
        {
            "index": 0,
            "pid": 42,
            "reachable": True,
            "epoch": 9,
            "provider": "CPU",
            "front": "aio",
            "servables": [
                {
                    "model": "digits",
                    "version": 3,
                    "state": "READY",
                    "reason": "",
                    "provider": "CPU",
                    "in_flight": 2,
                    "load_s": 0.012,
                    "loaded_from": "DERIVED",
                }
            ],
            "threads": 2,
            "threads_reason": "8 cores, of whose time the CPU quota gives 2",
        },
        {
            "index": 1,
            "pid": 43,
            "reachable": False,
            "epoch": 8,
            "provider": "CPU",
            "front": "aio",
            "servables": [],
            "threads": 0,
            "threads_reason": "",
        },
    ],
    "aliases": [ALIAS_JSON],
    "sandbox": ["rlimits"],
    "inference_address": "127.0.0.1:8001",
    "http_address": "127.0.0.1:8000",
    "admin_address": "127.0.0.1:8002",
    "replicas": [
        {
            "replica": "r1",
            "admin_address": "127.0.0.1:8002",
            "inference_address": "127.0.0.1:8001",
            "live": True,
            "ready": True,
            "epoch": 9,
            "silent_s": 0.5,
        },
        {
            "replica": "r2",
            "admin_address": "127.0.0.2:8002",
            "inference_address": "127.0.0.2:8001",
            "live": False,
            "ready": True,
            "epoch": 8,
            "silent_s": 61.25,
        },
    ],
}
