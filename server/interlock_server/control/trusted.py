"""Whether policy lets a version be served."""

from __future__ import annotations

from interlock.errors import NotTrusted

from interlock_server.snapshot import VersionSpec


def check_trusted(spec: VersionSpec, what: str) -> None:
    """Raise NotTrusted where policy refuses a version's signatures; `what` is what is not done with it therefore."""
    if spec.distrust:
        raise NotTrusted(
            f"version {spec.version} of {spec.model!r} is not {what}, nothing was changed: {spec.distrust}",
            facts={"model": spec.model, "version": str(spec.version)},
        )
