"""The checkpoint exported again in the way that a model file was, and whether both have the same nodes."""

from __future__ import annotations

import re
from dataclasses import replace
from pathlib import Path
from typing import Any

from deploykit_runtimes.contract.axes import AXES
from deploykit_runtimes.contract.metadata import spec_to_metadata
from deploykit_runtimes.contract.spec import ModelSpec, OutputSpec

from deploykit_exporters.bisect.stored import Stored
from deploykit_exporters.export import export
from deploykit_exporters.options import ExportOptions
from deploykit_exporters.sources.in_memory import Source

__all__ = ["export_like", "options_like", "other_nodes", "other_pixels"]

_TOOLS = re.compile(r"(torchscript|dynamo) opset (\d+)\b")


def export_like(
    checkpoint: Source, spec: ModelSpec, options: ExportOptions, target: Path
) -> tuple[ModelSpec, str]:
    """Export a checkpoint with the options recorded in a model file, with the usual proof.

    Args:
        checkpoint: What the file was exported from.
        spec: The contract of the file.
        options: The export options given by the user; those recorded in the file take precedence.
        target: Where to write.

    Returns:
        The contract of the new file, and the reason if there is none, otherwise empty.

    Raises:
        DeploykitError: the checkpoint cannot be read, or gives no proven file.
    """
    if spec.inferred:
        return spec, "another exporter wrote the file"
    found = export(checkpoint, options_like(spec, options, target))
    return found.spec, ""


def options_like(spec: ModelSpec, options: ExportOptions, target: Path) -> ExportOptions:
    """The options with which a file was exported, as far as its contract records them."""
    image, output = spec.tensor, spec.output
    told: dict[str, Any] = {}
    if tools := _TOOLS.match(spec.exporter):
        told = {"exporter": tools[1], "opset": int(tools[2]), "simplify": "onnxsim" in spec.exporter}
    if spec.is_postprocessed and output.layout == "top_k":
        told["top_k"] = output.top_k
    elif spec.is_postprocessed:
        told |= {"conf": output.conf, "max_det": output.max_det, "masks": "masks" in output.names}
        told |= {"runtime_thresholds": output.runtime_thresholds, "class_agnostic": output.class_agnostic}
        told["iou"] = None if output.iou == OutputSpec.iou else output.iou  # end-to-end heads take none
    return replace(
        options,
        output=target,
        dynamic=tuple(axis for axis in AXES if axis in image.dynamic),
        imgsz=(image.height, image.width),
        batch=image.batch,
        features=spec.task == "features",
        preprocess=spec.preprocess.included,
        postprocess=spec.is_postprocessed,
        golden=None,
        golden_cases=False,
        witness=False,
        **told,
    )


def other_nodes(anew: Stored, found: Stored) -> str:
    """How the nodes of two graphs differ, in a sentence; empty if each has its counterpart in the same
    position.
    """
    counts = ""
    if len(anew.nodes) != len(found.nodes):
        counts = f"the checkpoint exported anew has {len(anew.nodes)} nodes, the file {len(found.nodes)}"
    for place, (one, other) in enumerate(zip(anew.nodes, found.nodes, strict=False), start=1):
        facts = [(node.op_type, node.domain, [*node.input], [*node.output]) for node in (one, other)]
        if facts[0] != facts[1]:
            return (
                f"{counts}{', and ' if counts else ''}"
                f"node {place} is {one.name} ({one.op_type}) in the checkpoint exported anew, and "
                f"{other.name} ({other.op_type}) in the file"
            )
    if counts:
        return counts
    if anew.inputs != found.inputs or anew.outputs != found.outputs:
        return "the checkpoint exported anew has other inputs or outputs"
    return ""


def other_pixels(anew: ModelSpec, found: ModelSpec) -> str:
    """How the pre-processing that a file names is not that of the checkpoint, in a sentence; empty: it is."""
    one, other = (_pixels(spec) for spec in (anew, found))
    told = [
        f"{name} {other.get(name)} instead of {one.get(name)}" for name in one if one[name] != other.get(name)
    ]
    return f"The file prepares pictures differently than the checkpoint: {', '.join(told)}." if told else ""


def _pixels(spec: ModelSpec) -> dict[str, str]:
    keys = spec_to_metadata(replace(spec, golden={}))
    start = "deploykit.preprocess."
    return {key.removeprefix(start): text for key, text in keys.items() if key.startswith(start)}
