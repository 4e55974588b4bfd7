"""What was signed, held against what is stored and against the trusted keys: a part of `interlock fsck`."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final

from interlock.errors import DataLoss, InterlockError
from interlock.model import Version, VersionState
from interlock.statement import DOMAIN, Signed, Statement, differs
from interlock_registry.fsck import Finding, Severity
from interlock_registry.registry import Registry

from interlock_server.trust.keys import TrustedKeys

_RESTORE: Final = "restore the registry from a backup, or sign the version anew"


def examine(registry: Registry, keys: TrustedKeys) -> Iterator[Finding]:
    """Yield what is wrong with the signatures of versions that were not deleted; raises RegistryUnavailable."""
    for model in _models(registry):
        try:
            for version in _signed_versions(registry, model):
                here = _statement(registry, version)
                for each in registry.signed(version.model, version.version):
                    yield from check(f"{version.model}@{version.version}", here, each, keys)
        except DataLoss as error:
            yield _broken(model, f"its signatures were not looked at: {error.message}")


def check(name: str, here: Statement, signed: Signed, keys: TrustedKeys) -> Iterator[Finding]:
    """Yield what is wrong with one signature of a version, of which this is to be said."""
    try:
        said = Statement.from_bytes(signed.signed.statement)
    except DataLoss as error:
        yield _broken(name, f"what key {signed.signed.key} signed cannot be read: {error.message}")
        return
    why = differs(said, here)
    if why:
        yield _broken(name, f"it is not what key {signed.signed.key} signed: {why}")
    key = keys.find(signed.signed.key)
    if key is None:
        yield _note(
            name,
            f"key {signed.signed.key}, which signed it, is not among the trusted ones: its signature was not verified",
            "`interlock trust add` trusts it, `interlock verify --key` verifies with any key",
        )
        return
    try:
        is_good = key.public.verifies(signed.signed.value, DOMAIN + signed.signed.statement)
    except InterlockError as error:  # without the package that verifies
        yield _note(name, f"the signature of key {key} was not verified", error.message)
        return
    if not is_good:
        yield _broken(name, f"the signature is not of key {key}")
        return
    fault = key.fault(here.model, signed.at)
    if fault:
        yield _note(name, f"its signature counts for nothing: {fault}", "`interlock sign` with a trusted key")


def _signed_versions(registry: Registry, model: str) -> Iterator[Version]:
    token = ""
    while True:
        page = registry.versions(model, page_token=token)
        for version in page.items:
            if version.signed_by and version.state is not VersionState.DELETED:
                yield version
        token = page.next_page_token
        if not token:
            return


def _models(registry: Registry) -> Iterator[str]:
    token = ""
    while True:
        page = registry.models(page_token=token)
        yield from (model.name for model in page.items)
        token = page.next_page_token
        if not token:
            return


def _statement(registry: Registry, version: Version) -> Statement:
    """Return what there is to sign of a version; raises DataLoss."""
    return Statement(
        model=version.model,
        artifact=version.digest,
        files=registry.manifest(version.model, version.version).sources,
        signature=version.signature,
        config=version.config,
    )


def _broken(subject: str, what: str) -> Finding:
    return Finding(severity=Severity.ERROR, subject=subject, what=what, remedy=_RESTORE)


def _note(subject: str, what: str, remedy: str) -> Finding:
    return Finding(severity=Severity.NOTE, subject=subject, what=what, remedy=remedy)
