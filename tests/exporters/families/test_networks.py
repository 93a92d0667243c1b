"""Several networks in one state dict: told, asked about, or one honest network with layers that repeat."""

from __future__ import annotations

import re
from collections.abc import Callable
from functools import cache
from pathlib import Path
from random import Random
from typing import Any

import pytest
import timm
import torch
import torchvision
import transformers
from deploykit_exporters.checkpoint import Checkpoint
from deploykit_exporters.containers.read import read_checkpoint
from deploykit_exporters.containers.weights.unwrap import unwrap
from deploykit_exporters.families.base import Hints
from deploykit_exporters.families.networks import networks, settle
from deploykit_exporters.load import load_checkpoint
from deploykit_runtimes.errors import CheckpointError, OptionError
from torch import nn
from ultralytics.nn.tasks import DetectionModel


def tiny_vit(**settings: Any) -> nn.Module:
    """A ViT of one block: 18 tensors."""
    sizes = {"img_size": 32, "patch_size": 16, "embed_dim": 32, "depth": 1, "num_heads": 2, "num_classes": 3}
    return timm.models.vision_transformer.VisionTransformer(**(sizes | settings))


def transformers_vit() -> nn.Module:
    config = transformers.ViTConfig(hidden_size=32, num_hidden_layers=1, num_attention_heads=2, image_size=32)
    return transformers.ViTModel(config)


ARCHITECTURES: dict[str, Callable[[], nn.Module]] = {
    "ViT": tiny_vit,
    "EfficientNet": lambda: timm.models.efficientnet._gen_efficientnet(
        "efficientnet_b0", 0.1, 0.3, num_classes=3
    ),
    "transformers": transformers_vit,
    "YOLO": lambda: DetectionModel("yolov8n.yaml", nc=2, verbose=False),
}
UNSUPPORTED = {"ResNet": lambda: torchvision.models.resnet18(num_classes=3)}
TOLD = [
    # the averaged one last
    *(("student", "teacher"), ("model", "ema_model"), ("online_model", "ema_model"), ("net", "net_ema")),
    *(("encoder", "averaged_encoder"), ("", "teacher"), ("model", "model_ema.shadow")),
]
ASKED = [
    *(("net_a", "net_b"), ("online", "target"), ("module_q", "module_k"), ("encoder_q", "encoder_k")),
    *(("backbone", "momentum_backbone"), ("base_encoder", "momentum_encoder"), ("models.0", "models.1")),
    *(("rgb", "depth"), ("", "copy"), ("a.net", "b.net"), ("ema_1", "ema_2")),
]
WRAPPERS = ["", "model.", "algorithm.model."]


def pairs(names: list[tuple[str, str]]) -> list[Any]:
    """Each architecture with each pair of names. Numbered layers with others beside them are no YOLO."""
    return [
        pytest.param(architecture, both, id=f"{architecture}-{'-'.join(both)}")
        for architecture in ARCHITECTURES
        for both in names
        if architecture != "YOLO" or both[0]
    ]


@cache
def weights(architecture: str, seed: int) -> dict[str, torch.Tensor]:
    torch.manual_seed(seed)
    tensors = (ARCHITECTURES | UNSUPPORTED)[architecture]().state_dict()
    return {name: tensor + seed if tensor.is_floating_point() else tensor for name, tensor in tensors.items()}


def twins(architecture: str, names: tuple[str, str], wrapper: str) -> dict[str, torch.Tensor]:
    both = {}
    for seed, name in enumerate(names):
        start = f"{wrapper}{name}." if name else wrapper
        both |= {f"{start}{key}": tensor for key, tensor in weights(architecture, seed).items()}
    return both


def key_of(name: str, wrapper: str) -> str:
    """What --weights calls a network: its start, without what no other network has."""
    if not name:
        return wrapper.removesuffix(".") or "."
    first = name.partition(".")[0] if name in ("a.net", "b.net", "model_ema.shadow") else name
    return f"{wrapper}{first}"


def write(tmp_path: Path, value: Any) -> Path:
    path = tmp_path / "file.pth"
    torch.save(value, path)
    return path


def reading(value: Any, choice: str | None = None) -> Checkpoint:
    """A file of these objects, read."""
    weights = unwrap(value, name="file.pth", choice=choice)
    return Checkpoint(
        path=Path("file.pth"),
        sha256="",
        container="torch",
        tensors=weights.tensors,
        weights_key=weights.weights_key,
        meta=weights.meta,
        module=weights.module,
        notes=weights.notes,
        sets=weights.sets,
        part=weights.part,
    )


