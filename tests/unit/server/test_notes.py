from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from interlock.errors import PoisonRequest
from interlock.types import Array
from interlock_server.process import deaths, notes
from interlock_server.process.deaths import Death, notes_path
from interlock_server.process.notes import MOST, SLOTS, Note, Notes
from interlock_server.worker.watch import Watch, part, whole


def test_what_runs_is_in_the_file_and_what_has_ended_is_not(tmp_path: Path) -> None:
    path = str(tmp_path / "notes")
    file = Notes(path)
    first, second = file.slot("m@1"), file.slot("n@2")
    assert first is not None and second is not None
    first.begin(11, 22)
    second.begin_many([1, 2, 3])
    assert set(notes.read(path)) == {Note("m@1", (11,), 22), Note("n@2", (1, 2, 3), 0)}
    first.end()
    second.begin_many(range(1, 100))
    assert notes.read(path) == (Note("n@2", tuple(range(1, MOST + 1)), 0),)
    second.close()
    second.close()
    assert notes.read(path) == ()


def test_places_are_given_back_and_their_number_is_bounded(tmp_path: Path) -> None:
    file = Notes(str(tmp_path / "notes"))
    taken = [file.slot(f"m@{number}") for number in range(SLOTS)]
    assert file.slot("one@1") is None
    assert taken[0] is not None
    taken[0].close()
    slot = file.slot("again@1")
    assert slot is not None
    slot.begin(0)
    assert notes.read(str(tmp_path / "notes")) == (Note("again@1"),)


def test_a_long_name_keeps_to_its_place(tmp_path: Path) -> None:
    path = str(tmp_path / "notes")
    file = Notes(path)
    long, other = file.slot("m" * 1000 + "@1"), file.slot("n@1")
    assert long is not None and other is not None
    long.begin(1)
    other.begin(2)
    found = notes.read(path)
    assert len(found) == 2 and Note("n@1", (2,)) in found


def test_the_note_of_a_process_that_was_killed_is_still_there(tmp_path: Path) -> None:
    program = (
        "import os, signal, sys; from interlock_server.process.notes import Notes\n"
        f"Notes({notes_path(str(tmp_path), 'w')!r}).slot('m@1').begin(5); os.kill(os.getpid(), signal.SIGSEGV)"
    )
    child = subprocess.run([sys.executable, "-c", program], check=False)
    assert child.returncode == -signal.SIGSEGV
    written = deaths.record(str(tmp_path), "w", 99, child.returncode)
    assert written.running == (Note("m@1", (5,)),)
    assert deaths.read(str(tmp_path)) == (written,)
    assert not os.path.exists(notes_path(str(tmp_path), "w"))


def test_records_are_read_in_order_bounded_and_forgotten_by_version(tmp_path: Path) -> None:
    folder = str(tmp_path)
    for at in range(70):
        deaths.write(folder, Death("w", at, -11, float(at), (Note(f"m@{at % 2}"),), "it hung" if at == 69 else ""))
    kept = deaths.read(folder)
    assert [each.at for each in kept] == [float(at) for at in range(6, 70)]
    assert kept[-1].cause == "it hung"
    deaths.forget(folder, "m@1")
    assert {each.running[0].version for each in deaths.read(folder)} == {"m@0"}


ARRAYS = [
    np.arange(6, dtype=np.float32).reshape(2, 3),
    np.zeros((0, 3), np.float32),
    np.array(5, np.int64),
    np.array([[b"a"], ["ü"]], dtype=object),
    np.ones((4, 4), np.float16),
    np.array([True, False]),
    np.arange(12, dtype=np.int32).reshape(3, 4).T,
]


@pytest.mark.parametrize("array", ARRAYS, ids=lambda array: f"{array.dtype}{array.shape}")
def test_fingerprints_tell_requests_apart_and_equal_ones_not(array: Array) -> None:
    assert part([array]) == part([array.copy()]) != 0
    assert whole([array]) == whole([array.copy()]) != 0
    other = np.full((7,), 3, np.int16)
    assert part([array]) != part([other])
    assert whole([array]) != whole([other])
    assert whole([array]) != whole([array, array])


def test_a_request_that_differs_only_in_its_last_byte_is_another_one() -> None:
    long, same = np.zeros(10_000, np.uint8), np.zeros(10_000, np.uint8)
    same[-1] = 1
    assert whole([long]) != whole([same])


def test_poison_is_refused_and_nothing_else() -> None:
    bad, good = np.array([[1, 2]]), np.array([[1, 3]])
    watch = Watch("m@1", poison=(whole([bad]),))
    watch.admit([good])
    with pytest.raises(PoisonRequest, match="m@1"):
        watch.admit([bad])
