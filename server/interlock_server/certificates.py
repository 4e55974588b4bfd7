"""The server's certificates: checked as a set, and replaced while it runs; bad files never replace good ones."""

from __future__ import annotations

import asyncio
import logging
import os
import ssl
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

from interlock.errors import StartupRefused

log = logging.getLogger("interlock.tls")

_LOOK_EVERY_S: Final = 1.0
_MAX_BYTES: Final = 1024 * 1024
_FILE: Final = "-----BEGIN"


@dataclass(frozen=True, slots=True)
class CertificateFiles:
    """Where the certificates lie, as PEM."""

    cert: Path
    """The server's chain, its own certificate first."""
    key: Path
    client_ca: Path | None = None
    """Who may sign the callers' certificates; with it every caller must show one."""


@dataclass(frozen=True, slots=True)
class Material:
    """A certificate and the key that belongs to it."""

    cert: bytes
    key: bytes = field(repr=False)
    client_ca: bytes | None
    context: ssl.SSLContext = field(repr=False, compare=False)
    """The same, for servers on the standard library's TLS."""


@dataclass(frozen=True, slots=True)
class _Stamp:
    """What tells that a file has changed."""

    inode: int
    size: int
    modified_ns: int


class Certificates:
    """The certificates in use. `current` may be read from any thread."""

    def __init__(self, files: CertificateFiles) -> None:
        """Read the files; raises StartupRefused where they cannot be used."""
        self._files = files
        self._seen = self._stamps()
        self._current = read(files)
        self._task: asyncio.Task[None] | None = None

    @property
    def current(self) -> Material:
        """What new connections are met with."""
        return self._current

    @property
    def asks_callers(self) -> bool:
        """Whether callers must show a certificate."""
        return self._files.client_ca is not None

    def refresh(self, *, asked: bool = False) -> bool:
        """Read the files again if they have changed, or if somebody asks; tell whether others are in use now."""
        stamps = self._stamps()
        if stamps == self._seen and not asked:
            return False
        self._seen = stamps
        try:
            found = read(self._files)
        except StartupRefused as error:
            log.error("the certificates in use stay: %s", error.message)
            return False
        changed = found != self._current
        self._current = found
        if changed or asked:
            log.info("certificates read again", extra={"certificate": str(self._files.cert), "changed": changed})
        return changed

    def following(self) -> ssl.SSLContext:
        """Return a context whose every new connection gets the certificates that are in use by then."""
        context = read(self._files).context

        def newest(connection: ssl.SSLObject, name: str | None, _: ssl.SSLContext) -> None:
            connection.context = self._current.context

        context.sni_callback = newest
        return context

    def reread(self) -> None:
        """Read the files again, changed or not."""
        self.refresh(asked=True)

    def watch(self) -> None:
        """Begin to look at the files, on the running event loop: a renewed certificate is used within two seconds."""
        self._task = asyncio.create_task(self._watch())

    async def close(self) -> None:
        """Stop looking. Idempotent."""
        task, self._task = self._task, None
        if task is not None:
            task.cancel()
            await asyncio.gather(task, return_exceptions=True)

    async def _watch(self) -> None:
        while True:
            await asyncio.sleep(_LOOK_EVERY_S)
            try:
                await asyncio.to_thread(self.refresh)
            except Exception:
                log.exception("the certificates could not be looked at")

    def _stamps(self) -> tuple[_Stamp | None, ...]:
        return tuple(_stamp(path) for path in (self._files.cert, self._files.key, self._files.client_ca))


def read(files: CertificateFiles) -> Material:
    """Read a set of certificates; raises StartupRefused, with the file and what is wrong with it."""
    cert, key = _pem(files.cert, "tls_cert"), _pem(files.key, "tls_key")
    client_ca = None if files.client_ca is None else _pem(files.client_ca, "tls_client_ca")
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    context.set_alpn_protocols(["http/1.1"])
    # A session that is taken up again would be met with what was right when it began.
    context.options |= ssl.OP_NO_TICKET
    context.num_tickets = 0
    try:
        _load_pair(context, cert, key)
    except (ssl.SSLError, ValueError, UnicodeDecodeError) as error:
        raise StartupRefused(
            f"the certificate {str(files.cert)!r} and the key {str(files.key)!r} cannot be used together "
            f"({_reason(error)}); tls_cert is a PEM chain with the server's own certificate first, tls_key the "
            "unencrypted PEM key of that certificate"
        ) from error
    if client_ca is not None:
        try:
            context.load_verify_locations(cadata=client_ca.decode("ascii"))
        except (ssl.SSLError, ValueError, UnicodeDecodeError) as error:
            raise StartupRefused(
                f"{str(files.client_ca)!r} holds no certificates ({_reason(error)}); tls_client_ca is the PEM of "
                "whoever signs the callers' certificates"
            ) from error
        context.verify_mode = ssl.CERT_REQUIRED
    return Material(cert, key, client_ca, context)


def names_in(certificate: Mapping[str, object] | None) -> tuple[str, ...]:
    """Return the names in a caller's certificate, as `ssl` tells it: the alternative ones, then the common name."""
    if not certificate:
        return ()
    alternative: Iterable[tuple[str, object]] = certificate.get("subjectAltName", ())  # type: ignore[assignment]
    subject: Iterable[Iterable[tuple[str, str]]] = certificate.get("subject", ())  # type: ignore[assignment]
    found = [name for _, name in alternative if isinstance(name, str)]
    found += [value for part in subject for kind, value in part if kind == "commonName"]
    return tuple(dict.fromkeys(found))


def _load_pair(context: ssl.SSLContext, cert: bytes, key: bytes) -> None:
    """Load what was read, not what lies in the files by now."""
    held = os.memfd_create("interlock-certificate", os.MFD_CLOEXEC)
    try:
        os.write(held, cert + b"\n" + key)
        # Without a password OpenSSL would ask for one on the terminal.
        context.load_cert_chain(f"/proc/self/fd/{held}", password="")
    finally:
        os.close(held)


def _pem(path: Path, setting: str) -> bytes:
    try:
        with path.open("rb") as file:
            found = file.read(_MAX_BYTES + 1)
    except OSError as error:
        raise StartupRefused(f"{setting} is {str(path)!r}, which cannot be read: {error.strerror}") from error
    if len(found) > _MAX_BYTES or _FILE.encode() not in found:
        raise StartupRefused(f"{setting} is {str(path)!r}, which is no PEM file: it must hold a line {_FILE}…")
    return found


def _stamp(path: Path | None) -> _Stamp | None:
    if path is None:
        return None
    try:
        found = path.stat()
    except OSError:
        return None
    return _Stamp(found.st_ino, found.st_size, found.st_mtime_ns)


def _reason(error: Exception) -> str:
    return (getattr(error, "reason", None) or str(error)).replace("_", " ").lower()
