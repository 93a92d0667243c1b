"""What Hugging Face transformers writes next to weights: config.json and preprocessor_config.json."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

from deploykit_runtimes.contract.spec import Activation, Interpolation, Preprocess
from deploykit_runtimes.errors import CheckpointError, OptionError

from deploykit_exporters.containers.pickles.inert import class_path, to_plain, walk
from deploykit_exporters.families.base import Size
from deploykit_exporters.families.settings import Setting, Settings
from deploykit_exporters.families.shared.imagenet import (
    CLIP_MEAN,
    CLIP_STD,
    IMAGENET_MEAN,
    IMAGENET_STD,
    INCEPTION_MEAN,
    INCEPTION_STD,
)

if TYPE_CHECKING:
    from deploykit_exporters.checkpoint import Checkpoint
    from deploykit_exporters.families.base import Hints

__all__ = [
    "ImageProcessor",
    "config_settings",
    "described",
    "label_names",
    "output_activation",
    "processor_settings",
    "read_processor",
    "refuse_unread",
]

# Of every configuration of transformers: what it was saved by, how training and generation of text go.
_EVERYWHERE = {
    "of how the model was saved": (
        *("transformers_version", "_name_or_path", "dtype", "torch_dtype", "model_type", "_commit_hash"),
        *("auto_map", "use_bfloat16", "torchscript", "tf_legacy_loss", "finetuning_task", "task_specific_*"),
    ),
    "of the form of the answers": ("output_*", "return_dict*", "use_return_dict", "use_cache"),
    "used only in training": (
        *("*dropout*", "*drop_path*", "initializer_*", "*_init_value", "label2id"),
        *("layerscale_value", "gradient_checkpointing", "pruned_heads", "chunk_size_feed_forward"),
    ),
    "of text": (
        *("text_config", "text_config_dict", "*_token_id", "bad_words_ids", "*beam*", "*length*", "prefix"),
        *("do_sample", "early_stopping", "is_*decoder", "add_cross_attention", "cross_attention_*"),
        *("temperature", "top_k", "top_p", "typical_p", "*penalty", "no_repeat_*", "encoder_no_repeat_*"),
        *("remove_invalid_values", "suppress_tokens", "begin_suppress_tokens", "forced_*", "tie_*"),
        *("tokenizer_class", "sep_token_id", "num_return_sequences", "exponential_decay_*"),
    ),
}

# Pillow's codes.
_RESAMPLE: dict[int, Interpolation] = {0: "nearest", 1: "lanczos", 2: "bilinear", 3: "bicubic", 4: "box"}

_COMMON: dict[str, Any] = {
    "do_resize": True,
    "resample": 3,
    "do_center_crop": False,
    "crop_size": None,
    "do_rescale": True,
    "rescale_factor": 1 / 255,
    "do_normalize": True,
}
# EfficientNet's: whether 1 is subtracted from scaled pixels, and whether they are divided by std once more.
_AGAIN = {"rescale_offset": False, "include_top": True}
_CROPPED = {
    "do_center_crop": True,
    "size": {"shortest_edge": 224},
    "crop_size": {"height": 224, "width": 224},
    "image_mean": CLIP_MEAN,
    "image_std": CLIP_STD,
}
_STRETCHED = {
    "size": {"height": 224, "width": 224},
    "image_mean": INCEPTION_MEAN,
    "image_std": INCEPTION_STD,
}
_ENLARGED = {
    **_STRETCHED,
    "size": {"height": 256, "width": 256},
    "do_center_crop": True,
    "crop_size": {"height": 224, "width": 224},
}
_SCALED = {
    **_STRETCHED,
    "size": {"height": 346, "width": 346},
    "crop_size": {"height": 289, "width": 289},
    **_AGAIN,
}
# What each class takes where the file does not say it, and whether one number for the size is a square.
_CLASSES: dict[str, tuple[Mapping[str, Any], bool]] = {
    "CLIP": (_CROPPED, False),
    "Bit": (_CROPPED, False),
    "Siglip": (_STRETCHED, False),
    "ViT": ({**_STRETCHED, "resample": 2}, True),
    "DeiT": (_ENLARGED, True),
    "Beit": ({**_STRETCHED, "crop_size": {"height": 224, "width": 224}}, True),
    "EfficientNet": (_SCALED, True),
    "DINOv3ViT": (
        {**_STRETCHED, "resample": 2, "image_mean": IMAGENET_MEAN, "image_std": IMAGENET_STD},
        True,
    ),
}
# What --config takes of every ViT.
_OURS = {
    *("num_heads", "img_size", "global_pool", "eps", "activation"),
    *("mean", "std", "interpolation", "crop_pct", "crop_mode"),
}
_PROBLEMS: dict[str, Activation] = {
    "single_label_classification": "softmax",
    "multi_label_classification": "sigmoid",
    "regression": "none",
}
_NAMES = ("ImageProcessorFast", "ImageProcessorPil", "ImageProcessor", "FeatureExtractor")
_WHERE = "preprocessor_config.json"


@dataclass(frozen=True, kw_only=True)
class ImageProcessor:
    """An image processor of transformers, with all settings filled in.

    Attributes:
        values: Its settings.
        found: Where it was found; empty for the dialect's default.
        settings: The treatment of the file's settings.
    """

    values: Mapping[str, Any]
    found: str
    settings: tuple[Setting, ...] = ()

    @property
    def size(self) -> Size | None:
        """(height, width) of the processed image, or None if that depends on the image."""
        wanted = self.values["crop_size"] if self.values["do_center_crop"] else self.values["size"]
        return None if not self.values["do_resize"] or "height" not in wanted else _sides(wanted)

    def preprocess(self, size: Size) -> Preprocess:
        """The same as pre-processing for a network input of (height, width), with its own sizes scaled
        accordingly.

        Raises:
            CheckpointError: the size of the input depends on the image.
        """
        values = self.values
        scale = float(values["rescale_factor"]) if values["do_rescale"] else 1.0
        normalises = values["do_normalize"]
        mean = _three(values["image_mean"] if normalises else 0.0)
        std = _three(values["image_std"] if normalises else 1.0)
        if values["do_rescale"] and values.get("rescale_offset"):
            mean = tuple(value + 1.0 for value in mean)
        if values.get("include_top"):
            std = tuple(one * other for one, other in zip(std, _three(values["image_std"]), strict=True))
        how = Preprocess(interpolation=self._filter(), scale=scale, mean=mean, std=std, crop_offset="down")
        crop = values["crop_size"] if values["do_center_crop"] else None
        if not values["do_resize"]:
            return how if crop is None else replace(how, crop=size)
        wanted = values["size"]
        if crop is None and "height" in wanted:
            return replace(how, resize="stretch", resize_to=size)
        if crop is None:
            raise CheckpointError(
                f"{self.found or _WHERE} keeps the aspect ratio of images and does not crop them: their size "
                "varies.",
                hint='Say how large the crop is: --config \'{"do_center_crop": true, "crop_size": 224}\'.',
            )
        ratio = max(size) / max(_sides(crop))
        sides = tuple(round(side * ratio) for side in _sides(wanted))
        if "height" in wanted:
            return replace(how, resize="stretch", resize_to=sides, crop=size)
        return replace(how, resize="short", resize_to=sides[:1], crop=size)

    def _filter(self) -> Interpolation:
        code = int(self.values["resample"])
        if code not in _RESAMPLE:
            raise CheckpointError(
                f"{self.found or _WHERE} says resample = {code}, which is not a filter of Pillow."
            )
        return _RESAMPLE[code]


def processor_settings(checkpoint: Checkpoint) -> tuple[str, Mapping[str, Any]]:
    """The settings of a folder's image processor, empty if it has none, and the file with them."""
    whole = checkpoint.meta.get("processor")
    nested = whole.get("image_processor") if isinstance(whole, Mapping) else None
    if isinstance(nested, Mapping):
        return "processor_config.json", nested
    alone = checkpoint.meta.get("preprocessor")
    return _WHERE, alone if isinstance(alone, Mapping) else {}


