"""Model files that attack whoever reads them, written when a test asks: ``python hostile_models.py FOLDER``.

Each is small for what it asks: a graph that computes gigabytes, metadata that is nothing but names, sizes
whose product does not fit into 64 bits. All but a few carry a contract that is valid, so a reader goes on to
what is wrong. The bytes are put together by hand: the official library refuses to write most of it, and
takes minutes for a million nodes.
"""

from __future__ import annotations

import struct
import sys
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path

from deploykit_runtimes.onnx.protobuf import encode, encode_number

__all__ = ["CONTRACT", "FORGED_VALUES", "HONEST", "HOSTILE", "YOLO", "at_run", "forged", "model", "node"]

_FLOAT, _INT64 = 1, 7
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

YOLO = {"task": "detect", "stride": "32", "names": "{0: 'a'}", "imgsz": "[32, 32]", "batch": "1"}

FORGED_VALUES = (
    *("", " ", "-1", "-0", "0", "1", "2", "65536", "1073741824", "2000000000", "2147483647", "2147483648"),
    *("-2147483648", "4294967296", "9223372036854775807", "9223372036854775808", "1" + "0" * 400, "9" * 5000),
    *(
        "-" * 100_000,
        "1e400",
        "-1e400",
        "1e-400",
        "1e308",
        "nan",
        "inf",
        "-inf",
        "NaN",
        "0x10",
        "1_000",
        "1.5",
    ),
    *(
        "٣",
        "½",
        "1,5",
        "1 1 1 1 1",
        "2000000000 2000000000",
        "0 0",
        "-1 -1",
        "2147483647 2147483647",
        "1 2 3",
    ),
    *("[" * 100_000, '{"a":1,"a":2}', "null", "true", "None", "\x00", "a\x00b", "\ud800", "\n" * 1000),
    *("letterbox", "cover", "long", "opencv", "grey", "as_is", "NHWC", "float16", "uint8", "yolo", "detect"),
)
"""Negative, endless, huge, of the wrong kind, nested, doubled, half a surrogate pair, words of other keys."""


def _number(field: int, value: int) -> bytes:
    return encode_number(field, value & _MASK)


def _tensor_info(name: str, dtype: int, shape: Sequence[int | str]) -> bytes:
    dims = b"".join(encode(1, encode(2, n) if isinstance(n, str) else _number(1, n)) for n in shape)
    return encode(1, name) + encode(2, encode(1, _number(1, dtype) + encode(2, dims)))


def _tensor(name: str, dtype: int, dims: Sequence[int], raw: bytes) -> bytes:
    return b"".join(_number(1, n) for n in dims) + _number(2, dtype) + encode(8, name) + encode(9, raw)


def _int64s(name: str, values: Sequence[int], *, scalar: bool = False) -> bytes:
    raw = struct.pack(f"<{len(values)}q", *values)
    return _tensor(name, _INT64, () if scalar else (len(values),), raw)


def _floats(name: str, values: Sequence[float]) -> bytes:
    return _tensor(name, _FLOAT, (len(values),), struct.pack(f"<{len(values)}f", *values))


def _attribute(name: str, value: object) -> bytes:
    head = encode(1, name)
    if isinstance(value, int):
        return head + _number(3, value) + _number(20, 2)
    if isinstance(value, str):
        return head + encode(4, value) + _number(20, 3)
    if isinstance(value, bytes):  # a tensor
        return head + encode(5, value) + _number(20, 4)
    if isinstance(value, dict):  # a graph
        return head + encode(6, value["graph"]) + _number(20, 5)
    assert isinstance(value, list)
    return head + b"".join(_number(8, n) for n in value) + _number(20, 7)


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
    inputs: Sequence[bytes] = (_tensor_info("images", _FLOAT, (1, 3, 32, 32)),),
    outputs: Sequence[bytes] = (_tensor_info("logits", _FLOAT, (1, 3)),),
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
            node("Cast", ["most"], ["added"], to=_FLOAT),
            node("Add", ["flat", "added"], ["logits"]),
        ]
    else:
        usual += [node("Identity", ["flat"], ["logits"])]
    outside = [*(encode(11, one) for one in inputs), *(encode(12, one) for one in outputs), *in_graph]
    graph = _graph([*before, *(usual if body is None else body)], initializers, outside)
    return b"".join(
        (
            _number(1, 8),
            encode(8, _number(2, 17)),
            *(encode(8, encode(1, domain) + _number(2, 1)) for domain in domains),
            encode(7, graph),
            *(encode(14, encode(1, key) + encode(2, _bytes(value))) for key, value in metadata.items()),
            *entries,
            *(encode(25, one) for one in functions),
        )
    )


