"""Versions that their publishers sign, on a real server that wants signatures of some models."""

from __future__ import annotations

import io
import json
from collections.abc import Iterator
from contextlib import redirect_stdout
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest
from interlock.audit import ExportReport
from interlock.audit import verify as verify_copy
from interlock.errors import NotTrusted, Unavailable
from interlock.keys import SigningKey
from interlock.model import ServingConfig
from interlock_client import Admin, AsyncAdmin, Version
from interlock_client.cli.entry import run

from tests import models
from tests.server import Server
from tests.support import eventually
from tests.unit.tool.test_quantizing import answered

X = {"x": np.ones((1, 2), np.float32)}


@dataclass(frozen=True)
class Desk:
    """A server that wants `fraud-*` signed, and keys."""

    server: Server
    folder: Path

    def key(self, name: str) -> Path:
        return self.folder / f"{name}.key"

    def command(self, *args: str) -> str:
        """Run the command here, for what it prints."""
        printed = io.StringIO()
        with redirect_stdout(printed):
            assert run(args) == 0
        return printed.getvalue()

    def trust(self, *args: str) -> str:
        return self.command("trust", *args, "--data", str(self.server.data))

    def make_key(self, name: str, *trusted_for: str) -> Path:
        public = self.command("key", "create", str(self.key(name))).split()[0]
        globs = [part for glob in trusted_for for part in ("--models", glob)]
        self.trust("add", public, "--name", name, *globs)
        return self.key(name)

    def file(self, scale: float) -> Path:
        return models.write(self.folder / f"m-{scale}.onnx", models.affine(scale=scale))

    def golden(self, scale: float) -> Path:
        return models.affine_golden(self.folder / f"m-{scale}.npz", scale=scale)

    def register(self, admin: Admin, model: str, scale: float, sign: Path | None) -> Version:
        return admin.register(model, self.file(scale), golden=self.golden(scale), sign=sign)


@pytest.fixture(scope="module")
def desk(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Desk]:
    folder = tmp_path_factory.mktemp("signatures")
    audited = {"INTERLOCK_AUDIT_EXPORT": str(folder / "audit.log"), "INTERLOCK_AUDIT_EXPORT_EVERY_S": "0.1"}
    server = Server(folder / "data", env={"INTERLOCK_REQUIRE_SIGNED": "fraud-*", **audited})
    desk = Desk(server, folder)
    desk.make_key("release", "fraud-*")
    with server:
        yield desk


@pytest.fixture
def admin(desk: Desk) -> Iterator[Admin]:
    with desk.server.admin() as admin:
        yield admin


def test_a_signed_version_is_registered_promoted_and_verified(desk: Desk, admin: Admin) -> None:
    version = desk.register(admin, "fraud-a", 2.0, desk.key("release"))
    (by,) = version.signed_by
    assert (by.name, by.fault) == ("release", "")
    assert admin.promote("fraud-a", 1).to_version == 1
    with desk.server.client() as client:
        assert client.infer("fraud-a", X)["y"].tolist() == [[2.0, 2.0]]
    public = str(SigningKey.load(desk.key("release")).public)
    assert admin.verify("fraud-a", public) == admin.show("fraud-a")
    assert "signed by" in desk.command("show", "fraud-a", "--admin", desk.server.admin_address)
    assert [each.detail for each in admin.log("fraud-a", action="register")] == [f"signed by key {by.key}"]
    admin.pull("fraud-a", desk.folder / "a.onnx", key=public, require_signed=True)
    other = str(SigningKey.create(desk.folder / "nobody.key").public)
    with pytest.raises(NotTrusted, match="is not signed by key"):
        admin.pull("fraud-a", desk.folder / "b.onnx", key=other)