def seed_of(tensors: Any, architecture: str) -> int:
    """Which of the two networks was taken, by a weight that both have."""
    marks = _marks(architecture)
    found = [tensor for name, tensor in tensors.items() if name.endswith(_mark(architecture))]
    assert len(found) == 1
    return marks[float(found[0].double().sum())]


@cache
def _marks(architecture: str) -> dict[float, int]:
    return {float(weights(architecture, seed)[_mark(architecture)].double().sum()): seed for seed in (0, 1)}


@cache
def _mark(architecture: str) -> str:
    return max(weights(architecture, 0), key=lambda name: (weights(architecture, 0)[name].ndim == 4, name))


@pytest.mark.parametrize("container", ["", "state_dict", "model"])
@pytest.mark.parametrize("wrapper", WRAPPERS)
@pytest.mark.parametrize(("architecture", "names"), pairs(TOLD))
def test_the_average_is_taken_and_told(
    architecture: str, names: tuple[str, str], wrapper: str, container: str
) -> None:
    both = twins(architecture, names, wrapper)
    file = {container: both} if container else both
    checkpoint = settle(reading(file))
    assert seed_of(checkpoint.tensors, architecture) == 1
    keys = [key_of(name, wrapper) for name in names]
    typed = [f"{container}.{key}" if container and key != "." else key for key in keys]
    assert (
        f"took the averaged one, {keys[1]!r}; --weights {typed[0]} takes the other." in checkpoint.notes[-1]
    )
    for seed, key in enumerate(keys):
        for choice in (key, f"{container}.{key}" if container and key != "." else key):
            chosen = settle(reading(file, choice))
            if choice == container:  # a key of the file: all that lies under it
                continue
            assert seed_of(chosen.tensors, architecture) == seed, choice


@pytest.mark.parametrize("wrapper", WRAPPERS)
@pytest.mark.parametrize(("architecture", "names"), pairs(ASKED))
def test_what_nobody_can_know_is_asked(architecture: str, names: tuple[str, str], wrapper: str) -> None:
    file = {"state_dict": twins(architecture, names, wrapper)}
    with pytest.raises(CheckpointError, match="holds 2 copies of one network") as question:
        settle(reading(file))
    keys = [key_of(name, wrapper) for name in names]
    typed = [key if key == "." else f"state_dict.{key}" for key in keys]
    assert " or ".join(f"--weights {key}" for key in typed) in question.value.hint
    for seed, key in enumerate(keys):
        chosen = settle(reading(file, key))
        assert seed_of(chosen.tensors, architecture) == seed


@pytest.mark.parametrize("names", [*TOLD, *ASKED], ids="-".join)
def test_what_is_chosen_is_built(names: tuple[str, str], tmp_path: Path) -> None:
    path = write(tmp_path, {"state_dict": twins("ViT", names, "algorithm.")})
    for seed, name in enumerate(names):
        key = key_of(name, "algorithm.")
        loaded = load_checkpoint(path, Hints(weights=key))
        assert seed_of(loaded.built.module.state_dict(), "ViT") == seed
        assert loaded.checkpoint.weights_key == f"state_dict.{key}"


def test_equal_networks_are_not_asked_about(tmp_path: Path) -> None:
    both = {f"{name}.{key}": tensor for name in "ab" for key, tensor in weights("ViT", 0).items()}
    checkpoint = settle(read_checkpoint(write(tmp_path, both)))
    assert checkpoint.notes[-1] == "'a', 'b' are equal networks; took 'a'."


def test_different_networks_are_asked_about(tmp_path: Path) -> None:
    """A teacher of another architecture is not an average of its student."""
    both = {f"student.{name}": tensor for name, tensor in weights("ViT", 0).items()}
    both |= {f"teacher.{name}": tensor for name, tensor in weights("EfficientNet", 0).items()}
    path = write(tmp_path, both)
    with pytest.raises(CheckpointError, match="holds 2 networks: 'student', 'teacher'"):
        load_checkpoint(path, Hints())
    families = [load_checkpoint(path, Hints(weights=key)).match.family for key in ("student", "teacher")]
    assert families == ["vit", "efficientnet"]


def test_networks_of_the_training_are_left_out(tmp_path: Path) -> None:
    both = {f"net.{name}": tensor for name, tensor in weights("ViT", 0).items()}
    both |= {f"criterion.features.{name}": tensor for name, tensor in weights("EfficientNet", 0).items()}
    loaded = load_checkpoint(write(tmp_path, both), Hints())
    assert loaded.match.family == "vit"
    assert "Left out: 'criterion', networks of the training." in loaded.checkpoint.notes


