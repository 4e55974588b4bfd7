"""From outputs to the bytes of an answer. What is the same in every answer of a version is written once."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from interlock import tensors
from interlock.envelope import RESPONSE_TENSORS, sealed, varint
from interlock.protocols.open_inference_pb2 import ModelInferResponse
from interlock.tensors import Buffer, raw_buffer
from interlock.types import Array, DType, Signature

from interlock_server.worker.inputs import RequestedOutputs
from interlock_server.worker.shared_memory import SharedMemory

_MOST: Final = 256
"""Skeletons that are kept; then all are forgotten and written again."""
_ID_TAG: Final = b"\x1a"
"""ModelInferResponse.id, length-delimited."""

_Skeleton = tuple[bytes, ...]
"""What stands between an answer's id and its first tensor, and then between its tensors."""


class Encoder:
    """Writes the answers of one version. Thread-safe: every change is one step of the interpreter."""

    def __init__(self, model: str, version: str, signature: Signature) -> None:
        self._specs: Final = signature.outputs
        self._dtypes: Final = [None if spec.dtype is DType.BYTES else spec.dtype.numpy for spec in signature.outputs]
        """Those of outputs whose size their shape tells."""
        self._head: Final = ModelInferResponse(model_name=model, model_version=version).SerializeToString()
        self._skeletons: dict[tuple[object, ...], _Skeleton] = {}

    def raw(self, id_field: bytes, outputs: Sequence[Array], positions: tuple[int, ...]) -> bytes:
        """Return an answer with these outputs in raw form; a tensor's bytes are copied once.

        The id is in its field, which is the same in a request.
        """
        buffers: list[Buffer] = []
        said: list[object] = [positions]
        for index in positions:
            array, dtype = outputs[index], self._dtypes[index]
            if dtype is not None and array.dtype == dtype and array.flags.c_contiguous:
                buffers.append(array.data)
                said.append(array.shape)
            else:
                buffers.append(raw_buffer(array, self._specs[index].dtype))
                said += (array.shape, _size(buffers[-1]))
        key = tuple(said)
        skeleton = self._skeletons.get(key)
        if skeleton is None:
            if len(self._skeletons) >= _MOST:
                self._skeletons = {}
            skeleton = self._skeletons[key] = self._skeleton(outputs, positions, [_size(each) for each in buffers])
        pieces: list[Buffer] = [self._head, id_field, skeleton[0]]
        for buffer, after in zip(buffers, skeleton[1:], strict=True):
            pieces.append(buffer)
            pieces.append(after)
        return b"".join(pieces)

    def _skeleton(self, outputs: Sequence[Array], positions: Sequence[int], sizes: Sequence[int]) -> _Skeleton:
        described = ModelInferResponse()
        for index in positions:
            spec = self._specs[index]
            described.outputs.add(name=spec.name, datatype=spec.dtype.value, shape=outputs[index].shape)
        heads = [RESPONSE_TENSORS + varint(size) for size in sizes]
        return (described.SerializeToString() + heads[0], *heads[1:], b"")

    def other(
        self,
        id_field: bytes,
        outputs: Sequence[Array],
        wanted: RequestedOutputs,
        shared: SharedMemory,
        *,
        typed: bool,
    ) -> bytes:
        """Return an answer with outputs in typed form where all have one, or in shared memory."""
        response = ModelInferResponse.FromString(self._head + id_field)
        typed = (
            typed
            and not wanted.shared
            and all(self._specs[index].dtype in tensors.TYPED_FIELD for index in wanted.positions)
        )
        buffers: list[Buffer] = []
        for index in wanted.positions:
            spec, array = self._specs[index], outputs[index]
            tensor = response.outputs.add(name=spec.name, datatype=spec.dtype.value, shape=array.shape)
            if typed:
                tensor.contents.CopyFrom(tensors.encode_typed(array, spec.dtype))
                continue
            data = raw_buffer(array, spec.dtype)
            part = wanted.shared.get(index)
            if part is not None:
                shared.write(f"output {spec.name!r}", part, data)
                tensor.parameters["shared_memory_region"].string_param = part.region
                tensor.parameters["shared_memory_byte_size"].int64_param = _size(data)
                if part.offset:
                    tensor.parameters["shared_memory_offset"].int64_param = part.offset
                data = b""  # clients count one entry for each output
            buffers.append(data)
        return sealed(response.SerializeToString(), RESPONSE_TENSORS, buffers)


def id_as_field(request_id: str) -> bytes:
    """Return an id as a field of a message; nothing where it is empty."""
    name = request_id.encode()
    return _ID_TAG + varint(len(name)) + name if name else b""


def _size(buffer: Buffer) -> int:
    return buffer.nbytes if isinstance(buffer, memoryview) else len(buffer)
