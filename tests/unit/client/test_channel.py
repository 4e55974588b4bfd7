"""Addresses, channel options and the retry policy."""

from __future__ import annotations

import json
from collections.abc import Sequence
from fractions import Fraction
from typing import Any

import numpy as np
import pytest
from interlock.errors import InvalidArgument
from interlock_client import Admin, Client
from interlock_client._address import ADMIN, INFERENCE
from interlock_client._channel import Option, dial, seconds, service_config


def options(target: str = "10.0.0.1:1", retries: int = 3, more: Sequence[Option] = ()) -> dict[str, str | int]:
    found = dial(INFERENCE, target, retries=retries, tls=None, credentials=None, options=more)
    return dict(found.options)


def test_an_address_comes_from_the_caller_then_the_environment_then_the_default(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    for variable in ("INTERLOCK_SERVER", "INTERLOCK_ADMIN"):
        monkeypatch.delenv(variable, raising=False)
    assert (INFERENCE.address(None), ADMIN.address(None)) == ("127.0.0.1:8001", "127.0.0.1:8002")
    monkeypatch.setenv("INTERLOCK_SERVER", "a:1")
    monkeypatch.setenv("INTERLOCK_ADMIN", "b:2")
    with Client() as client, Admin() as admin:
        assert (client.target, admin.target) == ("a:1", "b:2")
    with Client("c:3") as client:
        assert client.target == "c:3"


@pytest.mark.parametrize(
    ("target", "why"),
    [
        ("http://127.0.0.1:8000", "is a URL"),
        ("https://models", "is a URL"),
        ("models", "names no port"),
        ("10.0.0.1", "names no port"),
        ("[::1]", "names no port"),
    ],
)
def test_what_is_no_address_of_grpc_is_refused_before_anything_is_asked(target: str, why: str) -> None:
    with pytest.raises(
        InvalidArgument, match=f"the admin address '.*' {why}.*127.0.0.1:8002.*--admin, INTERLOCK_ADMIN"
    ):
        Admin(target)


@pytest.mark.parametrize("target", ["a:1", "[::1]:1", "dns:///models", "unix:/run/x", "ipv4:127.0.0.1:1", "xds:///m"])
def test_every_address_of_grpc_is_taken(target: str) -> None:
    assert ADMIN.address(target) == target


def test_only_unavailable_is_retried_and_an_upload_never() -> None:
    upload, everything = json.loads(str(options()["grpc.service_config"]))["methodConfig"]
    methods = [("interlock.v1.AdminService", name) for name in ("RegisterVersion", "RegisterSigned")]
    assert upload == {"name": [{"service": service, "method": name} for service, name in methods]}
    assert everything["name"] == [{}]
    assert everything["retryPolicy"]["maxAttempts"] == 4
    assert everything["retryPolicy"]["retryableStatusCodes"] == ["UNAVAILABLE", "CANCELLED"]
    assert service_config("h:1", 3)["retryThrottling"] == {"maxTokens": 100, "tokenRatio": 0.1}


def test_no_retries_means_none_not_even_grpcs_own() -> None:
    assert options(retries=0)["grpc.enable_retries"] == 0
    assert "retryPolicy" not in str(options(retries=0)["grpc.service_config"])
    assert "grpc.enable_retries" not in options(retries=1)


def test_a_name_that_dns_resolves_is_balanced_over_its_addresses() -> None:
    assert json.loads(str(options("dns:///models:8001")["grpc.service_config"]))["loadBalancingConfig"] == [
        {"round_robin": {}}
    ]
    assert "loadBalancingConfig" not in service_config("models:8001", 3)


def test_messages_are_not_limited_and_a_restarted_server_is_found_soon() -> None:
    found = options()
    assert found["grpc.max_receive_message_length"] == found["grpc.max_send_message_length"] == -1
    assert found["grpc.initial_reconnect_backoff_ms"] == 100
    assert found["grpc.max_reconnect_backoff_ms"] == 2000
    assert found["grpc.keepalive_time_ms"] == 30_000
    assert int(found["grpc.per_rpc_retry_buffer_size"]) > 16 * 1024 * 1024


@pytest.mark.parametrize(
    ("target", "direct"),
    [("127.0.0.1:1", True), ("localhost:1", True), ("[::1]:1", True), ("unix:/x", True), ("10.0.0.1:1", False)],
)
def test_an_http_proxy_is_not_asked_for_this_very_machine(target: str, direct: bool) -> None:
    assert (options(target).get("grpc.enable_http_proxy") == 0) is direct


def test_the_callers_options_go_before_ours() -> None:
    assert options(more=[("grpc.keepalive_time_ms", 5)])["grpc.keepalive_time_ms"] == 5


def test_a_deadline_falls_back_to_the_default() -> None:
    assert seconds(None, 30) == 30.0
    assert seconds(5, 30) == 5.0
    assert seconds(0.5, 30) == 0.5


@pytest.mark.parametrize("given", [np.float32(0.5), np.float64(0.5), Fraction(1, 2)])
def test_any_kind_of_real_number_is_a_deadline(given: float) -> None:
    assert seconds(given, 30) == 0.5


def test_several_connections_are_really_several() -> None:
    made = dial(INFERENCE, "h:1", retries=0, tls=None, credentials=None, options=(), connections=3)
    assert made.connections == 3
    assert dict(made.options)["grpc.use_local_subchannel_pool"] == 1
    assert "grpc.use_local_subchannel_pool" not in options()


@pytest.mark.parametrize("connections", [0, 65, 1.5, True])
def test_a_wrong_number_of_connections_is_refused(connections: Any) -> None:
    with pytest.raises(InvalidArgument, match="connections must be a whole number from 1 to 64"):
        Client("h:1", connections=connections)
