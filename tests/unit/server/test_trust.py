"""Whose signatures count: the file of trusted keys, policy as tables, and a file that changes under the server."""

from __future__ import annotations

import asyncio
import re
import threading
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from interlock.errors import AlreadyExists, InvalidArgument, NotFound, NotTrusted, StartupRefused
from interlock.keys import PublicKey, SigningKey
from interlock.model import ServingConfig
from interlock.statement import DOMAIN, Signed, SignedStatement, SourceFile, Statement
from interlock.types import DType
from interlock_registry.fsck import Severity
from interlock_server.control.replica import Replica
from interlock_server.settings import Settings
from interlock_server.snapshot import Snapshot, VersionSpec
from interlock_server.trust import examination, policy
from interlock_server.trust import keys as files
from interlock_server.trust.keeper import Trust
from interlock_server.trust.keys import TrustedKey, TrustedKeys

from tests.support import eventually_async
from tests.unit.server.builders import signature

NOON = datetime(2026, 1, 31, 12, tzinfo=UTC)
HOUR = timedelta(hours=1)
GOLDEN = "9" * 64
STATEMENT = Statement(
    model="fraud-1",
    artifact="a" * 64,
    files=(SourceFile("m.onnx", 10, "1" * 64), SourceFile("m.npz", 5, GOLDEN)),
    signature=signature(),
    config=ServingConfig(),
)


@pytest.fixture(scope="module")
def key(tmp_path_factory: pytest.TempPathFactory) -> SigningKey:
    return SigningKey.create(tmp_path_factory.mktemp("key") / "release.key")


def trusted(key: SigningKey, **changes: object) -> TrustedKey:
    made = TrustedKey(public=key.public, name="release", models=("fraud-*",), added_at=NOON, added_by="local:ann")
    return replace(made, **changes)  # type: ignore[arg-type]


def signed(key: SigningKey, statement: Statement = STATEMENT, at: datetime = NOON) -> Signed:
    data = statement.to_bytes()
    return Signed(SignedStatement(key.public.id, data, key.sign(DOMAIN + data)), at, "ann")


def spec(*signatures: Signed) -> VersionSpec:
    return VersionSpec(
        model="fraud-1",
        version=3,
        digest="a" * 64,
        manifest_path="",
        graph_path="",
        graph_sha256="",
        golden_path="",
        golden_sha256=GOLDEN,
        signature=signature(),
        config=ServingConfig(),
        tolerances={},
        joinable=True,
        signed=signatures,
    )


def test_a_version_that_a_trusted_key_signed_may_be_loaded(key: SigningKey) -> None:
    assert policy.distrust(TrustedKeys((trusted(key),)), spec(signed(key))) == ""


@pytest.mark.parametrize(
    ("changes", "why"),
    [
        ({"models": ("credit", "loan-*")}, "is trusted for credit loan-*, and not for 'fraud-1'"),
        ({"revoked_at": NOON + HOUR, "revoked_why": "it leaked"}, "was revoked at 2026-01-31 13:00:00 UTC: it leaked"),
        ({"not_before": NOON + HOUR}, "signed at 2026-01-31 12:00:00 UTC, and is trusted from"),
        ({"not_after": NOON}, "was trusted until 2026-01-31 12:00:00 UTC"),
    ],
)
def test_a_key_counts_only_for_what_it_is_trusted(key: SigningKey, changes: dict[str, object], why: str) -> None:
    found = policy.distrust(TrustedKeys((trusted(key, **changes),)), spec(signed(key)))
    assert found.startswith(f"key release ({key.public.id})")
    assert why in found and "interlock sign fraud-1@3 --key FILE" in found


def test_a_key_that_ended_later_still_counts_for_what_it_signed_before(key: SigningKey) -> None:
    assert policy.distrust(TrustedKeys((trusted(key, not_after=NOON + HOUR),)), spec(signed(key))) == ""


@pytest.mark.parametrize(
    ("changes", "what"),
    [
        ({"digest": "b" * 64}, "another artifact"),
        ({"model": "fraud-2"}, "another model"),
        ({"config": ServingConfig(max_batch_size=1)}, "another serving config"),
        ({"signature": signature(DType.FP64)}, "another inputs and outputs"),
        ({"golden_sha256": "8" * 64}, "other golden samples"),
    ],
)
def test_a_signature_is_of_one_version_only(key: SigningKey, changes: dict[str, object], what: str) -> None:
    other = replace(spec(signed(key)), **changes)  # type: ignore[arg-type]
    assert what in policy.distrust(TrustedKeys((trusted(key),)), other)


def test_an_altered_statement_and_a_borrowed_name_are_found(key: SigningKey, tmp_path: Path) -> None:
    keys = TrustedKeys((trusted(key),))
    whole = signed(key)
    statement = whole.signed.statement.replace(b"fraud-1", b"fraud-9")
    altered = replace(whole, signed=replace(whole.signed, statement=statement))
    assert "the signature is not of key release" in policy.distrust(keys, spec(altered))
    other = SigningKey.create(tmp_path / "other.key")
    borrowed = replace(signed(other), signed=replace(signed(other).signed, key=key.public.id))
    assert "the signature is not of key release" in policy.distrust(keys, spec(borrowed))
    assert f"key {other.public.id} is not among the trusted ones" in policy.distrust(keys, spec(signed(other)))
    # One that counts is enough.
    assert policy.distrust(keys, spec(signed(other), whole)) == ""


