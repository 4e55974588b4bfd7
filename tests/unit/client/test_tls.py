"""TLS in the SDK: where it is taken from, and what is said when the two sides do not fit."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import grpc
import pytest
from interlock.errors import InvalidArgument, ServerUnreachable, Unimplemented
from interlock_client import AsyncClient, Client, Tls
from interlock_client.cli.session import Session

from tests.authority import Authority, Pair


@dataclass(frozen=True)
class Lines:
    """Servers that know no method, and who signed for them."""

    plain: str
    tls: str
    mutual: str
    authority: Authority
    caller: Pair


@pytest.fixture(scope="module")
def lines(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Lines]:
    authority = Authority(tmp_path_factory.mktemp("certificates"))
    pair = authority.server()
    own = [(pair.key.read_bytes(), pair.cert.read_bytes())]
    servers = [grpc.server(ThreadPoolExecutor(1)) for _ in range(3)]
    ports = [
        servers[0].add_insecure_port("127.0.0.1:0"),
        servers[1].add_secure_port("127.0.0.1:0", grpc.ssl_server_credentials(own)),
        servers[2].add_secure_port(
            "127.0.0.1:0", grpc.ssl_server_credentials(own, authority.path.read_bytes(), require_client_auth=True)
        ),
    ]
    for server in servers:
        server.start()
    plain, tls, mutual = (f"127.0.0.1:{port}" for port in ports)
    yield Lines(plain, tls, mutual, authority, authority.issue("trainer@example.org"))
    for server in servers:
        server.stop(None).wait()


@pytest.fixture(autouse=True)
def no_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("TLS", "TLS_CA", "CLIENT_CERT", "CLIENT_KEY", "TLS_NAME"):
        monkeypatch.delenv(f"INTERLOCK_{name}", raising=False)


def reach(target: str, tls: Tls | None = None) -> None:
    """Have the server answer something; raises what the SDK makes of it."""
    with Client(target, tls=tls, retries=0, options=[("grpc.use_local_subchannel_pool", 1)]) as client:
        client.server_live(timeout=60)


def test_both_sides_meet_where_each_trusts_the_other(lines: Lines) -> None:
    with pytest.raises(Unimplemented):
        reach(lines.tls, Tls(ca=lines.authority.path))
    with pytest.raises(Unimplemented):
        reach(lines.mutual, Tls(lines.authority.path, lines.caller.cert, lines.caller.key))


def test_the_environment_stands_in_for_arguments(lines: Lines, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("INTERLOCK_TLS_CA", str(lines.authority.path))
    with pytest.raises(Unimplemented):
        reach(lines.tls)
    monkeypatch.setenv("INTERLOCK_CLIENT_CERT", str(lines.caller.cert))
    monkeypatch.setenv("INTERLOCK_CLIENT_KEY", str(lines.caller.key))
    with pytest.raises(Unimplemented):
        reach(lines.mutual)

    async def ask() -> None:
        async with AsyncClient(lines.mutual, retries=0) as client:
            await client.server_live(timeout=60)

    with pytest.raises(Unimplemented):
        asyncio.run(ask())


def test_a_name_can_be_expected_that_is_not_the_address(lines: Lines) -> None:
    with pytest.raises(Unimplemented):
        reach(lines.tls, Tls(ca=lines.authority.path, name="localhost"))
    with pytest.raises(ServerUnreachable, match=r"for another name.* --tls-name"):
        reach(lines.tls, Tls(ca=lines.authority.path, name="example.org"))


def test_sides_that_do_not_fit_are_told_apart(lines: Lines, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    stranger = Authority(tmp_path)
    with pytest.raises(ServerUnreachable, match=r"if that server speaks TLS, name its CA with --tls-ca"):
        reach(lines.tls)
    with pytest.raises(ServerUnreachable, match=r"that server speaks plain text"):
        reach(lines.plain, Tls(ca=lines.authority.path))
    with pytest.raises(ServerUnreachable, match=r"not signed by an authority that this client knows"):
        reach(lines.tls, Tls(ca=stranger.path))
    with pytest.raises(ServerUnreachable, match=r"if it asks callers for a certificate, show one"):
        reach(lines.mutual, Tls(ca=lines.authority.path))
    monkeypatch.setenv("INTERLOCK_TLS", "1")
    with pytest.raises(ServerUnreachable, match=r"not signed by an authority that this client knows"):
        reach(lines.tls)


@pytest.mark.parametrize(
    ("tls", "words"),
    [
        (Tls(ca="/no/such/file"), "'/no/such/file' cannot be read: No such file"),
        (Tls(ca=__file__), "test_tls.py' holds no certificate in PEM"),
        (Tls(cert="c"), "go together"),
        (Tls(key="k"), "go together"),
    ],
)
def test_what_cannot_be_used_is_refused_before_anything_is_sent(tls: Tls, words: str) -> None:
    with pytest.raises(InvalidArgument, match=words):
        Client("127.0.0.1:1", tls=tls)


def test_an_empty_token_file_is_refused_and_nobody_else_is_asked_for(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "token").write_text("\n")
    monkeypatch.setenv("INTERLOCK_TOKEN_FILE", str(tmp_path / "token"))
    with pytest.raises(InvalidArgument, match="token' is empty; write into it"):
        Client("127.0.0.1:1")
    monkeypatch.setenv("INTERLOCK_TOKEN", "somebody-elses")
    with pytest.raises(InvalidArgument, match="token' is empty; write into it"):
        Session(token_file=str(tmp_path / "token")).open_client()


def test_tls_is_said_once() -> None:
    with pytest.raises(InvalidArgument, match="give one of them"):
        Client("127.0.0.1:1", tls=Tls(), credentials=grpc.ssl_channel_credentials())
