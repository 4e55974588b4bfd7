"""What `Admin` and `AsyncAdmin` do, as flows: build the request, follow pages, read the answer. No I/O."""

from __future__ import annotations

import getpass
import os
import socket
import uuid
from collections.abc import Sequence
from typing import Final

from interlock import convert, convert_approval, convert_diff
from interlock import model as m
from interlock.approval import Approval
from interlock.diff import VersionDiff
from interlock.errors import InvalidArgument
from interlock.types import ModelRef, alias_name, model_name
from interlock.v1 import admin_pb2 as pb

from interlock_client._channel import is_whole
from interlock_client._flow import Flow, ask, following

SERVICE: Final = pb.DESCRIPTOR.services_by_name["AdminService"].full_name
REGISTER_TIMEOUT_S: Final = 600.0
"""An upload, its validation and its golden check."""
SWITCH_TIMEOUT_S: Final = 300.0
"""What may have to load and warm a version first."""
DIFF_TIMEOUT_S: Final = 300.0
"""What reads the weights of two versions and runs one of them."""
DEFAULT_LIMIT: Final = 100
_PAGE: Final = 500


def headers() -> Sequence[tuple[str, str]]:
    """Return the metadata of one call: who asks (recorded, not verified) and an id for the server's log."""
    return (("interlock-user", USER), ("x-request-id", uuid.uuid4().hex))


def _user() -> str:
    try:
        name = getpass.getuser()
    except (OSError, KeyError):  # a container's user need not have an entry
        name = str(os.getuid())
    text = f"{name}@{socket.gethostname()}"
    return "".join(c if c.isascii() and c.isprintable() else "?" for c in text)[:256]


USER: Final = _user()


def options(
    *,
    reason: str = "",
    expect: int | None = None,
    allow_breaking: bool = False,
    dry_run: bool = False,
    idempotency_key: str = "",
    wait: float = 0.0,
) -> m.MutationOptions:
    """Return mutation options with an idempotency key, so that a retry cannot do a thing twice."""
    if expect is not None and (not is_whole(expect) or expect < 0):
        raise InvalidArgument(f"expect must be an alias's generation (0 where it must not exist yet), got {expect!r}")
    if not 0 <= wait < float("inf"):
        raise InvalidArgument(f"wait is a number of seconds, 0 for not at all, got {wait!r}")
    return m.MutationOptions(
        idempotency_key=idempotency_key or uuid.uuid4().hex,
        expected_generation=expect,
        reason=reason,
        dry_run=dry_run,
        allow_breaking=allow_breaking,
        wait_s=wait,
    )


def _number(version: int) -> int:
    if not is_whole(version) or not 0 < version < 2**63:
        raise InvalidArgument(f"a version is a whole number from 1, got {version!r}")
    return version


def promote(model: str, version: int, alias: str, mutation: m.MutationOptions) -> Flow[m.Switch]:
    """Point an alias at a version."""
    request = pb.PromoteRequest(
        model=model_name(model), version=_number(version), alias=alias_name(alias), options=convert.options(mutation)
    )
    answer = yield from ask("Promote", request, pb.PromoteResponse)
    return convert.from_switch(answer.message.result)


def rollback(model: str, to: int | None, alias: str, mutation: m.MutationOptions) -> Flow[m.Switch]:
    """Point an alias back."""
    request = pb.RollbackRequest(
        model=model_name(model),
        alias=alias_name(alias),
        to_version=0 if to is None else _number(to),
        options=convert.options(mutation),
    )
    answer = yield from ask("Rollback", request, pb.RollbackResponse)
    return convert.from_switch(answer.message.result)


def remove_alias(model: str, alias: str, mutation: m.MutationOptions) -> Flow[None]:
    """Remove an alias and its stack."""
    request = pb.RemoveAliasRequest(model=model_name(model), alias=alias_name(alias), options=convert.options(mutation))
    yield from ask("RemoveAlias", request, pb.RemoveAliasResponse)


def pin(model: str, version: int, mutation: m.MutationOptions) -> Flow[None]:
    """Load a version and keep it loaded."""
    request = pb.PinVersionRequest(model=model_name(model), version=_number(version), options=convert.options(mutation))
    yield from ask("PinVersion", request, pb.PinVersionResponse)


