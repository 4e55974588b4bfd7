"""Somebody who is known, as every process of a server is told."""

from __future__ import annotations

from dataclasses import dataclass

from interlock.access import Grant, Proof


@dataclass(frozen=True, slots=True)
class Holder:
    """Somebody who is known, by a token's hash or a name in a certificate."""

    proof: Proof
    name: str
    key: str
    grants: tuple[Grant, ...]
    expires_at: float = 0.0
    """Seconds since 1970; 0: never."""
