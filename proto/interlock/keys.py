"""Ed25519 keys: files of private ones, texts of public ones, signing and verifying. The only user of `cryptography`."""

from __future__ import annotations

import base64
import binascii
import hashlib
import os
import secrets
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, Final, Protocol, Self

from interlock.errors import FailedPrecondition, InvalidArgument

if TYPE_CHECKING:
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

PREFIX: Final = "ilp_"
"""What the text of a public key begins with."""
_RAW: Final = 32
_MAX_FILE: Final = 64 * 1024


@dataclass(frozen=True, slots=True)
class PublicKey:
    """A public key."""

    raw: bytes
    """32 bytes."""

    @property
    def id(self) -> str:
        """What it is called by: the beginning of its sha256."""
        return hashlib.sha256(self.raw).hexdigest()[:16]

    def __str__(self) -> str:
        return PREFIX + base64.urlsafe_b64encode(self.raw).rstrip(b"=").decode()

    @classmethod
    def parse(cls, text: str) -> Self:
        """Read a key's text; raises InvalidArgument."""
        text = text.strip()
        try:
            raw = base64.b64decode(text.removeprefix(PREFIX) + "=", altchars=b"-_", validate=True)
        except (binascii.Error, ValueError):
            raw = b""
        if not text.startswith(PREFIX) or len(raw) != _RAW:
            raise InvalidArgument(
                f"{text[:80]!r} is no public key: it begins with {PREFIX} and is what `interlock key create` printed"
            )
        return cls(raw)

    @classmethod
    def read(cls, given: str) -> Self:
        """Read a key from its text, or from the file that holds it, of a private key's file too; InvalidArgument."""
        path = Path(given)
        if given.startswith(PREFIX) and not path.exists():
            return cls.parse(given)
        data = _content(path)
        if b"PRIVATE KEY" in data:
            return cls(SigningKey.load(path).public.raw)
        return cls.parse(data.decode(errors="replace"))

    def verifies(self, value: bytes, data: bytes) -> bool:
        """Tell whether a signature is this key's over these bytes."""
        return _verifies(self.raw, value, data)


class Signer(Protocol):
    """Whoever signs: a key in a file, or one that never leaves its vault."""

    @property
    def public(self) -> PublicKey:
        """The public half."""
        ...

    def sign(self, data: bytes) -> bytes:
        """Return 64 bytes of Ed25519 over `data`."""
        ...


class SigningKey:
    """A private key that was read from a file."""

    def __init__(self, key: Ed25519PrivateKey) -> None:
        self._key = key
        self.public: Final = PublicKey(key.public_key().public_bytes_raw())

    @classmethod
    def create(cls, path: Path) -> Self:
        """Make a key and write it, for its owner only, where no file is; raises InvalidArgument.

        The file is unencrypted PKCS8 in PEM, as OpenSSL and ssh-keygen's converters read it.
        """
        _available()
        from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
        from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat

        key = Ed25519PrivateKey.generate()
        text = key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
        # Under another name first: whoever is killed meanwhile leaves no file that looks like a key and is none.
        new = path.with_name(f".{path.name}.{secrets.token_hex(8)}.new")
        try:
            # A file that is there already may be somebody else's, who would read the key in it.
            descriptor = os.open(new, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
            try:
                with os.fdopen(descriptor, "wb") as file:
                    file.write(text)
                    file.flush()
                    os.fsync(file.fileno())
                os.link(new, path)
            finally:
                new.unlink(missing_ok=True)
        except FileExistsError as error:
            raise InvalidArgument(
                f"{str(path)!r} is there already; no key is overwritten, name another file"
            ) from error
        except OSError as error:
            raise InvalidArgument(f"the key cannot be written to {str(path)!r}: {error.strerror}") from error
        return cls(key)

    @classmethod
    def load(cls, path: Path) -> Self:
        """Read a key's file; raises InvalidArgument."""
        data = _content(path)
        _available()
        from cryptography.exceptions import UnsupportedAlgorithm
        from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
        from cryptography.hazmat.primitives.serialization import load_pem_private_key

        try:
            key = load_pem_private_key(data, password=None)
        except (TypeError, ValueError, UnsupportedAlgorithm) as error:
            # What the library says of it may quote the file.
            raise InvalidArgument(
                f"{str(path)!r} holds no private key that can be used: it must be PEM (PKCS8), and not encrypted; "
                "`interlock key create` makes one"
            ) from error
        if not isinstance(key, Ed25519PrivateKey):
            raise InvalidArgument(
                f"{str(path)!r} holds a key of another kind than Ed25519; `interlock key create FILE`"
            )
        return cls(key)

    def sign(self, data: bytes) -> bytes:
        """Return 64 bytes of Ed25519 over `data`."""
        return self._key.sign(data)


def signer(given: str | Path | Signer) -> Signer:
    """Return a signer: the given one, or the key in the given file; raises InvalidArgument, FailedPrecondition."""
    return SigningKey.load(Path(given)) if isinstance(given, str | Path) else given


@lru_cache(maxsize=4096)
def _verifies(raw: bytes, value: bytes, data: bytes) -> bool:
    # Asked of everything that is loaded, again and again, and always with the same answer.
    _available()
    from cryptography.exceptions import InvalidSignature
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey

    try:
        Ed25519PublicKey.from_public_bytes(raw).verify(value, data)
    except (InvalidSignature, ValueError):
        return False
    return True


def _content(path: Path) -> bytes:
    try:
        with path.open("rb") as file:
            return file.read(_MAX_FILE)
    except OSError as error:
        raise InvalidArgument(f"the key file {str(path)!r} cannot be read: {error.strerror}") from error


def _available() -> None:
    try:
        import cryptography  # noqa: F401 - whether it is there, said in words of ours
    except ModuleNotFoundError as error:
        raise FailedPrecondition("signatures need the package cryptography: pip install 'interlock[sign]'") from error
