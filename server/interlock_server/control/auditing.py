"""The history for those who keep it elsewhere: heads signed by this server's audit key, and a copy that grows."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import os
import uuid
from collections.abc import Iterable
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from typing import Final

from interlock.audit import ACTION, DOMAIN, Head, SignedHead, is_head, link_of
from interlock.chain import START, ChainHead
from interlock.errors import DataLoss, InterlockError, RegistryUnavailable
from interlock.keys import SigningKey
from interlock.model import EventFilter
from interlock_registry.domain import Action, Attempt
from interlock_registry.registry import Registry

from interlock_server.control.database import Database
from interlock_server.control.patient_output import PATIENCE_S, PatientOutput
from interlock_server.settings import Settings

log = logging.getLogger("interlock.audit")

ACTOR: Final = "interlock"
STDOUT: Final = "-"
_PAGE: Final = 500
_END: Final = (1 << 62) - 1
_TAIL: Final = 1 << 20
_LAST_PATIENCE_S: Final = 1.0
"""At a stop, after which there is no next time."""


class Auditing:
    """Signs heads, and owns the task that copies the history."""

    def __init__(
        self, database: Database, settings: Settings, state: Path, replica: str, stdout: PatientOutput | None = None
    ) -> None:
        """Take where the key lies (`state`), which replica this is, and stdout where others print there too."""
        self._database = database
        self._settings = settings
        self._key_path = state / "audit.key"
        self._told_path = state / "audit.exported"
        self._replica = replica
        self._announced = ""
        self._lock = asyncio.Lock()
        self._closing = asyncio.Event()
        self._why = ""
        self._stdout = stdout or PatientOutput(1, PATIENCE_S)
        self._printed: ChainHead | None = None
        """How far the copy on stdout goes, with what is still to be read."""
        self._untold: ChainHead | None = None
        """The head that is to be noted as printed once it was read."""
        self._headless = False
        """The copy ends with events that no head follows yet."""
        self._task: asyncio.Task[None] | None = None

    @property
    def why_not_copied(self) -> str:
        """Why the history is not copied; "" while it is, and where nobody wants that."""
        return self._why

    def start(self) -> None:
        """Begin to copy, where that is wanted, and to make the key known."""
        self._task = asyncio.create_task(self._work())

    async def close(self) -> None:
        """Copy what is new, and stop; what nobody reads holds nothing up for long. Idempotent."""
        self._stdout.patience_s = _LAST_PATIENCE_S
        self._closing.set()
        task, self._task = self._task, None
        if task is not None:
            await task  # not cancelled: a thread that writes would go on beside the last copy
            if self._why:
                log.warning("stopping, with events in the history that are not copied: %s", self._why)

    async def head(self) -> SignedHead:
        """Return the end of the history, signed; raises RegistryUnavailable."""
        key = await self._key()

        def read(registry: Registry) -> Head:
            place = registry.chain_after(_END, page_size=1).head
            return Head(
                incarnation=registry.state().incarnation,
                seq=place.seq,
                hash=place.hash,
                time=datetime.now(UTC),
                replica=self._replica,
            )

        found = await self._database.read(read)
        return SignedHead(found, key.public, key.sign(DOMAIN + found.to_json().encode()))

    async def _key(self) -> SigningKey:
        """Return the audit key, made where there is none; one that is new is announced before it signs."""
        async with self._lock:
            key = await asyncio.to_thread(_load, self._key_path)
            if key.public.id != self._announced:
                await self._announce(key)
                self._announced = key.public.id
            return key

    async def _announce(self, key: SigningKey) -> None:
        mine = f"replica {self._replica} "
        page = await self._database.read(
            lambda registry: registry.events(EventFilter(action=ACTION, outcome="ok"), page_size=1000)
        )
        before = next((each.detail.split() for each in page.items if each.detail.startswith(mine)), [])
        if str(key.public) in before:
            return
        old = f" in place of key {before[-1]}" if before else ""
        attempt = Attempt(action=Action.AUDIT_KEY, actor=ACTOR, request_id=uuid.uuid4().hex, model="")
        detail = f"{mine}signs the history's head{old} by {key.public} {key.public.id}"
        await self._database.write(lambda registry: registry.remark(attempt, detail))
        log.info("the history's head is signed by key %s", key.public.id)

    # --- the copy ---

    async def _work(self) -> None:
        while not self._closing.is_set():
            await self._try()
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(self._settings.audit_export_every_s):
                    await self._closing.wait()
        await self._try()

    async def _try(self) -> None:
        why = ""
        try:
            if self._settings.audit_export:
                await self._copy()
            else:
                await self._key()
        except RegistryUnavailable as error:
            why = error.message
        except (InterlockError, OSError) as error:
            why = str(error)
            if why != self._why:
                log.error("the history is not copied: %s", why)
        except Exception:
            log.exception("the history is not copied")
            why = "an internal error; the log has more"
        self._why = why if self._settings.audit_export else ""

    async def _copy(self) -> None:
        """Append what is new, and a head; raises DataLoss where the history does not go on from what was copied."""
        await asyncio.to_thread(self._finish)
        last = await asyncio.to_thread(self._last)
        signed = await self.head()
        if signed.head.place == last and not self._headless:
            return
        if last.seq:
            await self._check(last)
        at = last.seq
        while at < signed.head.seq:
            part = await self._database.read(partial(Registry.chain_after, seq=at, page_size=_PAGE))
            links = [each for each in part.links if each.seq <= signed.head.seq]
            if not links:
                raise DataLoss(f"event {at + 1} is not there, though the history's head is event {signed.head.seq}")
            at = links[-1].seq
            self._headless = True
            await asyncio.to_thread(self._append, [each.body for each in links], ChainHead(at, links[-1].hash))
        await asyncio.to_thread(self._append_head, signed)

    async def _check(self, last: ChainHead) -> None:
        part = await self._database.read(lambda registry: registry.chain_after(last.seq - 1, page_size=1))
        if not part.links or part.links[0].hash != last.hash:
            raise DataLoss(
                f"the history does not go on from event {last.seq}, which was copied before: it was cut off, written "
                "anew or restored from a backup. Compare the two (`interlock log --verify --against COPY`), then move "
                "the copy away to begin another"
            )

    def _last(self) -> ChainHead:
        """Return how far the copy goes."""
        if self._settings.audit_export == STDOUT:
            if self._printed is not None:
                return self._printed
            try:
                return ChainHead.parse(self._told_path.read_text())
            except FileNotFoundError:
                return START
        path = Path(self._settings.audit_export)
        try:
            with path.open("rb+") as file:
                size = file.seek(0, os.SEEK_END)
                file.seek(max(0, size - _TAIL))
                tail = file.read()
                whole = tail.rfind(b"\n") + 1
                if whole < len(tail):  # we were killed while we wrote it
                    file.truncate(size - (len(tail) - whole))
        except FileNotFoundError:
            return START
        lines = tail[:whole].splitlines()
        if not lines:
            return START
        if is_head(lines[-1]):
            return SignedHead.from_line(lines[-1]).head.place
        link = link_of(lines[-1])
        return ChainHead(link.seq, link.hash)

    def _finish(self) -> None:
        """Have read what was printed before; raises TimeoutError."""
        self._stdout.drain()
        if self._untold is not None and self._untold == self._printed:
            self._told_path.write_text(f"{self._untold}\n")
            self._untold = None

    def _append_head(self, signed: SignedHead) -> None:
        if self._settings.audit_export == STDOUT:  # which takes it on in any case
            self._untold, self._headless = signed.head.place, False
        self._append([signed.to_line().encode()], signed.head.place)
        self._headless = False

    def _append(self, lines: Iterable[bytes], place: ChainHead) -> None:
        """Append lines, by which the copy goes as far as `place`."""
        data = b"".join(line + b"\n" for line in lines)
        if self._settings.audit_export == STDOUT:
            self._printed = place
            self._stdout.put(data)
            self._finish()
            return
        descriptor = os.open(self._settings.audit_export, os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC, 0o600)
        with os.fdopen(descriptor, "wb") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())


def _load(path: Path) -> SigningKey:
    return SigningKey.load(path) if path.exists() else SigningKey.create(path)
