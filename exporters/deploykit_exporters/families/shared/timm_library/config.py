"""What timm writes next to weights: training arguments, and the configuration of published models."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from shlex import quote
from typing import TYPE_CHECKING, Any

from deploykit_runtimes.errors import CheckpointError

from deploykit_exporters.families.settings import Setting, Settings
from deploykit_exporters.families.shared.imagenet import TIMM_SETTINGS
from deploykit_exporters.families.shared.timm_library.template import first_of

if TYPE_CHECKING:
    from deploykit_exporters.checkpoint import Checkpoint
    from deploykit_exporters.families.base import Hints

__all__ = ["TimmFile", "attributes", "read_file"]

_TRAINING = (
    *("data", "data_*", "dataset*", "train_*", "val_*", "*_split", "batch_size", "validation_batch_size"),
    *("opt*", "lr*", "min_lr", "blr", "momentum", "weight_decay*", "clip_*", "layer_decay*", "sched*"),
    *("warmup*", "decay_*", "cooldown_epochs", "patience_epochs", "epochs", "epoch_repeats", "start_epoch"),
    *("grad_*", "accum_iter", "synchronize_step", "amp*", "device*", "gpu", "local_rank", "rank"),
    *("world_size", "dist_*", "distributed", "no_ddp_bb", "torchscript", "torchcompile*", "fuser"),
    *("channels_last", "fast_norm", "seed", "workers", "num_workers", "worker_seeding", "pin_mem"),
    *("no_prefetcher", "use_multi_epochs_loader", "sync_bn", "split_bn", "bn_momentum", "model_dtype"),
    *("kd_*", "teacher_*", "distillation_*"),
)
_AUGMENTATION = (
    *("aug_*", "no_aug", "scale", "ratio", "hflip", "vflip", "color_jitter*", "gaussian_blur_prob"),
    *("grayscale_prob", "aa", "reprob", "remode", "recount", "resplit", "mixup*", "cutmix*", "smoothing"),
    *("tta", "repeated_aug", "ThreeAugment", "src"),
)
_FILES = (
    *("output*", "experiment", "log_*", "wandb*", "recovery_interval", "checkpoint_hist", "save_*"),
    *("resume", "no_resume_opt", "initial_checkpoint", "pretrained*", "finetune", "load_*", "hub*"),
    *("eval", "eval_metric", "config", "class_map", "input_key", "target_key"),
)
_ARGUMENTS = {
    "of the training": _TRAINING,
    "augmentation": _AUGMENTATION,
    "files and records of the training": _FILES,
    "losses are not part of the network": ("jsd_loss", "bce_*", "loss*"),
    "dropout is inactive in evaluation": ("drop*", "attn_drop*"),
    "--weights decides which weights are taken": ("model_ema*",),
    "read from the weights": ("num_classes", "nb_classes", "in_chans"),
    "initial values": ("head_init_*",),
}
_PUBLISHED = {
    "where it was published": ("url", "file", "hf_hub_*", "source", "state_dict", "custom_load", "tag"),
    "words about it": ("license", "origin_url", "paper_*", "notes", "model_name", "description"),
    "read from the weights": ("num_classes", "num_features", "first_conv", "classifier", "pool_size"),
    "for evaluation at a larger size": ("test_input_size", "test_crop_pct", "min_input_size"),
    "deploykit determines the sizes itself": ("fixed_input_size",),
}
_CONSTRUCTOR = {
    "the weights are those of this file": ("pretrained", "checkpoint_path", "cache_dir"),
    "dropout is inactive in evaluation": ("drop*", "*_drop", "*_drop_rate"),
    "initial values": ("weight_init", "fix_init"),
    "deploykit determines the sizes itself": ("dynamic_img_size", "strict_img_size"),
    "of the training": ("bn_momentum", "grad_checkpointing", "scriptable", "exportable", "no_jit"),
    "read from the weights": ("num_classes", "in_chans"),
}
# Weights that only a setting makes or takes away, and that setting with its value where there is one only.
_SIGNS: dict[str, dict[str, Any]] = {
    "attn.q_norm.weight": {"qk_norm": True},
    "ls1.gamma": {"init_values": 1e-5},
    "reg_token": {"reg_tokens": None},
    "norm_pre.weight": {"pre_norm": True},
    "attn.qkv.bias is missing": {"qkv_bias": False},
    "attn.qkv.bias is there": {"qkv_bias": True},
    "attn_pool.": {"global_pool": "map"},
    "fc_norm.": {"fc_norm": True},
    "cls_token is missing": {"class_token": False},
    "mlp.fc1.weight": {"mlp_ratio": None},
    "pos_embed": {"img_size": None},
    "conv_dw.weight": {"group_size": None},
    "conv_head.weight": {"num_features": None},
    "patch_embed.proj.weight": {"patch_size": None},
}
_PLAIN = (bool, int, float, str)


@dataclass(frozen=True, kw_only=True)
class TimmFile:
    """What a file says about its model, by place.

    Attributes:
        file: Its name, for errors.
        arch: The file's ``arch``, or empty.
        args: Arguments of the training script.
        hub: config.json of a published model, without what is in ``pretrained``.
        pretrained: Its ``pretrained_cfg``.
        constructor: Arguments of the model's constructor: ``model_kwargs`` of the training script,
            ``model_args`` of a published model.
    """

    file: str
    arch: str
    args: Settings
    hub: Settings
    pretrained: Settings
    constructor: tuple[Settings, ...]

    def arguments(self, known: Iterable[str]) -> dict[str, Any]:
        """The arguments of the model's constructor that can change an answer.

        Args:
            known: The parameter names of the constructor.

        Raises:
            CheckpointError: an argument has a value that is not a number, text or list of them.
        """
        found: dict[str, Any] = {}
        names = set(known)
        for place in self.constructor:
            for why, patterns in _CONSTRUCTOR.items():
                place.harmless(why, *patterns)
            for name in place.open():
                value = place.get(name) if name in names else None
                if value is not None:
                    found[name] = _plain(place, name, value)
        if self.pool:
            found.setdefault("global_pool", self.pool)
        if "bn_eps" in names and self.args.get("bn_eps"):
            found.setdefault("bn_eps", float(self.args.get("bn_eps")))
        return found

    @property
    def where(self) -> str:
        """Where the constructor arguments that determine the model come from, for errors."""
        return " and ".join(place.where for place in self.constructor if place.honours) or "the file"

    def refuse_unnamed(self, arguments: Mapping[str, Any], example: str) -> None:
        """Refuse constructor arguments if no model is named.

        Args:
            example: Some architecture of the family.

        Raises:
            CheckpointError: there are some, besides the pooling.
        """
        left = [f"{key} = {value!r}" for key, value in arguments.items() if key != "global_pool"]
        if left:
            raise CheckpointError(
                f"{self.where} says {', '.join(left)}, and nothing says of which architecture of timm.",
                hint=f"Name it: --variant {example}",
            )

    def refuse_other(
        self, name: str, other: Sequence[str], without: Callable[[str], Sequence[str]] | None = None
    ) -> None:
        """Refuse weights that do not fit timm's model with the arguments of this file.

        Args:
            name: Name of the model.
            other: How the weights differ, in parts of sentences.
            without: How they differ if an argument is left out.

        Raises:
            CheckpointError: there are differences, and the file gives arguments.
        """
        if other and any(place.honours for place in self.constructor):
            raise CheckpointError(
                f"The weights are not those of timm's {name} with what {self.where} says: {first_of(other)}.",
                hint=self._settled(name, other, without),
            )

    def _settled(
        self, name: str, other: Sequence[str], without: Callable[[str], Sequence[str]] | None
    ) -> str:
        """The options that make the arguments fit the weights, if one argument is wrong or missing."""
        for place in self.constructor:
            for key in place.honoured_names():
                if without is not None and _fits(without, key):
                    return f"Leave out what does not belong to these weights: --ignore {place.where}:{key}"
        own = {key: value for place in self.constructor[:1] for key, value in place.plain().items()}
        missing = next((told for sign, told in _SIGNS.items() if any(sign in part for part in other)), {})
        told = {**own, **{key: value for key, value in missing.items() if value is not None}}
        given = json.dumps({"model": name, "model_kwargs": told}, default=str)
        which = f"perhaps {next(iter(missing))}" if missing else "add it to these"
        return (
            f"A setting is missing or wrong there, {which}; all of them can be given: --config "
            f"{quote(given)}. One that does not belong to these weights is left out with "
            f"--ignore {self.where.partition(' ')[0]}:NAME."
        )

    @property
    def pool(self) -> Any:
        """How the model pools, in timm's words; None if only its constructor says so."""
        told = (
            self.args.get("gp"),
            _pool_of_mae(self.args.get("global_pool")),
            # What a published model was saved with; timm itself reads it in model_args only.
            self.hub.get("global_pool"),
        )
        return next((pool for pool in told if pool), None)

    @property
    def size(self) -> Any:
        """The size of the images, in any of timm's forms; None if unknown."""
        told = [place.get("img_size") for place in self.constructor]
        told += [
            place.get(name) for place in (self.args, self.pretrained) for name in ("input_size", "img_size")
        ]
        return next((size for size in told if size), None)

    @property
    def published(self) -> bool:
        """Whether it has the pre-processing of a published model, which is then the only one that timm
        uses.
        """
        return any(self.pretrained.get(name) for name in TIMM_SETTINGS)

    @property
    def preprocess_from(self) -> str:
        """Where the file gives the pre-processing; empty if it does not."""
        if self.published:
            return "timm's pretrained_cfg in the checkpoint"
        if any(self.args.get(name) for name in TIMM_SETTINGS):
            return "the training arguments"
        return ""

    @property
    def class_names(self) -> tuple[str, ...]:
        """A published model's ``label_names``, or its ``label_descriptions`` if it has them."""
        labels: Any = next(
            (place.get(name) for place in (self.hub, self.pretrained) for name in _LABELS if place.get(name)),
            (),
        )
        if isinstance(labels, Mapping):
            if not all(str(key).isdecimal() for key in labels):
                raise CheckpointError(
                    f"{self.file}: label_names are a list or numbered from 0, found the key "
                    f"{next(key for key in labels if not str(key).isdecimal())!r:.60}."
                )
            labels = [labels[key] for key in sorted(labels, key=int)]
        words = attributes(
            self.hub.get("label_descriptions") or self.pretrained.get("label_descriptions") or {}
        )
        return tuple(str(words.get(label, label)) for label in labels)

    def account(self, channels: int, *, named: bool) -> tuple[Setting, ...]:
        """The treatment of every setting.

        Args:
            channels: Channels of the network's input.
            named: The architecture was built from its name.

        Raises:
            CheckpointError: an argument of the constructor is left over, or images were read in another mode.
        """
        # Pillow weights the colours of an RGBA image by its alpha when it resizes, which nothing here does.
        self.args.expect("input_img_mode", *{1: ("L",), 3: ("RGB",)}.get(channels, ()))
        self.args.honoured("model_kwargs", "gp", "img_size", "input_size", *TIMM_SETTINGS)
        if named:
            self.args.honoured("model")
            self.pretrained.honoured("architecture")
        self.hub.honoured("architecture", "model_args", "pretrained_cfg", "global_pool", *_LABELS)
        self.hub.honoured("label_descriptions")
        self.pretrained.honoured("input_size", "tag", *TIMM_SETTINGS)
        for place, groups in ((self.args, _ARGUMENTS), (self.hub, _PUBLISHED), (self.pretrained, _PUBLISHED)):
            for why, patterns in groups.items():
                place.harmless(why, *patterns)
        told = [place.account(strict=False) for place in (self.args, self.hub, self.pretrained)]
        return tuple(
            setting
            for settings in (*told, *(place.account(strict=True) for place in self.constructor))
            for setting in settings
        )


