"""A whole server behind TLS: every port, the SDK, the command, and certificates that are renewed while it runs."""

from __future__ import annotations

import os
import signal
import socket
import ssl
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import httpx
import numpy as np
import pytest
from interlock.errors import ServerUnreachable
from interlock_client import Admin, Client, Tls

from tests import models
from tests.authority import Authority, Pair, replace
from tests.server import Server, clean_environment
from tests.support import eventually


@dataclass(frozen=True)
class Secured:
    """A server, and what its callers need."""

    server: Server
    authority: Authority
    files: Pair
    caller: Pair

    @property
    def tls(self) -> Tls:
        return Tls(self.authority.path, self.caller.cert, self.caller.key)

    def admin(self) -> Admin:
        return Admin(self.server.admin_address, tls=self.tls, retries=0)

    def client(self) -> Client:
        return Client(self.server.grpc, tls=self.tls, retries=0)

    def context(self) -> ssl.SSLContext:
        context = ssl.create_default_context(cafile=str(self.authority.path))
        context.load_cert_chain(self.caller.cert, self.caller.key)
        return context

    def shown(self) -> set[bytes]:
        """Return the certificates that new connections to the three ports are shown."""
        return {self._shown(address) for address in (self.server.grpc, self.server.http, self.server.admin_address)}

    def _shown(self, address: str) -> bytes:
        context = self.context()
        context.set_alpn_protocols(["h2", "http/1.1"])
        host, _, port = address.rpartition(":")
        with (
            socket.create_connection((host, int(port)), 10) as line,
            context.wrap_socket(line, server_hostname=host) as wrapped,
        ):
            found = wrapped.getpeercert(binary_form=True)
        assert found is not None
        return found


@pytest.fixture(scope="module")
def secured(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Secured]:
    folder = tmp_path_factory.mktemp("tls")
    authority = Authority(folder / "certificates")
    files, caller = authority.server(), authority.issue("trainer@example.org")
    flags = ("--tls-cert", str(files.cert), "--tls-key", str(files.key), "--tls-client-ca", str(authority.path))
    with Server(folder / "data", *flags) as server:
        yield Secured(server, authority, files, caller)


def test_every_port_answers_callers_with_a_certificate(secured: Secured, tmp_path: Path) -> None:
    model = models.write(tmp_path / "m.onnx", models.affine())
    with secured.admin() as admin, secured.client() as client:
        version = admin.register("m", model)
        admin.promote("m", version.version)
        assert client.infer("m", {"x": np.ones((1, 2), np.float32)}).version == version.version
    with httpx.Client(base_url=f"https://{secured.server.http}", verify=secured.context()) as web:
        assert web.get("/readyz").json()["ready"]
        assert web.get("/v2/models/m/ready").json()["ready"]


def test_no_port_answers_anybody_else(secured: Secured) -> None:
    for tls in (None, Tls(secured.authority.path)):
        with Admin(secured.server.admin_address, tls=tls, retries=0) as admin, pytest.raises(ServerUnreachable):
            admin.status(timeout=60)
        with Client(secured.server.grpc, tls=tls, retries=0) as client, pytest.raises(ServerUnreachable):
            client.server_live(timeout=60)
    with pytest.raises(httpx.TransportError):
        httpx.get(f"http://{secured.server.http}/readyz")
    bare = ssl.create_default_context(cafile=str(secured.authority.path))
    with pytest.raises(httpx.TransportError):
        httpx.get(f"https://{secured.server.http}/readyz", verify=bare)


def test_the_command_takes_certificates_from_options_and_the_environment(secured: Secured) -> None:
    command = [str(Path(sys.executable).with_name("interlock"))]
    options = ["--tls-ca", str(secured.authority.path), "--tls-cert", str(secured.caller.cert)]
    options += ["--tls-key", str(secured.caller.key)]
    address = ["--admin", secured.server.admin_address]
    variables = {
        "INTERLOCK_TLS_CA": str(secured.authority.path),
        "INTERLOCK_CLIENT_CERT": str(secured.caller.cert),
        "INTERLOCK_CLIENT_KEY": str(secured.caller.key),
    }
    load = ["bench", "m", "--concurrency", "2", "--duration", "0.5", "--warmup", "0", "-o", "json"]
    load += ["--server", secured.server.grpc]
    for arguments, environment in (
        ([*options, "models", *address], {}),
        (["models", *address], variables),
        ([*options, *load], {}),
    ):
        said = ""
        for _ in range(3):  # a load on a machine that stands still meanwhile may get no answer
            done = subprocess.run(
                [*command, *arguments],
                env=clean_environment(**environment),
                capture_output=True,
                text=True,
                timeout=120,
                check=False,
            )
            if done.returncode == 0:
                break
            said = done.stderr
        else:
            pytest.fail(said)


def test_renewed_certificates_are_taken_by_every_port_and_bad_ones_by_none(secured: Secured) -> None:
    before = secured.shown()
    assert len(before) == 1
    secured.authority.server()
    eventually(lambda: len(now := secured.shown()) == 1 and now != before, "all ports show the new certificate")
    renewed = secured.shown()
    assert secured.server.process is not None
    good = secured.files.key.read_bytes()
    replace(secured.files.key, b"nothing")
    os.kill(secured.server.process.pid, signal.SIGHUP)
    eventually(lambda: secured.server.log().count("the certificates in use stay") >= 2, "both processes say so")
    assert secured.shown() == renewed
    replace(secured.files.key, good)
    os.kill(secured.server.process.pid, signal.SIGHUP)
    eventually(lambda: secured.server.log().count("certificates read again") >= 3, "they are well again")
    strangers = [line for line in secured.server.log().splitlines() if not line.startswith("{")]
    assert strangers == [], "gRPC's own remarks on who was refused are no lines of the log"
    with secured.client() as client:
        assert client.server_live()
