"""Honest files for the fuzzer: one for each reader, small, with what reads it."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
from reading import FIXTURES, Reader, inside, inspected, loaded, saved, vit
from text_readers import text_readers

__all__ = ["Reader", "readers"]


def _onnx(folder: Path) -> bytes:
    """What an export declares, over a graph of three nodes: damage then meets more than weights."""
    import onnx
    from deploykit_exporters.export import export
    from deploykit_exporters.options import ExportOptions
    from onnx import helper, numpy_helper

    source = folder / "vit.pth"
    source.write_bytes(saved(vit(), zipped=True))
    whole = onnx.load(export(source, ExportOptions(output=folder / "vit.onnx")).path)
    [image], [answer] = whole.graph.input, whole.graph.output
    graph = helper.make_graph(
        [
            helper.make_node("GlobalAveragePool", [image.name], ["pooled"]),
            helper.make_node("Flatten", ["pooled"], ["colour"]),
            helper.make_node("Gemm", ["colour", "weight"], [answer.name], transB=1),
        ],
        "mean_colour",
        [image],
        [answer],
        [numpy_helper.from_array(np.ones((2, 3), np.float32), "weight")],
    )
    whole.graph.CopyFrom(graph)
    return whole.SerializeToString()


def _metadata(model: bytes) -> tuple[bytes, Callable[[bytes], bytes]]:
    """The metadata of a model as lines of key and value, and what writes them back."""
    import onnx

    graph = onnx.load_from_string(model)
    lines = [f"{entry.key}\t{entry.value}".encode() for entry in graph.metadata_props]

    def repack(content: bytes) -> bytes:
        del graph.metadata_props[:]
        for line in content.split(b"\n"):
            key, _, value = line.partition(b"\t")
            graph.metadata_props.add(
                key=key.decode("utf-8", "replace"), value=value.decode("utf-8", "replace")
            )
        return graph.SerializeToString()

    return b"\n".join(lines), repack


def readers(folder: Path) -> dict[str, Callable[[], Reader]]:
    """Each reader by its name, made when it is asked for."""

    def pickled(archive: bytes) -> Reader:
        content, repack = inside(archive, "data.pkl")
        return Reader(content, loaded, repack=repack)

    def metadata() -> Reader:
        content, repack = _metadata(_onnx(folder))
        return Reader(content, inspected, 5, ".onnx", repack)

    def safetensors() -> Reader:
        from safetensors.torch import save

        return Reader(save(vit()["state_dict"], {"format": "pt"}), loaded, suffix=".safetensors")

    return {
        "torch zip": lambda: Reader(saved(vit(), zipped=True), loaded),
        "torch zip, the pickle": lambda: pickled(saved(vit(name=True), zipped=True)),
        "torch legacy": lambda: Reader(saved(vit(), zipped=False), loaded),
        "YOLOv5": lambda: pickled((FIXTURES / "yolov5_classify.pt").read_bytes()),
        "safetensors": safetensors,
        "hdf5": lambda: Reader(
            (FIXTURES / "keras_efficientnet_finetuned.h5").read_bytes(), loaded, suffix=".h5"
        ),
        "ONNX metadata": metadata,
        "ONNX": lambda: Reader(_onnx(folder), inspected, 5, ".onnx"),
        **text_readers(folder),
    }
