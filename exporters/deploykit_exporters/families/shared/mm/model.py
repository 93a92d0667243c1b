"""``model`` of an mmpretrain (or mmcls) configuration: every setting in it is followed, known to be
harmless, or refused by name.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from deploykit_runtimes.contract.spec import Activation
from deploykit_runtimes.errors import CheckpointError

from deploykit_exporters.families.settings import Setting, Settings
from deploykit_exporters.families.shared.setting_values import as_mapping

__all__ = ["MmModel"]

_INITIAL = ("init_cfg", "pretrained")
_TRAINING = (
    *("train_cfg", "drop_rate", "drop_path_rate", "attn_drop_rate", "frozen_stages", "norm_eval", "with_cp"),
    *("drop_rate*", "dropout*", "proj_drop*"),
)
_HEAD = ("loss", "topk", "cal_acc", "cal_loss", "thr", "augments")
_SOFTMAX = {"LinearClsHead", "VisionTransformerClsHead", "DeiTClsHead", "ClsHead"}
_SIGMOID = {"MultiLabelLinearClsHead", "MultiLabelClsHead"}
_DEFAULT_EPS = 1e-5  # Of every norm whose norm_cfg does not say it.


class MmModel:
    """The settings of a classifier, read part by part.

    Attributes:
        told: Whether there are any settings.
        backbone, layers, head: ``model.backbone``, its ``layer_cfgs``, ``model.head``.

    Args:
        config: The whole configuration, see ``mm_config``.
        ignore: See ``Settings``.
    """

    def __init__(self, config: Mapping[str, Any], ignore: Iterable[str]) -> None:
        model = as_mapping(config.get("model"))
        self.told = bool(model)
        self._model = Settings("model", model, ignore)
        self.backbone = Settings("model.backbone", as_mapping(model.get("backbone")), ignore)
        self.layers = Settings("model.backbone.layer_cfgs", _layers(self.backbone), ignore)
        self.head = Settings("model.head", as_mapping(model.get("head")), ignore)
        self._neck = Settings("model.neck", as_mapping(model.get("neck")), ignore)
        preprocessor = as_mapping(config.get("data_preprocessor")) or as_mapping(
            model.get("data_preprocessor")
        )
        self._images = Settings("data_preprocessor", preprocessor, ignore)

    def kind(self, place: Settings) -> str:
        """The class that a part names, without its package."""
        return str(place.get("type") or "").rpartition(".")[2]

    def expect_kind(self, *allowed: str) -> str:
        """The class of the backbone; empty if unknown.

        Raises:
            CheckpointError: this class cannot be built.
        """
        found = self.kind(self.backbone)
        if found and found not in allowed:
            raise CheckpointError(
                f"model.backbone is mmpretrain's {found}; its weights look like those of "
                f"{' or '.join(allowed)}, which is what deploykit builds.",
                hint="If that is wrong, say so: --ignore model.backbone:type",
            )
        return found

    def norm(self, place: Settings, usual: float, *kinds: str) -> float:
        """The eps of a part's norms.

        Args:
            place: A part with ``norm_cfg``.
            usual: The default without it.
            kinds: The layers that can be built.

        Raises:
            CheckpointError: another layer, or an unknown setting of the layer.
        """
        told = place.get("norm_cfg")
        if told is None:
            return usual
        norm = Settings(f"{place.where}.norm_cfg", as_mapping(told))
        norm.expect("type", *kinds)
        norm.harmless("of the training", "requires_grad", "momentum")
        eps = float(norm.get("eps", _DEFAULT_EPS))
        norm.account(strict=True)
        return eps

    def activation(self, place: Settings, known: Mapping[str, str]) -> str | None:
        """The activation of a part in our terms, or None if it does not say.

        Raises:
            CheckpointError: it is not one of ``known``.
        """
        told = place.get("act_cfg")
        if told is None:
            return None
        act = Settings(f"{place.where}.act_cfg", as_mapping(told))
        act.expect("type", *known)
        act.harmless("of the training", "inplace")
        found = known[str(act.get("type"))] if act.get("type") else None
        act.account(strict=True)
        return found

    def expect_last(self, layers: int) -> None:
        """Refuse a backbone that does not answer with its last layer.

        Args:
            layers: The number of layers.

        Raises:
            CheckpointError: ``out_indices`` ends with another layer.
        """
        told = self.backbone.get("out_indices", -1)
        last = told[-1] if isinstance(told, list | tuple) and told else told
        if last not in {-1, layers - 1}:
            raise CheckpointError(
                f"model.backbone says out_indices = {told}; deploykit builds the answer of the last layer, "
                f"{layers - 1}."
            )

    def scores(self) -> Activation | None:
        """How the head turns logits into scores, if it says so.

        Raises:
            CheckpointError: a head that computes something else.
        """
        kind = self.kind(self.head)
        if kind and kind not in _SOFTMAX | _SIGMOID:
            raise CheckpointError(
                f"model.head is mmpretrain's {kind}; deploykit builds "
                f"{', '.join(sorted(_SOFTMAX | _SIGMOID))}.",
                hint="Export what comes before it with --features.",
            )
        return "sigmoid" if kind in _SIGMOID else "softmax" if kind else None

    def account(self, *, features: bool) -> tuple[Setting, ...]:
        """The treatment of every setting of the model.

        Args:
            features: Features are exported, so that the head does not matter.

        Raises:
            CheckpointError: a remaining setting may change an answer.
        """
        kind = self.kind(self._model)
        if kind and kind != "ImageClassifier":
            self._model.expect("type", "ImageClassifier")
        self._model.honoured("backbone", "neck", "head", "data_preprocessor", "type")
        for place in (self._model, self.backbone, self.layers, self.head, self._neck):
            place.harmless("initial values", *_INITIAL)
            place.harmless("of the training", *_TRAINING)
        self.head.harmless("losses and metrics of the training", *_HEAD)
        self.head.harmless("read from the weights", "num_classes", "in_channels", "hidden_dim")
        self.head.honoured("type")
        neck = self.kind(self._neck)
        if neck and neck != "GlobalAveragePooling" and not features:
            self._neck.expect(
                "type", "GlobalAveragePooling", instead="Export what comes before it with --features."
            )
        self._neck.honoured("type")
        self._neck.expect("dim", 2)
        self._images.honoured("type", "mean", "std", "to_rgb", "bgr_to_rgb")
        self._images.expect("pad_size_divisor", 1)
        self._images.expect("rgb_to_bgr", False)
        self._images.harmless("of the training", "num_classes", "to_onehot", "batch_augments", "non_blocking")
        self._images.harmless("nothing is padded", "pad_value")
        places = [self._model, self.backbone, self.layers, self._neck, self._images]
        if not features:
            places.append(self.head)
        return tuple(setting for place in places for setting in place.account(strict=True))


def _layers(backbone: Settings) -> Mapping[str, Any]:
    """``layer_cfgs``, which may be given for each layer separately.

    Raises:
        CheckpointError: the layers differ.
    """
    told = backbone.get("layer_cfgs")
    if not isinstance(told, list | tuple):
        return as_mapping(told)
    if any(one != told[0] for one in told):
        raise CheckpointError(
            "model.backbone.layer_cfgs differ from layer to layer; deploykit builds layers that are alike."
        )
    return as_mapping(told[0]) if told else {}
