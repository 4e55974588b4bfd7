from __future__ import annotations

import errno
import hashlib
import mmap
import os
import resource
import signal
import stat
import subprocess
import sys
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from interlock.errors import DataLoss, InvalidArgument, StorageFull, Unavailable
from interlock_registry import artifacts
from interlock_registry.artifacts import LocalArtifactStore
from interlock_registry.manifest import Blob

BYTES = bytes(range(256)) * 12_289  # just over three chunks, and no multiple of one
SHA256 = hashlib.sha256(BYTES).hexdigest()


@pytest.fixture
def store(tmp_path: Path) -> LocalArtifactStore:
    return LocalArtifactStore(tmp_path / "data" / "blobs")


@pytest.fixture
def source(tmp_path: Path) -> Path:
    path = tmp_path / "upload.onnx"
    path.write_bytes(BYTES)
    return path


def names(store: LocalArtifactStore) -> list[str]:
    return sorted(each.name for each in store.path("0" * 64).parent.iterdir())


def test_a_file_becomes_a_read_only_blob_under_its_digest(store: LocalArtifactStore, source: Path) -> None:
    blob = store.add(source, sha256=SHA256)
    assert blob == Blob(SHA256, len(BYTES))
    assert store.path(SHA256).read_bytes() == BYTES
    assert stat.S_IMODE(store.path(SHA256).stat().st_mode) == 0o400
    assert stat.S_IMODE(store.path(SHA256).parent.stat().st_mode) == 0o700
    assert names(store) == [SHA256]
    assert source.read_bytes() == BYTES
    store.verify(blob)


def test_an_empty_file_is_a_blob_too(store: LocalArtifactStore, tmp_path: Path) -> None:
    empty = tmp_path / "empty"
    empty.touch()
    blob = store.add(empty, sha256=hashlib.sha256(b"").hexdigest())
    store.verify(blob)
    assert blob.size_bytes == 0


def test_the_same_bytes_are_stored_once_and_not_touched_again(store: LocalArtifactStore, source: Path) -> None:
    store.add(source, sha256=SHA256)
    before = store.path(SHA256).stat()
    assert store.add(source, sha256=SHA256) == Blob(SHA256, len(BYTES))
    assert (store.path(SHA256).stat().st_ino, store.path(SHA256).stat().st_mtime_ns) == (
        before.st_ino,
        before.st_mtime_ns,
    )
    assert names(store) == [SHA256]


@pytest.mark.parametrize("consume", [False, True])
def test_bytes_that_are_not_those_announced_are_refused(store: LocalArtifactStore, source: Path, consume: bool) -> None:
    with pytest.raises(DataLoss, match=r"bytes of upload\.onnx changed on the way"):
        store.add(source, sha256="a" * 64, consume=consume)
    assert names(store) == []
    assert source.exists()


def test_bytes_that_are_not_those_of_a_stored_blob_are_refused_too(store: LocalArtifactStore, source: Path) -> None:
    store.add(source, sha256=SHA256)
    source.write_bytes(b"something else")
    with pytest.raises(DataLoss):
        store.add(source, sha256=SHA256)
    store.verify(Blob(SHA256, len(BYTES)))


def test_a_consumed_file_becomes_the_blob_itself(store: LocalArtifactStore, source: Path) -> None:
    inode = source.stat().st_ino
    store.add(source, sha256=SHA256, consume=True)
    assert not source.exists()
    found = store.path(SHA256).stat()
    assert (found.st_ino, found.st_nlink, stat.S_IMODE(found.st_mode)) == (inode, 1, 0o400)


def test_a_consumed_file_is_gone_even_if_its_bytes_were_there(store: LocalArtifactStore, source: Path) -> None:
    twin = source.with_name("twin")
    twin.write_bytes(BYTES)
    store.add(source, sha256=SHA256)
    store.add(twin, sha256=SHA256, consume=True)
    assert not twin.exists()


def test_a_link_is_not_followed(store: LocalArtifactStore, source: Path) -> None:
    link = source.with_name("link")
    link.symlink_to(source)
    for consume in (False, True):
        with pytest.raises(Unavailable):
            store.add(link, sha256=SHA256, consume=consume)
    assert names(store) == []


@pytest.mark.parametrize("digest", ["../upload.onnx", "", "A" * 64, ".incoming-1"])
def test_only_digests_are_names(store: LocalArtifactStore, source: Path, digest: str) -> None:
    for use in (store.path, store.has, lambda text: store.add(source, sha256=text)):
        with pytest.raises(InvalidArgument):
            use(digest)


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None, max_examples=30)
@given(st.integers(0, len(BYTES) - 1), st.integers(0, 7))
def test_every_flipped_bit_is_found(store: LocalArtifactStore, source: Path, position: int, bit: int) -> None:
    blob = store.add(source, sha256=SHA256)
    damaged = bytearray(BYTES)
    damaged[position] ^= 1 << bit
    store.path(SHA256).chmod(0o600)
    store.path(SHA256).write_bytes(damaged)
    with pytest.raises(DataLoss, match=f"blob {SHA256} is damaged: its bytes"):
        store.verify(blob)


def test_a_truncated_and_a_missing_blob_are_found(store: LocalArtifactStore, source: Path) -> None:
    blob = store.add(source, sha256=SHA256)
    store.path(SHA256).chmod(0o600)
    os.truncate(store.path(SHA256), 100)
    with pytest.raises(DataLoss, match=f"it has 100 bytes, not {len(BYTES)}"):
        store.verify(blob)
    store.path(SHA256).unlink()
    assert not store.has(SHA256)
    with pytest.raises(DataLoss, match="its file is gone"):
        store.verify(blob)