def test_a_model_under_the_policy_takes_nothing_unsigned(desk: Desk, admin: Admin) -> None:
    with pytest.raises(NotTrusted, match=r"takes versions of 'fraud-b' only if a trusted key has signed them"):
        desk.register(admin, "fraud-b", 2.0, None)
    assert [each.outcome for each in admin.log("fraud-b")] == ["NOT_TRUSTED"]
    assert desk.register(admin, "other", 2.0, None).signed_by == ()
    with pytest.raises(NotTrusted, match="nobody has signed it; nothing was written"):
        admin.pull("other@1", desk.folder / "other.onnx", require_signed=True)
    assert not (desk.folder / "other.onnx").exists()


def test_a_key_that_is_not_trusted_for_the_model_is_refused_before_the_upload(desk: Desk, admin: Admin) -> None:
    stranger = desk.folder / "stranger.key"
    SigningKey.create(stranger)
    with pytest.raises(NotTrusted, match="is not among the trusted ones"):
        desk.register(admin, "fraud-c", 2.0, stranger)
    with pytest.raises(NotTrusted, match=r"is trusted for fraud-\*, and not for 'other'"):
        desk.register(admin, "other", 2.0, desk.key("release"))


async def test_the_asyncio_client_signs_too_and_the_same_key_gives_the_same_version(desk: Desk) -> None:
    async with AsyncAdmin(desk.server.admin_address) as admin:
        made = [
            await admin.register("fraud-d", desk.file(3.0), sign=desk.key("release"), idempotency_key="once")
            for _ in range(2)
        ]
        assert made[0] == made[1] and made[0].config == ServingConfig()
        assert (await admin.verify("fraud-d@1", str(desk.key("release")))).version == 1


def test_a_version_may_be_signed_later_by_whoever_has_its_files(desk: Desk, admin: Admin) -> None:
    desk.make_key("any")
    version = desk.register(admin, "later", 2.0, None)
    with pytest.raises(NotTrusted, match="these are not the bytes of"):
        admin.sign("later@1", desk.key("any"), path=desk.file(5.0), golden=desk.golden(5.0))
    signed = admin.sign("later@1", desk.key("any"), path=desk.file(2.0), golden=desk.golden(2.0))
    assert (signed.digest, [each.name for each in signed.signed_by]) == (version.digest, ["any"])
    assert [each.detail for each in admin.log("later", action="sign")] == [f"signed by key {signed.signed_by[0].key}"]


@pytest.mark.slow
def test_a_narrower_form_is_not_signed_by_whoever_signed_its_parent(desk: Desk, admin: Admin) -> None:
    file = models.write(desk.folder / "wide.onnx", models.mlp(hidden=128))
    admin.register("fraud-q", file, golden=answered(file), sign=desk.key("release"))
    child = admin.quantize("fraud-q@1", "int8").version
    assert child.signed_by == ()
    with pytest.raises(NotTrusted, match="nobody has signed it"):
        admin.promote("fraud-q", child.version)
    admin.sign(f"fraud-q@{child.version}", desk.key("release"))
    assert admin.promote("fraud-q", child.version).to_version == child.version


def test_a_revoked_key_stops_promotes_and_loads_but_not_what_serves(desk: Desk, admin: Admin) -> None:
    key = desk.make_key("leaked", "fraud-*")
    for scale in (2.0, 3.0):
        desk.register(admin, "fraud-r", scale, key)
    desk.register(admin, "fraud-r", 4.0, desk.key("release"))
    admin.promote("fraud-r", 1)
    admin.promote("fraud-r", 3)
    admin.promote("fraud-r", 1, alias="canary")
    desk.trust("revoke", "leaked", "--reason", "found in a public repository")
    eventually(lambda: any("fraud-r@1" in why for why in admin.status().degraded), "the server says what it distrusts")
    with desk.server.client() as client:
        assert client.infer("fraud-r:canary", X).version == 1
    for refuse in (
        lambda: admin.promote("fraud-r", 2),
        lambda: admin.promote("fraud-r", 2, dry_run=True),
        lambda: admin.rollback("fraud-r"),
        lambda: admin.pin("fraud-r", 2),
        lambda: desk.register(admin, "fraud-r", 5.0, key),
    ):
        with pytest.raises(NotTrusted, match=r"key leaked \(.*\) was revoked at .*: found in a public repository"):
            refuse()
    eventually(lambda: "revoked leaked" in admin.log(action="trust", limit=1)[0].detail, "the change is an event")
    (event, *_) = admin.log(action="trust")
    assert "kept loaded, though not to be loaded anew: fraud-r@1" in event.detail
    # A new signature makes it good again, as it would a version that failed to load.
    admin.sign("fraud-r@1", desk.key("release"))
    assert admin.rollback("fraud-r").to_version == 1


