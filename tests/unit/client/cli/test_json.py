"""`-o json`: the fields of the SDK's dataclasses, pinned."""

from __future__ import annotations

from dataclasses import fields
from typing import Any

import pytest
from interlock.approval import Approval
from interlock.model import (
    Alias,
    Event,
    ReplicaStatus,
    Switch,
    Version,
)
from interlock_client import AliasAt

from tests.unit.client.cli.samples import (
    ALIAS_JSON,
    APPROVAL_JSON,
    EVENT_JSON,
    PAST_JSON,
    STATUS_JSON,
    SWITCH_JSON,
    VERSION_JSON,
    Command,
)
from tests.unit.client.scripted import ScriptedServer


@pytest.mark.parametrize(
    ("args", "expected"),
    [
        (
            ["models"],
            [
                {
                    "name": "digits",
                    "created_at": "2026-01-31T12:00:00Z",
                    "versions": 3,
                    "newest": 3,
                    "aliases": [ALIAS_JSON],
                }
            ],
        ),
        (["versions", "digits"], [VERSION_JSON]),
        (["show", "digits@3"], VERSION_JSON),
        (["log"], [EVENT_JSON]),
        (["log", "digits", "--at", "2026-01-31T13:00:00Z"], [PAST_JSON]),
        (["approve", "digits", "3"], APPROVAL_JSON),
        (["approvals"], [APPROVAL_JSON]),
        (["promote", "digits", "3"], SWITCH_JSON),
        (["rollback", "digits"], SWITCH_JSON),
        (["retire", "digits", "3"], VERSION_JSON),
        (["delete", "digits", "3"], VERSION_JSON),
        (["status"], STATUS_JSON),
    ],
    ids=lambda value: value[0] if isinstance(value, list) and isinstance(value[0], str) else "",
)
def test_json_is_the_dataclasses_fields(
    interlock: Command, registry: ScriptedServer, args: list[str], expected: object
) -> None:
    done = interlock(*args, "-o", "json")
    assert (done.code, done.err) == (0, "")
    assert done.json == expected


def test_the_pinned_shapes_name_every_field() -> None:
    pinned: list[tuple[type, dict[str, Any]]] = [
        (Version, VERSION_JSON),
        (Alias, ALIAS_JSON),
        (Switch, SWITCH_JSON),
        (Event, EVENT_JSON),
        (AliasAt, PAST_JSON),
        (Approval, APPROVAL_JSON),
        (ReplicaStatus, STATUS_JSON),
    ]
    for cls, shape in pinned:
        assert [field.name for field in fields(cls)] == list(shape)


def test_an_answer_as_json_holds_the_whole_arrays(interlock: Command, registry: ScriptedServer) -> None:
    done = interlock("infer", "digits", "--input", "x=[[1, 2.5]]", "-o", "json")
    assert done.json == {
        "outputs": {"y": [[3.0, 7.5]]},
        "model": "digits",
        "version": 3,
        "alias": "stable",
        "request_id": "",
        "generation": 7,
        "digest": "ab" * 32,
        "queue_s": 0.00025,
        "run_s": 0.0015,
    }


def test_numbers_that_json_lacks_are_words(interlock: Command, registry: ScriptedServer) -> None:
    done = interlock("infer", "digits", "--input", "x=[[NaN, -Infinity]]", "-o", "json")
    assert done.json["outputs"] == {"y": [["NaN", "-Infinity"]]}
