"""Files that are no model, broken ones, and models of formats that nothing here reads."""

from __future__ import annotations

import gzip
import io
import pickle
import zipfile
from collections.abc import Iterator

import onnx

from tests import models
from tests.hostile.cases import Case


def cases() -> Iterator[Case]:
    """Yield them."""
    for name, data, words in (
        ("nothing", b"", "is empty"),
        ("text", b"this is my model\n", "plain text"),
        ("a saved error page", b"<!DOCTYPE html><html>404</html>", "HTML"),
        ("a pickle that runs a program", pickle.dumps(_Exploit()), "a Python pickle"),
        ("a PyTorch checkpoint", _zip(), "PyTorch checkpoint"),
        ("a gzip bomb", gzip.compress(bytes(10 << 20)), "gzip-compressed"),
        ("a Keras file", b"\x89HDF\r\n\x1a\n" + bytes(64), "HDF5"),
        ("a Git LFS pointer", b"version https://git-lfs.github.com/spec/v1\noid sha256:0\n", "git lfs pull"),
        ("ONNX Runtime's own format", b"\x00" * 4 + b"ORTM" + bytes(64), "ONNX Runtime's own format"),
        ("safetensors", (64).to_bytes(8, "little") + b'{"w":{"dtype":"F32"}}', "safetensors"),
        ("noise", b"\xde\xad\xbe\xef" * 50, "cannot be parsed"),
        ("a model cut short", models.mlp()[:-100], "breaks off or is damaged"),
        ("a field longer than the file", b"\x08\x0a\x3a\xff\xff\xff\xff\x07abc", "breaks off or is damaged"),
        ("messages 10,000 deep", _deep(10_000), "is not"),
        ("branches 33 deep", _deep(33), ""),
        ("a graph without a model around it", onnx.load_from_string(models.affine()).graph.SerializeToString(), "is n"),
    ):
        yield Case("format", name, lambda data=data: data, words)  # type: ignore[misc]
    yield Case("version", "an IR version of the future", lambda: _changed(ir=99), "IR version 99")
    yield Case("version", "an opset of the future", lambda: _changed(opset=99), "opset 99")
    yield Case("version", "an opset below zero", lambda: _changed(opset=-5), "")
    yield Case("version", "no operator set at all", _without_opset, "")


class _Exploit:
    def __reduce__(self) -> tuple[object, tuple[str]]:
        import os

        return os.system, ("exit 1",)


def _zip() -> bytes:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        archive.writestr("archive/data.pkl", b"x")
    return buffer.getvalue()


def _deep(levels: int) -> bytes:
    """Graphs inside of nodes' attributes, level upon level, as raw bytes: no library would write them."""
    graph = b""
    for _ in range(levels):
        attribute = b"\x32" + _length(graph) + graph  # AttributeProto.g
        node = b"\x2a" + _length(attribute) + attribute  # NodeProto.attribute
        graph = b"\x0a" + _length(node) + node  # GraphProto.node
    return b"\x08\x0a" + b"\x3a" + _length(graph) + graph


def _length(data: bytes) -> bytes:
    count, found = len(data), b""
    while count > 0x7F:
        found += bytes([count & 0x7F | 0x80])
        count >>= 7
    return found + bytes([count])


def _changed(*, ir: int = 0, opset: int = 0) -> bytes:
    model = onnx.load_from_string(models.affine())
    model.ir_version = ir or model.ir_version
    model.opset_import[0].version = opset or model.opset_import[0].version
    return model.SerializeToString()


def _without_opset() -> bytes:
    model = onnx.load_from_string(models.affine())
    del model.opset_import[:]
    return model.SerializeToString()
