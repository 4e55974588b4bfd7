"""The one table of authorisation: every RPC and every HTTP route of every listener, and what it needs.

What is not named here is refused: a test holds the table against the descriptors and the routes.
"""

from __future__ import annotations

import enum
import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

from interlock.access import Permission


class Scope(enum.Enum):
    """On which models a permission must be held."""

    HEALTH = "the model, if it is about one"
    """The request may name the health of a model, which takes the permission to describe it."""
    SOME = "any model"
    """It is about no model: whoever holds it for some model may."""
    EVERY = "every model"
    """It shows or changes everything."""
    VISIBLE = "each model"
    """Whoever holds it for some model may, and is told of such models only: the method asks the caller's powers."""
    MODEL = "the model"
    """The one that the request names; one that names none is about every model."""
    HANDLER = "the model, once known"
    """The same, but only the method itself finds out which: it must ask the caller's powers, once it knows."""


@dataclass(frozen=True, slots=True)
class Rule:
    """What a call needs."""

    permission: Permission
    scope: Scope = Scope.SOME
    field: str = ""
    """Of the request message, where it names the model: a name or a ref."""
    is_open: bool = False
    """Nobody needs to be known for it where the setting `open_probes` says so, and it is about no model."""


def _inference(method: str) -> str:
    return f"/inference.GRPCInferenceService/{method}"


def _admin(method: str) -> str:
    return f"/interlock.v1.AdminService/{method}"


_PROBE: Final = Rule(Permission.PROBE)
_DESCRIBE: Final = Rule(Permission.DESCRIBE)
_SHARE: Final = Rule(Permission.ASK)
_SEE_ALL: Final = Rule(Permission.SEE, Scope.EVERY)
_SEE: Final = Rule(Permission.SEE, Scope.MODEL, "model")
_SEE_SOME: Final = Rule(Permission.SEE, Scope.VISIBLE)
_APPROVE: Final = Rule(Permission.APPROVE, Scope.HANDLER)
_SWITCH: Final = Rule(Permission.SWITCH, Scope.HANDLER)
_RULE_SERVER: Final = Rule(Permission.ADMINISTER, Scope.EVERY)

_OPEN: Final = Rule(Permission.PROBE, is_open=True)
MODEL_HEALTH: Final = "model/"
"""What a health service's name begins with that is about a model."""

