"""gRPC server reflection, v1 and v1alpha: which services there are, and their descriptors, from any descriptor pool.

Both versions have the same messages on the wire, so one set of classes reads and writes either.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from google.protobuf.descriptor import FileDescriptor
from google.protobuf.descriptor_pb2 import FileDescriptorProto
from google.protobuf.descriptor_pool import DescriptorPool
from interlock.protocols import reflection_v1_pb2 as pb
from interlock.protocols import reflection_v1alpha_pb2  # noqa: F401 - a pool finds only what was loaded

SERVICES: Final = frozenset(f"grpc.reflection.{each}.ServerReflection" for each in ("v1", "v1alpha"))
METHODS: Final = tuple(f"/{each}/ServerReflectionInfo" for each in sorted(SERVICES))
_NOT_FOUND: Final = 5
_UNIMPLEMENTED: Final = 12


class Reflection:
    """Answers questions about services whose descriptors are in some pools."""

    def __init__(self, services: Sequence[str], pools: Sequence[DescriptorPool]) -> None:
        """Take the full names of what is served, and the pools to look into, in their order."""
        self._services = sorted(services)
        self._pools = tuple(pools)

    def answer(self, data: bytes) -> bytes:
        """Answer one message by one; raises DecodeError where it is no ServerReflectionRequest."""
        request = pb.ServerReflectionRequest.FromString(data)
        response = pb.ServerReflectionResponse(valid_host=request.host, original_request=request)
        asked = request.WhichOneof("message_request")
        if asked == "list_services":
            response.list_services_response.service.extend(pb.ServiceResponse(name=name) for name in self._services)
        elif asked == "file_by_filename":
            self._file(response, self._by_name(request.file_by_filename), f"file {request.file_by_filename!r}")
        elif asked == "file_containing_symbol":
            symbol = request.file_containing_symbol
            self._file(response, self._by_symbol(symbol), f"symbol {symbol!r}")
        elif asked == "all_extension_numbers_of_type" and self._by_symbol(request.all_extension_numbers_of_type):
            response.all_extension_numbers_response.base_type_name = request.all_extension_numbers_of_type
        elif asked is None:
            _refuse(response, _UNIMPLEMENTED, "the request asks nothing that this server knows")
        else:
            _refuse(response, _NOT_FOUND, "there are no extensions, or no such type")
        return response.SerializeToString()

    def _file(self, response: pb.ServerReflectionResponse, file: FileDescriptor | None, what: str) -> None:
        if file is None:
            _refuse(response, _NOT_FOUND, f"{what} is not here")
            return
        for each in _with_imports(file):
            proto = FileDescriptorProto()
            each.CopyToProto(proto)
            response.file_descriptor_response.file_descriptor_proto.append(proto.SerializeToString())

    def _by_name(self, name: str) -> FileDescriptor | None:
        for pool in self._pools:
            try:
                return pool.FindFileByName(name)
            except KeyError:
                continue
        return None

    def _by_symbol(self, symbol: str) -> FileDescriptor | None:
        # A method, field or value is found by what it is part of.
        for name in (symbol, symbol.rpartition(".")[0]):
            for pool in self._pools:
                try:
                    return pool.FindFileContainingSymbol(name)
                except KeyError:
                    continue
        return None


def _with_imports(file: FileDescriptor) -> list[FileDescriptor]:
    """Return a file and all that it needs, each before what it imports: clients take the first one as the answer."""
    found: dict[str, FileDescriptor] = {}

    def visit(each: FileDescriptor) -> None:
        if each.name not in found:
            for imported in each.dependencies:
                visit(imported)
            found[each.name] = each

    visit(file)
    return list(reversed(found.values()))


def _refuse(response: pb.ServerReflectionResponse, code: int, message: str) -> None:
    response.error_response.error_code = code
    response.error_response.error_message = message
