"""The one table error ↔ gRPC status ↔ HTTP status, used by servers and clients; details as google.rpc messages."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from functools import lru_cache
from typing import Final

import grpc
from google.protobuf.any_pb2 import Any as AnyMessage
from google.protobuf.message import DecodeError
from google.rpc import error_details_pb2, status_pb2

from interlock import errors

DOMAIN: Final = "interlock"
DETAILS_KEY: Final = "grpc-status-details-bin"
PUSHBACK_KEY: Final = "grpc-retry-pushback-ms"
MAX_MESSAGE: Final = 1024
"""Bytes; longer texts are cut: past some 8 KiB of trailing metadata gRPC loses the status code itself."""
MAX_DETAILS: Final = 1024
"""Bytes of serialised details at most (DESIGN 8), the text not counted."""


@dataclass(frozen=True, slots=True)
class Codes:
    """What one branch of the error tree is on each wire."""

    grpc: grpc.StatusCode
    http: int


CODES: Final[Mapping[type[errors.InterlockError], Codes]] = {
    errors.InvalidArgument: Codes(grpc.StatusCode.INVALID_ARGUMENT, 400),
    errors.NotFound: Codes(grpc.StatusCode.NOT_FOUND, 404),
    errors.AlreadyExists: Codes(grpc.StatusCode.ALREADY_EXISTS, 409),
    errors.FailedPrecondition: Codes(grpc.StatusCode.FAILED_PRECONDITION, 412),
    errors.Aborted: Codes(grpc.StatusCode.ABORTED, 409),
    errors.TooLarge: Codes(grpc.StatusCode.RESOURCE_EXHAUSTED, 413),
    errors.ResourceExhausted: Codes(grpc.StatusCode.RESOURCE_EXHAUSTED, 429),
    errors.Unavailable: Codes(grpc.StatusCode.UNAVAILABLE, 503),
    errors.DeadlineExceeded: Codes(grpc.StatusCode.DEADLINE_EXCEEDED, 504),
    errors.Cancelled: Codes(grpc.StatusCode.CANCELLED, 499),
    errors.DataLoss: Codes(grpc.StatusCode.DATA_LOSS, 500),
    errors.Unimplemented: Codes(grpc.StatusCode.UNIMPLEMENTED, 501),
    errors.Unauthenticated: Codes(grpc.StatusCode.UNAUTHENTICATED, 401),
    errors.PermissionDenied: Codes(grpc.StatusCode.PERMISSION_DENIED, 403),
    errors.InternalError: Codes(grpc.StatusCode.INTERNAL, 500),
}
_MOST_VIOLATIONS: Final = 16
"""More do not fit into the details, however short they are."""
_MOST_FIELD: Final = 128
_MOST_DESCRIPTION: Final = 256
_KEPT: Final = 256
"""Statuses that are kept: a server with too much to do says the same few over and over, and must do so cheaply."""
_BRANCHES: Final = {codes.grpc: branch for branch, codes in CODES.items()}
_BY_REASON: Final = errors.by_reason()


def codes_of(error: errors.InterlockError) -> Codes:
    """Return the statuses of an error: those of the nearest class in its ancestry that the table has."""
    for cls in type(error).__mro__:
        if cls in CODES:
            return CODES[cls]
    return CODES[errors.InternalError]


@dataclass(frozen=True, slots=True)
class WireStatus:
    """An error as gRPC carries it."""

    code: grpc.StatusCode
    message: str
    trailing: tuple[tuple[str, str | bytes], ...]


def to_wire(error: errors.InterlockError) -> WireStatus:
    """Turn an error into a gRPC status with ErrorInfo, BadRequest and RetryInfo details."""
    # Cut before anything is kept: callers' words are in all of it, and may be as long as a message.
    facts = tuple(error.facts.items())
    if sum(len(name) + len(value) for name, value in facts) >= MAX_DETAILS // 2:
        facts = ()
    violations = tuple(
        errors.Violation(each.field[:_MOST_FIELD], each.description[:_MOST_DESCRIPTION])
        for each in error.violations[:_MOST_VIOLATIONS]
    )
    text = error.message[:MAX_MESSAGE]
    return _status(codes_of(error).grpc, error.reason, text, facts, violations, error.retry_after_s)


@lru_cache(_KEPT)
def _status(
    code: grpc.StatusCode,
    reason: str,
    text: str,
    facts: tuple[tuple[str, str], ...],
    violations: tuple[errors.Violation, ...],
    retry_after_s: float | None,
) -> WireStatus:
    status = status_pb2.Status(code=code.value[0])
    info = error_details_pb2.ErrorInfo(reason=reason, domain=DOMAIN, metadata=dict(facts))
    _add(status, info if info.ByteSize() < MAX_DETAILS // 2 else _short(reason))
    trailing: list[tuple[str, str | bytes]] = []
    if retry_after_s is not None:
        retry = error_details_pb2.RetryInfo()
        retry.retry_delay.FromNanoseconds(int(retry_after_s * 1e9))
        _add(status, retry)
        trailing.append((PUSHBACK_KEY, str(max(1, round(retry_after_s * 1000)))))
    for violation in violations:
        bad = error_details_pb2.BadRequest()
        bad.field_violations.add(field=violation.field, description=violation.description)
        if status.ByteSize() + bad.ByteSize() + 64 > MAX_DETAILS:
            break
        _add(status, bad)
    # Twice on the wire: where there are details, gRPC for Go takes the text from here; others want both to be equal.
    status.message = _cut(text)
    trailing.append((DETAILS_KEY, status.SerializeToString()))
    return WireStatus(code, status.message, tuple(trailing))


def _cut(message: str) -> str:
    """Cut a message by its characters, and by what they become on the wire: three bytes for each one beyond ASCII."""
    if message.isascii():
        return message[:MAX_MESSAGE]
    return message[:MAX_MESSAGE].encode(errors="replace")[:MAX_MESSAGE].decode(errors="ignore")


def _short(reason: str) -> error_details_pb2.ErrorInfo:
    return error_details_pb2.ErrorInfo(reason=reason, domain=DOMAIN)


def _add(
    status: status_pb2.Status,
    detail: error_details_pb2.ErrorInfo | error_details_pb2.BadRequest | error_details_pb2.RetryInfo,
) -> None:
    packed = AnyMessage()
    packed.Pack(detail)
    status.details.append(packed)


def from_wire(
    code: grpc.StatusCode, message: str, trailing: Iterable[tuple[str, str | bytes]]
) -> errors.InterlockError:
    """Rebuild the error from a gRPC status; the class comes from our own table, never from a name that was sent."""
    facts: dict[str, str] = {}
    violations: list[errors.Violation] = []
    retry_after_s: float | None = None
    cls: type[errors.InterlockError] = _BRANCHES.get(code, errors.InternalError)
    for detail in _details(trailing):
        if detail.Is(error_details_pb2.ErrorInfo.DESCRIPTOR):
            info = error_details_pb2.ErrorInfo()
            detail.Unpack(info)
            if info.domain == DOMAIN:
                facts.update(info.metadata)
                known = _BY_REASON.get(info.reason)
                if known is not None and issubclass(known, cls):
                    cls = known
        elif detail.Is(error_details_pb2.BadRequest.DESCRIPTOR):
            bad = error_details_pb2.BadRequest()
            detail.Unpack(bad)
            violations += [errors.Violation(v.field, v.description) for v in bad.field_violations]
        elif detail.Is(error_details_pb2.RetryInfo.DESCRIPTOR):
            retry = error_details_pb2.RetryInfo()
            detail.Unpack(retry)
            retry_after_s = retry.retry_delay.ToNanoseconds() / 1e9
    return cls.rebuild(message, facts=facts, violations=violations, retry_after_s=retry_after_s)


def _details(trailing: Iterable[tuple[str, str | bytes]]) -> list[AnyMessage]:
    for key, value in trailing:
        if key == DETAILS_KEY and isinstance(value, bytes):
            try:
                return list(status_pb2.Status.FromString(value).details)
            except DecodeError:
                return []
    return []
