"""The private descriptor pool and the message classes in it."""

from __future__ import annotations

from importlib.resources import files
from typing import Final

from google.protobuf import descriptor_pb2, message_factory
from google.protobuf.descriptor import FileDescriptor, ServiceDescriptor
from google.protobuf.descriptor_pool import DescriptorPool
from google.protobuf.internal.enum_type_wrapper import EnumTypeWrapper
from google.protobuf.message import Message


def _load() -> DescriptorPool:
    """Read the committed descriptor set (made by `make proto`) into a fresh pool."""
    pool = DescriptorPool()
    data = files(__package__).joinpath("protocols.binpb").read_bytes()
    for file in descriptor_pb2.FileDescriptorSet.FromString(data).file:
        pool.Add(file)
    return pool


POOL: Final = _load()


def file_descriptor(name: str) -> FileDescriptor:
    """Return the descriptor of one .proto file of this folder."""
    return POOL.FindFileByName(f"interlock/protocols/{name}")


def service_descriptor(full_name: str) -> ServiceDescriptor:
    """Return the descriptor of a service, such as ``inference.GRPCInferenceService``."""
    return POOL.FindServiceByName(full_name)


def message_classes(file: FileDescriptor) -> dict[str, type[Message]]:
    """Return the classes of a file's top-level messages by name; nested ones hang off them as usual."""
    return {
        name: message_factory.GetMessageClass(descriptor) for name, descriptor in file.message_types_by_name.items()
    }


def enums(file: FileDescriptor) -> dict[str, EnumTypeWrapper]:
    """Return a file's top-level enums by name, with the methods that generated ones have."""
    return {name: EnumTypeWrapper(descriptor) for name, descriptor in file.enum_types_by_name.items()}
