"""Networks of 1, 4 and more channels: exported, proven, and answering as the training code does."""

from __future__ import annotations

from argparse import Namespace
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import timm
import torch
from deploykit_exporters.export import export
from deploykit_exporters.families.base import Hints
from deploykit_exporters.families.shared.channels import for_channels
from deploykit_exporters.load import load_checkpoint
from deploykit_exporters.options import ExportOptions
from deploykit_exporters.proof.pictures import picture
from deploykit_exporters.verify import verify
from deploykit_runtimes import load
from deploykit_runtimes.contract.spec import InputSpec, ModelSpec, OutputSpec, Preprocess
from deploykit_runtimes.errors import CheckpointError, InputError, OptionError
from deploykit_runtimes.pixels.images import read_image
from deploykit_runtimes.pixels.pixel_format import PixelFormat
from deploykit_runtimes.pixels.preprocess import preprocess
from PIL import Image
from torch import nn

Perturb = Callable[..., nn.Module]
SMALL = {"img_size": 64, "depth": 2}


def timm_file(folder: Path, perturb: Perturb, channels: int, **args: Any) -> tuple[Path, Any]:
    """A ViT's checkpoint as timm's train.py writes it, and the model."""
    torch.manual_seed(0)
    model = timm.create_model("vit_tiny_patch16_224", in_chans=channels, num_classes=5, **SMALL)
    perturb(model, 1)
    given = Namespace(
        model="vit_tiny_patch16_224", in_chans=channels, num_classes=5, model_kwargs=dict(SMALL), **args
    )
    path = folder / "model_best.pth.tar"
    torch.save({"arch": given.model, "state_dict": model.state_dict(), "args": given}, path)
    return path, model


def scores(result: Any) -> np.ndarray:
    return np.array([entry.score for entry in sorted(result.top, key=lambda entry: entry.class_id)])


def save(pixels: np.ndarray, path: Path) -> Path:
    Image.fromarray(pixels).save(path)
    return path


def test_grey_vit_answers_as_timm(tmp_path: Path, perturb: Perturb, photos: dict[str, np.ndarray]) -> None:
    path, model = timm_file(tmp_path, perturb, 1, mean=[0.45], std=[0.22], input_img_mode="L")
    result = export(path)
    assert (result.spec.preprocess.color, result.spec.preprocess.mean) == ("grey", (0.45,))
    assert result.spec.parity is not None
    assert "100.00% of the pixels equal" in result.spec.parity.witness
    data = timm.data.resolve_data_config(
        {"mean": [0.45], "std": [0.22], "in_chans": 1, "img_size": 64}, model=model
    )
    process = timm.data.create_transform(**data)
    with load(result.path) as ours:
        for name in ("cat", "flower_portrait", "cat_small"):
            image = save(photos[name], tmp_path / f"{name}.jpg")
            pixels = process(Image.open(image).convert("L"))  # as timm.data.ImageDataset does
            found, _ = preprocess(read_image(image, PixelFormat.of(ours.spec)), ours.spec)
            np.testing.assert_allclose(found, pixels.numpy(), atol=1e-6)
            with torch.inference_mode():
                wanted = model(pixels[None]).softmax(1)[0].numpy()
            np.testing.assert_allclose(scores(ours.predict(image)), wanted, atol=1e-5)
            grey = np.asarray(Image.open(image).convert("L"))
            for array in (grey, grey[..., None]):
                np.testing.assert_allclose(scores(ours.predict(array)), wanted, atol=1e-5)


def test_four_channels_vit(tmp_path: Path, perturb: Perturb, photos: dict[str, np.ndarray]) -> None:
    mean, std = [0.4, 0.45, 0.5, 0.3], [0.2, 0.21, 0.22, 0.3]
    path, model = timm_file(tmp_path, perturb, 4, mean=mean, std=std)
    result = export(path)
    assert result.spec.preprocess.mean == tuple(mean)
    assert result.spec.assumed == (
        "Images have 4 channels in the order of the array or file, each resized separately.",
    )
    image = picture(PixelFormat.of(result.spec))
    process = timm.data.create_transform(
        **timm.data.resolve_data_config(
            {"mean": [0.0], "std": [1.0], "in_chans": 1, "img_size": 64}, model=model
        )
    )
    bands = torch.cat([process(Image.fromarray(band)) for band in np.moveaxis(image, 2, 0)])
    pixels = (bands - torch.tensor(mean)[:, None, None]) / torch.tensor(std)[:, None, None]
    with torch.inference_mode():
        wanted = model(pixels[None]).softmax(1)[0].numpy()
    np.save(tmp_path / "image.npy", image)
    pages = [Image.fromarray(band) for band in np.moveaxis(image, 2, 0)]
    pages[0].save(tmp_path / "image.tif", save_all=True, append_images=pages[1:])
    with load(result.path) as ours:
        answers = ours.predict([image, tmp_path / "image.npy", tmp_path / "image.tif"])
        for answer in answers:
            np.testing.assert_allclose(scores(answer), wanted, atol=1e-5)
        assert answers[0].plot(image).shape == (*image.shape[:2], 3)
        swapped = scores(ours.predict(np.ascontiguousarray(image[..., ::-1])))
        assert np.abs(swapped - wanted).max() > 1e-4
        for wrong in (photos["cat"], save(photos["cat"], tmp_path / "cat.jpg")):
            with pytest.raises(InputError, match="4"):
                ours.predict(wrong)
    verified = verify(path, result.path, [tmp_path / "image.npy", tmp_path / "image.tif"])
    assert "image.npy" in verified.parity.inputs


