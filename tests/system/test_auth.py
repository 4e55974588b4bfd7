"""A whole server that asks who calls: every RPC and route, roles by model, revocation, and secrets that are nowhere."""

from __future__ import annotations

import io
import ssl
import subprocess
import sys
from collections.abc import Iterator
from contextlib import redirect_stdout
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from typing import cast

import grpc
import httpx
import numpy as np
import pytest
from interlock.access import Grant, Permission, Proof, token_key
from interlock.errors import ApprovalRequired, InvalidArgument, PermissionDenied, Unauthenticated
from interlock.protocols import open_inference_pb2 as pb
from interlock.protocols.open_inference_pb2_grpc import GRPCInferenceServiceStub
from interlock.status import from_wire
from interlock_client import Admin, Client, Tls
from interlock_client.cli.entry import run as command
from interlock_registry.domain import Action, Attempt
from interlock_registry.registry import Registry
from interlock_server.access.rules import ROUTES, RPCS, Scope

from tests import models
from tests.authority import Authority, Pair
from tests.bench.machine import family
from tests.server import Server, clean_environment, serve_command
from tests.support import eventually

pytestmark = pytest.mark.sqlite  # credentials are made beside the server, in its file


@dataclass(frozen=True)
class Locked:
    """A server that everybody needs a certificate for, most of which are known to nobody."""

    server: Server
    registry: Registry
    authority: Authority
    stranger: Pair
    trainer: Pair
    boss: str

    def tls(self, pair: Pair | None = None) -> Tls:
        pair = pair or self.stranger
        return Tls(self.authority.path, pair.cert, pair.key)

    def issue(self, name: str, *grants: str) -> str:
        """Make a token, and wait until the server knows it."""
        made = issue(self.registry, name, *grants)
        eventually(lambda: self.knows(made), f"{name} is known")
        return made

    def knows(self, token: str) -> bool:
        try:
            with self.client(token) as client:
                client.server_live()
            with self.admin(token) as admin:
                admin.show("no-such-model")
        except Unauthenticated:
            return False
        except Exception:  # noqa: BLE001 - known, whatever it may not do
            return True
        return True

    def client(self, token: str = "", pair: Pair | None = None) -> Client:
        return Client(self.server.grpc, tls=self.tls(pair), token=token, retries=0)

    def admin(self, token: str = "", pair: Pair | None = None) -> Admin:
        return Admin(self.server.admin_address, tls=self.tls(pair), token=token, retries=0)

    def web(self, token: str = "", pair: Pair | None = None) -> httpx.Client:
        context = ssl.create_default_context(cafile=str(self.authority.path))
        pair = pair or self.stranger
        context.load_cert_chain(pair.cert, pair.key)
        headers = {"Authorization": f"Bearer {token}"} if token else {}
        return httpx.Client(base_url=f"https://{self.server.http}", verify=context, headers=headers)

    def channel(self, *, on_admin: bool) -> grpc.Channel:
        """Open one of the two gRPC ports."""
        credentials = grpc.ssl_channel_credentials(
            self.authority.path.read_bytes(), self.stranger.key.read_bytes(), self.stranger.cert.read_bytes()
        )
        return grpc.secure_channel(self.server.admin_address if on_admin else self.server.grpc, credentials)


def issue(registry: Registry, name: str, *grants: str) -> str:
    by_test = Attempt(action=Action.ISSUE_TOKEN, actor="local:test", request_id="r", model="")
    return registry.credentials.issue(by_test, name, list(map(Grant.parse, grants)), lifetime_s=None).token


@pytest.fixture(scope="module")
def locked(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Locked]:
    folder = tmp_path_factory.mktemp("auth")
    authority = Authority(folder / "certificates")
    files = authority.server()
    stranger, trainer = authority.issue("nobody@example.org"), authority.issue("trainer@example.org")
    boss = run("token", "create", "boss", "--role", "admin", "--data", str(folder / "data")).strip()
    run("identity", "allow", "trainer@example.org", "--role", "publisher", "--data", str(folder / "data"))
    flags = ("--auth", "on", "--tls-cert", str(files.cert), "--tls-key", str(files.key))
    registry = Registry.open(f"sqlite:///{folder / 'data' / 'registry.db'}")
    # Hundreds of calls here fail to be known, within seconds.
    env = {
        "INTERLOCK_REQUIRE_APPROVALS": "guarded-*:stable",
        "INTERLOCK_APPROVAL_EXPIRES_S": "7200",
        "INTERLOCK_MAX_FAILED_AUTH_PER_MINUTE": "10000",
    }
    with Server(folder / "data", *flags, "--tls-client-ca", str(authority.path), env=env) as server:
        found = Locked(server, registry, authority, stranger, trainer, boss)
        with found.admin(boss) as admin:
            for name in ("m", "fraud-1"):
                made = admin.register(name, models.write(folder / "m.onnx", models.affine()))
                admin.promote(name, made.version)
        yield found
    registry.close()


