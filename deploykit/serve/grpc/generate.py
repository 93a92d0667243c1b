"""Make ``inference_pb2.py`` and ``inference_pb2.pyi`` from ``inference.proto``.

    python -m deploykit.serve.grpc.generate [FOLDER]

Needs ``grpcio-tools``. protoc's own Python module is not used, for two reasons: it registers its messages
in the one descriptor pool of the process, in which a second file defining the package ``inference`` (such
as tritonclient's) is an error, and it refuses to be imported under a protobuf older than the one that made
it.
"""

from __future__ import annotations

import sys
from pathlib import Path
from tempfile import TemporaryDirectory

__all__ = ["generate"]

HERE = Path(__file__).parent

MODULE = '''\
"""Made from inference.proto by generate.py; do not edit.

The messages live in a descriptor pool of their own, beside any other definition of ``inference``.
"""

from google.protobuf import descriptor_pool, message_factory
from google.protobuf.internal.enum_type_wrapper import EnumTypeWrapper

__all__ = [
    {names}
]

DESCRIPTOR = descriptor_pool.DescriptorPool().AddSerializedFile(
    {descriptor}
)

globals().update(
    {{name: message_factory.GetMessageClass(kind) for name, kind in DESCRIPTOR.message_types_by_name.items()}}
)
for _name, _kind in DESCRIPTOR.enum_types_by_name.items():
    globals()[_name] = EnumTypeWrapper(_kind)
    globals().update({{key: value.number for key, value in _kind.values_by_name.items()}})
'''


def generate(folder: Path) -> None:
    """Write ``inference_pb2.py`` and ``inference_pb2.pyi`` into a folder.

    Raises:
        RuntimeError: protoc refuses ``inference.proto``; its reasons are on standard error.
    """
    from google.protobuf.descriptor_pb2 import FileDescriptorSet
    from grpc_tools import protoc

    with TemporaryDirectory() as scratch:
        binary = Path(scratch) / "inference.binpb"
        arguments = ["protoc", f"-I{HERE}", f"--descriptor_set_out={binary}", f"--pyi_out={folder}"]
        if protoc.main([*arguments, "inference.proto"]) != 0:
            raise RuntimeError(f"protoc refuses {HERE / 'inference.proto'}.")
        [file] = FileDescriptorSet.FromString(binary.read_bytes()).file
    values = [value.name for kind in file.enum_type for value in kind.value]
    kinds = [*(each.name for each in file.message_type), *(each.name for each in file.enum_type)]
    names = "\n    ".join(f'"{name}",' for name in sorted(("DESCRIPTOR", *kinds, *values)))
    module = MODULE.format(names=names, descriptor=_literal(file.SerializeToString()))
    (folder / "inference_pb2.py").write_text(module, encoding="utf-8")


def _literal(data: bytes, *, width: int = 96) -> str:
    """Bytes as adjacent string literals on several lines."""
    return "\n    ".join(repr(data[start : start + width]) for start in range(0, len(data), width))


if __name__ == "__main__":
    generate(Path(sys.argv[1]) if len(sys.argv) > 1 else HERE)
