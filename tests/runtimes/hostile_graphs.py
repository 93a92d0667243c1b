"""Graphs that attack whoever reads them: a million nodes, endless sizes, gigabytes out of nothing."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from deploykit_runtimes.onnx.protobuf import encode
from hostile_bytes import FLOAT, branch, floats, function, int64s, model, node, number, tensor, tensor_info

# Nodes.


def _numbered(count: int, made: bytes) -> list[bytes]:
    """Copies of something encoded, with 0000000 in its names counted up, and 0000001 one ahead of that."""
    template = made.replace(b"%", b"%%").replace(b"0000000", b"%(this)07d").replace(b"0000001", b"%(next)07d")
    return [template % {b"this": i, b"next": i + 1} for i in range(count)]


def _nodes1m() -> bytes:
    chain = _numbered(1_000_000, node("Identity", ["n0000000"], ["n0000001"]))
    return model(
        nodes=[node("Identity", ["images"], ["n0000000"]), *chain, node("Identity", ["n1000000"], ["bomb"])]
    )


def _nodes1m_unused() -> bytes:
    return model(body=_numbered(1_000_000, node("Identity", ["images"], ["n0000000"])))


def _nodes1m_in_a_branch() -> bytes:
    chain = [node("ReduceMax", ["images"], ["n0000000"], keepdims=0)]
    chain += _numbered(1_000_000, node("Identity", ["n0000000"], ["n0000001"]))
    branches = {"then_branch": branch(chain, "n1000000"), "else_branch": branch(chain[:1], "n0000000")}
    return model(
        nodes=[
            node("ReduceMax", ["images"], ["most_of_all"], keepdims=0),
            node("Cast", ["most_of_all"], ["condition"], to=9),
            node("If", ["condition"], ["bomb"], **branches),
        ]
    )


def _branches_deep() -> bytes:
    inner = branch([node("ReduceMax", ["images"], ["r"], keepdims=0)], "r")
    for depth in range(2000):
        branches = {"then_branch": inner, "else_branch": inner} if depth < 3 else {"then_branch": inner}
        inner = branch([node("If", ["condition"], [f"r{depth}"], **branches)], f"r{depth}")
    return model(
        nodes=[
            node("ReduceMax", ["images"], ["most_of_all"], keepdims=0),
            node("Cast", ["most_of_all"], ["condition"], to=9),
            node("If", ["condition"], ["bomb"], then_branch=inner, else_branch=inner),
        ]
    )


def _functions_laugh() -> bytes:
    """Each function calls the one before it ten times: 10**9 nodes when they are put in place."""
    functions = [function("f0", [node("Identity", ["x"], ["y"])])]
    for level in range(1, 10):
        names = ["x", *(f"t{i}" for i in range(9)), "y"]
        calls = [node(f"f{level - 1}", [names[i]], [names[i + 1]], domain="f") for i in range(10)]
        functions.append(function(f"f{level}", calls))
    return model(nodes=[node("f9", ["images"], ["bomb"], domain="f")], functions=functions, domains=["f"])


def _functions_circle() -> bytes:
    functions = [
        function(name, [node(other, ["x"], ["y"], domain="f")]) for name, other in (("a", "b"), ("b", "a"))
    ]
    return model(nodes=[node("a", ["images"], ["bomb"], domain="f")], functions=functions, domains=["f"])


def _initializers_many() -> bytes:
    return model(initializers=_numbered(1_000_000, floats("w0000000", [1.0])))


def _inputs_many() -> bytes:
    info = _numbered(300_000, tensor_info("images0000000", FLOAT, (1, 3, 32, 32)))
    return model(inputs=[tensor_info("images", FLOAT, (1, 3, 32, 32)), *info])


# Sizes.


def _dims_overflow() -> bytes:
    return model(
        initializers=[tensor("w", FLOAT, (1 << 32, 1 << 32, 4), b"")],
        nodes=[node("ReduceMax", ["w"], ["bomb"], keepdims=0)],
    )


def _dims_negative() -> bytes:
    return model(
        initializers=[tensor("w", FLOAT, (-1, -1), b"")],
        nodes=[node("ReduceMax", ["w"], ["bomb"], keepdims=0)],
    )


def _dims_empty_claim() -> bytes:
    """64 GB are claimed, none are stored."""
    return model(
        initializers=[tensor("w", FLOAT, (1 << 34,), b"")],
        nodes=[node("ReduceMax", ["w"], ["bomb"], keepdims=0)],
    )


def _dims_many() -> bytes:
    """The product of a million sizes is a number of millions of digits."""
    return model(initializers=[tensor("w", FLOAT, (1 << 62,) * 1_000_000, b"")])


def _dims_packed() -> bytes:
    packed = encode(1, (b"\xff" * 8 + b"\x7f") * 1_000_000)
    return model(initializers=[packed + number(2, FLOAT) + encode(8, "w") + encode(9, b"")])


def _axes_many() -> bytes:
    return model(inputs=[tensor_info("images", FLOAT, (1,) * 1_000_000)])


# Tensors that the graph makes by itself.

_GB64 = (1 << 34,)


def _made(
    kind: str, inputs: Sequence[str], initializers: Sequence[bytes], **attributes: object
) -> Callable[[], bytes]:
    return lambda: model(nodes=[node(kind, inputs, ["bomb"], **attributes)], initializers=initializers)


def _shape_by_product() -> bytes:
    """The shape is not a constant of the file: 4096 * 4096 * 1024."""
    return model(
        nodes=[
            node("Mul", ["a", "a"], ["aa"]),
            node("Mul", ["aa", "b"], ["shape"]),
            node("ConstantOfShape", ["shape"], ["bomb"]),
        ],
        initializers=[int64s("a", [4096]), int64s("b", [1024])],
    )


def _shape_by_concat() -> bytes:
    return model(
        nodes=[
            node("Constant", [], ["a"], value=int64s("", [1 << 17])),
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
                "If", ["condition"], ["bomb"], then_branch=branch(made, "r"), else_branch=branch(other, "q")
            ),
        ],
        initializers=[int64s("shape", _GB64)],
    )


def _bomb_in_a_function() -> bytes:
    body = [
        node("Constant", [], ["shape"], value=int64s("", _GB64)),
        node("ConstantOfShape", ["shape"], ["large"]),
        node("ReduceMax", ["large"], ["y"], keepdims=0),
    ]
    return model(
        nodes=[node("f", ["images"], ["bomb"], domain="f")], functions=[function("f", body)], domains=["f"]
    )


def _concat_of_one() -> bytes:
    """400 MB out of 400 kB, while the file is loaded: the same weights a thousand times."""
    return model(
        nodes=[node("Concat", ["w"] * 1000, ["bomb"], axis=0)], initializers=[floats("w", [1.0] * 100_000)]
    )


def _doubled_constant() -> bytes:
    """A constant twice as large with each node."""
    nodes = [node("Concat", [f"d{i}", f"d{i}"], [f"d{i + 1}"], axis=0) for i in range(30)]
    return model(nodes=[*nodes, node("Identity", ["d30"], ["bomb"])], initializers=[floats("d0", [1.0])])


def _tile_of_the_image() -> bytes:
    """64 GB of what the caller feeds: nothing here is constant but the repeats."""
    return model(
        nodes=[node("Tile", ["images", "repeats"], ["bomb"])],
        initializers=[int64s("repeats", [1, 1, 4096, 2048])],
    )


def _many_large() -> bytes:
    """Each stays below what one tensor may have, all of them together do not."""
    count = 64
    made = [node("Expand", ["images", "shape"], [f"e{i}"]) for i in range(count)]
    return model(
        nodes=[*made, node("Concat", [f"e{i}" for i in range(count)], ["bomb"], axis=0)],
        initializers=[int64s("shape", [80_000, 3, 32, 32])],
    )


def _doubling() -> bytes:
    """Each node has twice the size of the one before: no constant is large."""
    nodes = [node("Concat", ["images", "images"], ["d0"], axis=0)]
    nodes += [node("Concat", [f"d{i}", f"d{i}"], [f"d{i + 1}"], axis=0) for i in range(25)]
    return model(nodes=[*nodes, node("Identity", ["d25"], ["bomb"])])


def _sparse() -> bytes:
    """One value, and 64 GB of zeros."""
    sparse = encode(1, floats("w", [1.0])) + encode(2, int64s("", [5])) + number(3, _GB64[0])
    return model(nodes=[node("ReduceMax", ["w"], ["bomb"], keepdims=0)], in_graph=[encode(15, sparse)])


def _sparse_constant() -> bytes:
    sparse = encode(1, floats("w", [1.0])) + encode(2, int64s("", [5])) + number(3, _GB64[0])
    attribute = encode(1, "sparse_value") + encode(22, sparse) + number(20, 11)
    return model(nodes=[encode(2, "bomb") + encode(4, "Constant") + encode(5, attribute)])


_X = ["images"]


GRAPHS: dict[str, Callable[[], bytes]] = {
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
    "constant_of_shape_64g": _made("ConstantOfShape", ["shape"], [int64s("shape", _GB64)]),
    "constant_of_shape_2p62": _made("ConstantOfShape", ["shape"], [int64s("shape", [1 << 62])]),
    "constant_of_shape_overflow": _made(
        "ConstantOfShape", ["shape"], [int64s("shape", [1 << 40, 1 << 40, 16])]
    ),
    "constant_of_shape_negative": _made("ConstantOfShape", ["shape"], [int64s("shape", [-1])]),
    "expand_64g": _made("Expand", [*_X, "s"], [int64s("s", [1 << 22, 3, 32, 32])]),
    "expand_of_one": _made("Expand", ["one", "s"], [int64s("s", _GB64), floats("one", [1])]),
    "tile_64g": _tile_of_the_image,
    "range_64g": _made(
        "Range",
        ["a", "b", "c"],
        [
            int64s("a", [0], scalar=True),
            int64s("b", [1 << 33], scalar=True),
            int64s("c", [1], scalar=True),
        ],
    ),
    "resize_sizes": _made(
        "Resize", [*_X, "", "", "s"], [int64s("s", [1, 3, 100_000, 60_000])], mode="nearest"
    ),
    "resize_scales": _made("Resize", [*_X, "", "s"], [floats("s", [1, 1, 4096, 2048])], mode="nearest"),
    "pad_64g": _made("Pad", [*_X, "p"], [int64s("p", [0, 0, 0, 0, 0, 0, 1 << 16, 1 << 17])]),
    "one_hot": _made(
        "OneHot", ["i", "d", "v"], [int64s("i", [0, 1]), int64s("d", [1 << 34]), floats("v", [0, 1])]
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