def test_a_classifier_beside_the_chosen_network_is_kept(tmp_path: Path) -> None:
    bare = {name: tensor for name, tensor in weights("ViT", 0).items() if not name.startswith("head.")}
    both = {
        f"{name}.{key}": value for name in ("backbone", "momentum_backbone") for key, value in bare.items()
    }
    both["backbone.cls_token"] = both["backbone.cls_token"] + 1
    both |= {"head.weight": torch.randn(7, 32), "head.bias": torch.randn(7)}
    loaded = load_checkpoint(write(tmp_path, both), Hints(weights="backbone"))
    assert loaded.built.spec.num_classes == 7
    assert torch.equal(loaded.built.module.state_dict()["net.head.weight"], both["head.weight"])


def test_a_copy_takes_the_place_of_a_network_with_its_classifier(tmp_path: Path) -> None:
    config = transformers.ViTConfig(
        hidden_size=32, num_hidden_layers=1, num_attention_heads=2, image_size=32, num_labels=5
    )
    whole = transformers.ViTForImageClassification(config).state_dict()
    average = {
        name.replace("vit.", "ema_vit."): tensor + 1
        for name, tensor in whole.items()
        if name.startswith("vit.")
    }
    path = write(tmp_path, {**whole, **average})
    mark = "embeddings.cls_token"
    for choice, taken in ((None, average[f"ema_vit.{mark}"]), ("vit", whole[f"vit.{mark}"])):
        loaded = load_checkpoint(path, Hints(weights=choice))
        assert loaded.built.spec.num_classes == 5
        assert torch.equal(loaded.built.module.state_dict()["net.cls_token"], taken)
        told = "'ema_vit' replaces 'vit'." in loaded.checkpoint.notes
        assert told == (choice is None)


@pytest.mark.parametrize("names", [("student", "teacher"), ("net_a", "net_b")], ids="-".join)
@pytest.mark.parametrize("architecture", ["ViT", "YOLO"])
def test_networks_of_a_pickled_module(architecture: str, names: tuple[str, str], tmp_path: Path) -> None:
    whole = nn.Module()
    for seed, name in enumerate(names):
        network = ARCHITECTURES[architecture]()
        network.load_state_dict(weights(architecture, seed))
        setattr(whole, name, network)
    path = write(tmp_path, {"model": whole})
    for seed, name in enumerate(names):
        loaded = load_checkpoint(path, Hints(weights=name))
        assert seed_of(loaded.built.module.state_dict(), architecture) == seed
    if names[1] == "teacher":
        assert seed_of(load_checkpoint(path, Hints()).built.module.state_dict(), architecture) == 1
    else:
        with pytest.raises(CheckpointError, match="2 copies of one network"):
            load_checkpoint(path, Hints())


def test_a_part_that_no_family_knows_is_named(tmp_path: Path) -> None:
    both = twins("ResNet", ("student", "teacher"), "")
    with pytest.raises(CheckpointError, match="this is a ResNet"):
        load_checkpoint(write(tmp_path, both), Hints(weights="student"))


@pytest.mark.parametrize(
    "choice", ["blocks", "blocks.0", "norm", "layer0", "patch_embed", "state_dict.blocks"]
)
def test_a_layer_is_no_network(choice: str, tmp_path: Path) -> None:
    file = {"state_dict": weights("ViT", 0), "criterion": {"weight": torch.ones(3)}, "epoch": 3}
    with pytest.raises(OptionError, match="has no network there") as refusal:
        load_checkpoint(write(tmp_path, file), Hints(weights=choice))
    assert refusal.value.hint == "It has networks under state_dict."


def test_the_names_of_networks_alone_are_listed(tmp_path: Path) -> None:
    file = {
        "state_dict": {**twins("ViT", ("student", "teacher"), "model."), "head.weight": torch.ones(3, 32)},
        "best": {"net": weights("EfficientNet", 0)},
        "criterion": {"weight": torch.ones(3)},
    }
    with pytest.raises(OptionError) as refusal:
        load_checkpoint(write(tmp_path, file), Hints(weights="model.student.blocks"))
    names = ["state_dict.model.student", "state_dict.model.teacher", "best.net"]
    assert refusal.value.hint == f"It has networks under {', '.join(names)}."