def _bytes(text: str | bytes) -> bytes:
    return text if isinstance(text, bytes) else text.encode("utf-8", "surrogatepass")


def forged(key: str, value: str) -> bytes:
    """The honest model with one value of its contract changed."""
    return model(metadata={**CONTRACT, key: value})


def _with(**changes: str | bytes) -> dict[str, str | bytes]:
    return {**CONTRACT, **{f"deploykit.{key.replace('__', '.')}": value for key, value in changes.items()}}


# Metadata.


def _names_huge() -> bytes:
    return model(metadata=_with(classes="tench\n" * 50_000_000))


def _names_huge_ultralytics() -> bytes:
    return model(metadata={**YOLO, "names": "{" + "0: 'tench', " * 25_000_000 + "}"})


def _names_many() -> bytes:
    """Few bytes, and an object for each."""
    return model(metadata=_with(classes="\n" * 15_000_000))


def _note_huge() -> bytes:
    """A key that nobody reads."""
    return model(metadata={**CONTRACT, "note": b"x" * (300 << 20)})


def _producer_huge() -> bytes:
    return model(entries=[encode(2, b"x" * (300 << 20))])


def _entries_many() -> bytes:
    return model(entries=[encode(14, b"")] * 8_000_000)


def _literal_many() -> bytes:
    return model(metadata={**YOLO, "names": "[" + "1," * 7_000_000 + "]"})


def _literal_deep() -> bytes:
    return model(metadata={**YOLO, "names": "[" * 1_000_000})


def _literal_minus() -> bytes:
    return model(metadata={**YOLO, "stride": "-" * 1_000_000 + "1"})


def _literal_sparse() -> bytes:
    """A class with a number above all that exist."""
    return model(metadata={**YOLO, "names": "{0: 'a', 2000000000: 'b'}"})


def _tuple_many() -> bytes:
    return model(metadata=_with(preprocess__mean="0 " * 7_000_000))


def _words_many() -> bytes:
    return model(metadata=_with(output__names="a " * 7_000_000))


def _names_in_a_forged_key() -> bytes:
    """An error text that would hold all of the value."""
    return model(metadata=_with(preprocess__resize="x" * 15_000_000))


# Nodes.


def _nodes1m() -> bytes:
    chain = (node("Identity", [f"n{i}"], [f"n{i + 1}"]) for i in range(1_000_000))
    return model(
        nodes=[node("Identity", ["images"], ["n0"]), *chain, node("Identity", ["n1000000"], ["bomb"])]
    )


def _nodes1m_unused() -> bytes:
    return model(body=[node("Identity", ["images"], [f"n{i}"]) for i in range(1_000_000)])


def _branch(nodes: Sequence[bytes], last: str) -> dict[str, bytes]:
    return {"graph": _graph(nodes, [], [encode(12, _tensor_info(last, _FLOAT, ()))])}


def _nodes1m_in_a_branch() -> bytes:
    chain = [node("ReduceMax", ["images"], ["n0"], keepdims=0)]
    chain += [node("Identity", [f"n{i}"], [f"n{i + 1}"]) for i in range(1_000_000)]
    branches = {"then_branch": _branch(chain, "n1000000"), "else_branch": _branch(chain[:1], "n0")}
    return model(
        nodes=[
            node("ReduceMax", ["images"], ["most_of_all"], keepdims=0),
            node("Cast", ["most_of_all"], ["condition"], to=9),
            node("If", ["condition"], ["bomb"], **branches),
        ]
    )


def _branches_deep() -> bytes:
    inner = _branch([node("ReduceMax", ["images"], ["r"], keepdims=0)], "r")
    for depth in range(2000):
        branches = {"then_branch": inner, "else_branch": inner} if depth < 3 else {"then_branch": inner}
        inner = _branch([node("If", ["condition"], [f"r{depth}"], **branches)], f"r{depth}")
    return model(
        nodes=[
            node("ReduceMax", ["images"], ["most_of_all"], keepdims=0),
            node("Cast", ["most_of_all"], ["condition"], to=9),
            node("If", ["condition"], ["bomb"], then_branch=inner, else_branch=inner),
        ]
    )


