"""The admin service: messages in, one call, messages out."""

from __future__ import annotations

import re
from collections.abc import AsyncIterator, Callable
from typing import Final

from interlock import convert, convert_approval, convert_diff, convert_history
from interlock.convert_quantization import quantization
from interlock.errors import InvalidArgument
from interlock.quantization import form_named
from interlock.types import ModelRef, model_name
from interlock.v1 import admin_pb2
from interlock_registry.domain import Action

from interlock_server.control.approving import Approving
from interlock_server.control.auditing import Auditing
from interlock_server.control.changing import Changing
from interlock_server.control.database import Database
from interlock_server.control.diffing import Diffing
from interlock_server.control.downloading import Downloading
from interlock_server.control.mutations import Mutations
from interlock_server.control.quantizing import QuantizeOrder, Quantizing
from interlock_server.control.registering import Registering
from interlock_server.control.signing import Signing
from interlock_server.control.standing import Standing
from interlock_server.control.switching import Switching
from interlock_server.rpc.access import admitted
from interlock_server.rpc.errors import Context, at_most, streaming, unary
from interlock_server.rpc.signing import SigningServicer, first_of
from interlock_server.trust.keeper import Trust

DOWNLOAD_S: Final = 3600.0
"""A download that takes longer is ended: its files would lie here for as long as a caller that stands still likes."""