def run(*arguments: str) -> str:
    """Run the command and return what it printed."""
    line = [str(Path(sys.executable).with_name("interlock")), *arguments]
    return subprocess.run(line, env=clean_environment(), capture_output=True, text=True, timeout=120, check=True).stdout


def here(*arguments: str) -> str:
    """Run the command in this process, which takes a tenth of the time."""
    printed = io.StringIO()
    with redirect_stdout(printed):
        assert command(arguments) == 0
    return printed.getvalue()


def code(locked: Locked, path: str, token: str = "", *, on_admin: bool = False) -> grpc.StatusCode:
    """Call an RPC with an empty request on its port, or on the admin port, and return how it ends."""
    on_admin = on_admin or path.startswith("/interlock.v1.")
    metadata = (("authorization", f"Bearer {token}"),) if token else ()
    many_in = path.endswith(("ServerReflectionInfo", "ModelStreamInfer", "RegisterVersion", "RegisterSigned"))
    with locked.channel(on_admin=on_admin) as channel:
        try:
            if many_in:
                conversation: grpc.StreamStreamMultiCallable[bytes, bytes] = channel.stream_stream(path)
                list(conversation(iter([b""]), timeout=60, metadata=metadata))
            else:
                question: grpc.UnaryStreamMultiCallable[bytes, bytes] = channel.unary_stream(path)
                list(question(b"", timeout=60, metadata=metadata))
        except grpc.RpcError as raised:
            error = cast(grpc.Call, raised)
            found = from_wire(error.code(), error.details() or "", tuple(error.trailing_metadata() or ()))
            if error.code() in (grpc.StatusCode.UNAUTHENTICATED, grpc.StatusCode.PERMISSION_DENIED):
                assert isinstance(found, Unauthenticated | PermissionDenied) and found.message
            return error.code()
    return grpc.StatusCode.OK


def streamed(locked: Locked, token: str, model: str) -> str:
    """Ask a model over a stream, without inputs, and return the error."""
    asked = pb.ModelInferRequest(model_name=model)
    with locked.channel(on_admin=False) as channel:
        answers = GRPCInferenceServiceStub(channel).ModelStreamInfer(
            iter([asked]), timeout=60, metadata=(("authorization", f"Bearer {token}"),)
        )
        return "".join(answer.error_message for answer in answers)


def indexed(locked: Locked, token: str) -> list[pb.RepositoryIndexResponse.ModelIndex]:
    """Ask for the repository index."""
    with locked.channel(on_admin=False) as channel:
        answer = GRPCInferenceServiceStub(channel).RepositoryIndex(
            pb.RepositoryIndexRequest(), timeout=60, metadata=(("authorization", f"Bearer {token}"),)
        )
    return list(answer.models)


def open_paths(rule_scope: Scope, permission: Permission) -> bool:
    """Whether a viewer of one model that does not exist may make an empty call."""
    return rule_scope is Scope.VISIBLE or (
        rule_scope in (Scope.SOME, Scope.HEALTH) and permission in (Permission.PROBE, Permission.DESCRIBE)
    )


def test_nobody_calls_any_rpc_without_being_known(locked: Locked) -> None:
    found = {path: code(locked, path) for path in RPCS}
    found |= {f"admin{path}": code(locked, path, on_admin=True) for path in RPCS if path.startswith("/grpc.")}
    probe = "/grpc.health.v1.Health/Check"
    assert (found.pop(probe), found.pop(f"admin{probe}")) == (grpc.StatusCode.OK, grpc.StatusCode.OK)
    assert set(found.values()) == {grpc.StatusCode.UNAUTHENTICATED}, found


def test_nobody_calls_any_rpc_that_no_role_of_theirs_opens(locked: Locked) -> None:
    token = locked.issue("narrow", "viewer:nothing")
    for path, rule in RPCS.items():
        if not open_paths(rule.scope, rule.permission):
            assert code(locked, path, token) is grpc.StatusCode.PERMISSION_DENIED, path


def test_no_route_answers_without_being_known_or_without_a_role(locked: Locked) -> None:
    token = locked.issue("narrow-web", "viewer:nothing")
    with locked.web() as nobody, locked.web(token) as narrow:
        for name, rule in ROUTES.items():
            method, _, path = name.partition(" ")
            path = path.format(model="m", version="1", region="r")
            refused = nobody.request(method, path)
            if rule.is_open:
                assert refused.status_code == 200 and "degraded" not in refused.json(), name
                assert narrow.request(method, path).status_code == 200, name
                continue
            assert (refused.status_code, refused.json()["reason"]) == (401, "UNAUTHENTICATED"), name
            assert refused.headers["WWW-Authenticate"] == "Bearer"
            refused = narrow.request(method, path)
            if open_paths(rule.scope, rule.permission):
                assert refused.status_code == 200, name
            else:
                assert (refused.status_code, refused.json()["reason"]) == (403, "PERMISSION_DENIED"), name
                assert refused.json()["facts"]["caller"] == "token:narrow-web"