def _function(name: str, nodes: Sequence[bytes]) -> bytes:
    return b"".join(
        (
            encode(1, name),
            encode(4, "x"),
            encode(5, "y"),
            *(encode(7, one) for one in nodes),
            encode(9, _number(2, 17)),
            encode(9, encode(1, "f") + _number(2, 1)),
            encode(10, "f"),
        )
    )


def _functions_laugh() -> bytes:
    """Each function calls the one before it ten times: 10**9 nodes when they are put in place."""
    functions = [_function("f0", [node("Identity", ["x"], ["y"])])]
    for level in range(1, 10):
        names = ["x", *(f"t{i}" for i in range(9)), "y"]
        calls = [node(f"f{level - 1}", [names[i]], [names[i + 1]], domain="f") for i in range(10)]
        functions.append(_function(f"f{level}", calls))
    return model(nodes=[node("f9", ["images"], ["bomb"], domain="f")], functions=functions, domains=["f"])


def _functions_circle() -> bytes:
    functions = [
        _function(name, [node(other, ["x"], ["y"], domain="f")]) for name, other in (("a", "b"), ("b", "a"))
    ]
    return model(nodes=[node("a", ["images"], ["bomb"], domain="f")], functions=functions, domains=["f"])


def _initializers_many() -> bytes:
    return model(initializers=[_floats(f"w{i}", [1.0]) for i in range(1_000_000)])


def _inputs_many() -> bytes:
    info = [_tensor_info(f"images{i}", _FLOAT, (1, 3, 32, 32)) for i in range(300_000)]
    return model(inputs=[_tensor_info("images", _FLOAT, (1, 3, 32, 32)), *info])


# Sizes.


def _dims_overflow() -> bytes:
    return model(
        initializers=[_tensor("w", _FLOAT, (1 << 32, 1 << 32, 4), b"")],
        nodes=[node("ReduceMax", ["w"], ["bomb"], keepdims=0)],
    )


def _dims_negative() -> bytes:
    return model(
        initializers=[_tensor("w", _FLOAT, (-1, -1), b"")],
        nodes=[node("ReduceMax", ["w"], ["bomb"], keepdims=0)],
    )


def _dims_empty_claim() -> bytes:
    """64 GB are claimed, none are stored."""
    return model(
        initializers=[_tensor("w", _FLOAT, (1 << 34,), b"")],
        nodes=[node("ReduceMax", ["w"], ["bomb"], keepdims=0)],
    )


def _dims_many() -> bytes:
    """The product of a million sizes is a number of millions of digits."""
    return model(initializers=[_tensor("w", _FLOAT, (1 << 62,) * 1_000_000, b"")])


def _dims_packed() -> bytes:
    packed = encode(1, (b"\xff" * 8 + b"\x7f") * 1_000_000)
    return model(initializers=[packed + _number(2, _FLOAT) + encode(8, "w") + encode(9, b"")])


def _axes_many() -> bytes:
    return model(inputs=[_tensor_info("images", _FLOAT, (1,) * 1_000_000)])


def _input_overflow() -> bytes:
    return model(
        inputs=[_tensor_info("images", _FLOAT, (1, 3, 2147483647, 2147483647))],
        metadata=_with(
            input__height="2147483647",
            input__width="2147483647",
            preprocess__resize="stretch",
            preprocess__resize_to="2147483647 2147483647",
            preprocess__crop="2147483647 2147483647",
        ),
    )


def _batch_huge() -> bytes:
    return model(
        inputs=[_tensor_info("images", _FLOAT, (2147483647, 3, 32, 32))],
        outputs=[_tensor_info("logits", _FLOAT, (2147483647, 3))],
        metadata=_with(input__batch="2147483647"),
    )


def _resize_to(resize: str, resampler: str, resize_to: str) -> Callable[[], bytes]:
    """The tensor stays small: a crop follows the resize."""
    return lambda: model(
        metadata=_with(
            preprocess__resize=resize, preprocess__resampler=resampler, preprocess__resize_to=resize_to
        )
    )


