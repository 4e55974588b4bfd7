"""The asyncio client of the inference port."""

from __future__ import annotations

from collections.abc import Sequence
from types import TracebackType
from typing import Final, Self

import grpc
from interlock.protocols.open_inference_pb2_grpc import SERVICE
from interlock.types import ModelRef

from interlock_client import _inference
from interlock_client._access import Tls
from interlock_client._address import INFERENCE
from interlock_client._channel import DEFAULT_RETRIES, DEFAULT_TIMEOUT_S, Option, dial, seconds
from interlock_client._connection import AsyncConnection
from interlock_client._infer import InferResult, Inputs, ModelMetadata, Parameters, ServerMetadata


class AsyncClient:
    """Asks models for answers; an async context manager for one event loop.

    Args:
        target: the server's inference address; INTERLOCK_SERVER, else 127.0.0.1:8001, where it is not given.
        timeout: the deadline of a call in seconds, unless the call has its own. It covers retries.
        retries: how often a call is repeated that failed as UNAVAILABLE (0 to 4); 0 switches off gRPC's own
            transparent retries too.
        tls: how the connection is encrypted; what INTERLOCK_TLS_CA and its kin say, else plain text, where it is not
            given.
        credentials: in its place, credentials that `grpc` made.
        token: says who asks; INTERLOCK_TOKEN, or what the file INTERLOCK_TOKEN_FILE holds, where it is not given.
        options: gRPC channel arguments that go before ours.
        connections: how many connections share the calls (1 to 64). A server with several workers gives each connection
            to one of them.
    """

    def __init__(
        self,
        target: str | None = None,
        *,
        timeout: float = DEFAULT_TIMEOUT_S,
        retries: int = DEFAULT_RETRIES,
        tls: Tls | None = None,
        credentials: grpc.ChannelCredentials | None = None,
        token: str | None = None,
        options: Sequence[Option] = (),
        connections: int = 1,
    ) -> None:
        self._timeout_s: Final = seconds(timeout, DEFAULT_TIMEOUT_S)
        self._cache: Final = _inference.SignatureCache()
        line = dial(
            INFERENCE,
            target,
            retries=retries,
            tls=tls,
            credentials=credentials,
            options=options,
            connections=connections,
            token=token,
        )
        self._connection: Final = AsyncConnection(line, SERVICE, tuple)

    @property
    def target(self) -> str:
        """The address in use."""
        return self._connection.target

    async def infer(
        self,
        ref: str,
        inputs: Inputs,
        *,
        outputs: Sequence[str] | None = None,
        parameters: Parameters | None = None,
        request_id: str = "",
        timeout: float | None = None,
    ) -> InferResult:
        """Ask a model for one answer.

        Args:
            ref: `m` (what is stable), `m:canary` (an alias) or `m@3` (a version that is loaded).
            inputs: numpy arrays of the inputs' datatypes, or Python lists and scalars, which are converted.
            outputs: the outputs to return; all of them where it is not given.
            parameters: request parameters of the Open Inference Protocol.
            request_id: echoed in the answer.
            timeout: seconds for the whole call; the client's where it is not given.

        Raises:
            InvalidInput: the inputs do not fit the version's signature.
            ModelNotFound, AliasNotFound, VersionNotLoaded: there is nothing to ask.
            QueueFull, Overloaded, NotReady, ServerUnreachable, DeadlineExceeded: not now.
        """
        flow = _inference.infer(self._cache, ref, inputs, outputs=outputs, parameters=parameters, request_id=request_id)
        return await self._connection.run(flow, seconds(timeout, self._timeout_s))

    async def metadata(self, ref: str, *, timeout: float | None = None) -> ModelMetadata:
        """Return a model's signature and which version the ref means now."""
        return await self._connection.run(_inference.metadata(ModelRef.parse(ref)), seconds(timeout, self._timeout_s))

    async def model_ready(self, ref: str, *, timeout: float | None = None) -> bool:
        """Return whether a ref can be asked now."""
        return await self._connection.run(
            _inference.model_ready(ModelRef.parse(ref)), seconds(timeout, self._timeout_s)
        )

    async def server_live(self, *, timeout: float | None = None) -> bool:
        """Return whether the serving process is well; raises ServerUnreachable where none answers."""
        return await self._connection.run(_inference.server_live(), seconds(timeout, self._timeout_s))

    async def server_ready(self, *, timeout: float | None = None) -> bool:
        """Return whether the server takes requests; raises ServerUnreachable where none answers."""
        return await self._connection.run(_inference.server_ready(), seconds(timeout, self._timeout_s))

    async def server_metadata(self, *, timeout: float | None = None) -> ServerMetadata:
        """Return the server's name, version and protocol extensions."""
        return await self._connection.run(_inference.server_metadata(), seconds(timeout, self._timeout_s))

    async def close(self) -> None:
        """Close the connection; calls in flight are cancelled. May be called again."""
        await self._connection.close()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.close()