def read_processor(checkpoint: Checkpoint, hints: Hints, default: str, **otherwise: Any) -> ImageProcessor:
    """The image processor of a folder, or the one that the dialect assumes.

    Args:
        default: Its class if no file names one: ``CLIP``, ``Siglip``, ``Bit``.
        otherwise: Settings if there is no file.

    Raises:
        CheckpointError: its class or a setting is unknown.
    """
    where, written = processor_settings(checkpoint)
    settings = Settings(where, written, hints.ignore)
    named = settings.get("image_processor_type") or settings.get("feature_extractor_type") or ""
    kind = next((named.removesuffix(end) for end in _NAMES if named.endswith(end)), named) or default
    if kind not in _CLASSES:
        raise CheckpointError(
            f"{where} names the image processor {named}; deploykit knows those of {', '.join(_CLASSES)}.",
            hint="Leave the file out, and give mean, std, interpolation and crop_pct with --config.",
        )
    own, square = _CLASSES[kind]
    values = {**_COMMON, **own, **({} if written else otherwise)}
    for name, value in values.items():
        values[name] = (hints.config or {}).get(name, settings.get(name, value))
    told = settings.get("default_to_square")
    if "default_to_square" in settings and not settings.is_ignored("default_to_square"):
        square = bool(told)  # null is false to transformers, too
    values["size"] = _as_size("size", values["size"], where, square=square)
    values["crop_size"] = _as_size("crop_size", values["crop_size"], where, square=True)
    settings.harmless(
        "of how the processor was saved", "processor_class", "_valid_*", "device", "return_tensors"
    )
    settings.harmless("images are RGB already", "do_convert_rgb")
    settings.harmless("of maps of labels for segmentation", "do_reduce_labels", "reduce_labels")
    settings.harmless("of the form of arrays", "data_format", "input_data_format", "disable_grouping")
    settings.expect("do_pad", False)
    return ImageProcessor(
        values=values, found=where if written else "", settings=settings.account(strict=True)
    )


