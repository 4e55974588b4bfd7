"""What the command sends for its arguments."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from interlock import convert
from interlock.types import DType, Signature, TensorSpec
from interlock.v1 import admin_pb2 as pb

from tests.unit.client.cli.samples import (
    VERSION_JSON,
    Command,
    Done,
)
from tests.unit.client.scripted import ScriptedServer, receive, registered


def test_every_option_of_a_switch_is_sent(interlock: Command, registry: ScriptedServer) -> None:
    options = ["--alias", "canary", "--reason", "why", "--expect", "0", "--allow-breaking", "--dry-run"]
    assert interlock("promote", "digits", "3", *options, "--idempotency-key", "k").code == 0
    assert interlock("rollback", "digits", "--to", "1", *options, "--idempotency-key", "k").code == 0
    for request in registry.requests:
        assert request.alias == "canary"
        sent = convert.from_options(request.options)
        assert (sent.reason, sent.expected_generation, sent.idempotency_key) == ("why", 0, "k")
        assert sent.allow_breaking
        assert sent.dry_run
    assert registry.requests[1].to_version == 1


@pytest.fixture
def uploads(registry: ScriptedServer) -> list[pb.RegisterVersionRequest.Header]:
    found: list[pb.RegisterVersionRequest.Header] = []

    def register(parts: Any, _: object) -> pb.RegisterVersionResponse:
        found.append(receive(parts)[0])
        return registered(3)

    registry.behaviours["RegisterVersion"] = register
    return found


def test_register_sends_config_note_and_tags(
    interlock: Command, uploads: list[pb.RegisterVersionRequest.Header], tmp_path: Path
) -> None:
    model, config = tmp_path / "m.onnx", tmp_path / "serving.toml"
    model.write_bytes(b"onnx")
    config.write_text("max_batch_size = 8\n")
    done = interlock(
        "register", "digits", model, "--config", config, "--note", "n", "--tag", "a=b", "--tag", "c=d=e",
        "--idempotency-key", "k",
    )  # fmt: skip
    assert done == Done(0, "registered digits@3, proven by 8 samples\n", "")
    header = convert.from_header(uploads[0])
    assert header.config is not None
    assert header.config.max_batch_size == 8
    assert (header.note, header.tags, header.options.idempotency_key) == ("n", {"a": "b", "c": "d=e"}, "k")


def test_register_and_promote_prints_both_and_uses_two_keys(
    interlock: Command, registry: ScriptedServer, uploads: list[pb.RegisterVersionRequest.Header], tmp_path: Path
) -> None:
    model = tmp_path / "m.onnx"
    model.write_bytes(b"onnx")
    done = interlock("register", "digits", model, "--promote", "--idempotency-key", "k")
    assert "registered digits@3" in done.out
    assert "digits:stable moved" in done.out
    assert uploads[0].options.idempotency_key == "k"
    assert registry.requests[-1].options.idempotency_key == "k/promote"
    assert interlock("register", "digits", model, "--promote", "-o", "json").json == VERSION_JSON


def test_inputs_come_from_npy_files_and_outputs_go_to_npz(
    interlock: Command, registry: ScriptedServer, tmp_path: Path
) -> None:
    np.save(tmp_path / "x.npy", np.array([[1, 2]], np.float32))
    done = interlock("infer", "digits", "--input", f"x={tmp_path / 'x.npy'}", "--out", tmp_path / "out.npz")
    assert done.code == 0
    with np.load(tmp_path / "out.npz", allow_pickle=False) as found:
        assert found["y"].tolist() == [[3.0, 6.0]]


def test_addresses_may_stand_before_or_after_the_command(
    interlock: Command, registry: ScriptedServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("INTERLOCK_ADMIN", "127.0.0.1:1")
    monkeypatch.setenv("INTERLOCK_SERVER", "127.0.0.1:1")
    assert interlock("--admin", registry.address, "models").code == 0
    assert interlock("models", "--admin", registry.address).code == 0
    assert interlock("--admin", "127.0.0.1:1", "models", "--admin", registry.address).code == 0
    assert interlock("infer", "digits", "--input", "x=[[1, 2]]", "--server", registry.address).code == 0


def test_a_bool_output_prints(interlock: Command, server: ScriptedServer) -> None:
    server.serve_model(Signature((TensorSpec("x", DType.FP32, (None,)),), (TensorSpec("ok", DType.BOOL, (None,)),)))
    done = interlock("infer", "m", "--input", "x=[0, 1]", "-o", "json")
    assert done.json["outputs"] == {"ok": [False, True]}