@pytest.mark.parametrize("channels", [1, 4])
def test_a_library_that_prepares_colours_only(tmp_path: Path, perturb: Perturb, channels: int) -> None:
    """timm's own mean and std of the architecture are of three channels: its transform fails on others."""
    path, _ = timm_file(tmp_path, perturb, channels)
    spec = export(path).spec
    assert spec.parity is not None
    assert spec.parity.witness.startswith("timm ")
    assert ("takes no images of 1 channel" if channels == 1 else "is not known") in spec.parity.witness
    assert spec.preprocess.mean == pytest.approx((0.5,) * channels)


@pytest.mark.parametrize(
    ("channels", "mean", "said"),
    [
        (1, [0.5], "pixels equal"),
        (1, [0.4, 0.5, 0.6], "takes no images of 1 channel"),
        (4, [0.1, 0.2, 0.3, 0.4], "pixels equal"),
    ],
)
def test_vit_of_transformers(tmp_path: Path, channels: int, mean: list[float], said: str) -> None:
    from transformers import ViTConfig, ViTForImageClassification, ViTImageProcessor

    torch.manual_seed(0)
    sizes = {"hidden_size": 48, "num_hidden_layers": 2, "num_attention_heads": 3, "intermediate_size": 96}
    config = ViTConfig(image_size=32, patch_size=8, num_channels=channels, num_labels=3, **sizes)
    ViTForImageClassification(config).save_pretrained(tmp_path / "vit")
    processor = ViTImageProcessor(
        size={"height": 32, "width": 32}, image_mean=mean, image_std=[0.5] * len(mean)
    )
    processor.save_pretrained(tmp_path / "vit")
    spec = export(tmp_path / "vit", ExportOptions(output=tmp_path / "vit.onnx")).spec
    assert spec.preprocess.mean == pytest.approx(mean if len(mean) == channels else [0.5])
    assert spec.parity is not None
    assert spec.parity.witness.startswith("transformers ")
    assert said in spec.parity.witness


def test_timm_images_of_another_mode_are_refused(tmp_path: Path, perturb: Perturb) -> None:
    for channels, mode in ((1, "RGB"), (4, "RGBA"), (4, "CMYK")):
        path, _ = timm_file(tmp_path, perturb, channels, input_img_mode=mode)
        with pytest.raises(CheckpointError, match=f"input_img_mode = '{mode}'"):
            load_checkpoint(path, Hints())
        assert (
            load_checkpoint(path, Hints(ignore=("args:input_img_mode",))).built.spec.input.channels
            == channels
        )


def efficientnet(origin: str, channels: int) -> nn.Module:
    torch.manual_seed(0)
    if origin == "lukemelas":
        from efficientnet_pytorch import EfficientNet

        return EfficientNet.from_name("efficientnet-b0", in_channels=channels, num_classes=4)
    if origin == "torchvision":
        from torchvision.models import efficientnet_b0

        model = efficientnet_b0(num_classes=4)
        model.features[0][0] = nn.Conv2d(channels, 32, 3, 2, 1, bias=False)
        return model
    return timm.create_model("efficientnet_b0", in_chans=channels, num_classes=4)


@pytest.mark.parametrize("channels", [1, 2, 4])
@pytest.mark.parametrize("origin", ["timm", "lukemelas", "torchvision"])
def test_efficientnets(tmp_path: Path, perturb: Perturb, origin: str, channels: int) -> None:
    model = perturb(efficientnet(origin, channels), 1)
    torch.save(model.state_dict(), tmp_path / "model.pth")
    config = {"mean": [0.3], "std": [0.2]}
    result = export(tmp_path / "model.pth", ExportOptions(imgsz=(64, 64), origin=origin, config=config))
    spec = result.spec
    assert (spec.input.channels, spec.preprocess.mean, spec.preprocess.std) == (
        channels,
        (0.3,) * channels,
        (0.2,) * channels,
    )
    image = picture(PixelFormat.of(spec))
    tensor, _ = preprocess(image, spec)
    with load(result.path) as ours, torch.inference_mode():
        if origin == "lukemelas":
            from efficientnet_pytorch import EfficientNet

            sized = EfficientNet.from_name(
                "efficientnet-b0", in_channels=channels, num_classes=4, image_size=64
            )
            sized.load_state_dict(model.state_dict())
            model = sized.eval()
        wanted = model(torch.from_numpy(tensor)[None]).softmax(1)[0].numpy()
        np.testing.assert_allclose(scores(ours.predict(image)), wanted, atol=1e-5)


