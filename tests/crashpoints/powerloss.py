"""The power goes: what was not synced is gone, or partly there. Every sync of a change as the last that came to be.

A change is performed once under strace, which writes down all that reaches the kernel. That is played into a model of
a disk which keeps apart what was synced (a file's bytes by its own sync, names by that of their directory) and what
was not. Then the disk is taken as it would be found after each sync: without all that was not synced, and, as no file
system promises to lose it either, with a part of it chosen at random.
"""

from __future__ import annotations

import os
import random
import re
import shutil
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

from tests.crashpoints import points
from tests.crashpoints.operations import ACKNOWLEDGED
from tests.crashpoints.points import Outcome
from tests.crashpoints.verdict import Picture, after_a_crash, look

CALLS: Final = (
    *("open", "openat", "creat", "write", "writev", "pwrite64", "ftruncate", "fsync", "fdatasync"),
    *("rename", "renameat", "renameat2", "unlink", "unlinkat", "link", "linkat", "mkdir", "mkdirat", "rmdir"),
)
UNHEARD: Final = ("pwritev", "pwritev2", "fallocate", "sendfile", "copy_file_range", "truncate", "symlink")
"""Calls that the model does not know: a change that makes one on its files cannot be judged."""
_LINE: Final = re.compile(r"(\d+\.\d+) (\w+)\((.*)\) += (\d+)(?:<(.*)>)?$")
_STRING: Final = re.compile(r'"((?:\\x[0-9a-f]{2})*)"')
_OPENED: Final = re.compile(r"(\d+)<(.*?)>[,)]?")


@dataclass(frozen=True, slots=True)
class Call:
    """A system call that succeeded."""

    at: float
    name: str
    file: str
    """Behind the descriptor that it is about, if any; what an open has opened."""
    strings: tuple[bytes, ...]
    arguments: str


@dataclass(eq=False)
class _Inode:
    data: bytearray
    durable: bytes = b""
    unsynced: list[tuple[int, bytes]] = field(default_factory=list)
    """Where which bytes were written; a cut is written as no bytes at its place."""

    def write(self, at: int, data: bytes) -> None:
        self.unsynced.append((at, data))
        _put(self.data, at, data)

    def cut(self, size: int) -> None:
        self.unsynced.append((size, b""))
        _put(self.data, size, b"")

    def sync(self) -> None:
        self.durable = bytes(self.data)
        self.unsynced.clear()

    def found(self, dice: random.Random | None) -> bytes:
        """The bytes after a power loss; with dice some of what was not synced is there."""
        data = bytearray(self.durable)
        for at, written in self.unsynced if dice else ():
            if dice and dice.random() < 0.5:
                _put(data, at, written)
        return bytes(data)


def _put(data: bytearray, at: int, written: bytes) -> None:
    if not written:
        del data[at:]
    data.extend(bytes(max(0, at - len(data))))
    data[at : at + len(written)] = written


class Disk:
    """Files below a folder, as they are and as a power loss would leave them."""

    def __init__(self, folder: Path) -> None:
        self._root = str(folder)
        self._names: dict[str, _Inode] = {}
        self._durable: dict[str, _Inode] = {}
        self._folders = {str(each) for each in folder.rglob("*") if each.is_dir()}
        self._places: dict[tuple[str, int], int] = {}
        for path in folder.rglob("*"):
            if path.is_file():
                data = path.read_bytes()
                self._names[str(path)] = self._durable[str(path)] = _Inode(bytearray(data), data)

    def play(self, call: Call) -> bool:
        """Let a call happen; tells whether it was a sync that made something durable."""
        paths = [os.fsdecode(each) for each in call.strings[:2]]
        match call.name:
            case "open" | "openat" | "creat" if self._is_ours(call.file):
                if "O_CREAT" in call.arguments or call.name == "creat":
                    self._names.setdefault(call.file, _Inode(bytearray()))
                if "O_TRUNC" in call.arguments:
                    self._names[call.file].cut(0)
            case "write" if self._is_ours(call.file):
                inode = self._names[call.file]
                inode.write(len(inode.data), call.strings[0])  # whoever writes so begins a file and goes on
            case "writev":
                assert not self._is_ours(call.file), "the model does not know where that would be written"
            case "pwrite64" if self._is_ours(call.file):
                self._names[call.file].write(int(call.arguments.rsplit(", ", 1)[1]), call.strings[0])
            case "ftruncate" if self._is_ours(call.file):
                self._names[call.file].cut(int(call.arguments.rsplit(", ", 1)[1]))
            case "fsync" | "fdatasync" if self._is_ours(call.file):
                return self._sync(call.file)
            case "rename" | "renameat" | "renameat2" if self._is_ours(paths[0]):
                self._names[paths[1]] = self._names.pop(paths[0])
            case "link" | "linkat" if self._is_ours(paths[0]):
                self._names[paths[1]] = self._names[paths[0]]
            case "unlink" | "unlinkat" | "rmdir" if self._is_ours(paths[0]):
                self._names.pop(paths[0], None)
            case "mkdir" | "mkdirat" if self._is_ours(paths[0]):
                self._folders.add(paths[0])
        return False

    def _is_ours(self, path: str) -> bool:
        return path.startswith(f"{self._root}/") or path == self._root

    def _sync(self, path: str) -> bool:
        inode = self._names.get(path)
        if inode is not None:
            inode.sync()
            return True
        names = {each for each in {*self._names, *self._durable} if str(Path(each).parent) == path}
        for each in names:
            if each in self._names:
                self._durable[each] = self._names[each]
            else:
                del self._durable[each]
        return bool(names)

    def leave(self, folder: Path, dice: random.Random | None = None) -> None:
        """Write what is found after a power loss into a folder."""
        shutil.rmtree(folder, ignore_errors=True)
        folder.mkdir()
        for each in self._folders:
            (folder / Path(each).relative_to(self._root)).mkdir(parents=True, exist_ok=True)
        for name in {*self._names, *self._durable}:
            kept = self._names if dice and dice.random() < 0.5 else self._durable
            if name in kept and not name.endswith("-shm"):  # memory that SQLite's readers share, and makes anew
                (folder / Path(name).relative_to(self._root)).write_bytes(kept[name].found(dice))


