"""The pre-processing of networks that see other channels than colours, against the recorded one."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from deploykit_exporters.export import export
from deploykit_exporters.golden.file import read_golden
from deploykit_exporters.options import ExportOptions
from deploykit_exporters.record import RecordError, record
from deploykit_exporters.verify import verify
from deploykit_runtimes.errors import OptionError, ParityError
from PIL import Image
from timm.models.vision_transformer import VisionTransformer
from torch import nn

SIDE = 64
Perturb = Callable[[nn.Module], nn.Module]


def vit(perturb: Perturb, channels: int) -> nn.Module:
    torch.manual_seed(0)
    net = VisionTransformer(
        img_size=SIDE, embed_dim=64, depth=2, num_heads=1, num_classes=3, in_chans=channels
    )
    return perturb(net)


def evaluation(
    *,
    crop: float = 0.9,
    by: Image.Resampling = Image.Resampling.BICUBIC,
    mean: Any = 0.5,
    std: Any = 0.5,
    order: Any = (),
) -> Callable[[np.ndarray], torch.Tensor]:
    """timm's evaluation of each channel, as training code of arrays writes it."""

    def transform(picture: Any) -> torch.Tensor:
        pixels = np.asarray(picture)
        short = int(SIDE / crop)
        height, width = pixels.shape[:2]
        to = (short * width // height, short) if height < width else (short, short * height // width)
        bands = [np.asarray(Image.fromarray(band).resize(to, by)) for band in np.moveaxis(pixels, 2, 0)]
        top, left = ((side - SIDE) / 2 for side in (to[1], to[0]))
        planes = np.stack(bands)[:, round(top) : round(top) + SIDE, round(left) : round(left) + SIDE]
        planes = planes[list(order)] if order else planes
        values = torch.from_numpy(planes.astype(np.float32) / 255)
        return (values - torch.tensor(mean).reshape(-1, 1, 1)) / torch.tensor(std).reshape(-1, 1, 1)

    return transform


@pytest.fixture
def prove(perturb: Perturb, tmp_path: Path) -> Callable[..., str]:
    def run(channels: int, options: dict[str, Any] | None = None, **how: Any) -> str:
        net = vit(perturb, channels)
        torch.save(net.state_dict(), tmp_path / "model.pth")
        golden = record(net, tmp_path / "golden.npz", **how)
        found = export(tmp_path / "model.pth", ExportOptions(**{"golden": golden, **(options or {})}))
        assert found.spec.parity is not None
        return found.spec.parity.golden_said

    return run


@pytest.mark.parametrize("channels", [2, 4, 5, 13])
def test_any_number_of_channels_is_compared(channels: int, prove: Callable[..., str], tmp_path: Path) -> None:
    assert "100.00% of the pixels equal on 1 picture" in prove(channels, transform=evaluation())
    options = ExportOptions(golden=tmp_path / "golden.npz")
    said = verify(tmp_path / "model.pth", tmp_path / "model.onnx", options=options)
    assert said.parity is not None
    assert "100.00% of the pixels equal" in said.parity.golden_said


@pytest.mark.parametrize(
    ("wrong", "said"),
    [
        ({"crop": 1.0}, "resizes the short edge to 64"),
        ({"by": Image.Resampling.BILINEAR}, "resizes by bilinear, as Pillow does"),
        ({"mean": (0.1, 0.2, 0.3, 0.4, 0.5)}, "has mean 0.1 0.2 0.3 0.4 0.5"),
        ({"std": (0.5, 0.5, 0.5, 0.5, 0.25)}, "std 0.5 0.5 0.5 0.5 0.25"),
        ({"order": (4, 3, 2, 1, 0)}, "gives the channels as 4-3-2-1-0 (deploykit: 0-1-2-3-4)"),
        ({"order": (2, 1, 0, 3, 4)}, "gives the channels as 2-1-0-3-4 (deploykit: 0-1-2-3-4)"),
    ],
    ids=str,
)
def test_what_is_wrong_is_named(wrong: dict[str, Any], said: str, prove: Callable[..., str]) -> None:
    with pytest.raises(ParityError) as error:
        prove(5, transform=evaluation(**wrong))
    assert error.value.exit_code == 3
    assert "in the pre-processing" in error.value.problem
    assert said in str(error.value.hint)


def test_the_statistics_of_the_hint_mend_it(prove: Callable[..., str]) -> None:
    mean, std = [0.1, 0.2, 0.3, 0.4], [0.2, 0.3, 0.4, 0.5]
    said = prove(4, {"config": {"mean": mean, "std": std}}, transform=evaluation(mean=mean, std=std))
    assert "of the pixels equal" in said


def test_pictures_of_bands_are_stored_and_compared(prove: Callable[..., str], tmp_path: Path) -> None:
    bands = np.random.default_rng(0).integers(0, 256, (700, 900, 5), np.uint8)
    np.save(tmp_path / "field.npy", bands)
    pages = [Image.fromarray(bands[..., n]) for n in range(5)]
    pages[0].save(tmp_path / "field.tif", save_all=True, append_images=pages[1:])
    given = [bands, tmp_path / "field.npy", str(tmp_path / "field.tif")]
    assert "of the pixels equal on 4 pictures" in prove(5, transform=evaluation(), images=given)
    stored = [case.pixels for case in read_golden(tmp_path / "golden.npz").cases if case.of == "picture"]
    assert all(one is not None and one.shape == (350, 450, 5) for one in stored)
    assert all(np.array_equal(one, bands[::2, ::2]) for one in stored)


def test_pillow_images_of_four_channels_are_given_as_such(prove: Callable[..., str]) -> None:
    pixels = np.random.default_rng(0).integers(0, 256, (SIDE, SIDE, 4), np.uint8)
    seen: list[Any] = []

    def transform(picture: Any) -> torch.Tensor:
        seen.append(picture)
        return evaluation()(picture)

    assert "on 2 pictures" in prove(4, transform=transform, images=[Image.fromarray(pixels)])
    assert {one.mode for one in seen} == {"RGBA"}


@pytest.mark.parametrize("channels", [1, 3])
def test_colours_may_be_arrays_in_files(channels: int, perturb: Perturb, tmp_path: Path) -> None:
    colours = np.random.default_rng(0).integers(0, 256, (90, 120, 3), np.uint8)
    np.save(tmp_path / "photo.npy", colours)
    mode = "L" if channels == 1 else "RGB"

    def transform(picture: Image.Image) -> torch.Tensor:
        pixels = np.atleast_3d(np.asarray(picture.convert(mode)))
        return evaluation()(pixels)

    golden = record(
        vit(perturb, channels), tmp_path / "golden.npz", transform=transform, images=tmp_path / "photo.npy"
    )
    assert np.array_equal(read_golden(golden).cases[-1].pixels, colours)


def test_what_is_no_picture_of_bytes_is_refused(perturb: Perturb, tmp_path: Path) -> None:
    with pytest.raises(RecordError, match=r"found float64 \[8, 8, 5\]|is float64 \[8, 8, 5\]"):
        record(vit(perturb, 5), tmp_path / "golden.npz", transform=evaluation(), images=[np.zeros((8, 8, 5))])
    assert not (tmp_path / "golden.npz").exists()


def test_pictures_of_other_channels_than_the_network_are_said(perturb: Perturb, tmp_path: Path) -> None:
    """A network that was recorded and one that is exported, of different channels."""
    torch.save(vit(perturb, 4).state_dict(), tmp_path / "model.pth")
    golden = record(vit(perturb, 5), tmp_path / "golden.npz", transform=evaluation())
    with pytest.raises(OptionError, match="recorded on images of 5x64x64, the network takes 4x64x64"):
        export(tmp_path / "model.pth", ExportOptions(golden=golden))
