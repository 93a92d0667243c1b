"""The generated messages: up to date, Triton's field by field, and no trouble beside Triton's own."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest
import tritonclient.grpc
from google.protobuf.descriptor import Descriptor
from tritonclient.grpc import model_config_pb2, service_pb2

from deploykit.serve.grpc import generate, inference_pb2

OURS = dict(inference_pb2.DESCRIPTOR.message_types_by_name)
THEIRS = dict(service_pb2.DESCRIPTOR.message_types_by_name) | dict(
    model_config_pb2.DESCRIPTOR.message_types_by_name
)


def test_the_checked_in_module_is_what_the_proto_file_gives(tmp_path: Path) -> None:
    generate.generate(tmp_path)
    for name in ("inference_pb2.py", "inference_pb2.pyi"):
        assert (tmp_path / name).read_text() == (generate.HERE / name).read_text(), f"run {generate.__file__}"


@pytest.mark.parametrize("name", sorted(OURS))
def test_fields_are_those_of_triton(name: str) -> None:
    compare(OURS[name], THEIRS[name])


def compare(ours: Descriptor, theirs: Descriptor) -> None:
    for field in ours.fields:
        other = theirs.fields_by_name[field.name]
        assert (field.number, field.type, field.is_repeated) == (other.number, other.type, other.is_repeated)
        if field.enum_type is not None:
            known = {v.name: v.number for v in other.enum_type.values}
            assert {v.name: v.number for v in field.enum_type.values}.items() <= known.items()
    for nested in ours.nested_types:
        compare(nested, theirs.nested_types_by_name[nested.name])


def test_messages_of_both_packages_work_in_one_process() -> None:
    ours = inference_pb2.ModelInferRequest(model_name="m", raw_input_contents=[b"1234"])
    theirs = service_pb2.ModelInferRequest.FromString(ours.SerializeToString())
    assert (theirs.model_name, list(theirs.raw_input_contents)) == ("m", [b"1234"])
    assert tritonclient.grpc.service_pb2 is service_pb2
    assert inference_pb2.DataType.Name(inference_pb2.TYPE_BF16) == "TYPE_BF16"


@pytest.mark.parametrize(
    "imports",
    [
        "import deploykit.serve.grpc.inference_pb2, tritonclient.grpc",
        "import tritonclient.grpc, deploykit.serve.grpc.inference_pb2",
    ],
)
@pytest.mark.parametrize("implementation", ["upb", "python"])
def test_both_packages_import_in_either_order(imports: str, implementation: str) -> None:
    done = subprocess.run(
        [sys.executable, "-c", imports],
        env={"PROTOCOL_BUFFERS_PYTHON_IMPLEMENTATION": implementation, "PATH": ""},
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )
    assert done.returncode == 0, done.stderr
