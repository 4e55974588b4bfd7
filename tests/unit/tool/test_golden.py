from __future__ import annotations

import io
import zipfile
from pathlib import Path

import numpy as np
import pytest
from interlock import golden
from interlock.errors import InvalidGolden
from interlock.golden import Golden, Sample
from interlock.types import Array, DType


def npy(array: Array, version: tuple[int, int] = (1, 0)) -> bytes:
    stream = io.BytesIO()
    np.lib.format.write_array(stream, array, version, allow_pickle=True)
    return stream.getvalue()


def golden_file(path: Path, x: bytes, compression: int = zipfile.ZIP_STORED) -> Path:
    """One sample whose input is a given entry, as another program than ours may have written it."""
    y = np.zeros(1, np.float32)
    golden.write(Golden((Sample({"x": y}, {"y": y}),), {"in/x": DType.FP32, "out/y": DType.FP32}), path)
    with zipfile.ZipFile(path) as archive:
        entries = {each: archive.read(each) for each in archive.namelist()}
    with zipfile.ZipFile(path, "w", compression) as archive:
        for name, data in (entries | {"in/x/0.npy": x}).items():
            archive.writestr(name, data)
    return path


@pytest.mark.parametrize("compression", [zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED])
@pytest.mark.parametrize("version", [(1, 0), (2, 0), (3, 0)])
@pytest.mark.parametrize(
    "array",
    [
        np.float32(3.5).reshape(()),
        np.zeros((0, 3), np.float32),
        np.arange(24, dtype=np.float32).reshape(2, 3, 4),
        np.asfortranarray(np.arange(6, dtype=np.float32).reshape(2, 3)),
        np.arange(400_000, dtype=np.float32).reshape(4, -1),
    ],
    ids=["scalar", "empty", "rows", "columns", "large"],
)
def test_arrays_come_back_as_they_were_whatever_wrote_them(
    tmp_path: Path, array: Array, version: tuple[int, int], compression: int
) -> None:
    found = golden.read(golden_file(tmp_path / "g.npz", npy(array, version), compression)).samples[0].inputs["x"]
    np.testing.assert_array_equal(found, array, strict=True)
    assert found.flags.aligned and found.flags.writeable


@pytest.mark.parametrize(
    "entry",
    [
        b"",
        b"\x93NUMPY\x01",
        b"no array at all, but long enough",
        npy(np.arange(5, dtype=np.float32))[:-1],
        npy(np.arange(5, dtype=np.float32)).replace(b"(5,)", b"[5,]"),
        npy(np.array([{}], dtype=object)),
    ],
    ids=["nothing", "a head only", "text", "cut off", "no shape", "pickled objects"],
)
def test_an_entry_that_is_no_plain_array_is_refused_with_the_file_s_name(tmp_path: Path, entry: bytes) -> None:
    with pytest.raises(InvalidGolden, match=r"^g.npz is not a golden file \(an npz without pickle\): "):
        golden.read(golden_file(tmp_path / "g.npz", entry))


@pytest.mark.parametrize("data", [b"", b"PK\x03\x04", b"\x80\x04N."], ids=["nothing", "a broken archive", "a pickle"])
def test_a_file_that_is_no_archive_is_refused(tmp_path: Path, data: bytes) -> None:
    path = tmp_path / "g.npz"
    path.write_bytes(data)
    with pytest.raises(InvalidGolden, match=r"^g.npz is not a golden file"):
        golden.read(path)


@pytest.mark.parametrize(("offset", "value"), [(8, 1), (10, 99)], ids=["encrypted", "compressed in an unknown way"])
def test_an_entry_that_cannot_be_unpacked_is_refused(tmp_path: Path, offset: int, value: int) -> None:
    path = golden_file(tmp_path / "g.npz", npy(np.zeros(1, np.float32)))
    data = bytearray(path.read_bytes())
    data[data.index(b"PK\x01\x02") + offset] = value  # in the directory at the end
    path.write_bytes(data)
    with pytest.raises(InvalidGolden, match=r"^g.npz is not a golden file"):
        golden.read(path)
