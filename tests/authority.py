"""Certificates for tests: an authority, and files of what it signs."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path

import trustme


@dataclass(frozen=True, slots=True)
class Pair:
    """A certificate and its key, in files."""

    cert: Path
    key: Path


class Authority:
    """Signs certificates and writes them below a directory."""

    def __init__(self, folder: Path, name: str = "ca") -> None:
        self._folder = folder
        self._name = name
        self._ca = trustme.CA()
        folder.mkdir(parents=True, exist_ok=True)
        self.path = folder / f"{name}.pem"
        self._ca.cert_pem.write_to_path(self.path)

    def issue(self, *identities: str, name: str = "", common_name: str = "") -> Pair:
        """Write a new certificate, over the files of an older one of that name."""
        made = self._ca.issue_cert(*identities, common_name=common_name or None)
        name = name or identities[0]
        found = Pair(self._folder / f"{self._name}-{name}.crt", self._folder / f"{self._name}-{name}.key")
        for path, content in (
            (found.cert, b"".join(each.bytes() for each in made.cert_chain_pems)),
            (found.key, made.private_key_pem.bytes()),
        ):
            replace(path, content)
        return found

    def server(self) -> Pair:
        """Write a certificate for this machine."""
        return self.issue("localhost", "127.0.0.1", name="server")


def replace(path: Path, content: bytes) -> None:
    """Put a file in another's place, as tools that renew certificates do."""
    new = path.with_suffix(".new")
    new.write_bytes(content)
    os.replace(new, path)
