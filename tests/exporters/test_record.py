"""The file that users paste into their training: what it records, and how it leaves the model."""

from __future__ import annotations

import ast
import copy
import hashlib
import json
import subprocess
import sys
from collections import namedtuple
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from deploykit_exporters import record as module
from deploykit_exporters.golden.file import read_golden
from deploykit_exporters.record import RecordError, make_images, record, synthetic_photo
from PIL import Image
from torch import nn
from torch.optim.swa_utils import AveragedModel

SIDE = 32


class Net(nn.Module):
    """Two layers and a head."""

    def __init__(self, classes: int = 3, channels: int = 3) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.conv = nn.Conv2d(channels, 8, 5, 4)
        self.norm = nn.BatchNorm2d(8)
        self.drop = nn.Dropout(0.5)
        self.fc = nn.Linear(8, classes)

    def features(self, images: torch.Tensor) -> torch.Tensor:
        return self.drop(self.norm(self.conv(images)).relu().mean((2, 3)))

    def forward(self, images: torch.Tensor) -> Any:
        return self.fc(self.features(images))


def transform(image: Image.Image) -> torch.Tensor:
    small = np.asarray(image.resize((SIDE, SIDE), Image.Resampling.BILINEAR), np.float32)
    return torch.from_numpy(small / 255).permute(2, 0, 1)


def described(path: Path) -> dict[str, Any]:
    with np.load(path, allow_pickle=False) as file:
        found: dict[str, Any] = json.loads(file["golden"].tobytes())
    return found


def test_the_answers_are_the_models(tmp_path: Path) -> None:
    net = Net().eval()
    path = record(net, tmp_path / "golden.npz", transform=transform, labels=["a", "b", "c"])
    golden = read_golden(path)
    assert [case.of for case in golden.cases] == ["recipe"] * 4 + ["photo"]
    assert (golden.model, golden.labels) == ("Net", ("a", "b", "c"))
    assert golden.versions["torch"] == torch.__version__
    for case in golden.cases:
        images = case.stored if case.recipe is None else make_images(case.recipe)
        assert images is not None
        assert case.sha256 == hashlib.sha256(images.tobytes()).hexdigest()
        with torch.no_grad():
            expected, before = net(torch.from_numpy(images)), net.features(torch.from_numpy(images))
        (output,) = case.outputs
        assert output.name == "output"
        assert np.array_equal(output.values.reshape(output.shape), expected.numpy())
        assert case.last is not None
        assert case.last.name == ":fc"
        assert np.array_equal(case.last.values.reshape(case.last.shape), before.numpy())
    photo = transform(Image.fromarray(synthetic_photo()))[None]
    assert np.array_equal(golden.cases[-1].stored, photo.numpy())


def test_the_images_are_the_same_everywhere() -> None:
    """A change of a recipe needs a new format: files that were recorded name the images by it."""
    digest = hashlib.sha256(synthetic_photo().tobytes())
    for seed, (name, (count, low, high)) in enumerate(module._RECIPES.items(), start=1):
        recipe = {"kind": name, "seed": seed, "shape": [count, 3, 40, 56], "low": low, "high": high}
        images = make_images(recipe)
        assert images.dtype == np.float32
        assert (images.min(), images.max()) == (np.float32(low), np.float32(high))
        digest.update(images.tobytes())
    assert digest.hexdigest() == "a0898d446ccd9732caf06223078ac688daf3ad7c50f4907173ac1407568a6ce1"
    assert module.FORMAT == 1


def test_the_model_is_left_as_it_was(tmp_path: Path) -> None:
    net = Net().train()
    net.norm.eval()  # frozen, as in fine-tuning
    modes = {name: one.training for name, one in net.named_modules()}
    state = copy.deepcopy(net.state_dict())
    record(net, tmp_path / "golden.npz", size=SIDE)
    assert {name: one.training for name, one in net.named_modules()} == modes
    assert all(torch.equal(value, state[name]) for name, value in net.state_dict().items())
    assert not any(one._forward_hooks for one in net.modules())
    net(torch.rand(2, 3, SIDE, SIDE)).sum().backward()  # still a training


def test_the_model_is_left_as_it_was_by_a_failure(tmp_path: Path) -> None:
    net = Net().train()
    with pytest.raises(RuntimeError):
        record(net, tmp_path / "golden.npz", size=SIDE, images=torch.rand(1, 5, SIDE, SIDE))
    assert net.training
    assert net.fc.training
    assert list(tmp_path.iterdir()) == []


def test_half_precision_is_recorded_in_float32(tmp_path: Path) -> None:
    net = Net().half()
    path = record(net, tmp_path / "half.npz", size=SIDE)
    assert net.fc.weight.dtype == torch.float16
    expected = record(copy.deepcopy(net).float(), tmp_path / "float.npz", size=SIDE)
    assert described(path)["weights"] == described(expected)["weights"]
    for ours, theirs in zip(read_golden(path).cases, read_golden(expected).cases, strict=True):
        assert np.array_equal(ours.outputs[0].values, theirs.outputs[0].values)


