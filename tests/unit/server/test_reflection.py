from __future__ import annotations

import pytest
from google.protobuf import descriptor_pool
from google.protobuf.descriptor_pb2 import FileDescriptorProto
from google.protobuf.message import DecodeError
from interlock.protocols import reflection_v1_pb2 as pb
from interlock.protocols.pool import POOL
from interlock.v1 import admin_pb2  # noqa: F401 - the default pool has only what was imported
from interlock_server.reflection import Reflection

SERVICE = "inference.GRPCInferenceService"


@pytest.fixture
def reflection() -> Reflection:
    return Reflection([SERVICE, "interlock.v1.AdminService"], [POOL, descriptor_pool.Default()])


def ask(reflection: Reflection, **question: object) -> pb.ServerReflectionResponse:
    request = pb.ServerReflectionRequest(host="h", **question)  # type: ignore[arg-type]
    response = pb.ServerReflectionResponse.FromString(reflection.answer(request.SerializeToString()))
    assert response.valid_host == "h" and response.original_request == request
    return response


def test_services_are_listed(reflection: Reflection) -> None:
    listed = ask(reflection, list_services="*").list_services_response.service
    assert [each.name for each in listed] == [SERVICE, "interlock.v1.AdminService"]


@pytest.mark.parametrize(
    ("symbol", "owner"),
    [
        (SERVICE, SERVICE),
        (f"{SERVICE}.ModelInfer", SERVICE),
        ("inference.ModelInferRequest", "inference.ModelInferRequest"),
        ("inference.ModelInferRequest.InferInputTensor", "inference.ModelInferRequest.InferInputTensor"),
        ("inference.ModelConfig", "inference.ModelConfig"),
        ("interlock.v1.AdminService.Promote", "interlock.v1.AdminService"),
        ("interlock.v1.PromoteRequest", "interlock.v1.PromoteRequest"),
    ],
)
def test_a_symbol_comes_with_everything_that_its_file_needs(reflection: Reflection, symbol: str, owner: str) -> None:
    files = ask(reflection, file_containing_symbol=symbol).file_descriptor_response.file_descriptor_proto
    pool = descriptor_pool.DescriptorPool()
    for data in reversed(files):
        pool.AddSerializedFile(data)
    first = FileDescriptorProto.FromString(files[0])
    assert pool.FindFileContainingSymbol(owner).name == first.name


def test_a_file_is_found_by_its_name(reflection: Reflection) -> None:
    found = ask(reflection, file_by_filename="interlock/protocols/open_inference.proto")
    assert len(found.file_descriptor_response.file_descriptor_proto) == 2


def test_what_is_not_there_is_said(reflection: Reflection) -> None:
    for question in (
        {"file_containing_symbol": "nobody.Nothing"},
        {"file_containing_symbol": ""},
        {"file_by_filename": "nothing.proto"},
        {"file_containing_extension": pb.ExtensionRequest(containing_type="inference.ModelConfig", extension_number=1)},
        {"all_extension_numbers_of_type": "nobody.Nothing"},
    ):
        assert ask(reflection, **question).error_response.error_code == 5
    assert ask(reflection).error_response.error_code == 12
    of_type = ask(reflection, all_extension_numbers_of_type="inference.ModelConfig").all_extension_numbers_response
    assert (of_type.base_type_name, list(of_type.extension_number)) == ("inference.ModelConfig", [])


def test_bytes_that_are_no_question_are_refused(reflection: Reflection) -> None:
    with pytest.raises(DecodeError):
        reflection.answer(b"\xff")