_LABELS = ("label_names", "labels")


def read_file(checkpoint: Checkpoint, hints: Hints) -> TimmFile:
    """Take apart what a checkpoint says."""
    meta = checkpoint.meta
    args = attributes(meta.get("args"))
    if "model" in (hints.config or {}):  # The args.yaml that timm's training script writes beside its files.
        args = {**args, **(hints.config or {})}
    hub, pretrained = _published(meta)
    arch = meta.get("arch")
    return TimmFile(
        file=checkpoint.path.name,
        arch=arch if isinstance(arch, str) and not _ignored("arch", hints) else "",
        args=Settings("args", args, hints.ignore),
        hub=Settings("config.json", hub, hints.ignore),
        pretrained=Settings("pretrained_cfg", pretrained, hints.ignore),
        constructor=(
            Settings("model_kwargs", attributes(args.get("model_kwargs")), hints.ignore),
            Settings("model_args", attributes(hub.get("model_args")), hints.ignore),
        ),
    )


def attributes(value: Any) -> Mapping[str, Any]:
    """The settings in a dictionary, an ``argparse.Namespace`` or its inert stand-in, or a dataclass."""
    return value if isinstance(value, Mapping) else getattr(value, "__dict__", {})


def _fits(without: Callable[[str], Sequence[str]], key: str) -> bool:
    """Whether the weights fit the model without one of the arguments."""
    try:
        return not without(key)
    except CheckpointError:  # It cannot be built.
        return False