def _dynamic_huge() -> bytes:
    """The model's own size is one of those that its axes take, and 48 GB large."""
    return model(
        inputs=[_tensor_info("images", _FLOAT, ("n", 3, "height", "width"))],
        metadata=_with(
            input__height="65536",
            input__width="65536",
            input__dynamic__height="1 2147483647 1",
            input__dynamic__width="1 2147483647 1",
            preprocess__resize="stretch",
            preprocess__resize_to="65536 65536",
            preprocess__crop="65536 65536",
        ),
    )


# Tensors that the graph makes by itself.

_GB64 = (1 << 34,)


def _made(
    kind: str, inputs: Sequence[str], initializers: Sequence[bytes], **attributes: object
) -> Callable[[], bytes]:
    return lambda: model(nodes=[node(kind, inputs, ["bomb"], **attributes)], initializers=initializers)


def _shape_by_product() -> bytes:
    """The shape is no constant of the file: 4096 * 4096 * 1024."""
    return model(
        nodes=[
            node("Mul", ["a", "a"], ["aa"]),
            node("Mul", ["aa", "b"], ["shape"]),
            node("ConstantOfShape", ["shape"], ["bomb"]),
        ],
        initializers=[_int64s("a", [4096]), _int64s("b", [1024])],
    )


def _shape_by_concat() -> bytes:
    return model(
        nodes=[
            node("Constant", [], ["a"], value=_int64s("", [1 << 17])),
            node("Constant", [], ["b"], value_ints=[1 << 17]),
            node("Concat", ["a", "b"], ["shape"], axis=0),
            node("ConstantOfShape", ["shape"], ["bomb"]),
        ]
    )


def _shape_of_the_image() -> bytes:
    """Of the input's own shape [1, 3, 32, 32]: 3072 ** 3 floats, 116 GB."""
    return model(
        nodes=[
            node("Shape", ["images"], ["s"]),
            node("ReduceProd", ["s"], ["p"], keepdims=1),
            node("Concat", ["p", "p", "p"], ["shape"], axis=0),
            node("ConstantOfShape", ["shape"], ["bomb"]),
        ]
    )


def _bomb_in_a_branch() -> bytes:
    made = [node("ConstantOfShape", ["shape"], ["large"]), node("ReduceMax", ["large"], ["r"], keepdims=0)]
    other = [node("ReduceMax", ["images"], ["q"], keepdims=0)]
    return model(
        nodes=[
            node("ReduceMax", ["images"], ["most_of_all"], keepdims=0),
            node("Cast", ["most_of_all"], ["condition"], to=9),
            node(
                "If", ["condition"], ["bomb"], then_branch=_branch(made, "r"), else_branch=_branch(other, "q")
            ),
        ],
        initializers=[_int64s("shape", _GB64)],
    )


def _bomb_in_a_function() -> bytes:
    body = [
        node("Constant", [], ["shape"], value=_int64s("", _GB64)),
        node("ConstantOfShape", ["shape"], ["large"]),
        node("ReduceMax", ["large"], ["y"], keepdims=0),
    ]
    return model(
        nodes=[node("f", ["images"], ["bomb"], domain="f")], functions=[_function("f", body)], domains=["f"]
    )


def _concat_of_one() -> bytes:
    """400 MB out of 400 kB, while the file is loaded: the same weights a thousand times."""
    return model(
        nodes=[node("Concat", ["w"] * 1000, ["bomb"], axis=0)], initializers=[_floats("w", [1.0] * 100_000)]
    )


def _doubled_constant() -> bytes:
    """A constant twice as large with each node."""
    nodes = [node("Concat", [f"d{i}", f"d{i}"], [f"d{i + 1}"], axis=0) for i in range(30)]
    return model(nodes=[*nodes, node("Identity", ["d30"], ["bomb"])], initializers=[_floats("d0", [1.0])])


def _tile_of_the_image() -> bytes:
    """64 GB of what the caller feeds: nothing here is constant but the repeats."""
    return model(
        nodes=[node("Tile", ["images", "repeats"], ["bomb"])],
        initializers=[_int64s("repeats", [1, 1, 4096, 2048])],
    )


