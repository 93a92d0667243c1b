"""A copy of a finished graph whose post-processing has work: the scores before it are raised.

For proofs alone. The network's own outputs become outputs of the graph, so that what the copy answers can be
compared with what the host makes of the very same numbers.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from deploykit_runtimes.contract.spec import ModelSpec

from deploykit_exporters.ingraph.compose import NETWORK, rename

if TYPE_CHECKING:
    import onnx

__all__ = ["has_heads", "raise_scores"]

_RAISED = "proof/raised"
_BEHIND = "postprocess/"


def has_heads(model: onnx.ModelProto, core: ModelSpec) -> bool:
    """Whether the network's outputs can be told from its post-processing in a finished graph."""
    known = {name for node in model.graph.node for name in node.output}
    return all(NETWORK + name in known for name in core.output.names)


def raise_scores(model: onnx.ModelProto, core: ModelSpec, middle: float) -> onnx.ModelProto:
    """Put ``x / (x + middle)`` between the scores of a network and its post-processing.

    Args:
        model: A graph by ``compose`` with post-processing; not modified.
        core: The contract of the network in it.
        middle: The score that becomes 1/2.

    Returns:
        The copy, with the network's outputs as further outputs, named with the prefix ``NETWORK``.
    """
    import onnx

    copy = type(model)()
    copy.CopyFrom(model)
    graph = copy.graph
    head = NETWORK + core.output.names[0]
    behind = onnx.GraphProto()
    behind.node.extend(node for node in graph.node if node.name.startswith(_BEHIND))
    rename(behind, {head: _RAISED})
    before = [node for node in graph.node if not node.name.startswith(_BEHIND)]
    nodes = [*before, *_curve(head, core, middle), *behind.node]
    del graph.node[:]
    graph.node.extend(nodes)
    present = {value.name for value in graph.output}
    graph.output.extend(
        onnx.helper.make_tensor_value_info(NETWORK + name, onnx.TensorProto.FLOAT, None)
        for name in core.output.names
        if NETWORK + name not in present
    )
    return copy


def _curve(head: str, core: ModelSpec, middle: float) -> list[onnx.NodeProto]:
    """The nodes that make ``proof/raised`` of a head: the sums of ``raise_detections`` on the host."""
    import onnx

    def constant(name: str, value: np.ndarray) -> onnx.NodeProto:
        return onnx.helper.make_node(
            "Constant", [], [f"proof/{name}"], value=onnx.numpy_helper.from_array(value)
        )

    def node(operator: str, *inputs: str, to: str) -> onnx.NodeProto:
        return onnx.helper.make_node(operator, list(inputs), [to], name=to)

    classes, objectness = _columns(core)
    nodes = [
        constant("middle", np.array(middle, np.float32)),
        constant("classes", classes),
    ]
    scores = head
    rest = head
    if objectness is not None:
        nodes += [
            constant("objectness", objectness),
            constant("one", np.array(1, np.float32)),
            constant("start", np.array([4])),
            constant("end", np.array([5])),
            constant("axis", np.array([2])),
            node("Slice", head, "proof/start", "proof/end", "proof/axis", to="proof/weight"),
            node("Mul", head, "proof/weight", to="proof/product"),
            node("Where", "proof/objectness", "proof/one", head, to="proof/rest"),
        ]
        scores, rest = "proof/product", "proof/rest"
    return [
        *nodes,
        node("Add", scores, "proof/middle", to="proof/sum"),
        node("Div", scores, "proof/sum", to="proof/share"),
        node("Where", "proof/classes", "proof/share", rest, to=_RAISED),
    ]


def _columns(core: ModelSpec) -> tuple[np.ndarray, np.ndarray | None]:
    """Which values of a head are scores, and which objectness, bool, to be broadcast over it."""
    from deploykit_exporters.ingraph.detection.candidates import extra_columns

    layout, count = core.output.layout, core.num_classes
    first = {"yolo": 4, "yolov5": 5, "end2end": 4}[layout]
    width = (6 if layout == "end2end" else first + count) + extra_columns(core)
    numbers = np.arange(width)
    classes = (numbers >= first) & (numbers < first + (1 if layout == "end2end" else count))
    if layout == "yolo":
        return classes[None, :, None], None
    return classes[None, None], (numbers == 4)[None, None] if layout == "yolov5" else None
