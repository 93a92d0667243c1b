"""Model files put together by hand, byte by byte: the official library refuses to write most attacks."""

from __future__ import annotations

import struct
from collections.abc import Iterable, Mapping, Sequence

from deploykit_runtimes.onnx.protobuf import encode, encode_number

FLOAT, INT64 = 1, 7
_MASK = (1 << 64) - 1

CONTRACT = {
    "deploykit.format": "1",
    "deploykit.task": "classify",
    "deploykit.family": "vit",
    "deploykit.variant": "mean_colour",
    "deploykit.origin": "timm",
    "deploykit.classes": "red\ngreen\nblue",
    "deploykit.num_classes": "3",
    "deploykit.source": "m.pth",
    "deploykit.source_sha256": "0" * 64,
    "deploykit.recognised": "a\nb",
    "deploykit.assumed": "",
    "deploykit.exporter": "e",
    "deploykit.input.name": "images",
    "deploykit.input.height": "32",
    "deploykit.input.width": "32",
    "deploykit.input.batch": "1",
    "deploykit.input.channels": "3",
    "deploykit.input.layout": "NCHW",
    "deploykit.input.dtype": "float32",
    "deploykit.preprocess.included": "0",
    "deploykit.preprocess.color": "rgb",
    "deploykit.preprocess.pre_crop": "0.875",
    "deploykit.preprocess.pre_crop_offset": "up",
    "deploykit.preprocess.resize": "short",
    "deploykit.preprocess.resize_to": "36",
    "deploykit.preprocess.rounding": "floor",
    "deploykit.preprocess.interpolation": "bicubic",
    "deploykit.preprocess.resampler": "pillow",
    "deploykit.preprocess.crop": "32 32",
    "deploykit.preprocess.crop_offset": "even",
    "deploykit.preprocess.pad_value": "114",
    "deploykit.preprocess.anchor": "center",
    "deploykit.preprocess.scale_up": "1",
    "deploykit.preprocess.stride": "0",
    "deploykit.preprocess.scale": "0.00392156862745098",
    "deploykit.preprocess.mean": "0.5 0.5 0.5",
    "deploykit.preprocess.std": "0.5 0.5 0.5",
    "deploykit.output.names": "logits",
    "deploykit.output.layout": "logits",
    "deploykit.output.activation": "softmax",
    "deploykit.output.decoded": "1",
    "deploykit.output.nms": "0",
    "deploykit.output.conf": "0.25",
    "deploykit.output.iou": "0.7",
    "deploykit.output.max_det": "300",
    "deploykit.output.class_agnostic": "0",
    "deploykit.output.top_k": "0",
    "deploykit.output.runtime_thresholds": "0",
    "deploykit.output.keypoints": "0 0",
    "deploykit.output.mask_channels": "0",
    "deploykit.output.strides": "8 16",
    "deploykit.parity.max_abs": "1e-06",
    "deploykit.parity.max_rel": "1e-06",
    "deploykit.parity.top1": "1.0",
    "deploykit.parity.tolerance": "0.001",
    "deploykit.parity.shapes": "1x3x32x32",
    "deploykit.parity.inputs": "noise",
    "deploykit.parity.reference": "r",
    "deploykit.parity.engine": "e",
    "deploykit.parity.answers": "0",
    "deploykit.parity.answer_score": "0.0",
    "deploykit.parity.answer_box": "0.0",
    "deploykit.parity.answer_said": "",
    "deploykit.parity.detections": "0",
    "deploykit.parity.masks": "0",
    "deploykit.parity.keypoints": "0",
    "deploykit.parity.exact_pixels": "1.0",
}
"""Every key of docs/spec.md that a file without pre-processing in its graph has."""


def number(field: int, value: int) -> bytes:
    return encode_number(field, value & _MASK)


def tensor_info(name: str, dtype: int, shape: Sequence[int | str]) -> bytes:
    dims = b"".join(encode(1, encode(2, n) if isinstance(n, str) else number(1, n)) for n in shape)
    return encode(1, name) + encode(2, encode(1, number(1, dtype) + encode(2, dims)))


def tensor(name: str, dtype: int, dims: Sequence[int], raw: bytes) -> bytes:
    return b"".join(number(1, n) for n in dims) + number(2, dtype) + encode(8, name) + encode(9, raw)


def int64s(name: str, values: Sequence[int], *, scalar: bool = False) -> bytes:
    raw = struct.pack(f"<{len(values)}q", *values)
    return tensor(name, INT64, () if scalar else (len(values),), raw)


