"""The contract of a small model of any task, for tests of labels."""

from __future__ import annotations

from deploykit_runtimes.contract.spec import InputSpec, ModelSpec, OutputSpec, Preprocess, Task

DIGITS = tuple("0123456789")


def spec_of_task(task: Task, classes: tuple[str, ...] = DIGITS, count: int | None = None) -> ModelSpec:
    layout = {"classify": "logits"}.get(task, "yolo")
    return ModelSpec(
        task=task,
        family="yolo",
        variant="v",
        origin="o",
        input=InputSpec(height=32, width=32),
        preprocess=Preprocess(resize="stretch", resize_to=(32, 32)),
        output=OutputSpec(layout=layout, names=("output",), keypoints=(4, 3)),  # type: ignore[arg-type]
        classes=classes,
        num_classes=len(classes) if count is None else count,
    )
