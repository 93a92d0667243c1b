"""What a setting of any training code is about, judged by the words of its name.

Custom training code calls the same thing ``num_heads``, ``nHeads`` or ``attn.heads``. The words separate
settings that can change an answer from those that only affect training.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from functools import cache
from typing import Any, Literal

__all__ = [
    "ACTIVATION_FLAGS",
    "NORMS",
    "OF_TRAINING",
    "Topic",
    "harmless",
    "is_elsewhere",
    "is_passing",
    "names_architecture",
    "names_model",
    "topic_of",
    "words",
]

Topic = Literal[
    "heads",
    "head width",
    "activation",
    "scores",
    "multi-label",
    "eps",
    "pool",
    "patch",
    "stride",
    "padding",
    "size",
    "crop size",
    "resize",
    "crop",
    "mean",
    "std",
    "normalization",
    "interpolation",
    "norm",
    "norm order",
    "positions",
    "scale",
    "colour",
    "bgr",
    "letterbox",
    "rescale",
    "class token",
    "patch tokens",
    "layer",
    "window",
    "attention",
    "classifier",
    "features",
    "head eps",
    "calibration",
    "other",
]
"""What a setting speaks of; ``other`` is known to matter, and can have its usual value only."""

_WORD = re.compile(r"[A-Z]+(?![a-z])|[A-Z]?[a-z]+|\d+")

# Words of the training, or of another network than the one that is exported: what stands with one of them
# does not speak of the network.
_APART_WORDS = """
opt optim optimizer optimizers optimiser adam adamw sgd lamb lion rmsprop lr learning sched scheduler
schedulers schedule warmup loss losses criterion grad grads gradient gradients aug augs augment augments
augmentation augmentations random rand randaugment jitter mixup cutmix cutout flip hflip vflip erase
erasing noise smoothing init initializer initialization drop dropout droppath teacher text tokenizer
language decoder target targets label labels metric metrics log logger loggers logging callback callbacks
trainer history results sampler sampling distill distillation ema swa discriminator checkpointing mask
masking plot train training pretrain pretraining max clipping val_metrics score
"""
_HARMLESS = {
    "of the training": """
        opt optim optimizer optimizers optimiser adam adamw sgd lamb lion rmsprop lr blr lrs learning
        momentum beta betas nesterov amsgrad decay wd sched scheduler schedulers schedule gamma milestones
        epoch epochs step steps iter iters iteration iterations batch bs batchsize warmup cooldown
        patience early stopping seed seeds deterministic worker workers loader dataloader dataloaders pin
        memory prefetch persistent shuffle gpu gpus device devices cuda accelerator strategy precision amp
        fp16 bf16 grad grads gradient gradients clip clipping accumulate accumulation accum freeze frozen
        unfreeze unfrozen finetune tune trainable ema swa sampler sampling fold folds split splits kfold
        monitor compile distributed ddp rank world nodes sync cudnn benchmark profiler trainer checkpointing
    """,
    "augmentation": """
        aug augs augment augments augmentation augmentations random rand randaugment ra jitter mixup
        cutmix cutout flip hflip vflip rotation rotate rot erase erasing reprob noise blur autoaugment
        trivialaugment color_jitter
    """,
    "losses are not part of the network": """
        loss losses criterion focal smoothing margin temperature triplet weighted weights bce alpha lambda
    """,
    "dropout is inactive in evaluation": "drop dropout droppath dpr stochastic",
    "files and records of the training": """
        data dataset datasets datamodule path paths dir dirs root folder file files filename url uri
        output outputs save saved ckpt checkpoint checkpoints log logs logger loggers logging wandb mlflow
        tensorboard comet neptune project run runs experiment exp version date time timestamp host
        hostname user author description notes tags tag git commit debug verbose lightning hparams
        pretrained csv json annotations annotation resume best acc accuracy f1 auc recall score scores
        history metric metrics results callback callbacks names name idx index
    """,
    "initial values": "init initializer initialization",
    "the scores are returned: thresholds are up to the application": """
        threshold thresholds thresh thr
    """,
    "read from the weights": """
        classes labels channels chans depth depths layers hidden embed embedding ratio mlp dim dims bias
        width register registers swiglu se
    """,
}
OF_TRAINING = frozenset({"of the training", "augmentation", "files and records of the training"})
"""Why ``harmless`` says that something is never part of a network."""
_WEIGHTS_TELL = ({"layer", "scale"}, {"rel", "pos"})
_ELSEWHERE = frozenset(_APART_WORDS.split())
_KNOWN = {why: frozenset(known.split()) for why, known in _HARMLESS.items()}
# Places inside which nothing speaks of the network: the state of a training, and what it wrote down.
_PASSING = re.compile(
    r"optim|lr_sched|sched|scaler|callbacks|loops|rng|state_dict|loss|criter|metric|histor|logg|trainer|aug"
    r"|teacher|text_|tokenizer|mixup|train_trans|train_pipe|class(?!ifier)|label|idx_to|id2label|id_to"
)

_ARCHITECTURE = {*("model", "arch", "architecture", "backbone", "encoder", "network", "net", "variant")}
_MODEL = re.compile(r"(vit|deit3?|beit(v2)?|eva(02)?|(tf_)?efficientnet(v2)?)_[a-z0-9_]+(\.[a-z0-9_]+)?")
# Places of a configuration that hold settings of all kinds.
_PLACES = {"train", "training", "max", "opt", "init"}
# Where such a word says something else: a pooling of the largest, statistics of the training's images.
_SPARED: dict[Topic, set[str]] = {
    "scores": {"max"},
    "multi-label": {"label", "labels"},
    "pool": {"max"},
    "mean": {"train"},
    "std": {"train"},
}
NORMS = {"norm", "ln", "bn", "layer", "batch", "rms", "gn", "group"}
_IMAGE = {"img", "image", "images", "im", "input", "inputs", "pixel", "pixels", "picture"}
_SIDE = {"size", "sizes", "res", "resolution", "shape", "sz", "height", "width"}
_MEANT = _IMAGE | {"data", "dataset", "norm", "normalize", "normalise", "normalization", "imagenet", "rgb"}
_MEANT |= {"channel", "channels", "normalisation", "normalizer", "transform", "mean", "std", "per"}
_HEADS = {"num", "n", "nb", "number", "attn", "attention", "head", "heads", "vit", "model", "of"}
_POOLS = {"pool", "pooling", "pooler", "gp", "aggregation"}
_ACTS = {"act", "activation", "nonlinearity", "activations", "nonlin"}
_LAST = {"final", "output", "out", "last"}
_NORMALISES = {"normalize", "normalise", "normalization", "normalisation"}
_USED = {"do", "use", "apply", "with", "is", "to"}
_OTHERS = {
    *("dilation", "dilated", "rope", "rotary", "windowed", "shifted", "causal", "blurpool"),
    *("deformable", "moe", "convpos", "gem", "sandwich", "invert", "inverted"),
}
ACTIVATION_FLAGS = {"relu", "relu6", "gelu", "quickgelu", "silu", "swish", "mish", "hardswish", "hswish"}
_GREY = {"grayscale", "greyscale", "grey", "gray"}
_FLAG = {"use", "is", "to", "as", "convert", "with", "apply", "do"}
# Temperatures of losses and of what is drawn at random.
_OF_LOSSES = {
    *("kd", "kl", "contrastive", "supcon", "simclr", "infonce", "nce", "ntxent", "moco", "dino", "ibot"),
    *("student", "gumbel", "clip", "consistency", "pseudo", "sharpen", "memory", "gpu", "cpu"),
}
_VOCABULARY = frozenset(
    {*NORMS, *_IMAGE, *_SIDE, *_MEANT, *_HEADS, *_POOLS, *_ACTS, *_NORMALISES, "eps", "epsilon", "patch"}
    | {"crop", "pct", "stride", "center", "centre", "resize", "interpolation", "global", "avg", "type", "fn"}
    | {"mean", "std", "max", "hidden", "batch", "decay", "weight", "rate", "dropout", "drop", "learning"}
    | {"epochs", "class", "classes", "label", "smoothing"}
) - {"n", "nb", "of", "im", "to", "is", "per"}


@cache
def words(name: str) -> frozenset[str]:
    """The words of a name, in lower case: ``{"n", "heads"}`` for ``nHeads``, ``n_heads`` and ``nheads``."""
    found = [word.lower() for word in _WORD.findall(name)]
    return frozenset(part for word in found for part in (_parts(word) or [word]))


def is_passing(name: str) -> bool:
    """Whether nothing inside an entry of this name concerns the network: an optimiser, a history."""
    return bool(_PASSING.match(name.lower()))


def is_elsewhere(where: str) -> bool:
    """Whether a place belongs to the training, or to another network."""
    return any(is_passing(part) or words(part) & (_ELSEWHERE - _PLACES) for part in where.split("."))


def names_model(name: str, value: Any) -> bool:
    """Whether a setting names an architecture of the supported families."""
    return (
        isinstance(value, str)
        and bool(words(name) & (_ARCHITECTURE - {"net"}))
        and not words(name) & _ELSEWHERE
        and bool(_MODEL.fullmatch(value))
    )


def names_architecture(name: str) -> bool:
    """Whether a setting of this name is the name of the network's architecture."""
    found = words(name)
    return bool(found & _ARCHITECTURE) and found <= _ARCHITECTURE | {"name", "type", "class", "cls", "id"}


