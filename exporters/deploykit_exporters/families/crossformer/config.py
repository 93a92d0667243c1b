"""What a CrossFormer's training configuration says that its weights cannot show."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from deploykit_runtimes.contract.spec import Interpolation
from deploykit_runtimes.errors import CheckpointError, OptionError

from deploykit_exporters.checkpoint import Checkpoint
from deploykit_exporters.families.settings import Setting, Settings
from deploykit_exporters.families.shared.mm.config import mm_config, parse_config

if TYPE_CHECKING:
    from deploykit_exporters.families.crossformer.network import CrossFormerConfig

__all__ = ["TrainingConfig", "training_config"]

# timm, which turns the name into Pillow's, takes bilinear for "random" at evaluation.
_INTERPOLATIONS: dict[str, Interpolation] = {
    "bicubic": "bicubic",
    "bilinear": "bilinear",
    "lanczos": "lanczos",
    "random": "bilinear",
}
# Settings of MODEL.CROS with which no model was released, and the value that all releases have.
_FIXED = {
    "GROUP_TYPE": "constant",
    "USE_CPE": False,
    "APE": False,
    "QK_SCALE": None,
    "PAD_TYPE": 0,
    "NO_MASK": False,
}

# Settings of MODEL.CROS that the weights have, too.
_SIZES = ("EMBED_DIM", "DEPTHS", "NUM_HEADS", "PATCH_SIZE", "MERGE_SIZE", "IN_CHANS", "USE_ACL")
# Settings of MODEL that the official code gives to no model, or that matter in training only.
_TRAINING = (
    *("NAME", "IMPL_TYPE", "CONV_BLOCKS", "RESUME", "FROM_PRETRAIN", "NUM_CLASSES", "DROP_RATE"),
    *("DROP_PATH_RATE", "LABEL_SMOOTHING", "RETURN_DENSE", "MIX_TOKEN", "LOSS"),
)


@dataclass(frozen=True, kw_only=True)
class TrainingConfig:
    """Settings of a training; None if the configuration does not have them.

    Attributes:
        source: Where they were read, to complete "from ...".
        own: They were in the checkpoint itself.
        groups, intervals: ``GROUP_SIZE`` and ``INTERVAL``, one number per stage.
        adaptive: ``ADAPT_INTER``: the intervals follow the size of the map.
        image_size: Side of the square images, in pixels.
        crop: The evaluation crops the centre of a larger resize.
        interpolation: Of that resize.
        imagenet: The data set was ImageNet.
        settings: What became of each setting of the model.
        sizes: Sizes in the configuration that the weights also show, under the configuration's names.
    """

    source: str
    own: bool
    groups: tuple[int, ...] | None = None
    intervals: tuple[int, ...] | None = None
    adaptive: bool = False
    image_size: int | None = None
    crop: bool = True
    interpolation: Interpolation = "bicubic"
    imagenet: bool = False
    settings: tuple[Setting, ...] = ()
    sizes: Mapping[str, Any] = field(default_factory=dict)

    def confirm(self, built: CrossFormerConfig) -> None:
        """Compare the sizes with those of the weights.

        Raises:
            CheckpointError: they differ; the message names the setting.
        """
        cooling = any(built.cooling)
        found: dict[str, Any] = {
            "EMBED_DIM": built.widths[0],
            "DEPTHS": list(built.depths),
            "NUM_HEADS": list(built.heads),
            "PATCH_SIZE": list(built.embed_kernels),
            "MERGE_SIZE": [list(kernels) for kernels in built.merge_kernels],
            "IN_CHANS": built.channels,
            "USE_ACL": cooling,
        }
        for name, value in self.sizes.items():
            # A cooling layer is made where the default says so, too; only its weights show it.
            if name == "USE_ACL" and not cooling:
                continue
            told = (
                [list(one) if isinstance(one, tuple) else one for one in value]
                if isinstance(value, list | tuple)
                else value
            )
            if told != found[name]:
                raise CheckpointError(
                    f"MODEL.CROS.{name} is {value!r} in {self.source}; the weights have {found[name]!r}.",
                    hint="Give the configuration that belongs to these weights with --config.",
                )


def training_config(
    checkpoint: Checkpoint, given: Mapping[str, Any] | None, ignore: tuple[str, ...] = ()
) -> TrainingConfig | None:
    """The configuration given by the user, otherwise the checkpoint's own, otherwise None.

    The official classification code saves a yacs ``CfgNode``; its YAML files hold the same keys.
    Detection and segmentation are configured by Python files of mmcv, where the backbone takes
    ``group_size`` and ``crs_interval``.

    Raises:
        OptionError: the given configuration is not that of a CrossFormer.
        CheckpointError: a setting is malformed or unknown.
    """
    if given is not None:
        text = given.get("text")
        config = parse_config(text) if isinstance(text, str) else given
        found = _read(config, ignore, source="--config", own=False)
        if found is None:
            raise OptionError(
                "--config wants the configuration of a CrossFormer: MODEL.CROS of the official YAML files, "
                f"or a backbone with group_size and crs_interval; found {_listed(config)}.",
            )
        return found
    own = checkpoint.meta.get("config")
    config = own if isinstance(own, Mapping) else mm_config(checkpoint.meta, None, whole=False)
    return _read(config, ignore, source="the checkpoint's config", own=True)


def _read(
    config: Mapping[str, Any], ignore: tuple[str, ...], *, source: str, own: bool
) -> TrainingConfig | None:
    model = _section(config, "MODEL")
    if isinstance(model.get("CROS"), Mapping):
        return _from_official(config, ignore, source, own)
    backbone = _section(_section(config, "model"), "backbone")
    if "group_size" in backbone:
        told = Settings("model.backbone", backbone, ignore)
        told.honoured("type", "group_size", "crs_interval", "adaptive_interval")
        told.harmless("of the training", "drop*", "init_cfg", "pretrained", "use_checkpoint", "frozen_stages")
        told.harmless("read from the weights", "embed_dim", "depths", "num_heads", "patch_size", "merge_size")
        told.harmless("read from the weights", "mlp_ratio", "qkv_bias", "patch_norm", "in_chans", "use_acl")
        for name, known in _FIXED.items():
            told.expect(name.lower(), known)
        told.expect("out_indices", [0, 1, 2, 3], (0, 1, 2, 3))
        return TrainingConfig(
            source=source,
            own=own,
            groups=_numbers(backbone, "group_size", source, least=1),
            intervals=_numbers(backbone, "crs_interval", source, least=1),
            adaptive=backbone.get("adaptive_interval") is True,
            settings=told.account(strict=True),
        )
    return None


def _from_official(
    config: Mapping[str, Any], ignore: tuple[str, ...], source: str, own: bool
) -> TrainingConfig:
    model = Settings("MODEL", _section(config, "MODEL"), ignore)
    cros = _section(_section(config, "MODEL"), "CROS")
    told = Settings("MODEL.CROS", cros, ignore)
    told.honoured("GROUP_SIZE", "INTERVAL", "ADAPT_INTER", *_FIXED, *_SIZES)
    told.harmless("read from the weights", "MLP_RATIO", "QKV_BIAS", "PATCH_NORM")
    model.honoured("CROS")
    model.expect("TYPE", "cross-scale")
    model.harmless("of the training", *_TRAINING)
    for key, known in _FIXED.items():
        if cros.get(key, known) != known:
            raise CheckpointError(
                f"MODEL.CROS.{key} is {cros[key]!r} in {source}; wanted {known!r}, the value of all "
                "released models and the only one known here."
            )
    data, test = _section(config, "DATA"), _section(config, "TEST")
    interpolation = str(data.get("INTERPOLATION", "bicubic"))
    if interpolation not in _INTERPOLATIONS:
        known = ", ".join(_INTERPOLATIONS)
        raise CheckpointError(
            f"DATA.INTERPOLATION is {interpolation!r} in {source}; deploykit knows {known}."
        )
    return TrainingConfig(
        source=source,
        own=own,
        groups=_numbers(cros, "GROUP_SIZE", source, least=1),
        intervals=_numbers(cros, "INTERVAL", source, least=1),
        adaptive=cros.get("ADAPT_INTER") is True,
        image_size=_number(data, "IMG_SIZE", source, least=32),
        crop=test.get("CROP") is not False,
        interpolation=_INTERPOLATIONS[interpolation],
        imagenet=str(data.get("DATASET", "")).lower() == "imagenet",
        settings=(*model.account(strict=True), *told.account(strict=True)),
        sizes={name: told.get(name) for name in _SIZES if told.get(name) is not None},
    )


def _section(config: Mapping[str, Any], name: str) -> Mapping[str, Any]:
    section = config.get(name)
    return section if isinstance(section, Mapping) else {}


def _numbers(section: Mapping[str, Any], key: str, source: str, *, least: int) -> tuple[int, ...] | None:
    values = section.get(key)
    if values is None:
        return None
    if not isinstance(values, list | tuple) or not all(_is_number(value, least) for value in values):
        raise CheckpointError(f"{key} in {source} wants whole numbers from {least}, found {values!r}.")
    return tuple(values)


def _number(section: Mapping[str, Any], key: str, source: str, *, least: int) -> int | None:
    value = section.get(key)
    if value is not None and not _is_number(value, least):
        raise CheckpointError(f"{key} in {source} wants a whole number from {least}, found {value!r}.")
    return value


def _is_number(value: object, least: int) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and value >= least


def _listed(config: Mapping[str, Any]) -> str:
    keys = [str(key) for key in config][:5]
    return f"the keys {', '.join(keys)}" if keys else "no settings"