class AdminServicer(SigningServicer):
    """What operators and trainers ask."""

    def __init__(
        self,
        database: Database,
        mutations: Mutations,
        switching: Switching,
        changing: Changing,
        registering: Registering,
        quantizing: Quantizing,
        diffing: Diffing,
        downloading: Downloading,
        standing: Standing,
        signing: Signing,
        trust: Trust,
        auditing: Auditing,
        approving: Approving,
    ) -> None:
        super().__init__(mutations, registering, signing)
        self._database = database
        self._mutations = mutations
        self._switching = switching
        self._changing = changing
        self._registering = registering
        self._quantizing = quantizing
        self._diffing = diffing
        self._downloading = downloading
        self._standing = standing
        self._trust = trust
        self._auditing = auditing
        self._approving = approving

    # --- changes ---

    @unary
    async def RegisterVersion(
        self,
        request: AsyncIterator[admin_pb2.RegisterVersionRequest],
        context: Context[AsyncIterator[admin_pb2.RegisterVersionRequest], admin_pb2.RegisterVersionResponse],
    ) -> admin_pb2.RegisterVersionResponse:
        """Receive an upload and make it a version."""
        first = await first_of(aiter(request), admin_pb2.RegisterVersionRequest())
        header = convert.from_header(first.header)
        attempt = await self._permitted(context, Action.REGISTER, first.header, header.model, header.options)
        if first.WhichOneof("part") != "header":
            async with self._mutations.refusing(attempt):
                raise InvalidArgument("the first message of an upload must be its header")
        version = await self._registering.register(attempt, header, _chunks(request))
        return admin_pb2.RegisterVersionResponse(version=convert.version(version))

    @streaming
    async def DownloadVersion(
        self,
        request: admin_pb2.DownloadVersionRequest,
        context: Context[admin_pb2.DownloadVersionRequest, admin_pb2.DownloadVersionResponse],
    ) -> AsyncIterator[admin_pb2.DownloadVersionResponse]:
        """Give a version back as files."""
        with at_most(DOWNLOAD_S):
            ref, name = ModelRef.parse(request.ref), request.file_name
            async with self._downloading.download(
                ref, name, is_outside=request.external_data, with_golden=request.golden
            ) as found:
                head = admin_pb2.DownloadVersionResponse.Header(
                    version=convert.version(self._trust.named(found.version)),
                    files=[convert.file(each) for each in found.files],
                )
                yield admin_pb2.DownloadVersionResponse(header=head)
                async for chunk in found.chunks():
                    yield admin_pb2.DownloadVersionResponse(chunk=chunk)

    @unary
    async def QuantizeVersion(
        self,
        request: admin_pb2.QuantizeVersionRequest,
        context: Context[admin_pb2.QuantizeVersionRequest, admin_pb2.QuantizeVersionResponse],
    ) -> admin_pb2.QuantizeVersionResponse:
        """Make a narrower form of a version."""
        options = convert.from_options(request.options)
        model = re.split("[@:]", request.ref, maxsplit=1)[0]
        attempt = await self._permitted(context, Action.QUANTIZE, request, model, options)
        async with self._mutations.refusing(attempt):
            order = QuantizeOrder(
                ref=ModelRef.parse(request.ref),
                form=form_named(request.to),
                atol=request.atol if request.HasField("atol") else None,
                rtol=request.rtol if request.HasField("rtol") else None,
                note=request.note,
                tags=dict(request.tags),
            )
        done = await self._quantizing.quantize(attempt, order)
        return admin_pb2.QuantizeVersionResponse(
            version=convert.version(done.version), report=quantization(done.report)
        )

    @unary
    async def Promote(
        self,
        request: admin_pb2.PromoteRequest,
        context: Context[admin_pb2.PromoteRequest, admin_pb2.PromoteResponse],
    ) -> admin_pb2.PromoteResponse:
        """Point an alias at a version."""
        options = convert.from_options(request.options)
        attempt = await self._permitted(
            context, Action.PROMOTE, request, request.model, options, version=request.version, alias=request.alias
        )
        switch = await self._switching.promote(attempt, options)
        return admin_pb2.PromoteResponse(result=convert.switch(switch))

    @unary
    async def Rollback(
        self,
        request: admin_pb2.RollbackRequest,
        context: Context[admin_pb2.RollbackRequest, admin_pb2.RollbackResponse],
    ) -> admin_pb2.RollbackResponse:
        """Point an alias back."""
        options = convert.from_options(request.options)
        attempt = await self._permitted(
            context, Action.ROLLBACK, request, request.model, options, version=request.to_version, alias=request.alias
        )
        switch = await self._switching.rollback(attempt, options)
        return admin_pb2.RollbackResponse(result=convert.switch(switch))

    @unary
    async def RemoveAlias(
        self,
        request: admin_pb2.RemoveAliasRequest,
        context: Context[admin_pb2.RemoveAliasRequest, admin_pb2.RemoveAliasResponse],
    ) -> admin_pb2.RemoveAliasResponse:
        """Remove an alias with its stack."""
        options = convert.from_options(request.options)
        attempt = await self._permitted(
            context, Action.REMOVE_ALIAS, request, request.model, options, alias=request.alias
        )
        await self._changing.change(
            attempt,
            lambda registry: registry.remove_alias(attempt, expected_generation=options.expected_generation),
        )
        return admin_pb2.RemoveAliasResponse()

    @unary
    async def PinVersion(
        self,
        request: admin_pb2.PinVersionRequest,
        context: Context[admin_pb2.PinVersionRequest, admin_pb2.PinVersionResponse],
    ) -> admin_pb2.PinVersionResponse:
        """Keep a version loaded."""
        options = convert.from_options(request.options)
        attempt = await self._permitted(context, Action.PIN, request, request.model, options, version=request.version)
        await self._changing.pin(attempt)
        return admin_pb2.PinVersionResponse()

    @unary
    async def UnpinVersion(
        self,
        request: admin_pb2.UnpinVersionRequest,
        context: Context[admin_pb2.UnpinVersionRequest, admin_pb2.UnpinVersionResponse],
    ) -> admin_pb2.UnpinVersionResponse:
        """Stop keeping a version for its own sake."""
        options = convert.from_options(request.options)
        attempt = await self._permitted(context, Action.UNPIN, request, request.model, options, version=request.version)
        await self._changing.change(attempt, lambda registry: registry.unpin(attempt))
        return admin_pb2.UnpinVersionResponse()

    @unary
    async def RetireVersion(
        self,
        request: admin_pb2.RetireVersionRequest,
        context: Context[admin_pb2.RetireVersionRequest, admin_pb2.RetireVersionResponse],
    ) -> admin_pb2.RetireVersionResponse:
        """Take a version out of use."""
        options = convert.from_options(request.options)
        attempt = await self._permitted(
            context, Action.RETIRE, request, request.model, options, version=request.version
        )
        await self._changing.change(attempt, lambda registry: registry.retire(attempt))
        ref = ModelRef(request.model, version=request.version)
        version = await self._database.read(lambda registry: registry.version(ref))
        return admin_pb2.RetireVersionResponse(version=convert.version(version))

    @unary
    async def DeleteVersion(
        self,
        request: admin_pb2.DeleteVersionRequest,
        context: Context[admin_pb2.DeleteVersionRequest, admin_pb2.DeleteVersionResponse],
    ) -> admin_pb2.DeleteVersionResponse:
        """Make a retired version a tombstone."""
        options = convert.from_options(request.options)
        attempt = await self._permitted(
            context, Action.DELETE, request, request.model, options, version=request.version
        )
        await self._changing.change(attempt, lambda registry: registry.delete(attempt))
        ref = ModelRef(request.model, version=request.version)
        version = await self._database.read(lambda registry: registry.version(ref))
        return admin_pb2.DeleteVersionResponse(version=convert.version(version))

    @unary
    async def ApproveVersion(
        self,
        request: admin_pb2.ApproveVersionRequest,
        context: Context[admin_pb2.ApproveVersionRequest, admin_pb2.ApproveVersionResponse],
    ) -> admin_pb2.ApproveVersionResponse:
        """Agree that an alias may move on to a version."""
        options = convert.from_options(request.options)
        attempt = await self._permitted(
            context, Action.APPROVE, request, request.model, options, version=request.version, alias=request.alias
        )
        found = await self._approving.approve(attempt)
        return admin_pb2.ApproveVersionResponse(approval=convert_approval.approval(found))

    @unary
    async def WithdrawApproval(
        self,
        request: admin_pb2.WithdrawApprovalRequest,
        context: Context[admin_pb2.WithdrawApprovalRequest, admin_pb2.WithdrawApprovalResponse],
    ) -> admin_pb2.WithdrawApprovalResponse:
        """Take the caller's approval back."""
        options = convert.from_options(request.options)
        attempt = await self._permitted(
            context, Action.WITHDRAW, request, request.model, options, version=request.version, alias=request.alias
        )
        found = await self._approving.withdraw(attempt)
        return admin_pb2.WithdrawApprovalResponse(approval=convert_approval.approval(found))

    # --- questions ---

    @unary
    async def ListModels(
        self,
        request: admin_pb2.ListModelsRequest,
        context: Context[admin_pb2.ListModelsRequest, admin_pb2.ListModelsResponse],
    ) -> admin_pb2.ListModelsResponse:
        """List models."""
        size, token, sees = request.page_size, request.page_token, _sight()
        page = await self._database.read(lambda registry: registry.models(size, token, sees=sees))
        return admin_pb2.ListModelsResponse(
            models=[convert.model(each) for each in page.items], next_page_token=page.next_page_token
        )

    @unary
    async def ListVersions(
        self,
        request: admin_pb2.ListVersionsRequest,
        context: Context[admin_pb2.ListVersionsRequest, admin_pb2.ListVersionsResponse],
    ) -> admin_pb2.ListVersionsResponse:
        """List a model's versions, newest first."""
        model, size, token = model_name(request.model), request.page_size, request.page_token
        page = await self._database.read(lambda registry: registry.versions(model, page_size=size, page_token=token))
        return admin_pb2.ListVersionsResponse(
            versions=[convert.version(self._trust.named(each)) for each in page.items],
            next_page_token=page.next_page_token,
        )

    @unary
    async def GetVersion(
        self,
        request: admin_pb2.GetVersionRequest,
        context: Context[admin_pb2.GetVersionRequest, admin_pb2.GetVersionResponse],
    ) -> admin_pb2.GetVersionResponse:
        """Show one version."""
        ref = ModelRef.parse(request.ref)
        version = await self._database.read(lambda registry: registry.version(ref))
        return admin_pb2.GetVersionResponse(version=convert.version(self._trust.named(version)))

    @unary
    async def ListApprovals(
        self,
        request: admin_pb2.ListApprovalsRequest,
        context: Context[admin_pb2.ListApprovalsRequest, admin_pb2.ListApprovalsResponse],
    ) -> admin_pb2.ListApprovalsResponse:
        """List approvals, newest first."""
        caller, model = admitted(), request.model and model_name(request.model)
        if model and caller is not None:
            caller.check(model)
        page, sees = await self._approving.all(model or None, request.page_size, request.page_token), _sight()
        return admin_pb2.ListApprovalsResponse(
            approvals=[convert_approval.approval(each) for each in page.items if sees(each.model)],
            next_page_token=page.next_page_token,
            rules=self._approving.rules,
        )

    @unary
    async def DiffVersions(
        self,
        request: admin_pb2.DiffVersionsRequest,
        context: Context[admin_pb2.DiffVersionsRequest, admin_pb2.DiffVersionsResponse],
    ) -> admin_pb2.DiffVersionsResponse:
        """Tell in what two versions differ."""
        before = ModelRef.from_wire(model_name(request.model), request.before)
        after = ModelRef.from_wire(model_name(request.model), request.after)
        return admin_pb2.DiffVersionsResponse(diff=convert_diff.diff(await self._diffing.diff(before, after)))

    @unary
    async def ListEvents(
        self,
        request: admin_pb2.ListEventsRequest,
        context: Context[admin_pb2.ListEventsRequest, admin_pb2.ListEventsResponse],
    ) -> admin_pb2.ListEventsResponse:
        """List events, newest first."""
        where = convert_history.from_events_request(request)
        size, token = request.page_size, request.page_token
        page = await self._database.read(lambda registry: registry.events(where, page_size=size, page_token=token))
        return admin_pb2.ListEventsResponse(
            events=[convert.event(each) for each in page.items], next_page_token=page.next_page_token
        )

    @unary
    async def ListAliasesAt(
        self,
        request: admin_pb2.ListAliasesAtRequest,
        context: Context[admin_pb2.ListAliasesAtRequest, admin_pb2.ListAliasesAtResponse],
    ) -> admin_pb2.ListAliasesAtResponse:
        """Tell where aliases pointed at a moment."""
        model, at = request.model or None, convert_history.from_moment("at", request.at)
        size, token = request.page_size, request.page_token
        page = await self._database.read(
            lambda registry: registry.aliases_at(at, model, page_size=size, page_token=token)
        )
        return admin_pb2.ListAliasesAtResponse(
            aliases=[convert_history.alias_at(each) for each in page.items], next_page_token=page.next_page_token
        )

    @unary
    async def ReadChain(
        self,
        request: admin_pb2.ReadChainRequest,
        context: Context[admin_pb2.ReadChainRequest, admin_pb2.ReadChainResponse],
    ) -> admin_pb2.ReadChainResponse:
        """Hand out the history as it is stored."""
        after, size = request.after_seq, request.page_size
        part = await self._database.read(lambda registry: registry.chain_after(after, page_size=size))
        return admin_pb2.ReadChainResponse(
            links=[convert_history.link(each) for each in part.links],
            head_seq=part.head.seq,
            head_hash=part.head.hash,
        )

    @unary
    async def GetHead(
        self,
        request: admin_pb2.GetHeadRequest,
        context: Context[admin_pb2.GetHeadRequest, admin_pb2.GetHeadResponse],
    ) -> admin_pb2.GetHeadResponse:
        """Hand out the end of the history, signed."""
        return admin_pb2.GetHeadResponse(signed_head=(await self._auditing.head()).to_line())

    @unary
    async def GetStatus(
        self,
        request: admin_pb2.GetStatusRequest,
        context: Context[admin_pb2.GetStatusRequest, admin_pb2.GetStatusResponse],
    ) -> admin_pb2.GetStatusResponse:
        """Tell how this replica stands."""
        return convert.status(self._standing.status())


def _sight() -> Callable[[str], bool]:
    """Return whether whoever calls is told of a model; without authentication everybody is told of all."""
    caller = admitted()
    return (lambda model: True) if caller is None else caller.sees


async def _chunks(request: AsyncIterator[admin_pb2.RegisterVersionRequest]) -> AsyncIterator[bytes]:
    async for message in request:
        if message.WhichOneof("part") != "chunk":
            raise InvalidArgument("after its header an upload is chunks only")
        yield message.chunk
