"""The trusted keys: which public keys may sign which models, since when, until when. Pure, but for the file."""

from __future__ import annotations

import errno
import fcntl
import json
import os
import time
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Final

from interlock.errors import AlreadyExists, InterlockError, InvalidArgument, NotFound, StartupRefused
from interlock.keys import PublicKey

FORMAT: Final = 1
_MAX_BYTES: Final = 4 * 1024 * 1024
_PATIENCE_S: Final = 10.0
_AGAIN_S: Final = 0.02


@dataclass(frozen=True, slots=True, kw_only=True)
class TrustedKey:
    """A public key, and for what it is trusted."""

    public: PublicKey
    name: str
    models: tuple[str, ...]
    """Patterns of model names."""
    added_at: datetime
    added_by: str
    not_before: datetime | None = None
    """Signatures that the registry was given earlier do not count."""
    not_after: datetime | None = None
    """Signatures that the registry was given later do not count; those from before stay good."""
    revoked_at: datetime | None = None
    """From then on none of its signatures counts, whenever it was made."""
    revoked_by: str = ""
    revoked_why: str = ""

    def __str__(self) -> str:
        return f"{self.name} ({self.public.id})"

    def fault(self, model: str, signed_at: datetime) -> str:
        """Say why its signature on a version of a model, given at that time, does not count; "" where it does."""
        if self.revoked_at is not None:
            why = f": {self.revoked_why}" if self.revoked_why else ""
            return f"key {self} was revoked at {_shown(self.revoked_at)}{why}"
        if not any(fnmatchcase(model, glob) for glob in self.models):
            return f"key {self} is trusted for {' '.join(self.models)}, and not for {model!r}"
        if self.not_before is not None and signed_at < self.not_before:
            return f"key {self} signed at {_shown(signed_at)}, and is trusted from {_shown(self.not_before)} on"
        if self.not_after is not None and signed_at >= self.not_after:
            return f"key {self} signed at {_shown(signed_at)}, and was trusted until {_shown(self.not_after)}"
        return ""


@dataclass(frozen=True, slots=True)
class TrustedKeys:
    """All keys that somebody has trusted, revoked ones too."""

    keys: tuple[TrustedKey, ...] = ()

    def find(self, id: str) -> TrustedKey | None:
        """Return the key with an id."""
        return next((each for each in self.keys if each.public.id == id), None)

    def called(self, text: str) -> TrustedKey:
        """Return the key with an id or a name; raises NotFound."""
        for each in self.keys:
            if text in (each.public.id, each.name):
                return each
        raise NotFound(f"no key has the id or the name {text[:80]!r}; `interlock trust list` shows those there are")

    def added(self, new: TrustedKey) -> TrustedKeys:
        """Return these and one more; raises AlreadyExists."""
        for each in self.keys:
            if new.public == each.public or new.name == each.name:
                state = "revoked, and stays so" if each.revoked_at else "trusted already"
                raise AlreadyExists(f"key {each} is {state}; give another key, or another name")
        return TrustedKeys((*self.keys, new))

    def revoked(self, text: str, *, now: datetime, by: str, why: str) -> TrustedKeys:
        """Return these with one revoked; raises NotFound, AlreadyExists."""
        found = self.called(text)
        if found.revoked_at is not None:
            raise AlreadyExists(f"key {found} was revoked at {_shown(found.revoked_at)} already")
        ended = replace(found, revoked_at=now, revoked_by=by, revoked_why=why)
        return TrustedKeys(tuple(ended if each is found else each for each in self.keys))

    def to_json(self) -> str:
        """Return the file's text."""
        return json.dumps({"format": FORMAT, "keys": [_document(each) for each in self.keys]}, indent=2) + "\n"

    @classmethod
    def from_json(cls, text: str) -> TrustedKeys:
        """Read the file's text; raises InvalidArgument that names what is wrong."""
        try:
            document = json.loads(text)
            if document["format"] != FORMAT:
                raise ValueError(f"its format is {document['format']!r}, this program reads {FORMAT}")
            keys = tuple(map(_key, document["keys"]))
        except (AttributeError, KeyError, RecursionError, TypeError, ValueError) as error:
            raise InvalidArgument(f"it is no list of trusted keys: {error!r}") from error
        for what, found in (("key", [each.public.id for each in keys]), ("name", [each.name for each in keys])):
            if len(set(found)) != len(found):
                raise InvalidArgument(f"the same {what} is in it twice")
        return cls(keys)


