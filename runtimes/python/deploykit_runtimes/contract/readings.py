"""What the outputs of a file can mean that another exporter wrote, by the names that ``--outputs`` takes.

A reading is a task and a layout (``spec.OutputLayout``). ``reading_shapes`` says which of them fit a file.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from deploykit_runtimes.contract.spec import Activation, ModelSpec, OutputLayout, Task
from deploykit_runtimes.contract.tensors import TensorInfo
from deploykit_runtimes.errors import ModelError, OptionError

__all__ = [
    "READINGS",
    "Declared",
    "Fit",
    "Known",
    "Reading",
    "name_of",
    "parse_outputs",
    "refuse_unclear",
    "shapes_text",
]

_KEYPOINTS = re.compile(r"([1-9]\d{0,3})x([23])")

Match = Literal["exact", "open", "odd"]


@dataclass(frozen=True, kw_only=True)
class Reading:
    """One meaning of a graph's outputs.

    Attributes:
        name: What ``--outputs`` takes.
        shape: What the outputs look like, for messages.
        decoded, activation: See ``OutputSpec``.
    """

    name: str
    task: Task
    layout: OutputLayout
    shape: str
    decoded: bool = True
    activation: Activation = "none"


_PROTOTYPES = "and [N, M, h, w]"
READINGS: dict[str, Reading] = {
    reading.name: reading
    for reading in (
        Reading(name="logits", task="classify", layout="logits", shape="[N, C]", activation="softmax"),
        Reading(name="multilabel", task="classify", layout="logits", shape="[N, C]", activation="sigmoid"),
        Reading(name="probabilities", task="classify", layout="probabilities", shape="[N, C]"),
        Reading(name="features", task="features", layout="features", shape="[N, ...]"),
        Reading(name="yolo", task="detect", layout="yolo", shape="[N, 4 + C, A]"),
        Reading(name="yolo-segment", task="segment", layout="yolo", shape=f"[N, 4 + C + M, A] {_PROTOTYPES}"),
        Reading(name="yolo-pose", task="pose", layout="yolo", shape="[N, 4 + C + J * D, A]"),
        Reading(name="yolo-obb", task="obb", layout="yolo", shape="[N, 4 + C + 1, A]"),
        Reading(name="yolov5", task="detect", layout="yolov5", shape="[N, A, 5 + C]"),
        Reading(
            name="yolov5-segment", task="segment", layout="yolov5", shape=f"[N, A, 5 + C + M] {_PROTOTYPES}"
        ),
        Reading(name="yolox", task="detect", layout="yolov5", shape="[N, A, 5 + C]", decoded=False),
        Reading(name="yolox-decoded", task="detect", layout="yolov5", shape="[N, A, 5 + C]"),
        Reading(name="yolov7-end2end", task="detect", layout="end2end_flat", shape="[K, 7]"),
        Reading(name="end2end", task="detect", layout="end2end", shape="[N, K, 6]"),
        Reading(
            name="end2end-segment", task="segment", layout="end2end", shape=f"[N, K, 6 + M] {_PROTOTYPES}"
        ),
        Reading(name="end2end-pose", task="pose", layout="end2end", shape="[N, K, 6 + J * D]"),
        Reading(name="end2end-obb", task="obb", layout="end2end", shape="[N, K, 7]"),
    )
}


@dataclass(frozen=True, kw_only=True)
class Declared:
    """What ``--outputs`` says: a reading, and the keypoints of ``yolo-pose:17x3``."""

    reading: Reading
    keypoints: tuple[int, int] = (0, 0)


@dataclass(frozen=True, kw_only=True)
class Known:
    """What is known of a model, 0 if nothing is; ``batch`` is the name of that axis."""

    classes: int = 0
    keypoints: tuple[int, int] = (0, 0)
    batch: str = ""


@dataclass(frozen=True, kw_only=True)
class Fit:
    """A reading that the shapes do not contradict.

    Attributes:
        match: ``exact``: the sizes are those of such a head; ``open``: the file leaves them open; ``odd``:
            no head of these sizes is known, though an unusual one may have them.
        classes: Number of classes; 0 if the shape does not say.
    """

    reading: Reading
    match: Match
    classes: int = 0
    keypoints: tuple[int, int] = (0, 0)
    mask_channels: int = 0

    def __str__(self) -> str:
        """``yolo (80 classes)``."""
        if self.reading.task == "pose" and not self.keypoints[0]:
            return f"{self.reading.name}:JxD (J keypoints of D values)"
        if not self.classes:
            return self.reading.name
        return f"{self.reading.name} ({self.classes} class{'es' if self.classes > 1 else ''})"


def parse_outputs(text: object) -> Declared:
    """What ``--outputs`` is given: ``yolov5``, or ``yolo-pose:17x3``.

    Raises:
        OptionError: there is no such reading.
    """
    name, colon, detail = text.partition(":") if isinstance(text, str) else ("", "", "")
    reading = READINGS.get(name)
    if reading is None:
        raise OptionError(f"--outputs is one of {', '.join(READINGS)}, found {text!r}.")
    if not colon:
        return Declared(reading=reading)
    found = _KEYPOINTS.fullmatch(detail)
    if reading.task != "pose" or found is None:
        raise OptionError(
            f"--outputs {text}: only poses take more, their keypoints and the values of each.",
            hint="For instance: --outputs yolo-pose:17x3",
        )
    return Declared(reading=reading, keypoints=(int(found[1]), int(found[2])))


def name_of(spec: ModelSpec) -> str:
    """The name of the reading that a contract has; empty for finished answers, which no reading is."""
    output = spec.output
    if output.layout == "yolov5" and output.decoded and spec.preprocess.color == "bgr":
        return "yolox-decoded"
    for reading in READINGS.values():
        same = reading.task == spec.task and reading.layout == output.layout
        sigmoid = output.layout != "logits" or reading.activation == output.activation
        if same and sigmoid and reading.decoded == output.decoded:
            return reading.name
    return ""


def shapes_text(outputs: Sequence[TensorInfo]) -> str:
    """``output0 float32 [1, 84, 8400]; output1 float32 [1, 32, 160, 160]``."""
    return "; ".join(map(str, outputs)) or "no outputs"


def refuse_unclear(spec: ModelSpec, outputs: Sequence[TensorInfo]) -> None:
    """Refuse to read answers from outputs of which it is not known what they mean.

    Raises:
        ModelError: names what they may mean, and the option that says it.
    """
    if spec.readings is None:
        return
    found = shapes_text(outputs)
    if not spec.readings:
        raise ModelError(
            f"The meaning of the outputs is unknown: {found}.",
            hint=f"Say it with --outputs, if they are one of {', '.join(READINGS)}.",
        )
    names = [reading.partition(" ")[0] for reading in spec.readings]
    raise ModelError(
        f"{found} may be {_either(spec.readings)}, and the file does not say which.",
        hint=f"Say which: --outputs {_either(names)}",
    )


def _either(texts: Sequence[str]) -> str:
    return " or ".join([", ".join(texts[:-1]), texts[-1]] if len(texts) > 1 else texts)