def _ignored(name: str, hints: Hints) -> bool:
    return Settings("checkpoint", {name: True}, hints.ignore).get(name) is None


def _published(meta: Mapping[str, Any]) -> tuple[Mapping[str, Any], Mapping[str, Any]]:
    """config.json and ``pretrained_cfg`` of a model that was fetched by name or is in a folder.

    Older files have both in one.
    """
    if "timm_config" in meta:
        return {}, attributes(meta["timm_config"])
    config = meta.get("config")
    if not isinstance(config, Mapping) or "architecture" not in config:
        return {}, {}
    if "pretrained_cfg" in config:
        return config, attributes(config["pretrained_cfg"])
    own = {"architecture", "num_features", "global_pool", "model_args", *_LABELS, "label_descriptions"}
    return (
        {name: value for name, value in config.items() if name in own},
        {name: value for name, value in config.items() if name not in own},
    )


def _pool_of_mae(value: Any) -> Any:
    """``args.global_pool`` of MAE's fine-tuning, which says whether to average."""
    return {True: "avg", False: "token"}[value] if isinstance(value, bool) else value


def _plain(place: Settings, name: str, value: Any) -> Any:
    """A value that can be passed to timm's constructors.

    Raises:
        CheckpointError: it is an object of the training program, which is not read.
    """
    values = value if isinstance(value, list | tuple) else [value]
    if not all(isinstance(one, _PLAIN) for one in values):
        raise CheckpointError(
            f"{place.where} says {name} = an object ({type(value).__name__}), which changes the answers; "
            "deploykit reads numbers and words there.",
            hint=f"If it does not matter to this model, say so: --ignore {place.where}:{name}",
        )
    return tuple(values) if isinstance(value, list) else value