def test_a_signature_over_the_statement_without_its_domain_counts_for_nothing(key: SigningKey) -> None:
    data = STATEMENT.to_bytes()
    bare = Signed(SignedStatement(key.public.id, data, key.sign(data)), NOON, "ann")
    assert "the signature is not of key" in policy.distrust(TrustedKeys((trusted(key),)), spec(bare))


def test_fsck_tells_a_signature_that_is_wrong_from_one_that_it_cannot_judge(key: SigningKey) -> None:
    good, known = signed(key), TrustedKeys((trusted(key),))
    bent = replace(good, signed=replace(good.signed, value=good.signed.value[::-1]))
    garbled = replace(good, signed=replace(good.signed, statement=b"{}"))
    moved = replace(STATEMENT, config=ServingConfig(max_batch_size=1))
    revoked = TrustedKeys((trusted(key, revoked_at=NOON),))
    for given, here, keys, severity, what in (
        (good, STATEMENT, known, None, ""),
        (good, STATEMENT, TrustedKeys(), Severity.NOTE, "was not verified"),
        (good, STATEMENT, revoked, Severity.NOTE, "counts for nothing: key release"),
        (bent, STATEMENT, known, Severity.ERROR, "the signature is not of key release"),
        (garbled, STATEMENT, known, Severity.ERROR, "cannot be read"),
        (
            good,
            moved,
            known,
            Severity.ERROR,
            "it is not what key .* signed: what was signed has another serving config",
        ),
    ):
        found = list(examination.check("fraud-1@3", here, given, keys))
        assert [each.severity for each in found] == ([] if severity is None else [severity])
        assert all(re.search(what, each.what) for each in found)


def test_what_nobody_signed_is_said_so() -> None:
    assert "nobody has signed it" in policy.distrust(TrustedKeys(), spec())


@pytest.mark.parametrize(
    ("setting", "model", "wanted"),
    [("", "m", False), ("*", "m", True), ("fraud-* credit", "credit", True), ("fraud-*,credit", "credits", False)],
)
def test_policy_is_by_pattern(setting: str, model: str, wanted: bool) -> None:
    assert policy.applies(policy.patterns(setting), model) is wanted


def test_a_statement_is_read_as_it_was_written() -> None:
    assert Statement.from_bytes(STATEMENT.to_bytes()) == STATEMENT


def test_the_file_is_read_as_it_was_written(key: SigningKey, tmp_path: Path) -> None:
    keys = TrustedKeys((trusted(key, not_after=NOON, revoked_at=NOON, revoked_by="local:bob", revoked_why="lost"),))
    files.write(tmp_path / "keys.json", keys)
    assert files.read(tmp_path / "keys.json") == keys
    assert files.read(tmp_path / "none.json") is None


@pytest.mark.parametrize(
    "text", ["", "[]", "{}", '{"format": 2, "keys": []}', '{"format": 1, "keys": [{}]}', '{"format": 1, "keys": 3}']
)
def test_a_file_that_is_none_is_refused_by_name(text: str, tmp_path: Path) -> None:
    (tmp_path / "keys.json").write_text(text)
    with pytest.raises(StartupRefused, match=r"the trusted keys '.*keys\.json' cannot be used"):
        files.read(tmp_path / "keys.json")


def test_keys_are_added_and_revoked_once(key: SigningKey) -> None:
    keys = TrustedKeys().added(trusted(key))
    with pytest.raises(AlreadyExists, match="is trusted already"):
        keys.added(trusted(key, name="another"))
    ended = keys.revoked("release", now=NOON, by="local:bob", why="it leaked")
    with pytest.raises(AlreadyExists, match="was revoked"):
        ended.revoked(key.public.id, now=NOON, by="local:bob", why="again")
    with pytest.raises(AlreadyExists, match="is revoked, and stays so"):
        ended.added(trusted(key))
    with pytest.raises(NotFound, match="interlock trust list"):
        keys.called("nobody")
    assert list(files.changes(keys, ended)) == [f"revoked release ({key.public.id}) (by local:bob): it leaked"]


def test_a_revocation_is_not_lost_to_somebody_who_adds_a_key_meanwhile(key: SigningKey, tmp_path: Path) -> None:
    path = tmp_path / "trusted-keys.json"
    files.write(path, TrustedKeys((trusted(key),)))
    other = SigningKey.create(tmp_path / "other.key")
    begun, told = threading.Event(), threading.Event()

    def add(keys: TrustedKeys) -> TrustedKeys:
        begun.set()
        assert told.wait(60)
        return keys.added(trusted(other, name="other"))

    def revoke(keys: TrustedKeys) -> TrustedKeys:
        return keys.revoked("release", now=NOON, by="local:bob", why="it leaked")

    with ThreadPoolExecutor(2) as pool:
        adding = pool.submit(files.change, path, add)
        assert begun.wait(60)
        revoking = pool.submit(files.change, path, revoke)
        told.set()
        adding.result(60), revoking.result(60)
    found = files.read(path)
    assert found is not None
    assert [(each.name, each.revoked_at) for each in found.keys] == [("release", NOON), ("other", None)]


