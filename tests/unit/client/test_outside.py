"""Which files of the sender an upload takes along: those that the model refers to, and never any other."""

from __future__ import annotations

import io
from collections.abc import Callable
from pathlib import Path

import numpy as np
import onnx
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from interlock.errors import InvalidModel
from interlock.model import FileRole, MutationOptions
from interlock_client._outside import data_files, locations
from interlock_client._upload import Sender, plan
from onnx import TensorProto, helper

from tests import models


def outside(location: str, name: str = "w") -> TensorProto:
    tensor = TensorProto(name=name, data_type=TensorProto.FLOAT, dims=[4], data_location=TensorProto.EXTERNAL)
    tensor.external_data.add(key="offset", value="0")
    tensor.external_data.add(key="location", value=location)
    return tensor


def model_with(*tensors: TensorProto) -> onnx.ModelProto:
    model = onnx.load_from_string(models.mlp())
    model.graph.initializer.extend(tensors)
    return model


def save(folder: Path, model: onnx.ModelProto) -> Path:
    return models.write(folder / "m.onnx", model.SerializeToString())


def in_constant(model: onnx.ModelProto, tensor: TensorProto) -> None:
    model.graph.node.append(helper.make_node("Constant", [], ["c"], value=tensor))


def in_subgraph(model: onnx.ModelProto, tensor: TensorProto) -> None:
    branch = helper.make_graph([], "b", [], [], [tensor])
    inner = helper.make_graph([helper.make_node("If", ["x"], [], then_branch=branch, else_branch=branch)], "o", [], [])
    model.graph.node.append(helper.make_node("If", ["x"], ["z"], then_branch=inner, else_branch=inner))


def in_function(model: onnx.ModelProto, tensor: TensorProto) -> None:
    constant = helper.make_node("Constant", [], ["y"], value=tensor)
    model.functions.append(helper.make_function("mine", "f", [], ["y"], [constant], [helper.make_opsetid("", 20)]))


def in_sparse(model: onnx.ModelProto, tensor: TensorProto) -> None:
    indices = models.constant("i", np.arange(4))
    model.graph.sparse_initializer.append(helper.make_sparse_tensor(tensor, indices, [4]))


def in_initializer(model: onnx.ModelProto, tensor: TensorProto) -> None:
    model.graph.initializer.append(tensor)


@pytest.mark.parametrize("put", [in_initializer, in_constant, in_subgraph, in_function, in_sparse])
def test_a_location_is_found_wherever_it_is(
    tmp_path: Path, put: Callable[[onnx.ModelProto, TensorProto], None]
) -> None:
    model = model_with()
    put(model, outside("some where/w.bin"))
    assert locations(save(tmp_path, model)) == {"some where/w.bin"}


def test_a_model_of_one_file_has_none_and_what_is_no_model_is_left_to_the_server(tmp_path: Path) -> None:
    assert locations(save(tmp_path, model_with())) == frozenset()
    for content in (b"", b"this is no model", b"\x08", models.mlp()[:-9], bytes(1 << 26)):
        assert locations(models.write(tmp_path / "x.onnx", content)) == frozenset()


def test_a_file_over_two_gigabytes_is_refused_before_it_is_read(tmp_path: Path) -> None:
    path = tmp_path / "m.onnx"
    with path.open("wb") as file:
        file.truncate(1 << 31)
    with pytest.raises(InvalidModel, match=r"m.onnx has 2147483648 bytes, .* 2 GiB: export .* in a file beside it"):
        plan("m", path, golden=None, config=None, note="", tags=None, options=MutationOptions())


@settings(max_examples=200, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.binary(max_size=300))
def test_any_bytes_are_walked_to_an_end(tmp_path: Path, data: bytes) -> None:
    assert isinstance(locations(models.write(tmp_path / "m.onnx", data)), frozenset)


def test_what_onnx_itself_writes_is_found(tmp_path: Path) -> None:
    model = onnx.load_from_string(models.mlp(width=64, hidden=64))
    onnx.save(model, tmp_path / "m.onnx", save_as_external_data=True, location="m.onnx.data")
    assert data_files(tmp_path / "m.onnx") == {"m.onnx.data": tmp_path / "m.onnx.data"}


def test_an_upload_sends_the_model_its_data_and_the_golden_samples(tmp_path: Path) -> None:
    (tmp_path / "sub").mkdir()
    for name in ("a.bin", "sub/b.bin", "golden.npz", "unrelated.bin"):
        (tmp_path / name).write_bytes(name.encode())
    path = save(tmp_path, model_with(outside("a.bin", "v"), outside("sub/b.bin"), outside("a.bin", "u")))
    upload = plan("m", path, golden=tmp_path / "golden.npz", config=None, note="", tags=None, options=MutationOptions())
    assert [(file.role, file.name) for file in upload.header.files] == [
        (FileRole.MODEL, "m.onnx"),
        (FileRole.DATA, "a.bin"),
        (FileRole.DATA, "sub/b.bin"),
        (FileRole.GOLDEN, "golden.npz"),
    ]
    sent = io.BytesIO()
    for message in Sender(upload, None):
        sent.write(message.chunk)
    assert sent.getvalue() == path.read_bytes() + b"a.binsub/b.bingolden.npz"


@pytest.mark.parametrize("location", ["../secret", "sub/../../secret", "/etc/passwd", "..", ".", "~\\secret\\", "a\0b"])
def test_no_model_makes_its_sender_upload_other_files_of_his(tmp_path: Path, location: str) -> None:
    (tmp_path / "secret").write_bytes(b"s")
    folder = tmp_path / "models"
    folder.mkdir()
    with pytest.raises(InvalidModel, match="outside of its own directory, which is not sent") as caught:
        data_files(save(folder, model_with(outside(location))))
    assert caught.value.facts["check"] == "external-data"


def test_a_link_that_leaves_the_directory_is_not_followed(tmp_path: Path) -> None:
    (tmp_path / "secret").write_bytes(b"s")
    folder = tmp_path / "models"
    folder.mkdir()
    (folder / "w.bin").symlink_to(tmp_path / "secret")
    with pytest.raises(InvalidModel, match="outside of its own directory"):
        data_files(save(folder, model_with(outside("w.bin"))))


def test_a_cache_that_links_all_files_of_a_model_to_one_place_is_taken(tmp_path: Path) -> None:
    blobs, snapshot = tmp_path / "blobs", tmp_path / "snapshots" / "1"
    blobs.mkdir()
    snapshot.mkdir(parents=True)
    (blobs / "aaaa").write_bytes(model_with(outside("w.bin")).SerializeToString())
    (blobs / "bbbb").write_bytes(b"w")
    (snapshot / "m.onnx").symlink_to("../../blobs/aaaa")
    (snapshot / "w.bin").symlink_to("../../blobs/bbbb")
    assert data_files(snapshot / "m.onnx") == {"w.bin": snapshot / "w.bin"}


def test_a_missing_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(InvalidModel, match=r"'gone.bin', which is not beside it"):
        data_files(save(tmp_path, model_with(outside("gone.bin"))))


def test_a_model_that_is_not_there_is_named(tmp_path: Path) -> None:
    with pytest.raises(InvalidModel, match=r"absent.onnx' cannot be read: No such file"):
        data_files(tmp_path / "absent.onnx")
