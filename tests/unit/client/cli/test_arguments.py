"""What the command sends for its arguments."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from interlock import convert
from interlock.errors import InvalidArgument
from interlock.types import DType, Signature, TensorSpec
from interlock.v1 import admin_pb2 as pb
from interlock_client import InferResult, NonFinite, ServingConfig
from interlock_client.cli.ask import save
from interlock_client.cli.printing import plain

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
    config.write_text('max_batch_size = 8\nnon_finite = "refuse"\n')
    done = interlock(
        "register", "digits", model, "--config", config, "--note", "n", "--tag", "a=b", "--tag", "c=d=e",
        "--idempotency-key", "k",
    )  # fmt: skip
    assert done == Done(0, "registered digits@3, proven by 8 samples\n", "")
    header = convert.from_header(uploads[0])
    assert header.config is not None
    assert header.config == ServingConfig(max_batch_size=8, non_finite=NonFinite.REFUSE)
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


def test_bf16_outputs_print_as_numbers_and_uint16_outputs_stay(interlock: Command, server: ScriptedServer) -> None:
    x = TensorSpec("x", DType.FP32, (None,))
    for dtype, expected in ((DType.BF16, [1.5, -0.25]), (DType.UINT16, [16320, 48768])):
        server.serve_model(Signature((x,), (TensorSpec("y", dtype, (None,)),)))
        done = interlock("infer", "m", "--input", "x=[5440, 16256]", "-o", "json")  # times 3: the bits of 1.5 and -0.25
        assert done.json["outputs"] == {"y": expected}


def test_bytes_outputs_are_saved_as_byte_strings_unless_that_would_cut_them(tmp_path: Path) -> None:
    def result(*items: bytes) -> InferResult:
        return InferResult({"text": np.array(items, dtype=object)}, "m", 1, "", "")

    save(tmp_path / "out.npz", result(b"a", b"bcd"))
    with np.load(tmp_path / "out.npz", allow_pickle=False) as found:
        assert found["text"].tolist() == [b"a", b"bcd"]
    before = (tmp_path / "out.npz").read_bytes()
    with pytest.raises(InvalidArgument, match="output 'text' holds bytes that end in NUL"):
        save(tmp_path / "out.npz", result(b"a\0"))
    assert [(each.name, each.read_bytes()) for each in tmp_path.iterdir()] == [("out.npz", before)]
    with pytest.raises(InvalidArgument, match="cannot be written: No such file or directory"):
        save(tmp_path / "absent" / "out.npz", result(b"a"))


def test_bytes_in_json_are_text_or_base64() -> None:
    assert plain({"a": b"text", "b": b"\xff"}) == {"a": "text", "b": {"base64": "/w=="}}


def test_an_export_prints_its_report(interlock: Command, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("torch")
    (tmp_path / "doubling.py").write_text(
        "import torch\n"
        "class Double(torch.nn.Module):\n"
        "    def forward(self, x):\n"
        "        return x * 2\n"
        "def make():\n"
        "    return Double().eval()\n"
    )
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", sys.path[:])
    done = interlock("export", "doubling:make", "--out", "double.onnx", "--input", "x=FP32[batch,2]", "-o", "json")
    assert (done.code, done.err) == (0, "")
    assert (done.json["model_path"], done.json["golden_path"]) == ("double.onnx", "double.npz")
    assert (tmp_path / "double.onnx").stat().st_size > 0
    assert done.json["samples"] > 0


def test_an_export_of_what_is_not_there_is_one_line(interlock: Command, tmp_path: Path) -> None:
    done = interlock("export", "absent_module:make", "--out", tmp_path / "x.onnx", "--input", "x=FP32[batch,2]")
    assert (done.code, done.out, done.err.count("\n")) == (1, "", 1)
    assert "absent_module" in done.err