def test_a_role_on_some_models_opens_these_and_no_others(locked: Locked) -> None:
    token = locked.issue("fraud", "invoker:fraud-*", "publisher:fraud-*", "operator:fraud-*")
    x = {"x": np.ones((1, 2), np.float32)}
    with locked.client(token) as client, locked.admin(token) as admin, locked.web(token) as web:
        assert client.infer("fraud-1", x).version == 1
        assert admin.promote("fraud-1", 1).to_version == 1
        assert web.get("/v2/models/fraud-1").status_code == 200
        assert web.get("/v2/models/m").status_code == 403
        assert {each["name"] for each in web.post("/v2/repository/index").json()} == {"fraud-1"}
        assert {each.name for each in indexed(locked, token)} == {"fraud-1"}
        upload = locked.server.data.parent / "m.onnx"
        for refused in (
            lambda: client.infer("m", x),
            lambda: client.metadata("m"),
            lambda: admin.show("m@1"),
            lambda: admin.versions("m"),
            lambda: admin.status(),
            lambda: admin.promote("m", 1, reason="for fun"),
            lambda: admin.rollback("m"),
            lambda: admin.pin("m", 1),
            lambda: admin.register("m", upload),
            lambda: admin.quantize("m"),
        ):
            with pytest.raises(PermissionDenied, match="token:fraud may not"):
                refused()
        assert admin.register("fraud-2", upload).version == 1
    assert "token:fraud may not ask model 'm'" in streamed(locked, token, "m")
    assert "may not" not in streamed(locked, token, "fraud-1")
    with locked.admin(locked.boss) as admin:
        events = admin.log(actor="token:fraud", outcome="PERMISSION_DENIED")
    assert {(each.action, each.model) for each in events} == {
        (action, "m") for action in ("promote", "rollback", "pin", "register", "quantize")
    }


def test_who_did_it_is_who_was_known(locked: Locked) -> None:
    upload = locked.server.data.parent / "m.onnx"
    with locked.admin(pair=locked.trainer) as admin:
        assert admin.register("trained", upload).created_by == "certificate:trainer@example.org"
        with pytest.raises(PermissionDenied, match=r"certificate:trainer@example\.org may not switch"):
            admin.promote("trained", 1)
    with locked.client(pair=locked.trainer) as client:
        assert client.server_live()
    with locked.web(pair=locked.trainer) as web:
        index = [each["name"] for each in web.post("/v2/repository/index").json()]
        assert {"m", "trained"} <= set(index)
        refused = web.post("/v2/models/m/infer", json={"inputs": []})
        assert refused.json()["facts"]["caller"] == "certificate:trainer@example.org"
    with pytest.raises(Unauthenticated, match=r"nobody@example\.org"), locked.client() as client:
        client.server_live()
    with locked.admin(locked.boss) as admin:
        assert {each.actor for each in admin.log("m")} >= {"token:boss"}


def test_what_others_must_approve_is_promoted_when_they_have(locked: Locked) -> None:
    upload = locked.server.data.parent / "m.onnx"
    author = locked.issue("author", "publisher:guarded-*", "operator:guarded-*", "approver:guarded-*")
    reviewer = locked.issue("reviewer", "approver:guarded-*")
    with locked.admin(author) as admin, locked.admin(reviewer) as other:
        assert admin.register("guarded-1", upload).version == 1
        with pytest.raises(ApprovalRequired, match="interlock approve guarded-1 1 --alias stable"):
            admin.promote("guarded-1", 1)
        with pytest.raises(PermissionDenied, match="cannot approve it"):
            admin.approve("guarded-1", 1)
        with pytest.raises(PermissionDenied, match="token:reviewer may not approve model 'm'"):
            other.approve("m", 1)
        given = other.approve("guarded-1", 1, reason="looks right", idempotency_key="once")
        assert given.expires_at - given.given_at == timedelta(hours=2), "as the server's setting says"
        assert other.approve("guarded-1", 1, reason="looks right", idempotency_key="once") == given
        assert admin.promote("guarded-1", 1).to_version == 1
        assert admin.approvals() == admin.approvals("guarded-1") == [given]
        assert [each.name for each in other.models()] == ["guarded-1"], "others are not told of"
        with pytest.raises(PermissionDenied):
            other.approvals("m")
        events = [(each.action, each.outcome, each.actor) for each in admin.log("guarded-1")]
    assert events == [
        ("promote", "ok", "token:author"),
        ("approve", "ok", "token:reviewer"),
        ("approve", "PERMISSION_DENIED", "token:author"),
        ("promote", "APPROVAL_REQUIRED", "token:author"),
        ("register", "ok", "token:author"),
    ]


