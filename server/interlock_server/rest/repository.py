"""The bodies of the model repository extension, which may be empty → messages. Pure."""

from __future__ import annotations

from collections.abc import Mapping

from interlock.protocols.open_inference_pb2 import (
    ModelRepositoryParameter,
    RepositoryModelLoadRequest,
    RepositoryModelUnloadRequest,
)

from interlock_server.rest.body import invalid
from interlock_server.rest.requests import Object, read_optional_object


def read_index(body: memoryview) -> bool:
    """Return whether only ready versions are asked for; raises InvalidArgument."""
    ready = read_optional_object(body).get("ready", False)
    if not isinstance(ready, bool):
        raise invalid("ready", f"ready is {ready!r}; it must be true or false")
    return ready


def read_load(model: str, body: memoryview) -> RepositoryModelLoadRequest:
    """Read a request to load a model; raises InvalidArgument."""
    request = RepositoryModelLoadRequest(model_name=model)
    _set_parameters(request.parameters, read_optional_object(body))
    return request


def read_unload(model: str, body: memoryview) -> RepositoryModelUnloadRequest:
    """Read a request to unload a model; raises InvalidArgument."""
    request = RepositoryModelUnloadRequest(model_name=model)
    _set_parameters(request.parameters, read_optional_object(body))
    return request


def _set_parameters(target: Mapping[str, ModelRepositoryParameter], body: Object) -> None:
    parameters = body.get("parameters", {})
    if not isinstance(parameters, dict):
        raise invalid("parameters", "parameters must be a JSON object")
    for name, value in parameters.items():
        if isinstance(value, bool):
            target[name].bool_param = value
        elif isinstance(value, str):
            target[name].string_param = value
        elif isinstance(value, int) and -(2**63) <= value < 2**63:
            target[name].int64_param = value
        else:
            raise invalid(f"parameters.{name}", f"{name} must be a boolean, a whole number or a string")
