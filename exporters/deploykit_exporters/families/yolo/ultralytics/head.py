"""The last layer of an Ultralytics network: its task, and which of its branches is used."""

from __future__ import annotations

from typing import Any

from deploykit_runtimes.contract.spec import Task
from deploykit_runtimes.errors import CheckpointError, OptionError

from deploykit_exporters.containers.pickles.inert import children, class_path

__all__ = ["choose_branch", "has_branch", "task_of", "task_of_head"]

_TASKS: dict[str, Task] = {
    "Classify": "classify",
    "Detect": "detect",
    "v10Detect": "detect",
    "OBB": "obb",
    "OBB26": "obb",
    "Pose": "pose",
    "Pose26": "pose",
    "Segment": "segment",
    "Segment26": "segment",
}
_OTHERS = {
    "Depth": "a depth estimator",
    "ImagePoolingAttn": "an open-vocabulary detector (YOLO-World)",
    "RTDETRDecoder": "an RT-DETR",
    "SemanticSegment": "a semantic segmentation model, which labels pixels",
    "WorldDetect": "an open-vocabulary detector (YOLO-World)",
    "YOLOEDetect": "an open-vocabulary detector (YOLOE)",
    "YOLOESegment": "an open-vocabulary segmentation model (YOLOE)",
    "YOLOESegment26": "an open-vocabulary segmentation model (YOLOE)",
}
_BRANCHES = ("one-to-one", "one-to-many")
_ASSUMED = (
    "the one-to-one head, which needs no suppression; predict() of recent ultralytics releases takes the "
    "one-to-many head with suppression unless it is given nms=False, as --head one-to-many does"
)


def task_of(tree: Any) -> Task:
    """The task of a network, according to the class of its last layer.

    Raises:
        CheckpointError: the head is not supported; the message names it.
    """
    layers = list(children(children(tree)["model"]).values())
    return task_of_head(class_path(layers[-1]).rpartition(".")[2] if layers else "nothing")


def task_of_head(head: str) -> Task:
    """The task of a network whose last layer has this class.

    Raises:
        CheckpointError: the head is not supported; the message names it.
    """
    if head in _TASKS:
        return _TASKS[head]
    what = f"This is {_OTHERS[head]}: the network" if head in _OTHERS else "The network"
    raise CheckpointError(
        f"{what} ends in {head}, wanted one of {', '.join(_TASKS)}.",
        hint="deploykit reads the detection, segmentation, pose, oriented-box and classification models of "
        "Ultralytics. `yolo export` of ultralytics makes an ONNX file of the others.",
    )


def has_branch(head: Any, branch: str) -> bool:
    """Whether a head still has its ``one-to-one`` or ``one-to-many`` branch, which fusing can remove."""
    return "one2one_cv2" in children(head) if branch == "one-to-one" else "cv2" in children(head)


def choose_branch(tree: Any, asked: str | None) -> tuple[bool, tuple[str, ...]]:
    """Whether the one-to-one branch is used, and what was assumed about it.

    This is not a property of the weights: validation during training and ``predict()`` switch it, so the
    file's value means nothing.

    Args:
        tree: The network.
        asked: ``one-to-one``, ``one-to-many`` or None.

    Raises:
        OptionError: the network does not have the requested head.
    """
    head = list(children(children(tree)["model"]).values())[-1]
    found = [branch for branch in _BRANCHES if has_branch(head, branch)]
    if asked is not None and asked not in found:
        name = class_path(head).rpartition(".")[2]
        listed = f"{' and '.join(found) or 'no detection'} head{'s' if len(found) > 1 else ''}"
        raise OptionError(
            f"--head {asked} is not in this file: its {name} has the {listed}.",
            hint=f"Give --head {found[-1]}, or leave it out." if found else "Leave --head out.",
        )
    taken = asked or (found[0] if found else "")
    return taken == "one-to-one", (_ASSUMED,) if asked is None and len(found) > 1 else ()