def test_the_history_is_copied_with_heads_that_the_server_signs(desk: Desk, admin: Admin, tmp_path: Path) -> None:
    copy = desk.folder / "audit.log"
    desk.register(admin, "copied", 2.0, None)
    signed = admin.head()
    assert signed.is_genuine and signed.key == SigningKey.load(desk.server.data / "state" / "audit.key").public
    assert (desk.server.data / "state" / "audit.key").stat().st_mode & 0o777 == 0o600

    def copied() -> ExportReport:
        return verify_copy(copy.read_bytes().splitlines())

    eventually(lambda: copied().why == "" and copied().report.events >= signed.head.seq, "all of it is in the copy")
    # A key that was replaced is announced, with the one before it, and what it signs counts.
    (desk.server.data / "state" / "audit.key").unlink()
    after = admin.head()
    assert after.key != signed.key and after.head.seq > signed.head.seq
    (event, *_) = admin.log(action="audit.key")
    assert str(after.key) in event.detail and f"in place of key {signed.key.id}" in event.detail
    admin.export_log(tmp_path / "export")
    assert verify_copy((tmp_path / "export").read_bytes().splitlines()).why == ""
    eventually(lambda: copied().why == "" and copied().report.events >= after.head.seq, "the copy goes on")
    assert "whole up to event" in desk.command(
        "log", "--verify", "--against", str(tmp_path / "export"), "--admin", desk.server.admin_address
    )


@pytest.mark.slow
@pytest.mark.sqlite
def test_signatures_come_back_from_a_backup_and_are_looked_at_without_the_registry(
    desk: Desk, admin: Admin, tmp_path: Path
) -> None:
    desk.register(admin, "fraud-s", 2.0, desk.key("release"))
    admin.promote("fraud-s", 1)
    pulled = admin.pull("fraud-s", tmp_path / "pulled.onnx")
    assert [each.name for each in pulled.version.signed_by] == ["release"]
    desk.command("backup", str(tmp_path / "backup"), "--data", str(desk.server.data))
    back = tmp_path / "back"
    desk.command("restore", str(tmp_path / "backup"), "--data", str(back))
    keys = back / "trusted-keys.json"
    flags = {"INTERLOCK_REQUIRE_SIGNED": "fraud-*"}
    with Server(back, env=flags) as server, server.admin() as restored, server.client() as client:
        assert restored.verify("fraud-s", str(desk.key("release"))).signed_by == admin.show("fraud-s").signed_by
        assert client.infer("fraud-s", X).version == 1
        eventually(lambda: (back / "state" / "last-known-good").exists(), "last-known-good is there")
    # Without the registry, and with other keys: what was signed by none of them is not loaded.
    none = tmp_path / "none.json"
    none.write_text(json.dumps({"format": 1, "keys": []}))
    (back / "registry.db").rename(tmp_path / "registry.db")
    for path, serves in ((keys, True), (none, False)):
        with Server(back, env={**flags, "INTERLOCK_TRUSTED_KEYS": str(path)}) as server, server.client() as client:
            assert any("last-known-good" in why for why in server.status().degraded)
            if serves:
                assert client.infer("fraud-s", X).version == 1
            else:
                with pytest.raises(Unavailable, match="is not among the trusted ones"):
                    client.infer("fraud-s", X)
