"""Channels: whom to speak to, channel options, retry policy, deadlines, and gRPC errors turned into ours."""

from __future__ import annotations

import json
import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from numbers import Real
from typing import Final, Protocol, cast

import grpc
from interlock.errors import (
    Cancelled,
    DeadlineExceeded,
    InterlockError,
    InvalidArgument,
    ServerUnreachable,
    Unavailable,
    Unimplemented,
)
from interlock.status import DETAILS_KEY, from_wire

from interlock_client._access import Tls, explain, from_environment, token_in_use
from interlock_client._address import Port

Option = tuple[str, str | int]
"""A gRPC channel argument."""

DEFAULT_TIMEOUT_S: Final = 30.0
DEFAULT_RETRIES: Final = 3
_MAX_RETRIES: Final = 4
"""gRPC makes five attempts at most, whatever the policy says."""
_MAX_CONNECTIONS: Final = 64
_LONGEST_S: Final = 1e9
"""gRPC takes a deadline that is centuries off for one that has passed."""
_RETRY_BUFFER: Final = 32 * 1024 * 1024
"""Past gRPC's own 256 KiB a request is sent once and never again; this lets 16 MiB tensors be retried."""
_UPLOADS: Final = ("RegisterVersion", "RegisterSigned")


@dataclass(frozen=True, slots=True)
class Dial:
    """All that is needed to open a channel."""

    port: Port
    target: str
    options: tuple[Option, ...]
    credentials: grpc.ChannelCredentials | None
    connections: int = 1
    """How many channels share the calls."""
    token: str = field(default="", repr=False)

    @property
    def metadata(self) -> tuple[tuple[str, str], ...]:
        """What every call carries to say who makes it."""
        return (("authorization", f"Bearer {self.token}"),) if self.token else ()

    def channel(self) -> grpc.Channel:
        """Open a blocking channel."""
        if self.credentials is None:
            return grpc.insecure_channel(self.target, options=self.options)
        return grpc.secure_channel(self.target, self.credentials, options=self.options)


def dial(
    port: Port,
    target: str | None,
    *,
    retries: int,
    tls: Tls | None,
    credentials: grpc.ChannelCredentials | None,
    options: Iterable[Option],
    connections: int = 1,
    token: str | None = None,
) -> Dial:
    """Work out address, channel options and TLS; raises InvalidArgument. The caller's options win over ours."""
    if not is_whole(retries) or not 0 <= retries <= _MAX_RETRIES:
        raise InvalidArgument(
            f"retries must be a whole number from 0 to {_MAX_RETRIES} (gRPC makes at most {_MAX_RETRIES + 1} "
            f"attempts), got {retries!r}"
        )
    if not is_whole(connections) or not 1 <= connections <= _MAX_CONNECTIONS:
        raise InvalidArgument(f"connections must be a whole number from 1 to {_MAX_CONNECTIONS}, got {connections!r}")
    if tls is not None and credentials is not None:
        raise InvalidArgument("tls and credentials both say how the connection is encrypted; give one of them")
    address = port.address(target)
    merged = dict(_options(address, retries))
    if credentials is None:
        tls = tls or from_environment()
        if tls is not None:
            credentials = tls.credentials()
            if tls.name:
                merged["grpc.ssl_target_name_override"] = tls.name
    if connections > 1:
        merged["grpc.use_local_subchannel_pool"] = 1  # else gRPC leads channels to one address over one connection
    merged |= dict(options)
    return Dial(port, address, tuple(merged.items()), credentials, connections, token_in_use(token))


def _options(address: str, retries: int) -> Sequence[Option]:
    options: list[Option] = [
        ("grpc.max_send_message_length", -1),
        ("grpc.max_receive_message_length", -1),
        ("grpc.per_rpc_retry_buffer_size", _RETRY_BUFFER),
        ("grpc.keepalive_time_ms", 30_000),
        ("grpc.keepalive_timeout_ms", 10_000),
        # A ping that gRPC has sent for reasons of its own has a minute, and a keepalive does with that one.
        ("grpc.http2.ping_timeout_ms", 10_000),
        # A restarted server has to be found within 3 s; gRPC's own ceiling is two minutes, and a connection attempt
        # that hangs (a host that is down drops packets) would hold the next one back for 20 s.
        ("grpc.initial_reconnect_backoff_ms", 100),
        ("grpc.min_reconnect_backoff_ms", 2_000),
        ("grpc.max_reconnect_backoff_ms", 2_000),
        ("grpc.service_config", json.dumps(service_config(address, retries))),
    ]
    if retries == 0:
        # Transparent retries too: whoever switches retries off wants to see every failure.
        options.append(("grpc.enable_retries", 0))
    if address.startswith(("127.", "localhost", "[::1]", "unix:")):
        # An http_proxy in the environment would send calls to this very machine through the proxy.
        options.append(("grpc.enable_http_proxy", 0))
    return options