def harmless(name: str) -> str:
    """Why a setting of this name cannot change an answer; empty if that is unknown."""
    found = words(name)
    if any(told <= found for told in _WEIGHTS_TELL):
        return "read from the weights"
    alone = found in ({"task"}, {"mode"})  # ``attn_mode`` may be anything.
    return next((why for why, known in _KNOWN.items() if alone or found & known), "")


def topic_of(name: str) -> Topic | None:
    """What a setting says about the network or its images; None if it says nothing about them."""
    found = words(name)
    about = next((about for about, speaks in _RULES if speaks(found)), None)
    if about is None:
        return None
    return None if found & (_ELSEWHERE - _SPARED.get(about, set())) else about


def _is_statistic(found: frozenset[str], which: str) -> bool:
    return which in found and found <= _MEANT | {"train"} and not {"mean", "std"} <= found


def _is_size(found: frozenset[str]) -> bool:
    named = "resolution" in found or "imgsz" in found or bool(found & _IMAGE and found & _SIDE)
    return named and not found & {"hidden", "embed", "patch", "feature", "features"}


def _is_resize(found: frozenset[str]) -> bool:
    return "resize" in found and found <= {"resize", "to", "mode", "eval", "test", "val"} | _SIDE | _IMAGE


def _is_crop(found: frozenset[str]) -> bool:
    return "crop" in found and not found & {"local", "multi", "scale", "min", "prob", "num"}


