"""Who may do what: roles, the permissions that they hold, and credentials. Pure."""

from __future__ import annotations

import hashlib
import re
import secrets
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import datetime
from enum import Enum
from fnmatch import translate
from typing import Final, Self

from interlock.errors import InvalidArgument

TOKEN_PREFIX: Final = "ilk_"
"""What every token begins with, so that scanners of logs and repositories know one when they see it."""
EVERY_MODEL: Final = "*"
_NAME: Final = re.compile(r"[A-Za-z0-9][A-Za-z0-9._@:/+-]{0,127}")
_GLOB: Final = re.compile(r"[A-Za-z0-9._*?-]{1,128}")


class Permission(Enum):
    """What a call may need."""

    PROBE = "probe"
    """Ask whether the server lives and is ready."""
    DESCRIBE = "describe"
    """Ask what a model takes and gives, and what the server speaks."""
    ASK = "ask"
    """Have a model answer."""
    SEE = "see"
    """Read the registry, its history, statistics and metrics."""
    FETCH = "fetch"
    """Take a version's weights away."""
    PUBLISH = "publish"
    """Add versions."""
    SWITCH = "switch"
    """Change what is served: promote, roll back, pin, retire, delete."""
    APPROVE = "approve"
    """Agree to what somebody else wants to switch."""
    ADMINISTER = "administer"
    """Change how the server itself behaves."""

    # Members are looked for in sets by every call; that of Enum itself is a function in Python.
    __hash__ = object.__hash__


class Role(Enum):
    """What a credential may be given, for models by glob."""

    VIEWER = "viewer"
    INVOKER = "invoker"
    PUBLISHER = "publisher"
    APPROVER = "approver"
    OPERATOR = "operator"
    ADMIN = "admin"


_ANYBODY: Final = frozenset({Permission.PROBE, Permission.DESCRIBE})
_VIEWER: Final = _ANYBODY | {Permission.SEE}
PERMISSIONS: Final[Mapping[Role, frozenset[Permission]]] = {
    Role.VIEWER: _VIEWER,
    Role.INVOKER: _ANYBODY | {Permission.ASK},
    Role.PUBLISHER: _VIEWER | {Permission.PUBLISH, Permission.FETCH},
    Role.APPROVER: _VIEWER | {Permission.APPROVE},
    Role.OPERATOR: _VIEWER | {Permission.SWITCH, Permission.FETCH},
    Role.ADMIN: frozenset(Permission),
}


@dataclass(frozen=True, slots=True)
class Grant:
    """A role on the models that a glob matches."""

    role: Role
    models: str = EVERY_MODEL

    @classmethod
    def parse(cls, text: str) -> Self:
        """Read ROLE or ROLE:GLOB; raises InvalidArgument."""
        name, colon, models = text.partition(":")
        known = {role.value: role for role in Role}
        if name not in known:
            raise InvalidArgument(f"there is no role {name[:64]!r}; there are {', '.join(known)}")
        if colon and not _GLOB.fullmatch(models):
            raise InvalidArgument(
                f"{models[:128]!r} is no pattern of model names; write for example {name}:fraud-* or {name}"
            )
        return cls(known[name], models if colon else EVERY_MODEL)

    def __str__(self) -> str:
        return self.role.value if self.models == EVERY_MODEL else f"{self.role.value}:{self.models}"


class Proof(Enum):
    """By what a caller is known."""

    TOKEN = "token"
    CERTIFICATE = "certificate"


@dataclass(frozen=True, slots=True, kw_only=True)
class Credential:
    """Who somebody is, and what he may do; of a token only the hash is kept."""

    id: str
    proof: Proof
    name: str
    """What the history calls its holder."""
    key: str = field(repr=False)
    """sha256 of the token in hexadecimal; or a name in the certificate: an alternative one, or the common name."""
    grants: tuple[Grant, ...]
    created_at: datetime
    created_by: str
    expires_at: datetime | None = None
    revoked_at: datetime | None = None

    def is_valid(self, now: datetime) -> bool:
        """Whether it opens anything now."""
        return self.revoked_at is None and (self.expires_at is None or now < self.expires_at)


def credential_name(text: str) -> str:
    """Return a name that a credential may have; raises InvalidArgument."""
    if not _NAME.fullmatch(text):
        raise InvalidArgument(
            f"{text[:128]!r} cannot name a credential: up to 128 letters, digits and ._@:/+-, the first one a letter "
            "or a digit"
        )
    return text


def is_glob(text: str) -> bool:
    """Tell whether a text is a pattern of model names."""
    return _GLOB.fullmatch(text) is not None


def new_token() -> str:
    """Return a new secret of 256 random bits."""
    return TOKEN_PREFIX + secrets.token_urlsafe(32)


def token_key(token: str) -> str:
    """Return what is kept of a token."""
    return hashlib.sha256(token.encode(errors="surrogateescape")).hexdigest()


class Powers:
    """What a caller may do: the permissions of its grants, asked quickly."""

    __slots__ = ("_everywhere", "_matching", "_somewhere")

    def __init__(self, grants: tuple[Grant, ...]) -> None:
        globs: dict[Permission, set[str]] = {}
        for grant in grants:
            for permission in PERMISSIONS[grant.role]:
                globs.setdefault(permission, set()).add(grant.models)
        self._everywhere = frozenset(each for each, models in globs.items() if EVERY_MODEL in models)
        self._somewhere = {each: tuple(sorted(models)) for each, models in globs.items()}
        self._matching: dict[Permission, Callable[[str], object]] = {}

    def everywhere(self, permission: Permission) -> bool:
        """Whether it is held for every model."""
        return permission in self._everywhere

    def somewhere(self, permission: Permission) -> bool:
        """Whether it is held for some model."""
        return permission in self._somewhere

    def on(self, permission: Permission, model: str) -> bool:
        """Whether it is held for a model."""
        if permission in self._everywhere:
            return True
        if permission not in self._somewhere:
            return False
        # Made at the first use: most of thousands of callers never ask.
        matches = self._matching.get(permission) or self._match(permission)
        return matches(model) is not None

    def _match(self, permission: Permission) -> Callable[[str], object]:
        found = re.compile("|".join(map(translate, self._somewhere[permission]))).match
        self._matching[permission] = found
        return found