def _as_size(name: str, value: Any, where: str, *, square: bool) -> Mapping[str, int] | None:
    """A size in transformers' terms; ``square``: a single number is both sides, otherwise the shortest.

    Raises:
        CheckpointError: it has other terms, such as a limit on the longest side.
    """
    if isinstance(value, Mapping):
        # Processors are saved with the words that they do not use, without a value.
        told = {str(key): side for key, side in value.items() if side is not None}
        if set(told) not in ({"height", "width"}, {"shortest_edge"}):
            raise CheckpointError(
                f"{where} says {name} = {dict(value)!r:.100}; deploykit reads height and width, or the "
                "shortest edge.",
                hint=f'Say which of them it is: --config \'{{"{name}": {{"height": 224, "width": 224}}}}\'.',
            )
        return told
    if value is None:
        return value
    if isinstance(value, list | tuple):
        return {"height": int(value[0]), "width": int(value[1])}
    return {"height": int(value), "width": int(value)} if square else {"shortest_edge": int(value)}


def _sides(size: Mapping[str, int]) -> Size:
    edge = size.get("shortest_edge")
    return (int(size["height"]), int(size["width"])) if edge is None else (int(edge), int(edge))


def _three(values: Any) -> tuple[float, ...]:
    return (float(values),) * 3 if isinstance(values, int | float) else tuple(map(float, values))


def config_settings(where: str, values: Any, hints: Hints) -> Settings:
    """The settings of a configuration, with those set aside that all configurations have and no answer
    depends on.
    """
    settings = Settings(where, values if isinstance(values, Mapping) else {}, hints.ignore)
    for why, patterns in _EVERYWHERE.items():
        settings.harmless(why, *patterns)
    settings.honoured("problem_type")
    return settings


def described(checkpoint: Checkpoint, hints: Hints) -> dict[str, Any]:
    """config.json, or the equivalent in a pickled module, overridden by --config: some of its settings, or
    all.
    """
    config = checkpoint.meta.get("config") or _pickled_config(checkpoint.module)
    given = {
        name: value
        for name, value in (hints.config or {}).items()
        if not any(name in known for known in (_OURS, _COMMON, _CROPPED, _AGAIN))
    }
    return {**(config if isinstance(config, Mapping) else {}), **given}


def _pickled_config(module: Any) -> dict[str, Any]:
    """The configuration of the first transformers module in a pickled tree; empty if there is none."""
    for path, part in walk(module):
        if not class_path(part).startswith("transformers.models."):
            continue
        values = to_plain(getattr(part, "config", None))
        if isinstance(values, dict):
            # Private attributes hold how it was loaded. In a custom module the class tells nothing.
            kind = [] if path else [class_path(part).rpartition(".")[2]]
            return {**_public(values), "architectures": kind or None}
    return {}


def _public(values: Mapping[str, Any]) -> dict[str, Any]:
    return {
        name: _public(value) if isinstance(value, dict) else value
        for name, value in values.items()
        if not name.startswith("_")
    }


def refuse_unread(hints: Hints) -> None:
    """Refuse options in --config for other ViTs, where only the settings of transformers' own files are read.

    Raises:
        OptionError: names the setting.
    """
    unread = [name for name in hints.config or {} if name in _OURS]
    if unread:
        raise OptionError(
            f"--config has the setting {unread[0]!r}, which is not read for this model.",
            hint="It takes those of config.json and preprocessor_config.json: hidden_act, image_mean, ...",
        )


def output_activation(config: Mapping[str, Any]) -> Activation | None:
    """How ``problem_type`` turns logits into scores; None if nothing says so.

    Raises:
        CheckpointError: transformers has no such problem type.
    """
    problem = config.get("problem_type")
    if problem is not None and problem not in _PROBLEMS:
        raise CheckpointError(
            f"config.json says problem_type = {problem!r}; transformers knows {', '.join(_PROBLEMS)}."
        )
    return None if problem is None else _PROBLEMS[problem]


def label_names(id2label: Any) -> tuple[str, ...]:
    """The names in index order; transformers' own placeholders (``LABEL_0``) are not names."""
    if not isinstance(id2label, Mapping):
        return ()
    labels = {int(index): str(label) for index, label in id2label.items()}
    names = tuple(labels[index] for index in sorted(labels))
    return () if all(name == f"LABEL_{index}" for index, name in enumerate(names)) else names
