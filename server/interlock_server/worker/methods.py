"""A part of what the inference port serves: its methods by full path, and how each is answered."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Final

from google.protobuf.message import Message

from interlock_server.front.seam import Call, Conversation

SERVICE: Final = "/inference.GRPCInferenceService/"


@dataclass(frozen=True, slots=True)
class Methods:
    """Methods of one concern. Full paths are keys: /package.Service/Method."""

    unary: Mapping[str, Callable[[bytes], Message]] = field(default_factory=dict)
    """Answered at once; raises InterlockError, or DecodeError where the request is no such message."""
    calls: Mapping[str, Callable[[Call], None]] = field(default_factory=dict)
    """One message in, one out, whenever."""
    streams: Mapping[str, Callable[[Call], None]] = field(default_factory=dict)
    conversations: Mapping[str, Callable[[Conversation], None]] = field(default_factory=dict)
    settle: Callable[[], None] | None = None
    """Sees to what was kept back, as Handler.settle."""
    drain: Callable[[], None] | None = None
    """Ends what would stay for as long as its caller likes: the server stops."""
    extensions: tuple[str, ...] = ()
    """What ServerMetadata lists because of them."""

    @property
    def paths(self) -> tuple[str, ...]:
        """Every method, by full path."""
        return (*self.unary, *self.calls, *self.streams, *self.conversations)
