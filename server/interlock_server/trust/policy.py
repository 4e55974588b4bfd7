"""Decide whether what is signed lets a version be registered, promoted and loaded. Pure."""

from __future__ import annotations

from collections.abc import Sequence
from fnmatch import fnmatchcase

from interlock.errors import DataLoss
from interlock.statement import DOMAIN, Signed, Statement, differs

from interlock_server.snapshot import VersionSpec
from interlock_server.trust.keys import TrustedKeys


def patterns(setting: str) -> tuple[str, ...]:
    """Split the setting `require_signed`."""
    return tuple(setting.replace(",", " ").split())


def applies(required: Sequence[str], model: str) -> bool:
    """Whether versions of a model must be signed."""
    return any(fnmatchcase(model, glob) for glob in required)


def fault(keys: TrustedKeys, model: str, signed: Signed) -> str:
    """Say why a signature counts for nothing, whatever it is about; "" where it counts."""
    key = keys.find(signed.signed.key)
    if key is None:
        return f"key {signed.signed.key} is not among the trusted ones"
    found = key.fault(model, signed.at)
    if not found and not key.public.verifies(signed.signed.value, DOMAIN + signed.signed.statement):
        return f"the signature is not of key {key}"
    return found


def distrust(keys: TrustedKeys, spec: VersionSpec) -> str:
    """Say why none of a version's signatures is enough to load it; "" where one is."""
    what_to_do = (
        f"`interlock sign {spec.model}@{spec.version} --key FILE` with a trusted key mends that, "
        "`interlock trust list` shows them"
    )
    if not spec.signed:
        return f"nobody has signed it, and require_signed wants that; {what_to_do}"
    faults = [_fault(keys, spec, each) for each in spec.signed]
    return "" if "" in faults else f"{'; '.join(dict.fromkeys(faults))}. {what_to_do}"


def _fault(keys: TrustedKeys, spec: VersionSpec, signed: Signed) -> str:
    found = fault(keys, spec.model, signed)
    if found:
        return found
    try:
        said = Statement.from_bytes(signed.signed.statement)
    except DataLoss as error:
        return error.message
    # The files are the manifest's, whose digest is compared and whose bytes are checked before they are used.
    here = Statement(
        model=spec.model, artifact=spec.digest, files=said.files, signature=spec.signature, config=spec.config
    )
    if spec.golden_sha256 and spec.golden_sha256 not in {each.sha256 for each in said.files}:
        return f"what key {signed.signed.key} signed has other golden samples"
    return differs(said, here)
