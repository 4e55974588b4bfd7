"""The protocol over REST: paths, forms of tensors, errors, on a running server."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from multiprocessing.shared_memory import SharedMemory
from typing import Any

import httpx
import interlock
import numpy as np
import pytest
from jsonschema import Draft202012Validator
from openapi_spec_validator import validate

from tests.server import Server
from tests.support import eventually

ONES: dict[str, Any] = {"inputs": [{"name": "x", "datatype": "FP32", "shape": [1, 2], "data": [1.0, 1.0]}]}


@pytest.fixture(scope="module")
def http(served: Server) -> Iterator[httpx.Client]:
    with httpx.Client(base_url=f"http://{served.http}", timeout=60) as client:
        yield client


def with_x(**changes: Any) -> dict[str, Any]:
    return {"inputs": [ONES["inputs"][0] | changes]}


def test_the_server_is_live_and_ready_and_says_who_it_is(http: httpx.Client) -> None:
    assert http.get("/v2/health/live").json() == {"live": True}
    assert http.get("/v2/health/ready").json() == {"ready": True}
    found = http.get("/v2").json()
    assert (found["name"], found["version"]) == ("interlock", interlock.__version__)
    assert "binary_tensor_data" in found["extensions"]


@pytest.mark.parametrize(
    ("path", "version", "alias"),
    [("m", "2", "stable"), ("m/versions/2", "2", ""), ("m/versions/canary", "1", "canary")],
)
def test_a_model_is_described_by_version_and_alias(http: httpx.Client, path: str, version: str, alias: str) -> None:
    found = http.get(f"/v2/models/{path}").json()
    tensor = {"datatype": "FP32", "shape": [-1, 2]}
    assert (found["name"], found["platform"], found["versions"]) == ("m", "onnx_onnxv1", ["1", "2"])
    assert (found["inputs"], found["outputs"]) == ([{"name": "x", **tensor}], [{"name": "y", **tensor}])
    assert (found["properties"]["interlock.version"], found["properties"]["interlock.alias"]) == (version, alias)
    assert http.get(f"/v2/models/{path}/ready").json() == {"name": "m", "ready": True}


@pytest.mark.parametrize(
    ("path", "version", "alias", "scale"),
    [("m", "2", "stable", 3.0), ("m/versions/1", "1", "", 2.0), ("m/versions/canary", "1", "canary", 2.0)],
)
def test_json_in_json_out(http: httpx.Client, path: str, version: str, alias: str, scale: float) -> None:
    answer = http.post(f"/v2/models/{path}/infer", json={"id": "my id", **ONES})
    assert answer.status_code == 200, answer.text
    assert answer.json() == {
        "model_name": "m",
        "model_version": version,
        "id": "my id",
        "outputs": [{"name": "y", "datatype": "FP32", "shape": [1, 2], "data": [scale, scale]}],
    }
    assert answer.headers["content-type"] == "application/json"
    assert answer.headers["interlock-alias"] == alias and len(answer.headers["interlock-digest"]) == 64
    assert int(answer.headers["interlock-run-us"]) >= 0


def test_binary_in_binary_out(http: httpx.Client) -> None:
    rows = np.arange(32, dtype=np.float32)
    parameters = {"binary_data_size": rows.nbytes}
    head = json.dumps(
        {
            "inputs": [{"name": "x", "datatype": "FP32", "shape": [32], "parameters": parameters}],
            "parameters": {"binary_data_output": True},
        }
    ).encode()
    answer = http.post(
        "/v2/models/vector/infer",
        content=head + rows.tobytes(),
        headers={"Inference-Header-Content-Length": str(len(head))},
    )
    assert answer.status_code == 200, answer.text
    assert answer.headers["content-type"] == "application/octet-stream"
    length = int(answer.headers["Inference-Header-Content-Length"])
    (output,) = json.loads(answer.content[:length])["outputs"]
    assert output == {"name": "y", "datatype": "FP32", "shape": [32], "parameters": parameters}
    assert answer.content[length:] == rows.tobytes()


def test_only_the_requested_outputs_come_each_in_its_form(http: httpx.Client) -> None:
    inputs = [{"name": name, "datatype": "FP32", "shape": [1, 2], "data": [[4, 5]]} for name in ("a", "b")]
    outputs = [{"name": "difference", "parameters": {"binary_data": True}}, {"name": "sum"}]
    answer = http.post("/v2/models/pair/infer", json={"inputs": inputs, "outputs": outputs})
    length = int(answer.headers["Inference-Header-Content-Length"])
    first, second = json.loads(answer.content[:length])["outputs"]
    assert (first["name"], second["name"], second["data"]) == ("difference", "sum", [8.0, 10.0])
    assert answer.content[length:] == np.zeros(2, np.float32).tobytes()
    only = http.post("/v2/models/pair/infer", json={"inputs": inputs, "outputs": [{"name": "sum"}]}).json()
    assert [output["name"] for output in only["outputs"]] == ["sum"]


@pytest.mark.parametrize(
    ("path", "body", "status", "reason", "mentioned"),
    [
        ("m", "text", 400, "INVALID_ARGUMENT", "must be a JSON object"),
        ("m", with_x(datatype="FP64"), 400, "INVALID_INPUT", "FP64"),
        ("m", with_x(shape=[2]), 400, "INVALID_INPUT", "rank"),
        ("m", with_x(shape=[1, 3], data=[1, 2, 3]), 400, "INVALID_INPUT", "dimension 1"),
        ("m", with_x(name="z"), 400, "INVALID_INPUT", "'z' does not exist"),
        ("m", with_x(data=[1.0, 1e40]), 400, "INVALID_INPUT", "too large for FP32"),
        ("m", {**ONES, "outputs": [{"name": "z"}]}, 400, "INVALID_INPUT", "'z' does not exist"),
        ("m/versions/0", ONES, 400, "INVALID_REF", "'0'"),
        ("m/versions/Stable", ONES, 400, "INVALID_NAME", "Stable"),
        ("m/versions/beta", ONES, 404, "ALIAS_NOT_FOUND", "beta"),
        ("m/versions/99", ONES, 404, "VERSION_NOT_FOUND", "versions m"),
        ("nobody", ONES, 404, "MODEL_NOT_FOUND", "nobody"),
        ("unserved", ONES, 404, "ALIAS_NOT_FOUND", "promote unserved"),
        ("..%2Fm", ONES, 404, "NOT_FOUND", "there is no"),
        ("m%00", ONES, 404, "MODEL_NOT_FOUND", "m"),
        ("m" * 10_000, ONES, 404, "MODEL_NOT_FOUND", "mmm"),
    ],
)
def test_a_wrong_request_gets_the_status_of_the_table(
    http: httpx.Client, path: str, body: object, status: int, reason: str, mentioned: str
) -> None:
    answer = http.post(f"/v2/models/{path}/infer", json=body)
    found = answer.json()
    assert (answer.status_code, found["reason"]) == (status, reason), found
    assert mentioned in found["error"] and len(answer.content) < 8000
    if status == 400:
        assert found["violations"]


def test_metadata_and_readiness_of_what_is_not_there(http: httpx.Client) -> None:
    assert http.get("/v2/models/nobody").status_code == 404
    assert http.get("/v2/models/m/versions/99").status_code == 404
    assert http.get("/v2/models/m/infer").status_code == 405
    for path in ("nobody", "unserved", "m/versions/99"):
        answer = http.get(f"/v2/models/{path}/ready")
        assert (answer.status_code, answer.json()["ready"]) == (503, False)


def test_configuration_and_statistics_are_real(http: httpx.Client) -> None:
    config = http.get("/v2/models/m/versions/1/config").json()
    assert (config["name"], config["max_batch_size"], config["input"][0]["data_type"]) == ("m", 32, "TYPE_FP32")

    def answered() -> int:
        (found,) = http.get("/v2/models/m/versions/2/stats").json()["model_stats"]
        assert (found["name"], found["version"]) == ("m", "2")
        return int(found["inference_stats"]["success"]["count"])

    before = answered()
    http.post("/v2/models/m/infer", json=ONES)
    assert answered() == before + 1
    every = {(each["name"], each["version"]) for each in http.get("/v2/models/stats").json()["model_stats"]}
    assert {("m", "1"), ("m", "2"), ("pair", "1")} <= every


def test_the_index_lists_every_version_with_its_state(http: httpx.Client) -> None:
    every = {(each["name"], each["version"]): each["state"] for each in http.post("/v2/repository/index").json()}
    assert (every["m", "1"], every["m", "2"], every["unserved", "1"]) == ("READY", "READY", "UNAVAILABLE")
    ready = http.post("/v2/repository/index", json={"ready": True}).json()
    assert {each["state"] for each in ready} == {"READY"}
    wrong = http.post("/v2/repository/index", json={"ready": "yes"})
    assert (wrong.status_code, wrong.json()["violations"][0]["field"]) == (400, "ready")


def test_load_and_unload_change_nothing_that_the_registry_wants(http: httpx.Client) -> None:
    assert http.post("/v2/repository/models/m/load").json() == {}
    refused = http.post("/v2/repository/models/m/unload", json={"parameters": {"unload_dependents": False}})
    assert refused.status_code == 412 and "failed to unload 'm'" in refused.json()["error"]
    override = http.post("/v2/repository/models/m/load", json={"parameters": {"config": "{}"}})
    assert override.status_code in (400, 501) and "config" in override.json()["error"]
    assert http.post("/v2/models/m/infer", json=ONES).status_code == 200


def test_traces_are_set_for_a_model_and_given_back(served: Server, http: httpx.Client) -> None:
    path = "/v2/models/m/trace/setting"
    common = http.get("/v2/trace/setting").json()
    assert (common["trace_level"], common["trace_rate"], common["trace_count"]) == (["OFF"], "1000", "-1")
    changed = http.post(path, json={"trace_level": ["TIMESTAMPS"], "trace_rate": 1, "trace_count": "1"}).json()
    assert (changed["trace_level"], changed["trace_rate"], changed["trace_count"]) == (["TIMESTAMPS"], "1", "1")
    assert http.get("/v2/trace/setting").json() == common
    http.post("/v2/models/m/infer", json=ONES | {"id": "traced over REST"})
    assert http.get(path).json()["trace_count"] == "0"
    assert http.post(path, json=dict.fromkeys(("trace_level", "trace_rate", "trace_count"))).json() == common
    eventually(lambda: "traced over REST" in served.log(), "the trace is written")
    for wrong in ({"trace_level": ["LOUD"]}, {"trace_rate": 1.5}, {"trace_rate": True}):
        refused = http.post("/v2/trace/setting", json=wrong)
        assert refused.status_code == 400 and refused.json()["violations"], refused.text
    assert http.post("/v2/models/nobody/trace/setting", json={}).status_code == 404


def test_log_settings_are_told_and_changed(http: httpx.Client) -> None:
    before = http.get("/v2/logging").json()
    assert (before["log_info"], before["log_verbose_level"], before["log_format"]) == (True, 0, "default")
    try:
        assert http.post("/v2/logging", json={"log_verbose_level": 1}).json() == before | {"log_verbose_level": 1}
        refused = http.post("/v2/logging", json={"log_info": False, "log_file": "elsewhere"})
        assert refused.status_code == 400 and "can not be updated" in refused.json()["error"]
    finally:
        assert http.post("/v2/logging", json={"log_verbose_level": 0}).json() == before


@pytest.fixture
def region(http: httpx.Client) -> Iterator[memoryview]:
    """A shared memory object, registered under the name `region`."""
    shared = SharedMemory(create=True, size=64)
    made = http.post("/v2/systemsharedmemory/region/region/register", json={"key": shared.name, "byte_size": 64})
    assert (made.status_code, made.json()) == (200, {}), made.text
    assert shared.buf is not None
    yield shared.buf
    http.post("/v2/systemsharedmemory/unregister")
    shared.close()
    shared.unlink()


def test_tensors_go_through_shared_memory(http: httpx.Client, region: memoryview) -> None:
    region[:8] = np.array([1, 2], np.float32).tobytes()
    (told,) = http.get("/v2/systemsharedmemory/status").json()
    assert (told["name"], told["offset"], told["byte_size"]) == ("region", 0, 64)
    assert http.get("/v2/systemsharedmemory/region/region/status").json() == [told]

    def at(offset: int) -> dict[str, object]:
        place = {"region": "region", "byte_size": 8, "offset": offset}
        return {"parameters": {f"shared_memory_{name}": value for name, value in place.items()}}

    body = {
        "inputs": [{"name": "x", "datatype": "FP32", "shape": [1, 2], **at(0)}],
        "outputs": [{"name": "y", **at(8)}],
    }
    answer = http.post("/v2/models/m/infer", json=body)
    assert answer.status_code == 200 and "data" not in answer.json()["outputs"][0], answer.text
    assert bytes(region[8:16]) == np.array([3, 6], np.float32).tobytes()
    assert http.post("/v2/systemsharedmemory/region/region/unregister").json() == {}
    assert http.get("/v2/systemsharedmemory/status").json() == []
    assert http.post("/v2/models/m/infer", json=body).status_code == 404
    for wrong in ({"byte_size": 8}, {"key": "/none", "byte_size": 8}, {"key": "/none", "byte_size": -1}):
        assert http.post("/v2/systemsharedmemory/region/other/register", json=wrong).status_code == 400


@pytest.mark.parametrize("path", ["/v2/models/m/infer", "/v2/logging", "/v2/repository/models/m/load"])
def test_a_page_of_another_site_changes_and_asks_nothing(http: httpx.Client, path: str) -> None:
    refused = http.post(path, json={}, headers={"Sec-Fetch-Site": "cross-site", "Content-Type": "text/plain"})
    assert (refused.status_code, refused.json()["reason"]) == (403, "PERMISSION_DENIED")
    assert http.post(path, json={}, headers={"Sec-Fetch-Site": "same-origin"}).status_code != 403


def test_cuda_regions_are_answered_as_without_a_gpu(http: httpx.Client) -> None:
    assert http.get("/v2/cudasharedmemory/status").json() == []
    handle = {"raw_handle": {"b64": "aGFuZGxl"}, "device_id": 0, "byte_size": 64}
    refused = http.post("/v2/cudasharedmemory/region/gpu/register", json=handle)
    assert refused.status_code == 400 and "GPUs not supported" in refused.json()["error"]
    assert http.post("/v2/cudasharedmemory/unregister").json() == {}


NO_GPU = "/v2/cudasharedmemory/region/{region}/status"
"""Of a region that is not there: without a GPU there is none."""


def test_the_openapi_document_is_valid_and_complete(http: httpx.Client, region: memoryview) -> None:
    document = http.get("/openapi.json").json()
    validate(document)
    assert document["info"]["version"] == interlock.__version__
    for path, methods in document["paths"].items():
        for method in methods.keys() - {"parameters"}:
            asked = http.request(method, path.format(model="m", version="1", region="region"))
            if path == NO_GPU:
                assert asked.status_code == 404 and "shared memory" in asked.json()["error"]
                continue
            assert asked.status_code not in (404, 405), (path, method)
            needed = methods[method].get("requestBody", {}).get("required", False)
            assert (asked.status_code == 400) == needed, f"{method} {path} without a body: {asked.text}"


def test_answers_are_as_the_openapi_document_says(http: httpx.Client, region: memoryview) -> None:
    document = http.get("/openapi.json").json()
    for path, methods in document["paths"].items():
        if path not in ("/openapi.json", NO_GPU) and "get" in methods:
            body = http.get(path.format(model="m", version="1", region="region")).json()
            schema = methods["get"]["responses"]["200"]["content"]["application/json"]["schema"]
            check(document, schema, body)
    inferred = http.post("/v2/models/m/infer", json=ONES).json()
    check(document, document["components"]["schemas"]["InferResponse"], inferred)
    refused = http.post("/v2/models/m/infer", json={}).json()
    check(document, document["components"]["schemas"]["Error"], refused)


def check(document: Mapping[str, Any], schema: Mapping[str, Any], body: object) -> None:
    """Hold a body against a schema of the document, in which no member may be unknown to it."""
    strict = json.loads(json.dumps(document["components"]))
    for each in strict["schemas"].values():
        if each.get("type") == "object":
            each.setdefault("additionalProperties", False)
    Draft202012Validator({**schema, "components": strict}).validate(body)
