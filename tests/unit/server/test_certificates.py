"""Certificates: what is refused, with which words, and what stays in use when files go bad."""

from __future__ import annotations

import logging
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from interlock.errors import StartupRefused
from interlock_server.certificates import CertificateFiles, Certificates, read

from tests.authority import Authority, replace


@pytest.fixture
def authority(tmp_path: Path) -> Authority:
    return Authority(tmp_path)


@pytest.fixture
def files(authority: Authority) -> CertificateFiles:
    pair = authority.server()
    return CertificateFiles(pair.cert, pair.key, authority.path)


def damage_nothing_left(files: CertificateFiles) -> None:
    files.cert.unlink()


def damage_no_pem(files: CertificateFiles) -> None:
    files.cert.write_bytes(b"\xff\xfe")


def damage_empty(files: CertificateFiles) -> None:
    files.key.write_bytes(b"")


def damage_torn(files: CertificateFiles) -> None:
    files.cert.write_bytes(files.cert.read_bytes()[:200])


def damage_other_key(files: CertificateFiles) -> None:
    files.key.write_bytes(Authority(files.key.parent / "other").server().key.read_bytes())


def damage_encrypted_key(files: CertificateFiles) -> None:
    from cryptography.hazmat.primitives import serialization as to

    key = to.load_pem_private_key(files.key.read_bytes(), None)
    sealed = to.BestAvailableEncryption(b"secret")
    files.key.write_bytes(key.private_bytes(to.Encoding.PEM, to.PrivateFormat.PKCS8, sealed))


def damage_authority(files: CertificateFiles) -> None:
    assert files.client_ca is not None
    files.client_ca.write_bytes(b"-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n")


DAMAGES: list[tuple[Callable[[CertificateFiles], None], str]] = [
    (damage_nothing_left, "tls_cert is '.*server.crt', which cannot be read: No such file"),
    (damage_no_pem, "tls_cert is .*, which is no PEM file"),
    (damage_empty, "tls_key is .*, which is no PEM file"),
    (damage_torn, "cannot be used together"),
    (damage_other_key, "cannot be used together .*key values mismatch"),
    (damage_encrypted_key, "cannot be used together .* unencrypted PEM key"),
    (damage_authority, "holds no certificates .* tls_client_ca is the PEM"),
]


@pytest.mark.parametrize(("damage", "words"), DAMAGES, ids=[damage.__name__ for damage, _ in DAMAGES])
def test_files_that_cannot_be_used_are_refused_with_what_is_wrong(
    files: CertificateFiles, damage: Callable[[CertificateFiles], None], words: str
) -> None:
    damage(files)
    with pytest.raises(StartupRefused, match=words):
        read(files)


@pytest.mark.parametrize("damage", [damage for damage, _ in DAMAGES])
def test_files_that_go_bad_leave_what_is_in_use(
    files: CertificateFiles, damage: Callable[[CertificateFiles], None], caplog: pytest.LogCaptureFixture
) -> None:
    certificates = Certificates(files)
    before = certificates.current
    damage(files)
    with caplog.at_level(logging.ERROR):
        assert not certificates.refresh()
    assert certificates.current is before
    assert [record.levelname for record in caplog.records] == ["ERROR"]
    assert "the certificates in use stay" in caplog.text
    caplog.clear()
    assert not certificates.refresh(), "what was said once of the same files is not said again"
    assert not caplog.records


def test_renewed_files_are_taken_and_equal_ones_are_not_news(files: CertificateFiles, authority: Authority) -> None:
    certificates = Certificates(files)
    before = certificates.current
    assert not certificates.refresh()
    assert not certificates.refresh(asked=True)
    authority.server()
    assert certificates.refresh()
    assert certificates.current.cert != before.cert


def test_a_renewal_that_is_half_done_is_taken_once_it_is_whole(files: CertificateFiles, authority: Authority) -> None:
    certificates = Certificates(files)
    old_key = files.key.read_bytes()
    authority.server()
    new_key = files.key.read_bytes()
    replace(files.key, old_key)
    assert not certificates.refresh()
    replace(files.key, new_key)
    assert certificates.refresh()


def test_a_key_is_not_in_what_the_values_print_as(files: CertificateFiles) -> None:
    material = read(files)
    assert b"PRIVATE KEY" in material.key
    assert "PRIVATE" not in repr(material)


def test_a_server_with_bad_certificates_does_not_start(files: CertificateFiles, tmp_path: Path) -> None:
    damage_other_key(files)
    command = [str(Path(sys.executable).with_name("interlock")), "serve", "--data", str(tmp_path / "data")]
    done = subprocess.run(
        [*command, "--tls-cert", str(files.cert), "--tls-key", str(files.key)],
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert done.returncode == 1
    assert done.stderr.startswith("interlock: the certificate ")
    assert len(done.stderr.splitlines()) == 1
