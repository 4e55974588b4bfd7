"""Copies of the history that are kept here: written, and held against what the server says now."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO, Final

from interlock import audit, convert_history
from interlock.audit import ExportReport, SignedHead
from interlock.chain import EMPTY, ChainHead, extend
from interlock.errors import DataLoss, InvalidArgument
from interlock.keys import PublicKey
from interlock.v1 import admin_pb2 as pb

from interlock_client._flow import Flow, ask
from interlock_client._whole import written

_PAGE: Final = 500


def head() -> Flow[SignedHead]:
    """Read the end of the history, signed by the server; raises DataLoss where the signature is not its key's."""
    answer = yield from ask("GetHead", pb.GetHeadRequest(), pb.GetHeadResponse)
    found = SignedHead.from_line(answer.message.signed_head)
    if not found.is_genuine:
        raise DataLoss(f"the server's head of the history is not signed by the key that it names, {found.key.id}")
    return found


def export(write: Callable[[bytes], object]) -> Flow[SignedHead]:
    """Read the whole history, verify it, and write it line by line with its signed head behind it."""
    signed = yield from head()
    report = EMPTY
    while report.events < signed.head.seq:
        request = pb.ReadChainRequest(after_seq=report.events, page_size=_PAGE)
        answer = yield from ask("ReadChain", request, pb.ReadChainResponse)
        links = [convert_history.from_link(each) for each in answer.message.links]
        links = [each for each in links if each.seq <= signed.head.seq]
        report = extend(report, links)
        if not report.is_whole or not links:
            raise DataLoss(
                f"the history is broken at event {report.broken_at or report.events + 1}: "
                f"{report.why or 'it ends before the head that the server has signed'}"
            )
        for each in links:
            write(each.body + b"\n")
    if ChainHead(report.events, report.head) != signed.head.place:
        raise DataLoss(f"the server has signed another head than its history has at event {signed.head.seq}")
    write(signed.to_line().encode() + b"\n")
    return signed


@contextmanager
def opened(target: Path | BinaryIO) -> Iterator[BinaryIO]:
    """Open a new file, which is complete or not there at all; an open one is only written to."""
    if not isinstance(target, Path):
        yield target
        return
    taken = f"{str(target)!r} is there already; a copy of the history is not overwritten"
    if target.exists():
        raise InvalidArgument(taken)
    try:
        with written(target, overwrite=False) as file:
            yield file
    except FileExistsError as error:
        raise InvalidArgument(taken) from error
    except OSError as error:
        raise InvalidArgument(f"the history cannot be written to {str(target)!r}: {error.strerror}") from error


def look(path: Path, keys: Collection[PublicKey]) -> ExportReport:
    """Verify a copy of the history; raises InvalidArgument where it cannot be read."""
    try:
        with path.open("rb") as file:
            return audit.verify((line.rstrip(b"\n") for line in file), keys)
    except OSError as error:
        raise InvalidArgument(f"the copy of the history {str(path)!r} cannot be read: {error.strerror}") from error
