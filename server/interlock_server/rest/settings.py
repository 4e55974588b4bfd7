"""Trace and log settings: JSON bodies, which may be empty → messages, and messages → JSON. Pure."""

from __future__ import annotations

from typing import Final

from interlock.protocols.open_inference_pb2 import (
    LogSettingsRequest,
    LogSettingsResponse,
    TraceSettingRequest,
    TraceSettingResponse,
)

from interlock_server.rest.body import invalid
from interlock_server.rest.requests import read_optional_object

_MAX_UINT32: Final = (1 << 32) - 1


def read_trace(model: str, body: memoryview) -> TraceSettingRequest:
    """Read a change of trace settings, null for what goes back to its default; raises InvalidArgument."""
    request = TraceSettingRequest(model_name=model)
    for name, value in read_optional_object(body).items():
        request.settings[name].value.extend(_texts(name, value))
    return request


def _texts(name: str, value: object) -> list[str]:
    values = [] if value is None else value if isinstance(value, list) else [value]
    if not all(isinstance(each, str | int) and not isinstance(each, bool) for each in values):
        raise invalid(name[:100], f"trace setting {name[:100]!r} must be a string, a number, an array of them or null")
    return [str(each) for each in values]


def render_trace(response: TraceSettingResponse) -> dict[str, object]:
    """Write trace settings as Triton does: levels as an array, the others as text."""
    return {
        name: list(response.settings[name].value) if name == "trace_level" else response.settings[name].value[0]
        for name in response.settings
    }


def read_log(body: memoryview) -> LogSettingsRequest:
    """Read a change of log settings; raises InvalidArgument."""
    request = LogSettingsRequest()
    for name, value in read_optional_object(body).items():
        setting = request.settings[name]  # a protobuf map makes what is asked for
        if isinstance(value, bool):
            setting.bool_param = value
        elif isinstance(value, str):
            setting.string_param = value
        elif isinstance(value, int) and 0 <= value <= _MAX_UINT32:
            setting.uint32_param = value
        else:
            raise invalid(
                name[:100], f"log setting {name[:100]!r} must be a boolean, a string, or a whole number from 0"
            )
    return request


def render_log(response: LogSettingsResponse) -> dict[str, object]:
    """Write log settings by their names."""
    return {
        name: getattr(setting, str(setting.WhichOneof("parameter_choice")))
        for name, setting in response.settings.items()
    }
