"""Copies of the history that leave the server: events as lines, and signed heads that say how far it went. Pure.

A chain of hashes shows what was changed inside of it. That its end was cut off, or all of it written anew, shows only
to somebody who kept a head; that the head was the server's, its signature says.
"""

from __future__ import annotations

import base64
import binascii
import json
from collections.abc import Collection, Iterable
from dataclasses import dataclass, field
from datetime import datetime
from typing import Final

from interlock import canonical, chain
from interlock.chain import EMPTY, ChainHead, ChainReport, Link
from interlock.errors import DataLoss, InvalidArgument
from interlock.keys import PublicKey

DOMAIN: Final = b"interlock history head\n"
"""Stands before every head that is signed."""
ACTION: Final = "audit.key"
"""The event that says which key signs heads from then on; its detail holds the key's text."""
_HEAD: Final = b'{"head":'


@dataclass(frozen=True, slots=True, kw_only=True)
class Head:
    """How far a history went, when, and who says so."""

    incarnation: str
    """The registry's: a restore from a backup begins another."""
    seq: int
    hash: str
    time: datetime
    replica: str

    def to_json(self) -> str:
        """Return the canonical JSON, which is what is signed."""
        return canonical.dumps(
            {
                "incarnation": self.incarnation,
                "seq": self.seq,
                "hash": self.hash,
                "time": chain.rfc3339(self.time),
                "replica": self.replica,
            }
        )

    @property
    def place(self) -> ChainHead:
        """Its place in the chain."""
        return ChainHead(self.seq, self.hash)


@dataclass(frozen=True, slots=True)
class SignedHead:
    """A head with the signature of a server's audit key."""

    head: Head
    key: PublicKey
    value: bytes = field(repr=False)
    """64 bytes of Ed25519, over DOMAIN and the head's JSON."""

    @property
    def is_genuine(self) -> bool:
        """Whether the signature is that key's."""
        return self.key.verifies(self.value, DOMAIN + self.head.to_json().encode())

    def to_line(self) -> str:
        """Return it as a line of an export, without the line feed."""
        value = base64.b64encode(self.value).decode()
        return f'{{"head":{self.head.to_json()},"key":"{self.key}","signature":"{value}"}}'

    @classmethod
    def from_line(cls, line: str | bytes) -> SignedHead:
        """Read a line of an export; raises DataLoss."""
        try:
            document = json.loads(line)
            head = document["head"]
            return cls(
                Head(
                    incarnation=str(head["incarnation"]),
                    seq=int(head["seq"]),
                    hash=str(head["hash"]),
                    time=datetime.fromisoformat(head["time"]),
                    replica=str(head["replica"]),
                ),
                PublicKey.parse(str(document["key"])),
                base64.b64decode(document["signature"], validate=True),
            )
        except (KeyError, RecursionError, TypeError, ValueError, InvalidArgument, binascii.Error) as error:
            raise DataLoss(f"a signed head cannot be read ({error!r}): {line[:120]!r}") from error


@dataclass(frozen=True, slots=True)
class ExportReport:
    """What a look at an export found."""

    report: ChainReport
    signed: SignedHead | None
    """The last head that is genuine; None where there is none."""

    @property
    def why(self) -> str:
        """What is wrong; "" where it is whole up to its last head."""
        if not self.report.is_whole:
            return self.report.why
        if self.signed is None:
            return "no signed head is in it"
        if self.signed.head.seq != self.report.events:
            return f"events {self.signed.head.seq + 1} to {self.report.events} come after the last signed head"
        return ""


def link_of(line: bytes) -> Link:
    """Return the event of a line; raises DataLoss. The line is the event's own bytes."""
    event = chain.read(Link(seq=0, filed=_NOTHING, body=line, hash=chain.hash_of(line)))
    return Link(seq=event.seq, filed=chain.filing(event), body=line, hash=event.hash)


def is_head(line: bytes) -> bool:
    """Tell a signed head from an event, whose first member is another."""
    return line.startswith(_HEAD)


_NO_COPY: Final = (
    "a copy that `interlock log --export` or audit_export wrote has no such line, unless it was changed since"
)


def verify(lines: Iterable[bytes], keys: Collection[PublicKey] = ()) -> ExportReport:
    """Check an export line by line, from event 1 on: the chain, and each head against it.

    A head must be signed by one of `keys`; where none is given, by a key that an event before it has announced.
    """
    report, last = EMPTY, None
    announced: set[str] = set()
    for number, line in enumerate(lines, start=1):
        try:
            if is_head(line):
                signed = SignedHead.from_line(line)
                why = _fault(signed, report, keys, announced)
                if why:
                    return ExportReport(_broken(report, f"line {number}: {why}"), last)
                last = signed
                continue
            link = link_of(line)
            event = chain.read(link, remedy=_NO_COPY)
        except DataLoss as error:
            return ExportReport(_broken(report, f"line {number}: {error.message}"), last)
        report = chain.extend(report, [link])
        if not report.is_whole:
            return ExportReport(report, last)
        if event.action == ACTION and event.outcome == chain.OK:
            announced.update(event.detail.split())
    return ExportReport(report, last)


def _fault(signed: SignedHead, report: ChainReport, keys: Collection[PublicKey], announced: Collection[str]) -> str:
    if keys and signed.key not in keys:
        return f"the head is signed by key {signed.key.id}, which is not the one that was given"
    if not keys and str(signed.key) not in announced:
        return f"the head is signed by key {signed.key.id}, which no event before it announces"
    if not signed.is_genuine:
        return f"the signature of the head is not of key {signed.key.id}"
    if signed.head.place != ChainHead(report.events, report.head):
        return f"the head says that event {signed.head.seq} has the hash {signed.head.hash[:12]}…, which is not so here"
    return ""


def _broken(report: ChainReport, why: str) -> ChainReport:
    return ChainReport(report.events, report.head, broken_at=report.events + 1, why=why)


_NOTHING: Final = chain.Filing(
    time=datetime.min, actor="", action="", model="", alias="", from_version=0, to_version=0, outcome=""
)