def test_autocast_is_off(tmp_path: Path) -> None:
    net = Net().eval()
    expected = read_golden(record(net, tmp_path / "a.npz", size=SIDE))
    with torch.autocast("cpu", torch.bfloat16):
        found = read_golden(record(net, tmp_path / "b.npz", size=SIDE))
    assert np.array_equal(found.cases[0].outputs[0].values, expected.cases[0].outputs[0].values)


Pair = namedtuple("Pair", ("scores", "maps"))


@dataclass
class Answer:
    scores: torch.Tensor
    extra: None = None


@pytest.mark.parametrize(
    ("form", "names"),
    [
        (lambda x: x, ["output"]),
        (lambda x: (x, [x, None, 3]), ["0", "1.0"]),
        (lambda x: {"logits": x, "aux": {"deep": x}}, ["logits", "aux.deep"]),
        (lambda x: Pair(x, x), ["scores", "maps"]),
        (Answer, ["scores"]),
    ],
)
def test_outputs_are_named_by_their_place(
    form: Callable[[Any], Any], names: list[str], tmp_path: Path
) -> None:
    path = record(Net(), tmp_path / "golden.npz", size=SIDE, forward=lambda net, images: form(net(images)))
    assert [one.name for one in read_golden(path).cases[0].outputs] == names


def test_models_of_transformers_get_pixel_values(tmp_path: Path) -> None:
    class Tower(Net):
        def forward(self, input_ids: Any = None, pixel_values: Any = None) -> Any:
            assert input_ids is None
            return {"logits": super().forward(pixel_values)}

    path = record(Tower(), tmp_path / "golden.npz", size=SIDE)
    assert [one.name for one in read_golden(path).cases[0].outputs] == ["logits"]


@pytest.mark.parametrize(
    "wrap", [nn.DataParallel, lambda net: nn.DataParallel(torch.compile(net, backend="eager")), AveragedModel]
)
def test_wrappers_are_taken_off(wrap: Callable[[nn.Module], Any], tmp_path: Path) -> None:
    found = described(record(wrap(Net()), tmp_path / "golden.npz", size=SIDE))
    assert found["model"] == "Net"
    assert "fc.weight" in found["weights"]


