"""The trusted keys in use: read at the start, looked at every second, and told of where what they say has changed."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable, Iterable
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Final

from interlock.errors import NotTrusted, StartupRefused
from interlock.model import Version
from interlock.statement import Signed, SignedStatement

from interlock_server.settings import Settings
from interlock_server.snapshot import VersionSpec
from interlock_server.trust import keys as files
from interlock_server.trust import policy
from interlock_server.trust.keys import TrustedKeys

log = logging.getLogger("interlock.trust")

_LOOK_EVERY_S: Final = 1.0
_SEEN: Final = "trusted-keys.seen"


@dataclass(frozen=True, slots=True)
class _Stamp:
    inode: int
    size: int
    modified_ns: int


class Trust:
    """Says whose signatures count. What a bad file would say changes nothing: what was in use stays so."""

    def __init__(self, settings: Settings, state: Path) -> None:
        """Read the file; raises StartupRefused where it cannot be used, or is not there though policy needs it."""
        self._settings = settings
        self._path = settings.trust_path
        self._seen_path = state / _SEEN
        self._stamp = self._look()
        found = files.read(self._path)
        if found is None and self._required:
            raise StartupRefused(
                f"require_signed is {settings.require_signed!r}, and there are no trusted keys {str(self._path)!r}: "
                "no such version could be loaded; `interlock trust add` makes that file"
            )
        self._keys = found or TrustedKeys()
        self._was_required = self._required
        self._is_stale = False
        """Versions may be judged otherwise now, and nobody has been told."""
        self._task: asyncio.Task[None] | None = None

    @property
    def _required(self) -> tuple[str, ...]:
        return policy.patterns(self._settings.require_signed)

    def wanted(self, model: str) -> bool:
        """Whether versions of a model must be signed."""
        return policy.applies(self._required, model)

    def distrust(self, spec: VersionSpec) -> str:
        """Say why policy keeps a version from being loaded; "" where it does not."""
        return policy.distrust(self._keys, spec) if self.wanted(spec.model) else ""

    def demand(self, model: str) -> None:
        """Refuse a version of a model that comes without a signature, where policy wants one; raises NotTrusted."""
        if self.wanted(model):
            raise NotTrusted(
                f"this server takes versions of {model!r} only if a trusted key has signed them; register it with "
                "--sign KEY (`interlock key create` makes one, `interlock trust add` on the server trusts it)",
                facts={"model": model},
            )

    def expect(self, model: str, key: str) -> None:
        """Refuse a key whose signature would count for nothing; raises NotTrusted."""
        self.refresh()  # it may have been trusted a moment ago
        found = self._keys.find(key)
        why = (
            f"key {key} is not among the trusted ones; `interlock trust add PUBLIC_KEY` on the server trusts it"
            if found is None
            else found.fault(model, datetime.now(UTC))
        )
        if why:
            raise NotTrusted(f"the signature would count for nothing: {why}", facts={"model": model, "key": key})

    def check(self, model: str, signed: SignedStatement) -> None:
        """Refuse a signature that counts for nothing now; raises NotTrusted."""
        self.expect(model, signed.key)
        why = policy.fault(self._keys, model, Signed(signed, datetime.now(UTC), ""))
        if why:
            raise NotTrusted(why, facts={"model": model, "key": signed.key})

    def named(self, version: Version) -> Version:
        """Return a version whose signatures have the keys' names, and whether they count."""
        if not version.signed_by:
            return version
        found = []
        for each in version.signed_by:
            key = self._keys.find(each.key)
            if key is None:
                found.append(replace(each, fault=f"key {each.key} is not among the trusted ones"))
            else:
                found.append(replace(each, name=key.name, fault=key.fault(version.model, each.signed_at)))
        return replace(version, signed_by=tuple(found))

    # --- changes ---

    def watch(self, changed: Callable[[], Awaitable[None]], tell: Callable[[str], Awaitable[None]]) -> None:
        """Begin to look at the file, on the running event loop.

        `changed` is called when what was said of versions may be said no more; `tell` with what has changed, once for
        each change, also for one that was made while no server ran; it raises where it cannot be written down.
        """
        self._task = asyncio.create_task(self._watch(changed, tell))

    async def close(self) -> None:
        """Stop looking. Idempotent."""
        task, self._task = self._task, None
        if task is not None:
            task.cancel()
            await asyncio.gather(task, return_exceptions=True)

    async def _watch(self, changed: Callable[[], Awaitable[None]], tell: Callable[[str], Awaitable[None]]) -> None:
        while True:
            try:
                self.refresh()
                await self._judge_anew(changed)
                await self._tell(tell)
            except Exception:
                log.exception("the trusted keys could not be followed; they are looked at again")
            await asyncio.sleep(_LOOK_EVERY_S)

    async def _judge_anew(self, changed: Callable[[], Awaitable[None]]) -> None:
        if not self._is_stale:
            return
        self._is_stale = False  # before: the file may change meanwhile
        try:
            await changed()
        except Exception:
            self._is_stale = True
            raise

    def refresh(self) -> None:
        """Read the file again if it has changed."""
        if self._required != self._was_required:
            self._was_required = self._required
            self._is_stale = True
        stamp = self._look()
        if stamp == self._stamp:
            return
        self._stamp = stamp
        try:
            found = files.read(self._path)
        except StartupRefused as error:
            log.error("the trusted keys in use stay: %s", error.message)
            return
        if found is None:
            log.error("the trusted keys in use stay: %s is gone; revoke keys, do not remove the file", self._path)
            return
        before, self._keys = self._keys, found
        for change in files.changes(before, found):
            log.warning("trusted keys: %s", change)
            self._is_stale = True

    async def _tell(self, tell: Callable[[str], Awaitable[None]]) -> None:
        now = self._keys
        seen = await asyncio.to_thread(self._told)
        if seen == now:
            return
        news = tuple(files.changes(seen, now))
        if news:
            await tell("; ".join(news))
        await asyncio.to_thread(files.write, self._seen_path, now)

    def _told(self) -> TrustedKeys:
        try:
            return files.read(self._seen_path) or TrustedKeys()
        except StartupRefused as error:
            log.error("all keys are told of anew: %s", error.message)
            return TrustedKeys()

    def _look(self) -> _Stamp | None:
        try:
            found = self._path.stat()
        except OSError:
            return None
        return _Stamp(found.st_ino, found.st_size, found.st_mtime_ns)


def unsigned(specs: Iterable[VersionSpec]) -> tuple[str, ...]:
    """Say which of the versions that are kept would not be loaded anew."""
    return tuple(f"{spec.model}@{spec.version}" for spec in specs if spec.distrust)
