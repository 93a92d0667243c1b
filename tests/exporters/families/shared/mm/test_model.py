"""Every argument of mmpretrain's constructors, changed one at a time: the answers are those of mmpretrain's
own model with that argument (tests/fixtures/make_mmpretrain_settings.py), or the checkpoint is refused."""

from __future__ import annotations

import gzip
import importlib.util
import json
from collections import Counter
from pathlib import Path
from typing import Any

import pytest
import torch
from deploykit_exporters.checkpoint import Checkpoint
from deploykit_exporters.families.base import BuiltModel, Hints
from deploykit_exporters.families.registry import recognise
from deploykit_exporters.proof.witness import ask_witness
from deploykit_runtimes.errors import CheckpointError, OptionError, ParityError

KINDS = ("VisionTransformer", "DeiT3", "DistilledVisionTransformer", "EfficientNet", "EfficientNetV2")


@pytest.fixture(scope="module")
def maker(fixtures: Path) -> Any:
    """The script that made the cases; of it, the weights and the image, which need no mmpretrain."""
    file = importlib.util.spec_from_file_location("made", fixtures / "make_mmpretrain_settings.py")
    assert file is not None
    assert file.loader is not None
    module = importlib.util.module_from_spec(file)
    file.loader.exec_module(module)
    return module


@pytest.fixture(scope="module")
def cases(fixtures: Path) -> list[dict[str, Any]]:
    text = gzip.decompress((fixtures / "mmpretrain_settings.json.gz").read_bytes())
    found: list[dict[str, Any]] = json.loads(text)
    return found


def checkpoint_of(case: dict[str, Any], maker: Any, **more: str) -> Checkpoint:
    """As mmengine's Runner writes it: the configuration as text beside the weights."""
    side = case["sides"]
    pipeline = [{"type": "Resize", "scale": side[::-1]}, {"type": "PackInputs"}]
    text = {"model": repr(case["model"]), "test_pipeline": repr(pipeline), **more}
    return Checkpoint(
        path=Path("epoch_9.pth"),
        sha256="",
        container="torch",
        tensors={name: maker.weights(name, shape) for name, shape in case["shapes"].items()},
        meta={"meta": {"cfg": "\n".join(f"{name} = {value}" for name, value in text.items())}},
    )


def built_from(checkpoint: Checkpoint, **hints: Any) -> BuiltModel:
    family, match = recognise(checkpoint, Hints(**hints))
    assert match.origin == "mmpretrain"
    return family.build(checkpoint, match, Hints(**hints))


def outcome(case: dict[str, Any], maker: Any) -> str:
    try:
        built = built_from(checkpoint_of(case, maker))
    except (CheckpointError, OptionError):
        return "refused"
    sigmoid = case["model"]["head"]["type"].startswith("MultiLabel")
    if case["logits"] is None or (built.spec.output.activation == "sigmoid") != sigmoid:
        return "DIFFERENT"
    with torch.inference_mode():
        found = built.module(maker.image(*case["sides"]))[0]
    expected = torch.tensor(case["logits"])
    if found.shape != expected.shape:
        return "DIFFERENT"
    return (
        "equal"
        if float((found - expected).abs().max()) <= 1e-4 * float(expected.abs().max())
        else "DIFFERENT"
    )


@pytest.mark.parametrize("kind", KINDS)
def test_another_argument_is_equal_or_refused(cases: list[dict[str, Any]], maker: Any, kind: str) -> None:
    told: Counter[str] = Counter()
    different, refused = [], []
    for case in cases:
        if case["name"].partition(":")[0] == kind:
            found = outcome(case, maker)
            told[found] += 1
            different += [case["name"]] if found == "DIFFERENT" else []
            refused += [case["name"]] if found == "refused" else []
    assert different == []
    assert told["equal"] > 8, (told, refused)


def case_of(cases: list[dict[str, Any]], name: str) -> dict[str, Any]:
    return next(case for case in cases if case["name"] == name)


@pytest.mark.parametrize(
    ("kind", "path", "value", "problem"),
    [
        ("VisionTransformer", ("backbone", "hedgehogs"), 3, "model.backbone has settings .* hedgehogs = 3"),
        ("VisionTransformer", ("backbone", "type"), "BEiTViT", "is mmpretrain's BEiTViT"),
        ("VisionTransformer", ("backbone", "arch"), "giant", "arch = 'giant', which deploykit does not know"),
        ("VisionTransformer", ("backbone", "arch"), "base", "embed_dims = 768"),
        ("VisionTransformer", ("type",), "TimmClassifier", "type = 'TimmClassifier'"),
        ("VisionTransformer", ("head", "type"), "CSRAClsHead", "model.head is mmpretrain's CSRAClsHead"),
        ("VisionTransformer", ("neck",), {"type": "HRFuseScales"}, "type = 'HRFuseScales'"),
        ("VisionTransformer", ("data_preprocessor",), {"pad_size_divisor": 32}, "pad_size_divisor = 32"),
        ("EfficientNet", ("backbone", "norm_cfg"), {"type": "BN", "affine": False}, "affine = False"),
        ("EfficientNet", ("backbone", "act_cfg"), {"type": "Swish", "beta": 2}, "beta = 2"),
    ],
)
def test_what_is_not_built_is_refused_by_name(
    cases: list[dict[str, Any]], maker: Any, kind: str, path: tuple[str, ...], value: Any, problem: str
) -> None:
    case = json.loads(json.dumps(case_of(cases, kind)))
    place = case["model"]
    for step in path[:-1]:
        place = place[step]
    place[path[-1]] = value
    with pytest.raises(CheckpointError, match=problem):
        built_from(checkpoint_of(case, maker))


def test_a_configuration_that_only_running_it_could_read_is_refused(
    cases: list[dict[str, Any]], maker: Any
) -> None:
    case = case_of(cases, "VisionTransformer")
    with pytest.raises(CheckpointError, match=r"model .* cannot be read without running it"):
        built_from(checkpoint_of(case, maker, model="make_model()"))
    with pytest.raises(CheckpointError, match=r"inherits from './base\.py'"):
        built_from(checkpoint_of(case, maker, _base_="['./base.py']"))


def test_every_setting_is_listed(cases: list[dict[str, Any]], maker: Any) -> None:
    built = built_from(checkpoint_of(case_of(cases, "EfficientNet: drop_path_rate = 0.5"), maker))
    treatments = {setting.path: setting.treatment for setting in built.settings}
    assert treatments["model.backbone:drop_path_rate"] == "harmless"
    assert treatments["model.backbone:type"] == treatments["model.head:type"] == "honoured"


def test_without_mmpretrain_there_is_no_witness_and_the_record_says_so(
    cases: list[dict[str, Any]], maker: Any
) -> None:
    built = built_from(checkpoint_of(case_of(cases, "VisionTransformer"), maker))
    told = ask_witness(built, built.spec)
    assert told.startswith(("none: mmpretrain is not installed", "mmpretrain 1."))


@pytest.mark.parametrize("kind", KINDS)
def test_mmpretrain_is_the_witness(cases: list[dict[str, Any]], maker: Any, kind: str) -> None:
    pytest.importorskip(
        "mmpretrain", reason="mmpretrain is not installed: .ci/run gives it an environment of its own"
    )
    built = built_from(checkpoint_of(case_of(cases, kind), maker))
    assert "network within" in ask_witness(built, built.spec)
    *_, last = built.module.parameters()
    last.data = last + last.abs().max()
    with pytest.raises(ParityError, match="read this checkpoint differently"):
        ask_witness(built, built.spec)