HONEST: dict[str, Callable[[], nn.Module]] = {
    **ARCHITECTURES,
    "EfficientNet B0": lambda: timm.create_model("efficientnet_b0"),
    "ViT with registers": lambda: timm.create_model("vit_small_patch14_reg4_dinov2", img_size=28),
    "distilled": lambda: timm.create_model("deit_tiny_distilled_patch16_224"),
    "torchvision": torchvision.models.efficientnet_b0,
    "YOLO11": lambda: DetectionModel("yolo11n.yaml", verbose=False),
    "YOLO26": lambda: DetectionModel("yolo26n.yaml", verbose=False),
    "YOLOv10": lambda: DetectionModel("yolov10n.yaml", verbose=False),
    "CLIP": lambda: transformers.CLIPModel(
        transformers.CLIPConfig(
            text_config={"num_hidden_layers": 2, "eos_token_id": 2, "bos_token_id": 1},
            vision_config={"num_hidden_layers": 2},
        )
    ),
    "masked autoencoder": lambda: transformers.ViTMAEForPreTraining(
        transformers.ViTMAEConfig(num_hidden_layers=2, decoder_num_hidden_layers=2)
    ),
}


@pytest.mark.parametrize("wrapper", [*WRAPPERS, "backbone.", "student.", "net_a."])
@pytest.mark.parametrize("name", HONEST)
def test_one_network_is_one(name: str, wrapper: str) -> None:
    tensors = {f"{wrapper}{key}": tensor for key, tensor in _honest(name).items()}
    tensors["criterion.weight"] = torch.ones(3)
    checkpoint = reading(tensors)
    assert len(networks(checkpoint)) == 1
    assert settle(checkpoint) is checkpoint


@cache
def _honest(name: str) -> dict[str, torch.Tensor]:
    return HONEST[name]().state_dict()


def test_names_that_were_made_to_take_time_do_not() -> None:
    """Names of many parts, networks inside networks, and thousands of them."""
    one = {name: torch.zeros(1).expand(tensor.shape) for name, tensor in weights("ViT", 0).items()}
    deep = {f"{'a.' * 50_000}{name}": tensor for name, tensor in one.items()}
    nested = {f"{'teacher.' * depth}{name}": tensor for depth in range(30) for name, tensor in one.items()}
    many = {f"m{index}.{name}": tensor for index in range(1_000) for name, tensor in one.items()}
    assert networks(reading(deep)) == ()
    assert len(networks(reading(nested))) < 20
    with pytest.raises(CheckpointError, match=r"holds 64 copies|are equal networks"):
        settle(reading({**many, "m0.cls_token": torch.ones(1, 1, 32)}))


KEYS = (
    *("model", "state_dict", "ema", "ema_state_dict", "teacher", "student", "net", "shadow_params", "module"),
    *("model_ema", "averaged", "params", "backbone", "head", "criterion", "callbacks", "meta", "optimizer"),
    *("current_model_state", "averaging_state", "n_averaged", "online_model", "ema_model", "a.b", "ema_"),
)


def any_file(random: Random, depth: int = 0) -> Any:
    """Networks, pairs of networks, lists and other values, in dictionaries inside dictionaries."""
    one, other = ({**weights("ViT", random.randrange(2))} for _ in range(2))
    kind = random.random() if depth else 1.0
    if kind < 0.3:
        return one
    if kind < 0.4:
        start, another = random.sample(KEYS, 2)
        return {
            **{f"{start}.{name}": tensor for name, tensor in one.items()},
            **{f"{another}.{name}": tensor for name, tensor in other.items()},
        }
    if kind < 0.5:
        return random.choice([list(one.values()), [torch.ones(2)], None, 3, "text", torch.ones(2), {}])
    if depth > 3:
        return torch.ones(2)
    return {random.choice(KEYS): any_file(random, depth + 1) for _ in range(random.randint(1, 4))}


def offered(text: str) -> list[str]:
    """The keys that a note, a question or an error offers."""
    listed = re.findall(r"It has networks under (.*)\.$", text)
    return [key for keys in listed for key in keys.split(", ")] + re.findall(r"--weights (?!says)(\S+)", text)


@pytest.mark.parametrize("seed", range(60))
def test_what_is_offered_can_be_typed(seed: int) -> None:
    """Over files of any form: whatever key is given is one network."""
    random = Random(seed)
    file = any_file(random)
    choice = random.choice([None, None, random.choice(KEYS), f"{random.choice(KEYS)}.{random.choice(KEYS)}"])
    try:
        told = " ".join(settle(reading(file, choice)).notes)
    except OptionError as error:
        told = error.hint.replace("Leave --weights out", "")
    except CheckpointError as error:
        told = error.hint if "Say which" in error.hint else ""
    for key in offered(told):
        settle(reading(file, key))