def _is_heads(found: frozenset[str]) -> bool:
    many = "heads" in found and found <= _HEADS | {"enc", "encoder", "transformer"}
    return many or bool(found & {"nhead", "nheads"}) or found in ({"num", "head"}, {"n", "head"})


def _is_head_width(found: frozenset[str]) -> bool:
    return "head" in found and bool(found & {"dim", "width"}) and found <= {*_WIDTH, "attn", "attention"}


def _is_bgr(found: frozenset[str]) -> bool:
    return "bgr" in found or ("rgb" in found and found <= {"rgb", *_USED, *_IMAGE})


def _is_norm(found: frozenset[str]) -> bool:
    kinds = {"norm", "normalization", "layer", "type", "fn", "kind"}
    return bool(found & {"norm", "normalization"}) and found <= kinds


def _is_scores(found: frozenset[str]) -> bool:
    flagged = found & {"softmax", "sigmoid"} and found <= {"softmax", "sigmoid", *_FLAG, *_LAST}
    return bool(flagged or (found & _ACTS and found & _LAST))


def _is_calibration(found: frozenset[str]) -> bool:
    if found & {*_OF_LOSSES, "dir", "path", "file", "folder", "prob"}:
        return False
    logits = found & {"logit", "logits"}
    moved = found & {"scale", "bias", "shift", "offset", "adjust", "adjusted", "adjustment", "adj"}
    others = {"temperature", "temperatures", "temp", "prior", "priors", "platt"}
    others |= {"calibration", "calibrated", "calibrate", "calibrator"}
    return bool((logits and moved) or found & others) or found in ({"t"}, {"tau"}, {"s"})


def _is_layer(found: frozenset[str]) -> bool:
    layers = {"layer", "layers", "block", "blocks", "indices", "index"}
    which = {"feature", "features", "use", "out", "return", "hook", "extract", "last", "output", "select"}
    chosen = found & layers and found & which and found <= layers | which | {"n", "num", "vision", "vit"}
    return bool(chosen) or found == {"layer"}


def _is_features(found: frozenset[str]) -> bool:
    made = {"normalize", "normalise", "normalized", "norm", "normed"}
    what = {"feature", "features", "feat", "feats", "embedding", "embeddings", "l2", "l"}
    return bool(found & made and found & what) and found <= made | what | _FLAG | {"2", "output", "head"}