@dataclass(slots=True)
class Loss:
    """What came of the power losses of an operation."""

    operation: str
    moments: int = 0
    violations: list[str] = field(default_factory=list)


def lose_power(operation: str, base: Path, root: Path, *, seeds: int = 1) -> Loss:
    """Perform an operation on a copy of a folder that was prepared, and find the disk after each of its syncs."""
    root.mkdir()
    work, left = root / "work", root / "left"
    shutil.copytree(base, work)
    before = look(work)
    shutil.rmtree(work)
    shutil.copytree(base, work)
    disk = Disk(work)
    calls, outcome = record(operation, work, root / "trace")
    assert outcome.said.startswith(ACKNOWLEDGED), outcome
    after = look(work)
    result = Loss(operation)
    acknowledged = False
    for number, call in enumerate(calls):
        if call.name == "writev" and call.strings[0].startswith(ACKNOWLEDGED.encode()):
            acknowledged = True
        elif not disk.play(call) and number != len(calls) - 1:
            continue
        for seed in range(1 + seeds):
            disk.leave(left, random.Random(f"{number} {seed}") if seed else None)
            result.moments += 1
            for fault in _faults(operation, left, before, after, acknowledged=acknowledged):
                result.violations.append(f"{operation} after call {number} ({call.name} {call.file}): {fault}")
    assert acknowledged
    return result


def _faults(operation: str, folder: Path, before: Picture, after: Picture, *, acknowledged: bool) -> Iterator[str]:
    found = look(folder)
    if acknowledged and found != after:
        yield f"it was acknowledged and is not there: {found}"
    yield from after_a_crash(operation, folder, found, before, after)


def record(operation: str, folder: Path, trace: Path) -> tuple[list[Call], Outcome]:
    """Perform an operation and return every call of it that changes files, in their order."""
    trace.mkdir()
    heard = f"trace={','.join((*CALLS, *UNHEARD))}"
    strace = ["strace", "-ff", "-ttt", "-y", "-xx", "-s", str(1 << 24), "-e", heard, "-o", str(trace / "of")]
    outcome = points.perform_under(strace, operation, folder)
    calls = [call for each in trace.iterdir() for call in _calls(each)]
    unheard = {each.name for each in calls if each.name in UNHEARD and str(folder) in each.file}
    assert not unheard, f"{operation} calls {unheard}, which the model of the disk does not know"
    return sorted((each for each in calls if each.name in CALLS), key=lambda call: call.at), outcome


def _calls(trace: Path) -> Iterator[Call]:
    for line in trace.read_text().splitlines():
        found = _LINE.match(line)
        if found is None:
            continue
        at, name, arguments, _, opened = found.groups()
        first = _OPENED.match(arguments)
        strings = tuple(map(_unhex, _STRING.findall(arguments)))
        file = (opened or "") if name in ("open", "openat", "creat") else (first[2] if first else "")
        yield Call(float(at), name, os.fsdecode(_unhex(file)), strings, _STRING.sub('""', arguments))


def _unhex(text: str) -> bytes:
    return bytes.fromhex(text.replace("\\x", ""))