def test_public_keys_have_one_text(key: SigningKey, tmp_path: Path) -> None:
    text = str(key.public)
    assert PublicKey.parse(text) == key.public and PublicKey.read(text) == key.public
    (tmp_path / "release.pub").write_text(text + "\n")
    assert PublicKey.read(str(tmp_path / "release.pub")) == key.public
    for wrong in ("", "ilp_", text[4:], text + "x", "ilp_" + "é" * 43):
        with pytest.raises(InvalidArgument, match="no public key"):
            PublicKey.parse(wrong)


def test_private_keys_are_for_their_owner_and_are_not_overwritten(tmp_path: Path) -> None:
    path = tmp_path / "release.key"
    made = SigningKey.create(path)
    assert path.stat().st_mode & 0o777 == 0o600
    assert SigningKey.load(path).public == made.public == PublicKey.read(str(path))
    with pytest.raises(InvalidArgument, match="no key is overwritten"):
        SigningKey.create(path)
    path.chmod(0o600)
    secret = path.read_text().splitlines()[1]
    path.write_text(path.read_text().replace("PRIVATE KEY", "PRIVATE KEYS"))
    with pytest.raises(InvalidArgument, match="holds no private key") as refused:
        SigningKey.load(path)
    assert secret not in str(refused.value)
    (tmp_path / "file").touch()
    with pytest.raises(InvalidArgument, match=r"the key cannot be written to .*Not a directory"):
        SigningKey.create(tmp_path / "file" / "release.key")


def test_what_the_last_known_good_snapshot_holds_is_judged_again(key: SigningKey) -> None:
    keys = [TrustedKeys((trusted(key),))]
    replica = Replica(Path, distrust=lambda each: policy.distrust(keys[0], each))
    replica.fall_back(Snapshot("i", 1, (), (spec(signed(key)), spec())))
    assert [bool(each.distrust) for each in replica.committed().keep] == [False, True]
    keys[0] = TrustedKeys()
    replica.trust_anew()
    assert [bool(each.distrust) for each in replica.committed().keep] == [True, True]


def keeper(folder: Path, **settings: object) -> Trust:
    return Trust(Settings.load({"data": folder, **settings}, None), folder)


def test_a_server_that_wants_signatures_does_not_start_without_keys(tmp_path: Path) -> None:
    with pytest.raises(StartupRefused, match="interlock trust add"):
        keeper(tmp_path, require_signed="*")
    (tmp_path / "trusted-keys.json").write_text("{")
    with pytest.raises(StartupRefused, match="cannot be used"):
        keeper(tmp_path)


def test_a_bad_file_or_none_changes_nothing_and_a_good_one_is_taken_over(key: SigningKey, tmp_path: Path) -> None:
    path = tmp_path / "trusted-keys.json"
    files.write(path, TrustedKeys((trusted(key),)))
    trust = keeper(tmp_path, require_signed="*")
    assert trust.distrust(spec(signed(key))) == ""
    path.write_text("{")
    trust.refresh()
    path.unlink()
    trust.refresh()
    assert trust.distrust(spec(signed(key))) == ""
    files.write(path, TrustedKeys((trusted(key, revoked_at=NOON),)))
    trust.refresh()
    assert "was revoked" in trust.distrust(spec(signed(key)))
    with pytest.raises(NotTrusted, match="was revoked"):
        trust.expect("fraud-1", key.public.id)


async def test_each_change_is_told_once_also_after_a_restart(key: SigningKey, tmp_path: Path) -> None:
    path = tmp_path / "trusted-keys.json"
    told: list[str] = []
    heard = asyncio.Event()

    async def tell(news: str) -> None:
        told.append(news)
        heard.set()

    judged: list[TrustedKeys] = []

    async def changed() -> None:
        judged.append(keys)
        if len(judged) == 1:
            raise OSError("a worker went away meanwhile")

    for keys in (TrustedKeys((trusted(key),)), TrustedKeys((trusted(key, revoked_at=NOON, revoked_by="local:bob"),))):
        files.write(path, keys)
        trust = keeper(tmp_path)
        trust._is_stale = bool(told)  # as if it had changed while versions were loaded
        trust.watch(changed, tell)
        async with asyncio.timeout(60):
            await heard.wait()
        await eventually_async(lambda keys=keys: files.read(tmp_path / "trusted-keys.seen") == keys, "it is noted")  # type: ignore[misc]
        await trust.close()
        heard.clear()
    assert len(judged) == 2, "what could not be judged anew is judged again"
    assert told == [
        f"trusted release ({key.public.id}) for fraud-* (by local:ann)",
        f"revoked release ({key.public.id}) (by local:bob)",
    ]