@pytest.mark.parametrize("channels", [1, 4])
def test_yolo_answers_as_ultralytics(
    tmp_path: Path, ultralytics_file: Any, photos: dict[str, np.ndarray], channels: int
) -> None:
    from ultralytics import YOLO
    from ultralytics.nn.tasks import yaml_model_load

    path, _ = ultralytics_file({**yaml_model_load("yolo11n.yaml"), "nc": 3, "channels": channels})
    result = export(path, ExportOptions(output=tmp_path / "yolo.onnx", dynamic=("all",), conf=0.3))
    assert (result.spec.input.channels, result.spec.assumed) == (channels, ())
    assert result.spec.parity is not None
    assert "100.00% of the pixels equal" in result.spec.parity.witness
    if channels == 1:
        images = [save(photos["cat"], tmp_path / name) for name in ("a.jpg", "b.png", "c.bmp")]
    else:
        pixels = picture(PixelFormat.of(result.spec))
        pages = [Image.fromarray(band) for band in np.moveaxis(pixels, 2, 0)]
        pages[0].save(tmp_path / "pages.tif", save_all=True, append_images=pages[1:])
        images = [tmp_path / "pages.tif", save(pixels, tmp_path / "rgba.png")]
    yolo = YOLO(path)
    with load(result.path) as ours:
        for image in images:
            theirs = yolo.predict(image, imgsz=160, conf=0.3, device="cpu", verbose=False)[0].boxes
            found = ours.predict(image, imgsz=160)
            assert len(found) == len(theirs) > 0
            np.testing.assert_allclose(found.boxes, theirs.xyxy.numpy(), atol=5e-2)
            np.testing.assert_allclose(found.scores, theirs.conf.numpy(), atol=1e-4)


@pytest.mark.parametrize("channels", [1, 2, 4, 5])
def test_processing_inside_the_graph(tmp_path: Path, perturb: Perturb, channels: int) -> None:
    path, _ = timm_file(tmp_path, perturb, channels, mean=[0.4], std=[0.2])
    result = export(path, ExportOptions(preprocess=True, postprocess=True, dynamic=("batch",)))
    assert result.spec.input.channels == channels
    assert result.spec.input.shape == ("batch", "height", "width", channels)
    plain = export(path, ExportOptions(output=tmp_path / "plain.onnx"))
    image = picture(PixelFormat.of(plain.spec))
    with load(result.path) as whole, load(plain.path) as host:
        for pixels in (image, image[:150, :90], image[::3, ::3]):
            found, wanted = whole.predict(np.ascontiguousarray(pixels)), host.predict(pixels)
            np.testing.assert_allclose(scores(found), scores(wanted), atol=1e-4)
        assert len(whole.predict([image, image[:, ::-1]])) == 2


@pytest.mark.parametrize("channels", [1, 4])
def test_detector_with_processing_inside(tmp_path: Path, ultralytics_file: Any, channels: int) -> None:
    from ultralytics.nn.tasks import yaml_model_load

    path, _ = ultralytics_file({**yaml_model_load("yolo11n.yaml"), "nc": 3, "channels": channels})
    options = ExportOptions(output=tmp_path / "yolo.onnx", preprocess=True, postprocess=True)
    spec = export(path, options).spec
    assert spec.input.channels == channels
    assert spec.parity is not None
    assert spec.parity.exact_pixels > 0.999
    with load(tmp_path / "yolo.onnx") as model:
        assert len(model.predict(picture(PixelFormat.of(spec)))) > 0


def plain(channels: int, **how: Any) -> ModelSpec:
    return ModelSpec(
        task="classify",
        family="vit",
        variant="any",
        origin="timm",
        input=InputSpec(height=8, width=8, channels=channels),
        preprocess=Preprocess(**how),
        output=OutputSpec(names=("y",), layout="logits"),
    )


def test_what_is_assumed_of_mean_and_std() -> None:
    usual = {"mean": (0.485, 0.456, 0.406), "std": (0.229, 0.224, 0.225)}
    assert for_channels(plain(3, **usual)) == plain(3, **usual)
    spec = for_channels(plain(2, **usual))
    assert spec.preprocess.mean == pytest.approx((0.449, 0.449))
    assert spec.assumed[1].startswith("Mean 0.449 and std 0.226 for every channel: the averages")
    assert len(for_channels(plain(2, mean=(0.5,) * 3, std=(0.5,) * 3)).assumed) == 1
    own = for_channels(plain(2, scale=1.0), {"mean": [0.1, 0.2], "std": [0.5]})
    assert own.preprocess.mean == pytest.approx((25.5, 51.0))
    assert own.preprocess.std == pytest.approx((127.5, 127.5))
    with pytest.raises(OptionError, match=r"gives mean .* the model has 2 channels"):
        for_channels(plain(2), {"mean": [0.1, 0.2, 0.3]})


def test_pictures_of_the_proof_have_channels_that_differ() -> None:
    bands = np.moveaxis(picture(PixelFormat(color="as_is", channels=26)), 2, 0)
    for index, band in enumerate(bands):
        for other in bands[index + 1 :]:
            assert (band != other).mean() > 0.5