def service_config(address: str, retries: int) -> dict[str, object]:
    """Return the gRPC service config: what is retried, when, and how addresses are balanced.

    Only UNAVAILABLE is retried, and CANCELLED, which a server that stops gives calls that it has not begun; a caller
    that cancels ends its retries too. What is repeated is either idempotent (inference, reads) or carries an
    idempotency key (admin). An upload is a stream and is never repeated.
    """
    uploads = [{"service": "interlock.v1.AdminService", "method": name} for name in _UPLOADS]
    everything: dict[str, object] = {"name": [{}]}
    config: dict[str, object] = {"methodConfig": [{"name": uploads}, everything]}
    if retries:
        everything["retryPolicy"] = {
            "maxAttempts": retries + 1,
            "initialBackoff": "0.1s",
            "maxBackoff": "1.5s",
            "backoffMultiplier": 3,
            "retryableStatusCodes": ["UNAVAILABLE", "CANCELLED"],
        }
        config["retryThrottling"] = {"maxTokens": 100, "tokenRatio": 0.1}
    if address.startswith("dns:"):
        config["loadBalancingConfig"] = [{"round_robin": {}}]
    return config


def seconds(timeout: float | None, default_s: float) -> float:
    """Return the deadline of a call in seconds; raises InvalidArgument unless it is positive and finite."""
    chosen = default_s if timeout is None else timeout
    if not isinstance(cast(object, chosen), Real) or isinstance(chosen, bool) or not 0 < chosen < math.inf:
        raise InvalidArgument(f"timeout must be a positive, finite number of seconds, got {timeout!r}")
    return float(min(chosen, _LONGEST_S))


def is_whole(value: object) -> bool:
    """Return whether a caller really passed a whole number; True and False are none."""
    return isinstance(value, int) and not isinstance(value, bool)


class _Status(Protocol):
    """What every error of a channel has; grpc.aio's is no `grpc.Call`."""

    def code(self) -> grpc.StatusCode: ...
    def details(self) -> str | None: ...
    def trailing_metadata(self) -> Iterable[tuple[str, str | bytes]] | None: ...


def translate(error: grpc.RpcError, *, dial: Dial, method: str, timeout_s: float, closed: bool) -> InterlockError:
    """Turn a gRPC error into one of ours; a server's own explanation always wins over ours."""
    status = cast(_Status, error)
    text = status.details() or ""
    trailing = tuple(status.trailing_metadata() or ())
    found = from_wire(status.code(), text, trailing)
    if any(key == DETAILS_KEY for key, _ in trailing):
        return found
    return _explained(found, text, dial=dial, method=method, timeout_s=timeout_s, closed=closed)


def _explained(
    found: InterlockError, text: str, *, dial: Dial, method: str, timeout_s: float, closed: bool
) -> InterlockError:
    """Say more than gRPC's own text does where no Interlock server explained the failure."""
    port, target = dial.port, dial.target
    if isinstance(found, Unavailable):
        if "http1.x server" in text:
            return ServerUnreachable(
                f"what answers at {target} speaks HTTP/1.1, and this asks in gRPC: is that the server's HTTP port? The "
                f"{port.what} port ({port.default} by default) is set by {port.flag}, {port.variable} or the client's "
                "target",
                facts={"address": target},
            )
        why = text.rpartition("last error: ")[2].removeprefix("UNKNOWN: ") or "no reason given"
        cause = explain(text, tls=dial.credentials is not None)
        running = (
            f"is `interlock serve` running there? The {port.what} address is set by {port.flag}, {port.variable} or "
            "the client's target"
        )
        return ServerUnreachable(
            f"no server answers at {target} ({why[:300]}): {cause or running}", facts={"address": target}
        )
    if isinstance(found, DeadlineExceeded):
        return DeadlineExceeded(
            f"{method} got no answer from {target} within {timeout_s:g} s; raise `timeout` if that is too short",
            facts={"address": target, "timeout_s": f"{timeout_s:g}"},
        )
    if isinstance(found, Unimplemented):
        return Unimplemented(
            f"the server at {target} does not know {method}: is that the {port.what} port ({port.default} by default)? "
            f"Its address is set by {port.flag}, {port.variable} or the client's target",
            facts={"address": target, "method": method},
        )
    if isinstance(found, Cancelled) and closed:
        return Cancelled(f"{method} on {target} was cancelled: {text}", facts={"address": target})
    if isinstance(found, Cancelled):
        # Not by us: a server that stops ends so what had arrived and was not begun.
        return Unavailable(
            f"the server at {target} ended {method} before it began; try again", facts={"address": target}
        )
    return found
