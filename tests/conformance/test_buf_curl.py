"""A client of others, in Go and by reflection alone, finds and asks what there is: `buf curl`, as grpcurl does it."""

from __future__ import annotations

import base64
import json
import struct
import subprocess
import sys
from pathlib import Path

import pytest

from tests.server import Server

BUF = Path(sys.executable).with_name("buf")
INFERENCE, ADMIN = "inference.GRPCInferenceService", "interlock.v1.AdminService"
NOT_FOUND, INVALID_ARGUMENT = 5, 3


def curl(address: str, *arguments: str) -> subprocess.CompletedProcess[str]:
    """Run `buf curl` against an address; the last argument is what stands behind it."""
    *flags, what = arguments
    command = [str(BUF), "curl", "--protocol", "grpc", *flags, f"http://{address}{what}"]
    return subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)


def question(**changes: object) -> str:
    tensor = {"name": "x", "datatype": "FP32", "shape": [1, 2], "contents": {"fp32_contents": [1, 2]}}
    return json.dumps({"model_name": "m", "inputs": [tensor], **changes})


def test_services_and_methods_are_listed(served: Server) -> None:
    listed = curl(served.grpc, "--list-services", "").stdout.split()
    assert {INFERENCE, "grpc.health.v1.Health"} <= set(listed)
    methods = curl(served.admin_address, "--list-methods", "").stdout.split()
    assert {f"{ADMIN}/Promote", f"{ADMIN}/Rollback"} <= set(methods)


@pytest.mark.parametrize("protocol", ["grpc-v1", "grpc-v1alpha"])
def test_a_model_is_asked_in_json_by_what_reflection_told(served: Server, protocol: str) -> None:
    asked = curl(served.grpc, "-v", "--reflect-protocol", protocol, "-d", question(), f"/{INFERENCE}/ModelInfer")
    assert asked.returncode == 0, asked.stderr
    answer = json.loads(asked.stdout)
    assert (answer["modelVersion"], answer["outputs"][0]["contents"]["fp32Contents"]) == ("2", [3, 6])
    assert "Interlock-Alias: stable" in asked.stderr
    raw = {
        "inputs": [{"name": "x", "datatype": "FP32", "shape": [1, 2]}],
        "raw_input_contents": [base64.b64encode(struct.pack("<2f", 1, 2)).decode()],
    }
    answer = json.loads(curl(served.grpc, "-d", question(**raw), f"/{INFERENCE}/ModelInfer").stdout)
    assert struct.unpack("<2f", base64.b64decode(answer["rawOutputContents"][0])) == (3, 6)


def test_a_stream_is_answered_message_by_message(served: Server) -> None:
    messages = question() + question(model_version="1") + question(model_name="nobody")
    asked = curl(served.grpc, "-d", messages, f"/{INFERENCE}/ModelStreamInfer")
    assert asked.returncode == 0, asked.stderr
    decoder, at, answers = json.JSONDecoder(), 0, []
    while at < len(asked.stdout.rstrip()):
        answer, at = decoder.raw_decode(asked.stdout, at)
        answers.append(answer.get("errorMessage") or answer["inferResponse"]["outputs"][0]["contents"]["fp32Contents"])
        at += len(asked.stdout[at:]) - len(asked.stdout[at:].lstrip())
    assert sorted(answers[:2]) == [[2, 4], [3, 6]] and "'nobody'" in answers[2]


@pytest.mark.parametrize(
    ("changes", "code", "said"),
    [
        ({"model_name": "nobody"}, NOT_FOUND, "'nobody'"),
        ({"model_version": "77"}, NOT_FOUND, "77"),
        ({"raw_input_contents": ["AAAA"]}, INVALID_ARGUMENT, "raw_input_contents"),
    ],
)
def test_an_error_says_its_code_and_text(served: Server, changes: dict[str, object], code: int, said: str) -> None:
    asked = curl(served.grpc, "-d", question(**changes), f"/{INFERENCE}/ModelInfer")
    assert asked.returncode == code << 3, asked.stderr
    error = json.loads(asked.stderr)
    assert said in error["message"]
    assert "google.rpc.ErrorInfo" in [each["type"] for each in error["details"]]


def test_the_registry_is_read_on_the_admin_port(served: Server) -> None:
    listed = curl(served.admin_address, "-d", '{"model": "m"}', f"/{ADMIN}/ListVersions")
    assert {"1", "2"} <= {each["version"] for each in json.loads(listed.stdout)["versions"]}
