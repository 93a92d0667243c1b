"""ONNX file -> TensorRT network, with the parser's refusals reported by node."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from deploykit_runtimes.errors import ModelError
from deploykit_runtimes.trt.bindings import Bindings

__all__ = ["advice", "parse_network"]

# What TensorRT refuses most often, by words of its message, and what to do about it.
_ADVICE = (
    (
        ("antialias",),
        "TensorRT has no antialiased Resize; `deploykit export --preprocess` writes one that it takes.",
    ),
    (
        ("NonMaxSuppression", "NonZero"),
        "TensorRT cannot take outputs of unknown length here. Export without NMS inside the graph, or with "
        "`deploykit export --postprocess`, whose outputs have a fixed size.",
    ),
    (
        ("Float zero point", "Non-zero zero point", "INT32 biases", "type Int32 but must have type FP8"),
        "TensorRT wants symmetric INT8 quantisation with float biases: quantize the model with deploykit.",
    ),
    (
        ("type UInt8",),
        "TensorRT casts uint8 inputs, and does nothing else with them: cast before the first operation.",
    ),
    (
        ("inherently negative length",),
        "Give every Resize its `sizes` for all axes, or export with a fixed height and width.",
    ),
    (
        ("FP32 GEMM is not supported",),
        "Turing GPUs (compute capability 7.5) run FP16 models alone: export one, or leave 7.5 out.",
    ),
    (
        ("out of memory", "OutOfMemory", "insufficient memory"),
        "Close what else uses the GPU, or build for smaller shapes: --shapes NAME:MIN,OPT,MAX",
    ),
)


def advice(text: str) -> str:
    """What to do about a refusal."""
    for words, what in _ADVICE:
        if any(word in text for word in words):
            return what
    return "ONNX Runtime runs every model that deploykit exports: --runtime ort-cuda or ort-cpu."


def parse_network(bindings: Bindings, builder: Any, model: Path) -> tuple[Any, Any]:
    """Parse a model file into a strongly typed network.

    Returns:
        The network and its parser, which must live as long as the network.

    Raises:
        ModelError: TensorRT cannot take the model; names the node and what to do.
    """
    trt = bindings.trt
    network = builder.create_network(bindings.network_flags())
    parser = trt.OnnxParser(network, bindings.logger)
    bindings.messages.clear()
    # By name, not by content: weights beside the file are found, and files above 2 GB can be read.
    if parser.parse_from_file(str(model)):
        return network, parser
    problems = [_problem(parser.get_error(index)) for index in range(parser.num_errors)]
    text = problems[0] if problems else bindings.messages.last_error()
    more = f" (and {len(problems) - 1} more)" if len(problems) > 1 else ""
    raise ModelError(
        f"{bindings.flavour} {bindings.version} cannot take {model}: {text}{more}", hint=advice(text)
    )


def _problem(error: Any) -> str:
    """``node /model/Resize (Resize): antialias ...``."""
    name, operator = error.node_name(), error.node_operator()
    where = f"node {name or error.node()} ({operator}): " if operator else ""
    return where + " ".join(str(error.desc()).split())[:300]