def test_a_wrapper_that_computes_something_is_none(tmp_path: Path) -> None:
    class Normalised(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.module = Net()

        def forward(self, images: torch.Tensor) -> Any:
            return self.module(images - 0.5)

    assert described(record(Normalised(), tmp_path / "golden.npz", size=SIDE))["model"] == "Normalised"


def test_large_outputs_are_thinned_and_the_file_stays_small(tmp_path: Path) -> None:
    net = nn.Conv2d(3, 80, 3, padding=1)
    path = record(net, tmp_path / "golden.npz", size=224)
    assert path.stat().st_size < 300_000
    output = read_golden(path).cases[0].outputs[0]
    assert output.shape == (1, 80, 224, 224)
    assert len(output.values) == 8192


def test_own_pictures_are_stored_with_what_the_transform_makes_of_them(
    photos: dict[str, np.ndarray], tmp_path: Path
) -> None:
    file = tmp_path / "cat.png"
    Image.fromarray(photos["cat"]).save(file)
    pictures = [file, photos["coffee"], Image.fromarray(photos["rocket"]).convert("L")]
    path = record(Net(), tmp_path / "golden.npz", transform=transform, images=pictures)
    cases = [case for case in read_golden(path).cases if case.of == "picture"]
    assert [case.name for case in cases] == ["picture 1", "picture 2", "picture 3"]
    assert np.array_equal(cases[0].pixels, photos["cat"])
    for case in cases:
        assert case.pixels is not None
        assert max(case.pixels.shape) <= 480
        assert np.array_equal(case.stored, transform(Image.fromarray(case.pixels))[None].numpy())


def test_one_picture_needs_no_list(photos: dict[str, np.ndarray], tmp_path: Path) -> None:
    file = tmp_path / "cat.png"
    Image.fromarray(photos["cat"]).save(file)
    for one in (file, str(file), photos["cat"], Image.open(file)):
        cases = read_golden(record(Net(), tmp_path / "golden.npz", transform=transform, images=one)).cases
        assert np.array_equal(cases[-1].pixels, photos["cat"])
        assert len(cases) == 6


def test_weights_of_compiled_parts_have_their_own_names(tmp_path: Path) -> None:
    net = Net()
    net.fc = torch.compile(net.fc, backend="eager")
    assert "fc.weight" in described(record(net, tmp_path / "golden.npz", size=SIDE))["weights"]


def test_tensors_of_a_data_loader(tmp_path: Path) -> None:
    batch = torch.rand(6, 1, SIDE, SIDE, generator=torch.Generator().manual_seed(0))
    case = read_golden(record(Net(channels=1), tmp_path / "golden.npz", images=batch)).cases[-1]
    assert (case.of, case.shape) == ("tensor", (4, 1, SIDE, SIDE))
    assert np.array_equal(case.stored, batch[:4].numpy())


def test_transforms_of_other_libraries_are_called_their_way(tmp_path: Path) -> None:
    from transformers import ViTImageProcessor

    processor = ViTImageProcessor(size={"height": SIDE, "width": SIDE})
    case = read_golden(record(Net(), tmp_path / "a.npz", transform=processor)).cases[-1]
    assert case.shape == (1, 3, SIDE, SIDE)

    class Compose:
        def __call__(self, *, image: np.ndarray) -> dict[str, Any]:
            assert image.dtype == np.uint8
            return {"image": transform(Image.fromarray(image))}

    Compose.__module__ = "albumentations.core.composition"
    case = read_golden(record(Net(), tmp_path / "b.npz", transform=Compose())).cases[-1]
    assert np.array_equal(case.stored, transform(Image.fromarray(synthetic_photo()))[None].numpy())


class Random(Net):
    def forward(self, images: torch.Tensor) -> Any:
        return super().forward(images) + torch.rand(())


@pytest.mark.parametrize(
    ("net", "given", "says"),
    [
        (Net(), {}, "wants size="),
        (Net(), {"size": (32, 32, 3)}, r"found \(32, 32, 3\)"),
        (Net(), {"size": "224"}, "found '224'"),
        (Net(), {"size": SIDE, "labels": ["a"]}, "1 names, the model has 3 outputs"),
        (Net(), {"images": ["cat.jpg"]}, "wants transform="),
        (Net(), {"transform": lambda image: torch.rand(3, SIDE, SIDE)}, "another tensor each time"),
        (Net(), {"transform": np.asarray}, r"found uint8 \[1, 375, 500, 3\]"),
        (Net(), {"transform": transform, "images": [None] * 17}, "at most 16 pictures"),
        (Net(), {"size": SIDE, "forward": lambda net, images: "cat"}, "gives str, not tensors"),
        (Random(), {"size": SIDE}, "random in eval mode"),
        ("best.pth", {"size": SIDE}, "wants a torch module, found str"),
    ],
)
def test_what_cannot_be_recorded_is_refused(
    net: Any, given: dict[str, Any], says: str, tmp_path: Path
) -> None:
    with pytest.raises(RecordError, match=says):
        record(net, tmp_path / "golden.npz", **given)
    assert list(tmp_path.iterdir()) == []


def test_the_name_says_what_the_file_is(tmp_path: Path) -> None:
    with pytest.raises(RecordError, match=r"writes an \.npz file"):
        record(Net(), tmp_path / "golden.pt", size=SIDE)


def test_tf32_is_off_while_recording_and_back_afterwards() -> None:
    matmul, convolutions = torch.backends.cuda.matmul, torch.backends.cudnn
    before = matmul.allow_tf32, convolutions.allow_tf32
    matmul.allow_tf32 = convolutions.allow_tf32 = True
    try:
        with module._without_tf32():
            assert (matmul.allow_tf32, convolutions.allow_tf32) == (False, False)
        assert (matmul.allow_tf32, convolutions.allow_tf32) == (True, True)
    finally:
        matmul.allow_tf32, convolutions.allow_tf32 = before


def test_trainings_run_on_older_pythons() -> None:
    """The syntax of Python 3.8, with annotations that are never evaluated."""
    tree = ast.parse(Path(module.__file__).read_text(encoding="utf-8"), feature_version=(3, 8))
    unions = [
        node for node in ast.walk(tree) if isinstance(node, ast.AugAssign) and isinstance(node.op, ast.BitOr)
    ]
    calls = [node for node in ast.walk(tree) if isinstance(node, ast.Call)]
    given = {keyword.arg for call in calls for keyword in call.keywords}
    asked = [
        call.args[1] for call in calls if isinstance(call.func, ast.Name) and call.func.id == "isinstance"
    ]
    assert unions == []  # dict |= dict
    assert "strict" not in given  # zip(strict=True)
    assert not any(isinstance(kind, ast.BinOp) for kind in asked)  # isinstance(x, int | str)


def test_the_file_stands_alone(tmp_path: Path) -> None:
    """Copied elsewhere, it runs without deploykit, and imports nothing but numpy, torch and the library."""
    (tmp_path / "record.py").write_text(Path(module.__file__).read_text(encoding="utf-8"), encoding="utf-8")
    code = (
        "import sys, torch\n"
        "before = set(sys.modules)\n"
        "from record import record\n"
        "record(torch.nn.Sequential(torch.nn.Flatten(), torch.nn.Linear(192, 2)), 'golden.npz', size=8)\n"
        "new = {name.partition('.')[0] for name in set(sys.modules) - before}\n"
        "new -= set(sys.stdlib_module_names)\n"
        "assert new <= {'record', 'numpy', 'torch'}, new\n"
    )
    subprocess.run(
        [sys.executable, "-I", "-c", f"import sys; sys.path.insert(0, '.')\n{code}"], cwd=tmp_path, check=True
    )
    assert read_golden(tmp_path / "golden.npz").model == "Sequential"