def test_a_revoked_token_opens_no_port_any_more(locked: Locked) -> None:
    token = locked.issue("gone-soon", "admin")
    with locked.web(token) as web:
        assert web.get("/v2").status_code == 200
        ended = Attempt(action=Action.REVOKE_TOKEN, actor="local:test", request_id="r", model="")
        locked.registry.credentials.revoke(ended, Proof.TOKEN, "gone-soon")
        eventually(lambda: web.get("/v2").status_code == 401, "HTTP refuses it")
    for path in ("/inference.GRPCInferenceService/ServerLive", "/interlock.v1.AdminService/GetStatus"):
        eventually(
            lambda path=path: code(locked, path, token) is grpc.StatusCode.UNAUTHENTICATED,  # type: ignore[misc]
            f"{path} refuses it",
        )


def test_a_secret_is_in_no_file_log_process_or_answer(locked: Locked, tmp_path: Path) -> None:
    secret = locked.issue("canary", "viewer")
    data, key = locked.server.data, tmp_path / "release.key"
    here("trust", "add", here("key", "create", str(key)).split()[0], "--name", "release", "--data", str(data))
    with pytest.raises(PermissionDenied) as refused, locked.admin(secret) as admin:
        admin.promote("m", 1)
    with locked.admin(locked.boss) as admin:
        admin.register("signed", data.parent / "m.onnx", sign=key)
        with pytest.raises(InvalidArgument) as wrong:
            admin.register("signed", data.parent / "m.onnx", sign=locked.trainer.key)
        told = [str(refused.value), str(refused.value.facts), str(wrong.value), str(admin.log(limit=1000))]
        told += [str(admin.status()), admin.head().to_line()]
    with locked.web(locked.boss) as web:
        told += [web.get(path).text for path in ("/metrics", "/v2", "/openapi.json")]
    told += [here(*each, "--data", str(data), "-o", "json") for each in (("token", "list"), ("trust", "list"))]
    here("backup", str(tmp_path / "backup"), "--data", str(data))
    assert locked.server.process is not None
    told += [Path(f"/proc/{pid}/cmdline").read_text() for pid in (locked.server.process.pid, *children(locked.server))]
    told += [locked.server.log(), *(str(path) for path in (tmp_path / "backup").rglob("*"))]
    audit = data / "state" / "audit.key"
    keys = [path.read_text().splitlines()[1] for path in (key, audit, *data.parent.rglob("certificates/*.key"))]
    assert len(keys) > 3
    for text in told:
        for each in (secret, locked.boss, token_key(secret), *keys):
            assert each not in text
    for path in (each for folder in (data, tmp_path / "backup") for each in folder.rglob("*") if each.is_file()):
        assert path.name == "trusted-keys.json" or is_private(path), f"others may read {path}"
        content = contents(path)
        for each in (secret, locked.boss, *(() if path == audit else keys)):
            assert each.encode() not in content, path


def test_the_password_of_a_database_that_is_away_is_told_to_nobody(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    url = "postgresql+psycopg://interlock:canary-7f3a@127.0.0.1:1/registry"
    env = clean_environment(INTERLOCK_DB=url)
    data, log = tmp_path / "data", tmp_path / "log"
    with log.open("wb") as file, subprocess.Popen(serve_command(data), env=env, stdout=file, stderr=file) as server:
        try:
            eventually(lambda: "the registry cannot be opened" in log.read_text(), "it says that it is away")
            processes = [text for pid in family(server.pid) if (text := contents(Path(f"/proc/{pid}/cmdline")))]
            assert processes
        finally:
            server.terminate()
            server.wait(60)
    monkeypatch.setenv("INTERLOCK_DB", url)
    assert command(["backup", str(tmp_path / "b"), "--data", str(data)]) == 1
    failed = capsys.readouterr().err
    assert "127.0.0.1" in failed
    for text in (log.read_bytes(), failed.encode(), *processes):
        assert b"canary-7f3a" not in text
    for path in (each for each in data.rglob("*") if each.is_file()):
        assert b"canary-7f3a" not in path.read_bytes(), path


def contents(path: Path) -> bytes:
    """Return what is in a file; nothing where it is gone meanwhile, as are a process and a log of the database."""
    try:
        return path.read_bytes()
    except (FileNotFoundError, ProcessLookupError):
        return b""


def is_private(path: Path) -> bool:
    """Tell whether only its owner may read a file; one that is gone meanwhile nobody may."""
    try:
        return not path.stat().st_mode & 0o077
    except FileNotFoundError:
        return True


def children(server: Server) -> list[int]:
    return [server.pid_of("worker"), server.pid_of("control")]
