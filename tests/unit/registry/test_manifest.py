from __future__ import annotations

import hashlib

import pytest
from hypothesis import given
from hypothesis import strategies as st
from interlock.errors import DataLoss, InvalidArgument
from interlock_registry.manifest import Blob, Manifest, NamedBlob, SourceFile, checked_digest

from tests.unit.registry.builders import digest

digests = st.binary(min_size=32, max_size=32).map(bytes.hex)
blobs = st.builds(Blob, digest=digests, size_bytes=st.integers(0, 2**50))
manifests = st.builds(
    Manifest,
    graph=blobs,
    tensors=st.lists(st.builds(NamedBlob, name=st.text(max_size=20), blob=blobs), max_size=3).map(tuple),
    sources=st.lists(
        st.builds(
            SourceFile,
            name=st.text(st.characters(codec="utf-8"), max_size=20),
            size_bytes=st.integers(0, 2**50),
            sha256=digests,
        ),
        max_size=2,
    ).map(tuple),
)


def test_a_manifest_is_named_by_its_canonical_json() -> None:
    manifest = Manifest(graph=Blob("a" * 64, 7), sources=(SourceFile("m.onnx", 7, "b" * 64),))
    text = (
        '{"format":1,"graph":{"digest":"' + "a" * 64 + '","size_bytes":7},'
        '"sources":[{"name":"m.onnx","sha256":"' + "b" * 64 + '","size_bytes":7}],"tensors":[]}'
    )
    assert manifest.to_json() == text
    assert manifest.digest == hashlib.sha256(text.encode()).hexdigest()


@given(manifests)
def test_a_manifest_is_read_as_it_was_written(manifest: Manifest) -> None:
    assert Manifest.from_json(manifest.to_json()) == manifest


def test_a_blob_that_two_tensors_share_counts_once() -> None:
    shared = Blob(digest("t"), 100)
    manifest = Manifest(graph=Blob(digest("g"), 5), tensors=(NamedBlob("a", shared), NamedBlob("b", shared)))
    assert manifest.size_bytes == 105


@given(st.text())
def test_any_other_text_is_damage_and_nothing_else(text: str) -> None:
    with pytest.raises(DataLoss):
        Manifest.from_json(text)


@pytest.mark.parametrize(
    "text",
    [
        "[]",
        "null",
        '{"format":1}',
        '{"format":"x","graph":{},"tensors":[],"sources":[]}',
        '{"format":1,"graph":{"digest":"../../etc/passwd","size_bytes":1},"tensors":[],"sources":[]}',
        '{"format":1,"graph":{"digest":"' + "a" * 64 + '","size_bytes":-1},"tensors":[],"sources":[]}',
        '{"format":1,"graph":{"digest":"' + "a" * 64 + '","size_bytes":true},"tensors":[],"sources":[]}',
    ],
)
def test_damaged_manifests_are_refused(text: str) -> None:
    with pytest.raises(DataLoss, match="damaged"):
        Manifest.from_json(text)


def test_a_manifest_of_a_format_from_the_future_is_refused() -> None:
    with pytest.raises(DataLoss, match="format 2, this program reads up to 1"):
        Manifest.from_json('{"format":2}')


@pytest.mark.parametrize("text", ["", "abc", "A" * 64, "a" * 63, "a" * 65, "../" + "a" * 61, "a" * 64 + "\n"])
def test_what_is_no_digest_is_refused(text: str) -> None:
    with pytest.raises(InvalidArgument, match="64 lower-case hexadecimal"):
        checked_digest(text)