RPCS: Final[Mapping[str, Rule]] = {
    "/grpc.health.v1.Health/Check": Rule(Permission.PROBE, Scope.HEALTH, "service", is_open=True),
    "/grpc.health.v1.Health/Watch": Rule(Permission.PROBE, Scope.HEALTH, "service"),
    "/grpc.reflection.v1.ServerReflection/ServerReflectionInfo": _DESCRIBE,
    "/grpc.reflection.v1alpha.ServerReflection/ServerReflectionInfo": _DESCRIBE,
    _inference("ServerLive"): _PROBE,
    _inference("ServerReady"): _PROBE,
    _inference("ServerMetadata"): _DESCRIBE,
    _inference("ModelReady"): Rule(Permission.DESCRIBE, Scope.MODEL, "name"),
    _inference("ModelMetadata"): Rule(Permission.DESCRIBE, Scope.MODEL, "name"),
    _inference("ModelConfig"): Rule(Permission.DESCRIBE, Scope.MODEL, "name"),
    _inference("ModelStatistics"): Rule(Permission.SEE, Scope.MODEL, "name"),
    _inference("ModelInfer"): Rule(Permission.ASK, Scope.HANDLER),
    _inference("ModelStreamInfer"): Rule(Permission.ASK, Scope.HANDLER),
    _inference("RepositoryIndex"): _SEE_SOME,
    _inference("RepositoryModelLoad"): Rule(Permission.SWITCH, Scope.MODEL, "model_name"),
    _inference("RepositoryModelUnload"): Rule(Permission.SWITCH, Scope.MODEL, "model_name"),
    _inference("SystemSharedMemoryStatus"): _SHARE,
    _inference("SystemSharedMemoryRegister"): _SHARE,
    _inference("SystemSharedMemoryUnregister"): _SHARE,
    _inference("CudaSharedMemoryStatus"): _SHARE,
    _inference("CudaSharedMemoryRegister"): _SHARE,
    _inference("CudaSharedMemoryUnregister"): _SHARE,
    _inference("TraceSetting"): _RULE_SERVER,
    _inference("LogSettings"): _RULE_SERVER,
    _admin("RegisterVersion"): Rule(Permission.PUBLISH, Scope.HANDLER),
    _admin("RegisterSigned"): Rule(Permission.PUBLISH, Scope.HANDLER),
    _admin("SignVersion"): Rule(Permission.PUBLISH, Scope.HANDLER),
    _admin("GetStatement"): Rule(Permission.SEE, Scope.MODEL, "ref"),
    _admin("QuantizeVersion"): Rule(Permission.PUBLISH, Scope.HANDLER),
    _admin("Promote"): _SWITCH,
    _admin("Rollback"): _SWITCH,
    _admin("RemoveAlias"): _SWITCH,
    _admin("PinVersion"): _SWITCH,
    _admin("UnpinVersion"): _SWITCH,
    _admin("RetireVersion"): _SWITCH,
    _admin("DeleteVersion"): _SWITCH,
    _admin("ApproveVersion"): _APPROVE,
    _admin("WithdrawApproval"): _APPROVE,
    _admin("DownloadVersion"): Rule(Permission.FETCH, Scope.MODEL, "ref"),
    _admin("ListModels"): _SEE_SOME,
    _admin("ListVersions"): _SEE,
    _admin("GetVersion"): Rule(Permission.SEE, Scope.MODEL, "ref"),
    _admin("ListApprovals"): _SEE_SOME,
    _admin("DiffVersions"): _SEE,
    _admin("ListEvents"): _SEE,
    _admin("ListAliasesAt"): _SEE,
    _admin("ReadChain"): _SEE_ALL,
    _admin("GetHead"): _SEE_ALL,
    _admin("GetStatus"): _SEE_ALL,
}

_OF_MODEL: Final[Mapping[str, Rule]] = {
    f"{method} /v2/models/{{model}}{version}{what}": Rule(permission, Scope.MODEL, "model")
    for version in ("", "/versions/{version}")
    for method, what, permission in (
        ("GET", "", Permission.DESCRIBE),
        ("GET", "/ready", Permission.DESCRIBE),
        ("GET", "/config", Permission.DESCRIBE),
        ("GET", "/stats", Permission.SEE),
        ("POST", "/infer", Permission.ASK),
    )
}
_REGIONS: Final[Mapping[str, Rule]] = {
    f"{method} /v2/{kind}sharedmemory{what}": _SHARE
    for kind in ("system", "cuda")
    for method, what in (
        ("GET", "/status"),
        ("GET", "/region/{region}/status"),
        ("POST", "/region/{region}/register"),
        ("POST", "/unregister"),
        ("POST", "/region/{region}/unregister"),
    )
}
ROUTES: Final[Mapping[str, Rule]] = {
    "GET /healthz": _OPEN,
    "GET /readyz": _OPEN,
    "GET /metrics": _SEE_ALL,
    "GET /openapi.json": _DESCRIBE,
    "GET /v2": _DESCRIBE,
    "GET /v2/health/live": _PROBE,
    "GET /v2/health/ready": _PROBE,
    "GET /v2/models/stats": _SEE_ALL,
    "POST /v2/repository/index": _SEE_SOME,
    "POST /v2/repository/models/{model}/load": Rule(Permission.SWITCH, Scope.MODEL, "model"),
    "POST /v2/repository/models/{model}/unload": Rule(Permission.SWITCH, Scope.MODEL, "model"),
    **_OF_MODEL,
    "GET /v2/trace/setting": _RULE_SERVER,
    "POST /v2/trace/setting": _RULE_SERVER,
    "GET /v2/models/{model}/trace/setting": _RULE_SERVER,
    "POST /v2/models/{model}/trace/setting": _RULE_SERVER,
    "GET /v2/logging": _RULE_SERVER,
    "POST /v2/logging": _RULE_SERVER,
    **_REGIONS,
}


def model_of(named: str) -> str:
    """Return the model of a name or a ref; "" where there is none."""
    return re.split("[@:]", named, maxsplit=1)[0]
