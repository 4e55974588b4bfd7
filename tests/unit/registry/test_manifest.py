from __future__ import annotations

import hashlib
from typing import TypeVar

import pytest
from hypothesis import given
from hypothesis import strategies as st
from interlock.errors import DataLoss, InvalidArgument
from interlock.statement import SourceFile
from interlock_registry.manifest import (
    Blob,
    InlineTensor,
    Manifest,
    Operator,
    Opset,
    TensorBlob,
    checked_digest,
    graph_of,
)

from tests.unit.registry.builders import digest

T = TypeVar("T")

digests = st.binary(min_size=32, max_size=32).map(bytes.hex)
counts = st.integers(0, 2**50)
words = st.text(st.characters(codec="utf-8"), max_size=20)
blobs = st.builds(Blob, digest=digests, size_bytes=counts)


def tuples(each: st.SearchStrategy[T]) -> st.SearchStrategy[tuple[T, ...]]:
    return st.lists(each, max_size=3).map(tuple)


manifests = st.builds(
    Manifest,
    graph=blobs,
    tensors=tuples(st.builds(TensorBlob, name=words, dtype=words, dims=tuples(counts), blob=blobs)),
    inline=tuples(
        st.builds(InlineTensor, name=words, dtype=words, dims=tuples(counts), sha256=digests, size_bytes=counts)
    ),
    operators=tuples(st.builds(Operator, domain=words, op_type=words, opset=counts, count=counts)),
    opsets=tuples(st.builds(Opset, domain=words, version=counts)),
    ir_version=counts,
    producer=words,
    sources=tuples(st.builds(SourceFile, name=words, size_bytes=counts, sha256=digests)),
)


def test_a_manifest_is_named_by_its_canonical_json() -> None:
    manifest = Manifest(
        graph=Blob("a" * 64, 7),
        tensors=(TensorBlob("w", "FLOAT", (2, 3), Blob("c" * 64, 24)),),
        inline=(InlineTensor("b", "FLOAT", (), "d" * 64, 4),),
        operators=(Operator("ai.onnx", "Add", 20, 2),),
        opsets=(Opset("ai.onnx", 20),),
        ir_version=10,
        producer="pytorch 2.13",
        sources=(SourceFile("m.onnx", 7, "b" * 64),),
    )
    text = (
        '{"format":1,"graph":{"digest":"' + "a" * 64 + '","size_bytes":7},'
        '"inline":[{"dims":[],"dtype":"FLOAT","name":"b","sha256":"' + "d" * 64 + '","size_bytes":4}],"ir_version":10,'
        '"operators":[{"count":2,"domain":"ai.onnx","op_type":"Add","opset":20}],'
        '"opsets":[{"domain":"ai.onnx","version":20}],"producer":"pytorch 2.13",'
        '"sources":[{"name":"m.onnx","sha256":"' + "b" * 64 + '","size_bytes":7}],'
        '"tensors":[{"digest":"' + "c" * 64 + '","dims":[2,3],"dtype":"FLOAT","name":"w","size_bytes":24}]}'
    )
    assert manifest.to_json() == text
    assert manifest.digest == hashlib.sha256(text.encode()).hexdigest()


@given(manifests)
def test_a_manifest_is_read_as_it_was_written(manifest: Manifest) -> None:
    assert Manifest.from_json(manifest.to_json()) == manifest


def test_a_blob_that_two_tensors_share_counts_once() -> None:
    graph, shared = Blob(digest("g"), 5), Blob(digest("t"), 100)
    manifest = Manifest(
        graph=graph, tensors=(TensorBlob("a", "FLOAT", (25,), shared), TensorBlob("b", "INT8", (100,), shared))
    )
    assert manifest.blobs == (manifest.document, graph, shared)
    assert manifest.size_bytes == 105 + len(manifest.to_json())


@given(st.text())
def test_any_other_text_is_damage_and_nothing_else(text: str) -> None:
    with pytest.raises(DataLoss):
        Manifest.from_json(text)


WHOLE = Manifest(graph=Blob("a" * 64, 7), tensors=(TensorBlob("w", "INT8", (2,), Blob("b" * 64, 2)),)).to_json()


@pytest.mark.parametrize(
    "text",
    [
        "[]",
        "null",
        '{"format":1}',
        WHOLE.replace('"format":1', '"format":"x"'),
        WHOLE.replace("a" * 64, "../../etc/passwd"),
        WHOLE.replace('"size_bytes":7', '"size_bytes":-1'),
        WHOLE.replace('"size_bytes":7', '"size_bytes":true'),
        WHOLE.replace('"dims":[2]', '"dims":2'),
        WHOLE.replace('"dims":[2]', '"dims":[-1]'),
        WHOLE.replace('"ir_version":0', '"ir_version":null'),
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


@given(manifests)
def test_the_graph_is_found_without_reading_the_tables(manifest: Manifest) -> None:
    text = manifest.to_json()
    assert graph_of(text, manifest.digest) == manifest.graph
    assert graph_of(text, "0" * 64) is None
    assert graph_of(text[:-1], manifest.digest) is None
    later = text.replace('"format":1', '"format":2', 1)
    assert graph_of(later, hashlib.sha256(later.encode()).hexdigest()) is None, "from_json says what is wrong"
