"""Bodies of traces, logs and shared memory regions become messages, or are refused by the field that is wrong."""

from __future__ import annotations

import json

import pytest
from interlock.errors import InvalidArgument
from interlock.protocols.open_inference_pb2 import LogSettingsResponse, TraceSettingResponse
from interlock_server.rest.regions import read_cuda_region, read_region
from interlock_server.rest.settings import read_log, read_trace, render_log, render_trace


def body(value: object) -> memoryview:
    return memoryview(json.dumps(value).encode())


TRACES = [
    ({}, {}),
    ({"trace_level": ["TIMESTAMPS", "TENSORS"]}, {"trace_level": ["TIMESTAMPS", "TENSORS"]}),
    ({"trace_level": "OFF", "trace_rate": 7}, {"trace_level": ["OFF"], "trace_rate": ["7"]}),
    ({"trace_count": "-1"}, {"trace_count": ["-1"]}),
    ({"trace_rate": None}, {"trace_rate": []}),
]


@pytest.mark.parametrize(("given", "expected"), TRACES)
def test_a_trace_setting_is_text_a_number_a_list_or_null(given: object, expected: dict[str, list[str]]) -> None:
    read = read_trace("m", body(given))
    assert read.model_name == "m"
    assert {name: list(setting.value) for name, setting in read.settings.items()} == expected
    assert not read_trace("", memoryview(b"")).settings


WRONG = [
    (lambda given: read_trace("", given), {"trace_rate": 1.5}, "trace_rate"),
    (lambda given: read_trace("", given), {"trace_level": [["OFF"]]}, "trace_level"),
    (lambda given: read_trace("", given), {"trace_level": {}}, "trace_level"),
    (lambda given: read_trace("", given), [], "body"),
    (read_log, {"log_verbose_level": -1}, "log_verbose_level"),
    (read_log, {"log_verbose_level": 2**32}, "log_verbose_level"),
    (read_log, {"log_info": None}, "log_info"),
    (read_log, {"log_info": [True]}, "log_info"),
    (lambda given: read_region("r", given), {"byte_size": 1}, "key"),
    (lambda given: read_region("r", given), {"key": "/k"}, "byte_size"),
    (lambda given: read_region("r", given), {"key": "/k", "byte_size": -1}, "byte_size"),
    (lambda given: read_region("r", given), {"key": "/k", "byte_size": 2**64}, "byte_size"),
    (lambda given: read_region("r", given), {"key": "/k", "byte_size": 1, "offset": 0.5}, "offset"),
    (lambda given: read_region("r", given), {"key": "/k", "byte_size": True}, "byte_size"),
    (lambda given: read_cuda_region("r", given), {"byte_size": 1}, "raw_handle"),
    (lambda given: read_cuda_region("r", given), {"raw_handle": {"b64": "?"}, "byte_size": 1}, "raw_handle.b64"),
    (lambda given: read_cuda_region("r", given), {"raw_handle": {"b64": "\u00e4"}, "byte_size": 1}, "raw_handle.b64"),
    (
        lambda given: read_cuda_region("r", given),
        {"raw_handle": {"b64": ""}, "byte_size": 1, "device_id": -1},
        "device_id",
    ),
]


@pytest.mark.parametrize(("read", "given", "field"), WRONG)
def test_a_wrong_body_is_refused_by_its_field(read: object, given: object, field: str) -> None:
    with pytest.raises(InvalidArgument) as refused:
        read(body(given))  # type: ignore[operator]
    assert [each.field for each in refused.value.violations] == [field]


def test_log_settings_keep_their_kinds() -> None:
    read = read_log(body({"log_info": False, "log_verbose_level": 2, "log_format": "default"}))
    kinds = {name: setting.WhichOneof("parameter_choice") for name, setting in read.settings.items()}
    assert kinds == {"log_info": "bool_param", "log_verbose_level": "uint32_param", "log_format": "string_param"}
    answer = LogSettingsResponse()
    answer.settings["log_info"].bool_param = False
    answer.settings["log_verbose_level"].uint32_param = 2
    assert render_log(answer) == {"log_info": False, "log_verbose_level": 2}


def test_levels_of_traces_are_a_list_and_the_rest_is_text() -> None:
    answer = TraceSettingResponse()
    answer.settings["trace_level"].value.append("TENSORS")
    answer.settings["trace_rate"].value.append("1")
    assert render_trace(answer) == {"trace_level": ["TENSORS"], "trace_rate": "1"}


def test_regions_are_read_to_the_last_bit() -> None:
    system = read_region("r", body({"key": "/k", "offset": 2**63, "byte_size": 2**64 - 1}))
    assert (system.name, system.key, system.offset, system.byte_size) == ("r", "/k", 2**63, 2**64 - 1)
    cuda = read_cuda_region("r", body({"raw_handle": {"b64": "aGFuZGxl"}, "device_id": 1, "byte_size": 8}))
    assert (cuda.name, cuda.raw_handle, cuda.device_id, cuda.byte_size) == ("r", b"handle", 1, 8)