def floats(name: str, values: Sequence[float]) -> bytes:
    return tensor(name, FLOAT, (len(values),), struct.pack(f"<{len(values)}f", *values))


def _attribute(name: str, value: object) -> bytes:
    head = encode(1, name)
    if isinstance(value, int):
        return head + number(3, value) + number(20, 2)
    if isinstance(value, str):
        return head + encode(4, value) + number(20, 3)
    if isinstance(value, bytes):  # a tensor
        return head + encode(5, value) + number(20, 4)
    if isinstance(value, dict):  # a graph
        return head + encode(6, value["graph"]) + number(20, 5)
    assert isinstance(value, list)
    return head + b"".join(number(8, n) for n in value) + number(20, 7)


def node(
    kind: str, inputs: Iterable[str], outputs: Iterable[str], *, domain: str = "", **attributes: object
) -> bytes:
    """One encoded node."""
    return b"".join(
        (
            *(encode(1, name) for name in inputs),
            *(encode(2, name) for name in outputs),
            encode(4, kind),
            *(encode(5, _attribute(name, value)) for name, value in attributes.items()),
            encode(7, domain) if domain else b"",
        )
    )


def _graph(nodes: Iterable[bytes], initializers: Iterable[bytes], outside: Iterable[bytes] = ()) -> bytes:
    return b"".join(
        (
            *(encode(1, one) for one in nodes),
            encode(2, "g"),
            *(encode(5, one) for one in initializers),
            *outside,
        )
    )


def model(
    *,
    nodes: Iterable[bytes] = (),
    initializers: Iterable[bytes] = (),
    metadata: Mapping[str, str | bytes] = CONTRACT,
    inputs: Sequence[bytes] = (tensor_info("images", FLOAT, (1, 3, 32, 32)),),
    outputs: Sequence[bytes] = (tensor_info("logits", FLOAT, (1, 3)),),
    body: Sequence[bytes] | None = None,
    in_graph: Iterable[bytes] = (),
    functions: Iterable[bytes] = (),
    domains: Sequence[str] = (),
    entries: Iterable[bytes] = (),
) -> bytes:
    """A model file: the mean of each colour, behind ``nodes``.

    Args:
        nodes, initializers: Put before the network; a tensor ``bomb`` among them is added to the answer.
        metadata: The file's keys.
        body: In place of the network.
        in_graph, entries: Further fields of the graph and of the model, encoded.
        functions, domains: Of the model.
    """
    before = list(nodes)
    usual = [
        node("GlobalAveragePool", ["images"], ["pooled"]),
        node("Flatten", ["pooled"], ["flat"]),
    ]
    if before:
        usual += [
            node("ReduceMax", ["bomb"], ["most"], keepdims=0),
            node("Cast", ["most"], ["added"], to=FLOAT),
            node("Add", ["flat", "added"], ["logits"]),
        ]
    else:
        usual += [node("Identity", ["flat"], ["logits"])]
    outside = [*(encode(11, one) for one in inputs), *(encode(12, one) for one in outputs), *in_graph]
    graph = _graph([*before, *(usual if body is None else body)], initializers, outside)
    return b"".join(
        (
            number(1, 8),
            encode(8, number(2, 17)),
            *(encode(8, encode(1, domain) + number(2, 1)) for domain in domains),
            encode(7, graph),
            *(encode(14, encode(1, key) + encode(2, _bytes(value))) for key, value in metadata.items()),
            *entries,
            *(encode(25, one) for one in functions),
        )
    )


def _bytes(text: str | bytes) -> bytes:
    return text if isinstance(text, bytes) else text.encode("utf-8", "surrogatepass")


def contract_with(**changes: str | bytes) -> dict[str, str | bytes]:
    return {**CONTRACT, **{f"deploykit.{key.replace('__', '.')}": value for key, value in changes.items()}}


def branch(nodes: Sequence[bytes], last: str) -> dict[str, bytes]:
    return {"graph": _graph(nodes, [], [encode(12, tensor_info(last, FLOAT, ()))])}


def function(name: str, nodes: Sequence[bytes]) -> bytes:
    return b"".join(
        (
            encode(1, name),
            encode(4, "x"),
            encode(5, "y"),
            *(encode(7, one) for one in nodes),
            encode(9, number(2, 17)),
            encode(9, encode(1, "f") + number(2, 1)),
            encode(10, "f"),
        )
    )
