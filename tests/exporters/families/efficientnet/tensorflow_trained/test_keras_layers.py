"""The layers of a whole Keras model: what they tell is followed, what is not built is refused by its name."""

from __future__ import annotations

import copy
import dataclasses
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from deploykit_exporters.checkpoint import Checkpoint
from deploykit_exporters.containers.read import read_checkpoint
from deploykit_exporters.families.base import BuiltModel, Hints
from deploykit_exporters.families.registry import recognise
from deploykit_runtimes.errors import CheckpointError

Edit = Callable[[list[dict[str, Any]]], None]


@pytest.fixture(scope="module")
def checkpoint(fixtures: Path) -> Checkpoint:
    return read_checkpoint(fixtures / "keras_efficientnet_finetuned.h5")


def all_layers(layer: dict[str, Any]) -> list[dict[str, Any]]:
    inner = layer["config"].get("layers", [])
    return [layer, *(one for child in inner for one in all_layers(child))]


def built_with(checkpoint: Checkpoint, edit: Edit, **hints: Any) -> BuiltModel:
    config = copy.deepcopy(checkpoint.meta["model_config"])
    edit(all_layers(config))
    edited = dataclasses.replace(checkpoint, meta={**checkpoint.meta, "model_config": config})
    family, match = recognise(edited, Hints(**hints))
    return family.build(edited, match, Hints(**hints))


def every(kind: str, **settings: Any) -> Edit:
    def edit(layers: list[dict[str, Any]]) -> None:
        for layer in layers:
            if layer["class_name"] == kind:
                layer["config"].update(settings)

    return edit


def one(name: str, **settings: Any) -> Edit:
    def edit(layers: list[dict[str, Any]]) -> None:
        next(layer for layer in layers if layer["config"].get("name") == name)["config"].update(settings)

    return edit


def added(kind: str, **settings: Any) -> Edit:
    def edit(layers: list[dict[str, Any]]) -> None:
        layer = {"class_name": kind, "config": {"name": kind.lower(), **settings}}
        layers[0]["config"]["layers"].insert(1, layer)

    return edit


REFUSED: dict[str, tuple[Edit, str]] = {
    "pooling": (added("GlobalMaxPooling2D"), "'globalmaxpooling2d' of the class GlobalMaxPooling2D"),
    "lambda": (added("Lambda"), "of the class Lambda"),
    "resizing": (added("Resizing", height=32, width=32), "of the class Resizing"),
    "eps": (one("stem_bn", epsilon=0.1), "several values of epsilon: 0.001, 0.1"),
    "activation": (one("stem_activation", activation="relu"), "several activations: relu, silu"),
    "unknown activation": (every("Activation", activation="selu"), "activation selu"),
    "gate": (one("block1a_se_expand", activation="hard_sigmoid"), "block1a_se_expand has the activation"),
    "last layer": (every("Dense", activation="tanh"), "activation tanh"),
    "stride": (one("stem_conv", strides=[1, 1]), r"stem_conv has strides \(1, 1\)"),
    "two rescalings": (
        lambda layers: [added("Rescaling", scale=0.5)(layers) for _ in range(2)] and None,
        "2 Rescaling and 0 Normalization",
    ),
}


@pytest.mark.parametrize(("edit", "problem"), REFUSED.values(), ids=list(REFUSED))
def test_what_is_not_built_is_refused_by_its_name(checkpoint: Checkpoint, edit: Edit, problem: str) -> None:
    with pytest.raises(CheckpointError, match=problem):
        built_with(checkpoint, edit)


def test_eps_and_activation_are_followed(checkpoint: Checkpoint) -> None:
    assert built_with(checkpoint, every("BatchNormalization", epsilon=0.01)).module.plan.eps == 0.01

    def relu(layers: list[dict[str, Any]]) -> None:
        for layer in layers:
            if layer["config"].get("activation") == "swish":
                layer["config"]["activation"] = "relu"

    assert built_with(checkpoint, relu).module.plan.activation == "relu"


@pytest.mark.parametrize(
    ("activation", "scores", "assumed"),
    [("softmax", "softmax", False), ("sigmoid", "sigmoid", False), ("linear", "softmax", True)],
)
def test_the_last_activation_makes_the_scores(
    checkpoint: Checkpoint, activation: str, scores: str, *, assumed: bool
) -> None:
    spec = built_with(checkpoint, every("Dense", activation=activation, units=2)).spec
    # One class has a sigmoid in any case.
    assert spec.output.activation == ("sigmoid" if spec.num_classes == 1 else scores)
    assert any("assumed to be logits" in line for line in spec.assumed) == assumed


def test_a_rescaling_of_ones_own_is_the_preprocessing(checkpoint: Checkpoint) -> None:
    spec = built_with(checkpoint, added("Rescaling", scale=1 / 127.5, offset=-1.0)).spec
    assert spec.preprocess.mean == pytest.approx((0.5,) * 3)
    assert spec.preprocess.std == pytest.approx((0.5,) * 3)
    assert spec.recognised[1] == "Pre-processing is from the model's own Rescaling layer."


@pytest.mark.parametrize("kind", ["Dropout", "RandomFlip", "GaussianNoise"])
def test_layers_that_are_inactive_in_inference_are_listed_as_harmless(
    checkpoint: Checkpoint, kind: str
) -> None:
    settings = {one.name: one for one in built_with(checkpoint, added(kind)).settings}
    assert (settings[kind].treatment, settings[kind].why) == ("harmless", "inactive in inference")
    assert settings["BatchNormalization"].treatment == "honoured"


def test_a_layer_can_be_ignored(checkpoint: Checkpoint) -> None:
    built = built_with(checkpoint, added("Lambda"), ignore=("model_config:Lambda",))
    assert {setting.name: setting.treatment for setting in built.settings}["Lambda"] == "ignored"