def _many_large() -> bytes:
    """Each stays below what one tensor may have, all of them together do not."""
    count = 64
    made = [node("Expand", ["images", "shape"], [f"e{i}"]) for i in range(count)]
    return model(
        nodes=[*made, node("Concat", [f"e{i}" for i in range(count)], ["bomb"], axis=0)],
        initializers=[_int64s("shape", [80_000, 3, 32, 32])],
    )


def _doubling() -> bytes:
    """Each node has twice the size of the one before: no constant is large."""
    nodes = [node("Concat", ["images", "images"], ["d0"], axis=0)]
    nodes += [node("Concat", [f"d{i}", f"d{i}"], [f"d{i + 1}"], axis=0) for i in range(25)]
    return model(nodes=[*nodes, node("Identity", ["d25"], ["bomb"])])


def _sparse() -> bytes:
    """One value, and 64 GB of zeros."""
    sparse = encode(1, _floats("w", [1.0])) + encode(2, _int64s("", [5])) + _number(3, _GB64[0])
    return model(nodes=[node("ReduceMax", ["w"], ["bomb"], keepdims=0)], in_graph=[encode(15, sparse)])


def _sparse_constant() -> bytes:
    sparse = encode(1, _floats("w", [1.0])) + encode(2, _int64s("", [5])) + _number(3, _GB64[0])
    attribute = encode(1, "sparse_value") + encode(22, sparse) + _number(20, 11)
    return model(nodes=[encode(2, "bomb") + encode(4, "Constant") + encode(5, attribute)])


_X = ["images"]
HOSTILE: dict[str, Callable[[], bytes]] = {
    "names_huge": _names_huge,
    "names_huge_ultralytics": _names_huge_ultralytics,
    "names_many": _names_many,
    "note_huge": _note_huge,
    "producer_huge": _producer_huge,
    "entries_many": _entries_many,
    "literal_many": _literal_many,
    "literal_deep": _literal_deep,
    "literal_minus": _literal_minus,
    "literal_sparse": _literal_sparse,
    "tuple_many": _tuple_many,
    "words_many": _words_many,
    "value_long": _names_in_a_forged_key,
    "nodes1m": _nodes1m,
    "nodes1m_unused": _nodes1m_unused,
    "nodes1m_in_a_branch": _nodes1m_in_a_branch,
    "branches_deep": _branches_deep,
    "functions_laugh": _functions_laugh,
    "functions_circle": _functions_circle,
    "initializers_many": _initializers_many,
    "inputs_many": _inputs_many,
    "dims_overflow": _dims_overflow,
    "dims_negative": _dims_negative,
    "dims_empty_claim": _dims_empty_claim,
    "dims_many": _dims_many,
    "dims_packed": _dims_packed,
    "axes_many": _axes_many,
    "input_overflow": _input_overflow,
    "batch_huge": _batch_huge,
    "dynamic_huge": _dynamic_huge,
    **{
        f"resize_to_{resize}_{resampler}": _resize_to(resize, resampler, resize_to)
        for resize, resize_to in (
            ("short", "2000000000"),
            ("long", "2000000000"),
            ("stretch", "2000000000 2000000000"),
            ("cover", "2000000000 2000000000"),
        )
        for resampler in ("pillow", "opencv")
    },
    "constant_of_shape_64g": _made("ConstantOfShape", ["shape"], [_int64s("shape", _GB64)]),
    "constant_of_shape_2p62": _made("ConstantOfShape", ["shape"], [_int64s("shape", [1 << 62])]),
    "constant_of_shape_overflow": _made(
        "ConstantOfShape", ["shape"], [_int64s("shape", [1 << 40, 1 << 40, 16])]
    ),
    "constant_of_shape_negative": _made("ConstantOfShape", ["shape"], [_int64s("shape", [-1])]),
    "expand_64g": _made("Expand", [*_X, "s"], [_int64s("s", [1 << 22, 3, 32, 32])]),
    "expand_of_one": _made("Expand", ["one", "s"], [_int64s("s", _GB64), _floats("one", [1])]),
    "tile_64g": _tile_of_the_image,
    "range_64g": _made(
        "Range",
        ["a", "b", "c"],
        [
            _int64s("a", [0], scalar=True),
            _int64s("b", [1 << 33], scalar=True),
            _int64s("c", [1], scalar=True),
        ],
    ),
    "resize_sizes": _made(
        "Resize", [*_X, "", "", "s"], [_int64s("s", [1, 3, 100_000, 60_000])], mode="nearest"
    ),
    "resize_scales": _made("Resize", [*_X, "", "s"], [_floats("s", [1, 1, 4096, 2048])], mode="nearest"),
    "pad_64g": _made("Pad", [*_X, "p"], [_int64s("p", [0, 0, 0, 0, 0, 0, 1 << 16, 1 << 17])]),
    "one_hot": _made(
        "OneHot", ["i", "d", "v"], [_int64s("i", [0, 1]), _int64s("d", [1 << 34]), _floats("v", [0, 1])]
    ),
    "random": _made("RandomUniform", [], [], shape=[1 << 17, 1 << 17]),
    "shape_by_product": _shape_by_product,
    "shape_by_concat": _shape_by_concat,
    "shape_of_the_image": _shape_of_the_image,
    "bomb_in_a_branch": _bomb_in_a_branch,
    "bomb_in_a_function": _bomb_in_a_function,
    "many_large": _many_large,
    "doubling": _doubling,
    "concat_of_one": _concat_of_one,
    "doubled_constant": _doubled_constant,
    "sparse": _sparse,
    "sparse_constant": _sparse_constant,
}
"""Attacks by name; each makes the bytes of its file."""


