from __future__ import annotations

import hashlib
import os
from pathlib import Path

import pytest
from interlock_registry.derived import Form, Recipe
from interlock_registry.derived_store import DerivedStore, files_of, graph_of
from interlock_registry.manifest import Blob


@pytest.fixture
def store(tmp_path: Path) -> DerivedStore:
    (tmp_path / "blobs").mkdir()
    return DerivedStore(tmp_path)


def put(folder: Path, data: bytes) -> Blob:
    digest = hashlib.sha256(data).hexdigest()
    (folder / digest).write_bytes(data)
    return Blob(digest, len(data))


def made(store: DerivedStore, name: str, *own: bytes, shared: bytes = b"of the artifact") -> Form:
    """A form as a child leaves it in the workplace."""
    workplace = store.workplace()
    workplace.graph.write_bytes(b"as it was tried")
    workplace.made.write_bytes(name.encode())
    (workplace.folder / "weights.bin").write_bytes(b"left over")
    form = Form(
        recipe=Recipe(graph_sha256=name * 64, runtime="onnxruntime 1.31.1", cpu="x86_64-1", provider="CPU"),
        graph=Blob(hashlib.sha256(name.encode()).hexdigest(), len(name)),
        own=tuple(put(workplace.folder, data) for data in own),
        shared=(put(store.root / "blobs", shared),),
    )
    store.add(form, workplace)
    workplace.discard()
    return form


def graph(store: DerivedStore, form: Form) -> Path:
    return graph_of(store.record_path(form.key))


def names(store: DerivedStore) -> set[str]:
    return {path.name for folder in (store.root, store.root / "derived") for path in folder.iterdir()}


def test_what_was_added_is_there_for_the_next_process(store: DerivedStore) -> None:
    form = made(store, "a", b"one")
    assert store.is_whole(form)
    again = DerivedStore(store.root)
    again.sweep()
    assert [each.form for each in again.held()] == [form]
    assert graph(store, form).parent == store.root  # where locations into both folders can begin
    assert [path.read_bytes() for _, path in files_of(store.root, form)] == [b"a", b"one", b"of the artifact"]
    assert names(store) == {"blobs", "derived", graph(store, form).name, f"{form.key}.json", form.own[0].digest}


@pytest.mark.parametrize("what", ["graph", "own", "shared", "size"])
def test_a_form_that_lacks_a_file_is_not_whole_and_is_swept(store: DerivedStore, what: str) -> None:
    form = made(store, "a", b"one")
    whole = made(store, "b", b"two", shared=b"of another")
    _, (own, own_path), (shared, shared_path) = files_of(store.root, form)
    assert (own, shared) == (form.own[0], form.shared[0])
    if what == "size":
        own_path.chmod(0o600)  # whoever is not root may not write to it
        own_path.write_bytes(b"on")
    else:
        {"graph": graph(store, form), "own": own_path, "shared": shared_path}[what].unlink()
    assert not store.is_whole(form)
    store.sweep()
    assert [each.form for each in store.held()] == [whole]
    assert names(store) == {"blobs", "derived", graph(store, whole).name, f"{whole.key}.json", whole.own[0].digest}


def test_dropping_one_form_leaves_what_another_shares_with_it(store: DerivedStore) -> None:
    one = made(store, "a", b"common", b"of one")
    two = made(store, "b", b"common", b"of two")
    store.drop([one.key])
    assert store.is_whole(two) and not store.is_whole(one)
    assert (store.root / "blobs" / one.shared[0].digest).exists()
    assert one.own[1].digest not in names(store)
    store.drop([two.key])
    assert names(store) == {"blobs", "derived"}
    assert len(list((store.root / "blobs").iterdir())) == 1


def test_what_a_crash_left_half_way_is_swept(store: DerivedStore) -> None:
    form = made(store, "a", b"one")
    before = names(store)
    workplace = store.workplace()
    workplace.graph.write_bytes(b"half")
    (workplace.folder / "optimised.onnx").write_bytes(b"half")
    (store.root / "derived" / ".making-1").write_bytes(b"half a tensor")
    put(store.root / "derived", b"a tensor of nobody")
    (store.root / f"derived-{'c' * 64}.onnx").write_bytes(b"a graph without a record")
    store.sweep()
    assert names(store) == before
    assert store.is_whole(form)


def test_a_damaged_record_is_no_form(store: DerivedStore, caplog: pytest.LogCaptureFixture) -> None:
    form = made(store, "a", b"one")
    (store.root / "derived" / f"{form.key}.json").write_bytes(b"\xff{")
    assert store.held() == ()
    assert "is ignored" in caplog.text
    store.sweep()
    assert names(store) == {"blobs", "derived"}


def test_use_is_noted_also_of_a_form_that_is_gone(store: DerivedStore) -> None:
    one, two = made(store, "a", b"one"), made(store, "b", b"two")
    record = store.root / "derived" / f"{one.key}.json"
    os.utime(record, (1, 1))
    assert min(store.held(), key=lambda each: each.used_at).form == one
    store.touch(one)
    assert min(store.held(), key=lambda each: each.used_at).form == two
    store.drop([one.key])
    store.touch(one)


def test_the_folder_may_vanish_under_a_running_server(store: DerivedStore) -> None:
    form = made(store, "a", b"one")
    for path in (store.root / "derived").iterdir():
        path.unlink()
    (store.root / "derived").rmdir()
    assert not store.is_whole(form)
    assert store.held() == ()
    store.drop([form.key])
    assert names(store) == {"blobs", "derived"}
    assert store.is_whole(made(store, "b", b"two"))
