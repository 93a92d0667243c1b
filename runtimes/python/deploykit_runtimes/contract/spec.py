"""ModelSpec: everything an application must know to use a model file.

The spec travels inside the ONNX file as flat string keys (see ``docs/spec.md``, which is
normative for every language). This module holds the dataclasses; ``metadata.py`` turns them
into keys and back.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Literal

from deploykit_runtimes.errors import ModelError
from deploykit_runtimes.text.printable import printable

__all__ = [
    "FORMAT_VERSION",
    "THRESHOLD_INPUTS",
    "AxisRange",
    "Color",
    "CropOffset",
    "InputSpec",
    "ModelSpec",
    "OutputSpec",
    "ParityRecord",
    "PrecisionRecord",
    "Preprocess",
    "Task",
]

FORMAT_VERSION = 1
THRESHOLD_INPUTS = ("conf", "iou")
"""The further inputs of a graph with ``OutputSpec.runtime_thresholds``."""

_AXES = {"N": "batch", "C": "channels", "H": "height", "W": "width"}

Task = Literal["classify", "detect", "segment", "pose", "obb", "features"]
Color = Literal["rgb", "bgr", "grey", "as_is"]
ResizeMode = Literal["none", "stretch", "short", "long", "cover", "letterbox"]
Interpolation = Literal["nearest", "bilinear", "bicubic", "lanczos", "box", "area"]
Resampler = Literal["pillow", "opencv"]
Rounding = Literal["floor", "round"]
CropOffset = Literal["up", "down", "even"]
Anchor = Literal["center", "top_left"]
OutputLayout = Literal[
    "logits",  # [N, C] raw class scores
    "probabilities",  # [N, C] already activated
    "features",  # one [N, C, H, W] map (or [N, T, C] tokens) per output
    "yolo",  # [N, 4 + C + extra, A]: xywh in input pixels, activated class scores, extra channels
    "yolov5",  # [N, A, 5 + C + extra]: xywh in input pixels, objectness, activated class scores, extra
    "end2end",  # [N, K, 6 + extra]: xyxy in input pixels, score, class, extra; NMS-free, sorted by score
    "end2end_flat",  # [K, 7]: image of the batch, xyxy in input pixels, class, score (YOLOv7's exporter)
    "top_k",  # probabilities [N, K] and classes [N, K]: finished answers
    "detections",  # boxes, scores, classes, count and what the task adds: finished answers
]
Activation = Literal["softmax", "sigmoid", "none"]


@dataclass(frozen=True, kw_only=True)
class AxisRange:
    """Values that a dynamic axis accepts: ``min <= n <= max`` and ``n % step == 0``."""

    min: int
    max: int
    step: int = 1

    def __post_init__(self) -> None:
        if not (0 < self.min <= self.max and self.step > 0):
            raise ModelError(f"A dynamic axis needs 0 < min <= max and step > 0, found {self}.")

    def __contains__(self, n: object) -> bool:
        return isinstance(n, int) and self.min <= n <= self.max and n % self.step == 0

    def __str__(self) -> str:
        return f"{self.min}..{self.max}" + (f" in steps of {self.step}" if self.step > 1 else "")


@dataclass(frozen=True, kw_only=True)
class InputSpec:
    """The image tensor that the graph takes: [N, C, H, W] float32 unless stated.

    Attributes:
        name: Name of the graph input.
        height, width: The model's own size in pixels; the default when the axes are dynamic.
        batch: The fixed batch size, or the default one when the axis is dynamic.
        channels: Number of channels of a pixel: 3 for colour, 1 for grey, any other for spectral bands.
        layout: Order of the axes.
        dtype: numpy name of the element type.
        dynamic: Range of each dynamic axis among ``batch``, ``height``, ``width``; an axis
            that is absent is fixed.
    """

    name: str = "images"
    height: int
    width: int
    batch: int = 1
    channels: int = 3
    layout: Literal["NCHW", "NHWC"] = "NCHW"
    dtype: str = "float32"
    dynamic: Mapping[str, AxisRange] = field(default_factory=dict)

    @property
    def axes(self) -> tuple[str, ...]:
        """The axes by name, in the order of the layout."""
        return tuple(_AXES[letter] for letter in self.layout)

    @property
    def shape(self) -> tuple[int | str, ...]:
        """The size of each axis, or its name where it is dynamic."""
        return tuple(axis if axis in self.dynamic else getattr(self, axis) for axis in self.axes)


@dataclass(frozen=True, kw_only=True)
class Preprocess:
    """How a decoded image becomes the input tensor, in this order.

    1. ``pre_crop`` > 0: centre crop of a square with side ``pre_crop * min(h, w)`` (TensorFlow's
       EfficientNet pipeline crops ``size / (size + 32)`` of the short side before resizing). Half a
       pixel of its offset goes by ``pre_crop_offset``.
    2. ``resize``: ``stretch`` to ``resize_to`` (h, w); ``short`` / ``long``: that edge becomes
       ``resize_to[0]``, aspect ratio kept, the other edge rounded by ``rounding``; ``cover``: the image
       is scaled, aspect ratio kept, until it covers ``resize_to`` (h, w): one side becomes that, the other
       is rounded half to even (timm's sizes that are not square); ``letterbox``: the image is scaled to
       fit ``resize_to`` (h, w) and padded with ``pad_value``. ``anchor`` ``center`` rounds the scaled
       sides (Ultralytics, YOLOv5), ``top_left`` floors them (YOLOX).
    3. ``crop``: centre crop (h, w), padding with ``pad_value`` where the image is smaller. Half a pixel of
       its offset goes by ``crop_offset``.
    4. channels into ``color`` order; ``(pixel * scale - mean) / std`` in float32, with ``mean`` and
       ``std`` given in the order of ``color``: one value a channel, or one for all.

    Attributes:
        included: True when all of this is inside the graph, which then takes the raw uint8 pixels
            [N, H, W, C].
        color: ``rgb`` or ``bgr``: images are decoded to RGB. ``grey``: to one channel, colours are mixed
            by the weights of the library of ``resampler``. ``as_is``: the channels of the file or array in
            their order, never converted; each is resized by itself.
        pre_crop_offset: ``up`` (TensorFlow), ``down`` (YOLOv5), or ``even``: half to even, before the side
            is cut to whole pixels (mmpretrain).
        crop_offset: ``even``: half to even (torchvision, timm); ``down`` (transformers); ``up``.
        resampler: Whose arithmetic: ``pillow`` (antialiased) or ``opencv`` (not antialiased).
        scale_up: For ``letterbox``: whether small images are enlarged.
        stride: For ``letterbox``: with a dynamic height and width the padded size is the smallest
            multiple of ``stride`` that holds the scaled image; 0 pads to ``resize_to`` always.
    """

    included: bool = False
    color: Color = "rgb"
    pre_crop: float = 0.0
    pre_crop_offset: CropOffset = "up"
    resize: ResizeMode = "none"
    resize_to: tuple[int, ...] = ()
    rounding: Rounding = "floor"
    interpolation: Interpolation = "bilinear"
    resampler: Resampler = "pillow"
    crop: tuple[int, int] | None = None
    crop_offset: CropOffset = "even"
    pad_value: int = 0
    anchor: Anchor = "center"
    scale_up: bool = True
    stride: int = 0
    scale: float = 1.0 / 255.0
    mean: tuple[float, ...] = (0.0, 0.0, 0.0)
    std: tuple[float, ...] = (1.0, 1.0, 1.0)

    @property
    def keeps_size(self) -> bool:
        """Whether the tensor has the height and width of the image."""
        return self.resize == "none" and self.crop is None and self.pre_crop <= 0


@dataclass(frozen=True, kw_only=True)
class OutputSpec:
    """What the graph returns and what is left to do on the host.

    Attributes:
        names: Graph outputs in order.
        layout: Meaning of the first output (see ``OutputLayout``), or of all of them for the finished
            answers of a graph that holds its post-processing: ``docs/spec.md`` lists those.
        activation: What the host still applies to class scores (classification only).
        decoded: Boxes are in input pixels (True) or still need decoding.
        nms: Non-maximum suppression is inside the graph (or the head needs none).
        conf, iou, max_det, class_agnostic: Defaults of the NMS: on the host, or inside the graph.
        top_k: Number of classes that a graph of the layout ``top_k`` returns.
        runtime_thresholds: The graph takes the scalar inputs ``conf`` and ``iou``, float32 [].
        keypoints: (K, D) of a pose head, D = 2 (x, y) or 3 (x, y, visibility); else (0, 0).
        mask_channels: Number of mask coefficients of a segmentation head, whose second output is
            the prototypes [N, mask_channels, H/4, W/4].
        strides: Downsampling of each output for ``features``.
    """

    names: tuple[str, ...]
    layout: OutputLayout
    activation: Activation = "none"
    decoded: bool = True
    nms: bool = False
    conf: float = 0.25
    iou: float = 0.7
    max_det: int = 300
    class_agnostic: bool = False
    top_k: int = 0
    runtime_thresholds: bool = False
    keypoints: tuple[int, int] = (0, 0)
    mask_channels: int = 0
    strides: tuple[int, ...] = ()


@dataclass(frozen=True, kw_only=True)
class ParityRecord:
    """What the comparison of the exported file with its checkpoint measured.

    ``max_abs`` is the largest absolute difference, ``max_rel`` the largest difference divided by the
    largest absolute value of the same output group, ``top1`` the share of inputs whose best class
    agrees (1.0 where there are no classes). Of a file with pre- or post-processing inside, these are the
    numbers of the network in it; the whole file was compared on ``answers`` images, image to answer:
    ``answer_score`` is the largest difference of a score, ``answer_box`` of a coordinate in pixels,
    ``exact_pixels`` the share of pre-processed values that are the host's own.

    ``detections``, ``masks`` and ``keypoints`` count what was found on both sides and compared, on pictures:
    rows of an end-to-end head, or, of a file with processing inside, the answers. ``answer_said`` tells how,
    where the pictures show too few of the model's objects; empty: as they are.

    ``precision`` says what the checkpoint was compared in where float32 could not tell; empty: float32.
    ``witness`` is what the origin's own library said of our reading, or why it was not asked.
    ``golden`` is the SHA-256 of the answers from the training process that were compared, empty where there
    were none, and ``golden_said`` what was compared and how close it was.
    """

    max_abs: float
    max_rel: float
    top1: float
    tolerance: float
    shapes: tuple[str, ...]
    inputs: tuple[str, ...]
    reference: str
    engine: str
    answers: int = 0
    answer_score: float = 0.0
    answer_box: float = 0.0
    answer_said: str = ""
    detections: int = 0
    masks: int = 0
    keypoints: int = 0
    exact_pixels: float = 1.0
    precision: str = ""
    witness: str = ""
    golden: str = ""
    golden_said: str = ""


@dataclass(frozen=True, kw_only=True)
class PrecisionRecord:
    """What a file computes in below float32, what it was made for and what that costs.

    Attributes:
        compute: ``fp16`` or ``int8``: what most products compute in.
        target: The engine that it was made for: ``ort-cpu``, ``trt``, ``ov``, or ``any``.
        cpus: The classes of CPU for which the accuracy was shown, ``vnni`` and ``no-vnni``; empty: of a file
            for GPUs.
        data: The calibration data, in words.
        data_sha256: Hash of the pictures that calibrated it; empty: the golden cases alone.
        images: How many pictures measured the accuracy.
        metric: ``top1``, ``map`` (mAP50-95) or ``agreement`` (with float32).
        budget: The loss of the metric that was allowed, as a share: 0.01 is one point.
        reference: The metric of the float32 file.
        accuracy: The metric of this file.
        method: Calibration and placement, in words.
        kept: The layers that stayed in a higher precision, with the reason, one a line.
    """

    compute: Literal["fp16", "int8"]
    target: str = "any"
    cpus: tuple[str, ...] = ()
    data: str = ""
    data_sha256: str = ""
    images: int = 0
    metric: str = ""
    budget: float = 0.0
    reference: float = 0.0
    accuracy: float = 0.0
    method: str = ""
    kept: tuple[str, ...] = ()


@dataclass(frozen=True, kw_only=True, repr=False)
class ModelSpec:
    """The whole contract of one model file.

    Attributes:
        task: What the model answers.
        input: What the graph takes.
        network: What the network takes after the pre-processing inside the graph; None where the graph
            holds none, and ``input`` says it.
        family, variant, origin: ``efficientnet``, ``tf_efficientnet_lite0``, ``timm``.
        source, source_sha256: File name and hash of the checkpoint.
        classes: Class names, index = class id; empty when unknown.
        num_classes: Number of classes, also where the names are unknown; 0 for features.
        recognised, assumed: What was read from the checkpoint, and what had to be assumed.
        exporter: Which exporter, opset and versions wrote the graph.
        precision: What it computes in where that is less than float32; None: float32.
        inferred: True when the file carried no deploykit metadata and this was inferred.
        readings: What the outputs may mean, where neither the file nor the caller tells; empty: nothing that
            is known. Then the tensors run, and ``Predictor`` refuses the model. None: it is known.
    """

    task: Task
    family: str
    variant: str
    origin: str
    input: InputSpec
    preprocess: Preprocess
    output: OutputSpec
    network: InputSpec | None = None
    classes: tuple[str, ...] = ()
    num_classes: int = 0
    source: str = ""
    source_sha256: str = ""
    recognised: tuple[str, ...] = ()
    assumed: tuple[str, ...] = ()
    exporter: str = ""
    parity: ParityRecord | None = None
    precision: PrecisionRecord | None = None
    inferred: bool = False
    readings: tuple[str, ...] | None = None
    golden: Mapping[str, str] = field(default_factory=dict)

    def __repr__(self) -> str:
        image = self.input
        axes = (("batch", image.batch), ("height", image.height), ("width", image.width))
        batch, height, width = (name if name in image.dynamic else str(size) for name, size in axes)
        shape = (batch, str(image.channels), height, width)
        shape = shape if image.layout == "NCHW" else (batch, height, width, str(image.channels))
        what = f"{self.variant} of {self.origin}" if self.origin else self.variant
        classes = f", {self.num_classes} classes" if self.num_classes else ""
        inferred = ", inferred" if self.inferred else ""
        text = f"{what}: {self.task}{classes}, {image.name} {image.dtype} [{', '.join(shape)}]{inferred}"
        return f"ModelSpec({printable(text)})"

    def __post_init__(self) -> None:
        if self.classes and self.num_classes and len(self.classes) != self.num_classes:
            raise ModelError(
                f"The model has {self.num_classes} classes but {len(self.classes)} class names.",
                hint="Export the checkpoint again with as many names as it has classes: --labels FILE",
            )

    @property
    def tensor(self) -> InputSpec:
        """What the network takes: the input of the graph, or what its pre-processing makes of it."""
        return self.network or self.input

    @property
    def is_postprocessed(self) -> bool:
        """Whether the graph returns answers that need no more decoding."""
        return self.output.layout in ("top_k", "detections")

    def class_name(self, index: int) -> str:
        """The name of a class, or ``class 17`` where no name is known."""
        return self.classes[index] if 0 <= index < len(self.classes) else f"class {index}"