def unpin(model: str, version: int, mutation: m.MutationOptions) -> Flow[None]:
    """Stop keeping a version loaded."""
    request = pb.UnpinVersionRequest(
        model=model_name(model), version=_number(version), options=convert.options(mutation)
    )
    yield from ask("UnpinVersion", request, pb.UnpinVersionResponse)


def retire(model: str, version: int, mutation: m.MutationOptions) -> Flow[m.Version]:
    """Take a version out of use for good."""
    request = pb.RetireVersionRequest(
        model=model_name(model), version=_number(version), options=convert.options(mutation)
    )
    answer = yield from ask("RetireVersion", request, pb.RetireVersionResponse)
    return convert.from_version(answer.message.version)


def delete(model: str, version: int, mutation: m.MutationOptions) -> Flow[m.Version]:
    """Turn a retired version into a tombstone."""
    request = pb.DeleteVersionRequest(
        model=model_name(model), version=_number(version), options=convert.options(mutation)
    )
    answer = yield from ask("DeleteVersion", request, pb.DeleteVersionResponse)
    return convert.from_version(answer.message.version)


def approve(model: str, version: int, alias: str, mutation: m.MutationOptions) -> Flow[Approval]:
    """Agree that an alias may move on to a version."""
    request = pb.ApproveVersionRequest(
        model=model_name(model), version=_number(version), alias=alias_name(alias), options=convert.options(mutation)
    )
    answer = yield from ask("ApproveVersion", request, pb.ApproveVersionResponse)
    return convert_approval.from_approval(answer.message.approval)


def withdraw_approval(model: str, version: int, alias: str, mutation: m.MutationOptions) -> Flow[Approval]:
    """Take an own approval back."""
    request = pb.WithdrawApprovalRequest(
        model=model_name(model), version=_number(version), alias=alias_name(alias), options=convert.options(mutation)
    )
    answer = yield from ask("WithdrawApproval", request, pb.WithdrawApprovalResponse)
    return convert_approval.from_approval(answer.message.approval)


def approvals(model: str | None) -> Flow[list[Approval]]:
    """List approvals, newest first, page by page."""
    found: list[Approval] = []
    token = ""
    while True:
        request = pb.ListApprovalsRequest(
            model="" if model is None else model_name(model), page_size=_PAGE, page_token=token
        )
        answer = yield from ask("ListApprovals", request, pb.ListApprovalsResponse)
        found += map(convert_approval.from_approval, answer.message.approvals)
        if not (token := following("ListApprovals", token, answer.message.next_page_token)):
            return found


def models() -> Flow[list[m.Model]]:
    """List every model, page by page."""
    found: list[m.Model] = []
    token = ""
    while True:
        request = pb.ListModelsRequest(page_size=_PAGE, page_token=token)
        answer = yield from ask("ListModels", request, pb.ListModelsResponse)
        found += map(convert.from_model, answer.message.models)
        if not (token := following("ListModels", token, answer.message.next_page_token)):
            return found


def versions(model: str) -> Flow[list[m.Version]]:
    """List a model's versions, newest first, page by page."""
    found: list[m.Version] = []
    token = ""
    while True:
        request = pb.ListVersionsRequest(model=model_name(model), page_size=_PAGE, page_token=token)
        answer = yield from ask("ListVersions", request, pb.ListVersionsResponse)
        found += map(convert.from_version, answer.message.versions)
        if not (token := following("ListVersions", token, answer.message.next_page_token)):
            return found


def show(ref: ModelRef) -> Flow[m.Version]:
    """Read the version that a ref means now."""
    answer = yield from ask("GetVersion", pb.GetVersionRequest(ref=str(ref)), pb.GetVersionResponse)
    return convert.from_version(answer.message.version)


def diff(model: str, before: int | str, after: int | str) -> Flow[VersionDiff]:
    """Compare two versions."""
    request = pb.DiffVersionsRequest(model=model_name(model), before=_which(before), after=_which(after))
    answer = yield from ask("DiffVersions", request, pb.DiffVersionsResponse)
    return convert_diff.from_diff(answer.message.diff)


def _which(version: int | str) -> str:
    if isinstance(version, str) and not version.isdecimal():
        return alias_name(version)
    return str(_number(int(version) if isinstance(version, str) else version))


def status() -> Flow[m.ReplicaStatus]:
    """Read what the replica is and does."""
    answer = yield from ask("GetStatus", pb.GetStatusRequest(), pb.GetStatusResponse)
    return convert.from_status(answer.message)