def _grid() -> bytes:
    """What exporters write of positions: 4 MB made of constants, at a size that depends on the image."""
    return model(
        nodes=[
            node("Shape", ["images"], ["s"]),
            node("Gather", ["s", "side"], ["n"]),
            node("Range", ["zero", "n", "unit"], ["row"]),
            node("ConstantOfShape", ["shape"], ["plane"]),
            node("Cast", ["row"], ["steps"], to=_FLOAT),
            node("Add", ["plane", "steps"], ["bomb"]),
        ],
        initializers=[
            _int64s("side", [3], scalar=True),
            _int64s("zero", [0], scalar=True),
            _int64s("unit", [1], scalar=True),
            _int64s("shape", [1024, 32, 32]),
        ],
    )


def _deep_chain() -> bytes:
    """As many nodes as a model of 3,000 layers."""
    chain = [node("Relu", [f"n{i}"], [f"n{i + 1}"]) for i in range(3000)]
    return model(nodes=[node("Identity", ["images"], ["n0"]), *chain, node("Identity", ["n3000"], ["bomb"])])


def _functions() -> bytes:
    calls = [node("f", [f"n{i}"], [f"n{i + 1}"], domain="f") for i in range(100)]
    return model(
        nodes=[node("Identity", ["images"], ["n0"]), *calls, node("Identity", ["n100"], ["bomb"])],
        functions=[_function("f", [node("Relu", ["x"], ["t"]), node("Neg", ["t"], ["y"])])],
        domains=["f"],
    )


def _many_names() -> bytes:
    """All classes of ImageNet-21k, ten times."""
    names = 218_410
    return model(
        metadata=_with(classes="\n".join(f"class number {i}" for i in range(names)), num_classes=str(names)),
    )


HONEST: dict[str, Callable[[], bytes]] = {
    "plain": model,
    "grid": _grid,
    "deep_chain": _deep_chain,
    "functions": _functions,
    "many_names": _many_names,
}
"""What must go on working."""


def at_run() -> bytes:
    """A tensor whose sides are the largest value that the caller feeds."""
    return model(
        nodes=[
            node("ReduceMax", ["images"], ["largest"], keepdims=0),
            node("Cast", ["largest"], ["side"], to=_INT64),
            node("Reshape", ["side", "one"], ["sides"]),
            node("Concat", ["sides", "sides"], ["shape"], axis=0),
            node("ConstantOfShape", ["shape"], ["bomb"]),
        ],
        initializers=[_int64s("one", [1])],
    )


if __name__ == "__main__":
    folder = Path(sys.argv[1])
    folder.mkdir(parents=True, exist_ok=True)
    for name in sys.argv[2:] or [*HONEST, *HOSTILE]:
        (folder / f"{name}.onnx").write_bytes({**HONEST, **HOSTILE}[name]())