def test_a_blob_that_the_disk_cannot_read_is_damaged_and_mended_like_any_other(
    store: LocalArtifactStore, source: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    blob = store.add(source, sha256=SHA256)
    bad, read = store.path(SHA256).stat().st_ino, artifacts._read

    def failing(path: Path, take: Callable[[memoryview], None]) -> int:
        if path.stat().st_ino == bad:
            raise OSError(errno.EIO, os.strerror(errno.EIO))
        return read(path, take)

    monkeypatch.setattr(artifacts, "_read", failing)
    with pytest.raises(DataLoss, match=r"is damaged: the disk cannot read it \(Input/output error\)"):
        store.verify(blob)
    store.add(source, sha256=SHA256)
    store.verify(blob)


def test_registering_the_same_file_again_mends_a_damaged_blob(store: LocalArtifactStore, source: Path) -> None:
    blob = store.add(source, sha256=SHA256)
    store.path(SHA256).chmod(0o600)
    store.path(SHA256).write_bytes(b"rot" + BYTES[3:])
    with store.path(SHA256).open("rb") as file, mmap.mmap(file.fileno(), 0, prot=mmap.PROT_READ) as mapped:
        store.add(source, sha256=SHA256)
        store.verify(blob)
        assert mapped[:3] == b"rot"  # whoever has it mapped keeps what it had


def test_many_may_add_the_same_bytes_at_once(store: LocalArtifactStore, source: Path) -> None:
    start = threading.Barrier(4)

    def add(_: int) -> Blob:
        start.wait(60)
        return store.add(source, sha256=SHA256)

    with ThreadPoolExecutor(4) as pool:
        assert set(pool.map(add, range(4))) == {Blob(SHA256, len(BYTES))}
    assert names(store) == [SHA256]


def test_what_a_crash_left_behind_is_swept(store: LocalArtifactStore, source: Path) -> None:
    store.add(source, sha256=SHA256)
    store.path(SHA256).with_name(".incoming-1").write_bytes(b"half")
    store.path(SHA256).with_name(".incoming-2").touch()
    assert store.sweep_temporary() == 2
    assert names(store) == [SHA256]
    assert store.sweep_temporary() == 0


LIMITED = """
import resource, signal, sys
from pathlib import Path
from interlock_registry.artifacts import LocalArtifactStore

store = LocalArtifactStore(Path(sys.argv[1]))
signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
resource.setrlimit(resource.RLIMIT_FSIZE, (1 << 20, 1 << 20))
try:
    store.add(Path(sys.argv[2]), sha256=sys.argv[3])
except Exception as error:
    print(type(error).__name__)
"""


def test_a_write_that_fails_half_way_leaves_nothing(store: LocalArtifactStore, source: Path) -> None:
    root = store.path(SHA256).parent
    done = subprocess.run(
        [sys.executable, "-c", LIMITED, str(root), str(source), SHA256], capture_output=True, text=True, timeout=60
    )
    assert done.stdout == f"{StorageFull.__name__}\n", done.stderr
    assert names(store) == []


def test_bytes_for_which_there_is_no_folder_any_more_are_refused_in_our_words(store: LocalArtifactStore) -> None:
    folder = store.path("0" * 64).parent
    folder.rmdir()
    folder.touch()
    with pytest.raises(Unavailable, match="artifact store"):
        store.add_bytes(b"a manifest")


def test_a_full_disk_is_said_to_be_full(tmp_path: Path, source: Path) -> None:
    full = Path("/dev/full")
    if not full.exists():
        pytest.skip("this system has no device that is always full")
    store = LocalArtifactStore(tmp_path / "blobs")
    with pytest.raises(OSError) as caught, full.open("wb", buffering=0) as device:
        device.write(b"x")
    assert isinstance(store._failure(caught.value), StorageFull)


KILLED = """
import sys
from pathlib import Path
from interlock_registry.artifacts import LocalArtifactStore

store = LocalArtifactStore(Path(sys.argv[1]))
print("ready", flush=True)
while True:
    store.add(Path(sys.argv[2]), sha256=sys.argv[3])
    store.path(sys.argv[3]).unlink()
"""


@pytest.mark.parametrize("turn", range(5))
def test_a_killed_write_leaves_a_whole_blob_or_none(store: LocalArtifactStore, source: Path, turn: int) -> None:
    root = store.path(SHA256).parent
    child = subprocess.Popen(
        [sys.executable, "-c", KILLED, str(root), str(source), SHA256], stdout=subprocess.PIPE, text=True
    )
    assert child.stdout is not None
    child.stdout.readline()
    threading.Event().wait(0.003 * turn)
    child.send_signal(signal.SIGKILL)
    child.communicate(timeout=60)
    store.sweep_temporary()
    assert names(store) in ([], [SHA256])
    if store.has(SHA256):
        store.verify(Blob(SHA256, len(BYTES)))


def test_files_are_not_kept_open(store: LocalArtifactStore, source: Path) -> None:
    before = len(os.listdir("/proc/self/fd"))
    for _ in range(10):
        store.verify(store.add(source, sha256=SHA256))
        with pytest.raises(DataLoss):
            store.add(source, sha256="b" * 64)
    assert len(os.listdir("/proc/self/fd")) == before
    assert resource.getrlimit(resource.RLIMIT_NOFILE)[0] > before