def read(path: Path) -> TrustedKeys | None:
    """Read the file of trusted keys; None where there is none. Raises StartupRefused where it cannot be used."""
    try:
        with path.open("rb") as file:
            data = file.read(_MAX_BYTES)
        return TrustedKeys.from_json(data.decode())
    except FileNotFoundError:
        return None
    except OSError as error:
        raise StartupRefused(f"the trusted keys {str(path)!r} cannot be read: {error.strerror}") from error
    except (UnicodeDecodeError, InterlockError) as error:
        why = error.message if isinstance(error, InterlockError) else str(error)
        raise StartupRefused(
            f"the trusted keys {str(path)!r} cannot be used: {why}; `interlock trust` writes that file"
        ) from error


def write(path: Path, keys: TrustedKeys) -> None:
    """Replace the file at once, so that whoever reads it sees the one or the other; raises OSError."""
    new = path.with_name(f".{path.name}.new")
    with new.open("w") as file:
        file.write(keys.to_json())
        file.flush()
        os.fsync(file.fileno())
    new.replace(path)
    folder = os.open(path.parent, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(folder)
    finally:
        os.close(folder)


def change(path: Path, how: Callable[[TrustedKeys], TrustedKeys]) -> TrustedKeys:
    """Replace the file by what `how` makes of it, and return that; nobody else changes it in between.

    Raises what `read` and `how` raise, and OSError; TimeoutError where somebody else goes on changing it.
    """
    lock = os.open(path.with_name(f".{path.name}.lock"), os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW, 0o600)
    try:
        until = time.monotonic() + _PATIENCE_S
        while not _locked(lock):
            if time.monotonic() > until:
                raise TimeoutError(errno.ETIMEDOUT, "somebody else is changing it")
            time.sleep(_AGAIN_S)
        changed = how(read(path) or TrustedKeys())
        write(path, changed)
        return changed
    finally:
        os.close(lock)


def _locked(lock: int) -> bool:
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


def changes(before: TrustedKeys, after: TrustedKeys) -> Iterable[str]:
    """Say how two states of the file differ, key by key."""
    for each in after.keys:
        old = before.find(each.public.id)
        if old is None:
            yield f"trusted {each} for {' '.join(each.models)} (by {each.added_by})"
        if each.revoked_at is not None and (old is None or old.revoked_at is None):
            yield f"revoked {each} (by {each.revoked_by}){f': {each.revoked_why}' if each.revoked_why else ''}"
        elif old is not None and old != each:
            yield f"changed {each}"
    for each in before.keys:
        if after.find(each.public.id) is None:
            yield f"removed {each}"


def _document(key: TrustedKey) -> Mapping[str, object]:
    moments = {"not_before": key.not_before, "not_after": key.not_after, "revoked_at": key.revoked_at}
    return {
        "name": key.name,
        "id": key.public.id,
        "public_key": str(key.public),
        "models": list(key.models),
        "added_at": key.added_at.isoformat(),
        "added_by": key.added_by,
        **{name: moment.isoformat() for name, moment in moments.items() if moment is not None},
        **({"revoked_by": key.revoked_by, "revoked_why": key.revoked_why} if key.revoked_at is not None else {}),
    }


def _key(document: Mapping[str, object]) -> TrustedKey:
    models = document["models"]
    if not isinstance(models, list) or not models or not all(isinstance(each, str) for each in models):
        raise ValueError(f"models is {models!r}, which is no list of patterns")
    try:
        public = PublicKey.parse(str(document["public_key"]))
    except InvalidArgument as error:
        raise ValueError(error.message) from error
    if document.get("id", public.id) != public.id:
        raise ValueError(f"key {document['name']!r} has the id {public.id}, and not {document['id']!r}")
    added_at = _moment(document, "added_at")
    if added_at is None:
        raise ValueError("added_at is missing")
    return TrustedKey(
        public=public,
        name=str(document["name"]),
        models=tuple(models),
        added_at=added_at,
        added_by=str(document["added_by"]),
        not_before=_moment(document, "not_before"),
        not_after=_moment(document, "not_after"),
        revoked_at=_moment(document, "revoked_at"),
        revoked_by=str(document.get("revoked_by", "")),
        revoked_why=str(document.get("revoked_why", "")),
    )


def _moment(document: Mapping[str, object], name: str) -> datetime | None:
    if name not in document:
        return None
    found = datetime.fromisoformat(str(document[name]))
    if found.tzinfo is None:
        raise ValueError(f"{name} is {document[name]!r}, which has no zone")
    return found.astimezone(UTC)


def _shown(moment: datetime) -> str:
    return moment.astimezone(UTC).strftime("%Y-%m-%d %H:%M:%S UTC")
