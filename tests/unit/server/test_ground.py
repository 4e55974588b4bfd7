from __future__ import annotations

from pathlib import Path

import pytest
from click.testing import CliRunner
from interlock.errors import StartupRefused
from interlock_server import ground
from interlock_server.cli import serve
from interlock_server.ground import Ground, check_ground, file_system, judge

MOUNTS = r"""22 27 0:21 / /proc rw,relatime - proc proc rw
27 1 254:0 / / rw,relatime - ext4 /dev/vda rw
30 27 0:40 / /data rw,relatime shared:7 - nfs4 server:/export rw,vers=4.2
31 30 0:41 / /data/fast rw,relatime - xfs /dev/vdb rw
32 27 0:42 / /with\040space rw - cifs //server/share rw
33 27 0:43 / /over rw - ext4 /dev/vdc rw
34 33 0:44 / /over rw - fuse.sshfs host:/ rw
a line that is none
"""


@pytest.mark.parametrize(
    ("path", "kind"),
    [
        ("/srv/interlock-data/registry.db", "ext4"),
        ("/data/registry.db", "nfs4"),
        ("/data/fast/new/registry.db", "xfs"),
        ("/database/registry.db", "ext4"),
        ("/with space/registry.db", "cifs"),
        ("/over/registry.db", "fuse.sshfs"),
    ],
)
def test_the_file_system_is_that_of_the_nearest_mount(path: str, kind: str) -> None:
    assert file_system(Path(path), MOUNTS) == kind


def test_what_says_nothing_of_mounts_gives_no_name() -> None:
    assert file_system(Path("/x"), "") == ""
    assert judge("") is Ground.LOCAL


@pytest.mark.parametrize(
    ("kind", "found"),
    [
        ("ext4", Ground.LOCAL),
        ("overlay", Ground.LOCAL),
        ("tmpfs", Ground.LOCAL),
        ("fuseblk", Ground.LOCAL),
        ("fuse.fuse-overlayfs", Ground.LOCAL),
        ("nfs", Ground.NETWORK),
        ("nfs4", Ground.NETWORK),
        ("cifs", Ground.NETWORK),
        ("9p", Ground.NETWORK),
        ("fuse.sshfs", Ground.UNKNOWN),
        ("fuse", Ground.UNKNOWN),
        ("virtiofs", Ground.UNKNOWN),
    ],
)
def test_a_database_may_lie_on(kind: str, found: Ground) -> None:
    assert judge(kind) is found


@pytest.mark.parametrize(
    ("kind", "allowed", "said"),
    [("ext4", False, ""), ("fuse.s3fs", False, "if that is a network's"), ("nfs", True, "as the settings allow")],
)
def test_what_is_in_doubt_or_allowed_is_a_warning(
    kind: str, allowed: bool, said: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    _mounted(kind, tmp_path, monkeypatch)
    warning = check_ground(tmp_path / "registry.db", allowed=allowed)
    assert said in warning and bool(said) is bool(warning)


def test_a_network_file_system_is_refused_with_what_to_do(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    _mounted("nfs4", tmp_path, monkeypatch)
    with pytest.raises(StartupRefused, match=r"network file system 'nfs4'.*PostgreSQL.*ALLOW_NETWORK_FILESYSTEM=1"):
        check_ground(tmp_path / "registry.db", allowed=False)


def test_the_setting_lets_a_server_begin_on_a_network_file_system(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    _mounted("nfs4", tmp_path, monkeypatch)
    # What comes after refuses it, too: the command would take this process's place.
    flags = ["--data", str(tmp_path), "--tls-cert", str(tmp_path / "none"), "--tls-key", str(tmp_path / "none")]
    refused = CliRunner().invoke(serve, flags)
    assert "network file system 'nfs4'" in str(refused.exception)
    monkeypatch.setenv("INTERLOCK_ALLOW_NETWORK_FILESYSTEM", "1")
    further = CliRunner().invoke(serve, flags)
    assert "lies on 'nfs4', where SQLite can be damaged, as the settings allow" in further.stderr
    assert isinstance(further.exception, StartupRefused) and "tls_cert" in further.exception.message


def _mounted(kind: str, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    mounts = folder / "mountinfo"
    mounts.write_text(f"27 1 254:0 / / rw - ext4 /dev/vda rw\n30 27 0:40 / {folder} rw - {kind} where rw\n")
    monkeypatch.setattr(ground, "_MOUNTS", mounts)


def test_this_machine_s_own_mounts_are_understood(tmp_path: Path) -> None:
    kinds = Path("/proc/filesystems").read_text().split()
    assert file_system(tmp_path.resolve(), Path("/proc/self/mountinfo").read_text()) in {*kinds, "overlay", "9p"}