_WIDTH = {"head", "dim", "width", "per"}
_POSITIONS = {"pos", "position", "positional", "embed", "embedding", "embeddings", "emb", "encoding", "type"}
_CLASSIFIER = {"head", "classifier"}
_TOKEN = {"cls", "class", "classification", "token", "no", "has", "add", "pool", "only", "without", *_FLAG}
_KIND = {"type", "kind", "name", "layer", "class", "cls", "mechanism", "impl", "implementation"}
_RULES: tuple[tuple[Topic, Callable[[frozenset[str]], bool]], ...] = (
    ("mean", lambda found: _is_statistic(found, "mean")),
    ("std", lambda found: _is_statistic(found, "std")),
    ("interpolation", lambda found: bool(found & {"interpolation", "interp", "resample"})),
    ("interpolation", lambda found: _is_resize(found) and "mode" in found),
    ("crop size", lambda found: _is_crop(found) and bool(found & _SIDE)),
    ("crop", _is_crop),
    ("resize", _is_resize),
    ("size", _is_size),
    (
        "normalization",
        lambda found: (
            bool(found & _NORMALISES) and found <= _NORMALISES | _IMAGE | _USED | {"data", "type", "mode"}
        ),
    ),
    ("bgr", _is_bgr),
    (
        "colour",
        lambda found: bool(
            found & {"color", "colour", "channel"} and found & {"space", "order", "mode", "format"}
        ),
    ),
    ("colour", lambda found: found in ({"color"}, {"colour"})),
    ("colour", lambda found: bool(found & _GREY) and found <= _GREY | _FLAG | _IMAGE),
    (
        "letterbox",
        lambda found: (
            "letterbox" in found
            or {"pad", "square"} <= found
            or bool(found & {"keep", "preserve"} and found & {"aspect", "ratio"})
        ),
    ),
    ("rescale", lambda found: "rescale" in found),
    (
        "rescale",
        lambda found: found in ({"div", "255"}, {"scale", "pixels"}, {"to", "01"}, {"divide", "255"}),
    ),
    ("heads", _is_heads),
    ("heads", lambda found: found in ({"h"}, {"nh"}, {"n", "h"}, {"num", "h"})),
    ("head width", _is_head_width),
    ("scores", _is_scores),
    ("multi-label", lambda found: {"multi", "label"} <= found or "multilabel" in found),
    ("multi-label", lambda found: found == {"problem", "type"}),
    ("activation", lambda found: bool(found & _ACTS) and not found & _CLASSIFIER),
    (
        "activation",
        lambda found: bool(found & ACTIVATION_FLAGS) and found <= ACTIVATION_FLAGS | _FLAG | {"quick", "6"},
    ),
    (
        "head eps",
        lambda found: bool(found & {"eps", "epsilon"} and found & _CLASSIFIER) and not found & {"adam"},
    ),
    (
        "class token",
        lambda found: "token" in found and bool(found & {"cls", "class"}) and found <= _TOKEN,
    ),
    (
        "patch tokens",
        lambda found: "patch" in found and found <= {"patch", "token", "tokens", "return", "concat", *_FLAG},
    ),
    ("eps", lambda found: bool(found & {"eps", "epsilon"} and found & NORMS)),
    (
        "pool",
        lambda found: bool(found & _POOLS) and not found & {"size", "kernel", "stride", "pools", "num"},
    ),
    ("stride", lambda found: "patch" in found and bool(found & {"stride", "overlap"})),
    ("stride", lambda found: found in ({"stride"}, {"stride", "size"}, {"overlap"}, {"overlapping"})),
    ("padding", lambda found: "type" in found and found <= {"pad", "padding", "type", "conv"}),
    ("patch", lambda found: {"patch", "size"} <= found or found == {"patch"}),
    ("other", lambda found: {"output", "stride"} <= found or found == {"pool", "p"}),
    (
        "other",
        lambda found: "parallel" in found and bool(found & {"block", "blocks", "attn", "attention", "mlp"}),
    ),
    ("window", lambda found: found == {"window", "size"}),
    ("layer", _is_layer),
    ("features", _is_features),
    ("norm", _is_norm),
    ("norm order", lambda found: found in ({"norm", "first"}, {"norm", "post"})),
    (
        "positions",
        lambda found: bool(found & {"pos", "position", "positional"}) and found <= _POSITIONS,
    ),
    (
        "scale",
        lambda found: "scale" in found and bool(found & {"qk", "attn", "attention", "softmax"}),
    ),
    ("calibration", _is_calibration),
    (
        "attention",
        lambda found: bool(found & {"attn", "attention"}) and found <= {"attn", "attention", *_KIND},
    ),
    (
        "classifier",
        lambda found: bool(found & {*_CLASSIFIER, "fc"}) and found <= {*_CLASSIFIER, "fc", *_KIND},
    ),
    ("other", lambda found: bool(found & _OTHERS)),
)


@cache
def _parts(word: str) -> list[str] | None:
    """A word without separators (``normeps``), split into its parts if all of them are known."""
    if word in _VOCABULARY or len(word) < 4:
        return [word] if word in _VOCABULARY else None
    for length in range(len(word) - 2, 1, -1):
        rest = _parts(word[length:]) if word[:length] in _VOCABULARY else None
        if rest:
            return [word[:length], *rest]
    return None
