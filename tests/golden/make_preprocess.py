"""Write golden vectors of the pre-processing: small photos, and what the training codes make of them.

    python tests/golden/make_preprocess.py

``preprocess/index.txt`` has one block of ``key<TAB>value`` lines per case, blocks end with an empty
line, so that a C++ test needs no parser:

    name      of the case
    image     file, height, width: raw uint8 RGB [H, W, 3]
    tensor    file, channels, height, width: raw little-endian float32 [3, H, W]
    resized   height, width of the image after the resize
    offset    top, left of the resized image in the tensor, negative where it is cropped
    deploykit.*  the contract, under the keys of the model's metadata

The expected tensors come from timm, torchvision, Ultralytics and OpenCV themselves, not from deploykit.
"""

from __future__ import annotations

import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np
import skimage.data
from deploykit_runtimes.contract.metadata import spec_to_metadata
from deploykit_runtimes.contract.spec import AxisRange, InputSpec, ModelSpec, OutputSpec, Preprocess
from deploykit_runtimes.pixels.geometry import plan_geometry
from PIL import Image
from timm.data import create_transform
from torchvision import transforms
from ultralytics.data.augment import LetterBox

FOLDER = Path(__file__).parent / "preprocess"
IMAGENET = {"mean": (0.485, 0.456, 0.406), "std": (0.229, 0.224, 0.225)}
FREE = {side: AxisRange(min=32, max=640, step=32) for side in ("height", "width")}


@dataclass(frozen=True, kw_only=True)
class Case:
    """``pipeline`` maps uint8 RGB [H, W, 3] to the float32 [3, H, W] that ``how`` must give."""

    name: str
    image: str
    how: Preprocess
    size: tuple[int, int]
    pipeline: Callable[[np.ndarray], np.ndarray]
    dynamic: bool = False


def photos() -> dict[str, np.ndarray]:
    cat = Image.fromarray(skimage.data.chelsea())
    astronaut = Image.fromarray(skimage.data.astronaut())
    return {
        "cat_wide": np.asarray(cat.resize((150, 100), Image.Resampling.LANCZOS)),
        "astronaut_tall": np.asarray(astronaut.crop((100, 0, 370, 400)).resize((81, 120))),
    }


def timm(size: tuple[int, int] = (64, 64), **options: object) -> Callable[[np.ndarray], np.ndarray]:
    transform = create_transform((3, *size), **options)
    return lambda pixels: transform(Image.fromarray(pixels)).numpy()


def chw(pixels: np.ndarray, scale: float = 255.0) -> np.ndarray:
    return np.ascontiguousarray(pixels.transpose(2, 0, 1)).astype(np.float32) / np.float32(scale)


def letterbox(pixels: np.ndarray, *, auto: bool) -> np.ndarray:
    return chw(LetterBox((64, 64), auto=auto, stride=32)(image=pixels))


def yolox(pixels: np.ndarray) -> np.ndarray:
    ratio = min(64 / pixels.shape[0], 64 / pixels.shape[1])
    height, width = int(pixels.shape[0] * ratio), int(pixels.shape[1] * ratio)
    canvas = np.full((64, 64, 3), 114, np.uint8)
    canvas[:height, :width] = cv2.resize(np.ascontiguousarray(pixels[..., ::-1]), (width, height))
    return chw(canvas, 1.0)


def tensorflow(pixels: np.ndarray) -> np.ndarray:
    height, width = pixels.shape[:2]
    side = int(64 / (64 + 32) * min(height, width))
    top, left = (height - side + 1) // 2, (width - side + 1) // 2
    square = Image.fromarray(np.ascontiguousarray(pixels[top : top + side, left : left + side]))
    resized = np.asarray(square.resize((64, 64), Image.Resampling.BICUBIC), np.float32)
    return np.ascontiguousarray(((resized - 127) / 128).transpose(2, 0, 1))


def opencv(flag: int, size: tuple[int, int]) -> Callable[[np.ndarray], np.ndarray]:
    cv2.ipp.setUseIPP(False)
    return lambda pixels: chw(cv2.resize(pixels, size[::-1], interpolation=flag))


def padded_crop(pixels: np.ndarray) -> np.ndarray:
    transform = transforms.Compose([transforms.Resize(48), transforms.CenterCrop(64), transforms.ToTensor()])
    return transform(Image.fromarray(pixels)).numpy()


def cases() -> list[Case]:
    short = {"resize": "short", "resize_to": (73,), "crop": (64, 64), **IMAGENET}
    boxed = {"resize": "letterbox", "resize_to": (64, 64), "resampler": "opencv", "pad_value": 114}
    found = []
    for image in ("cat_wide", "astronaut_tall"):
        found += [
            Case(
                name=f"timm_bicubic_{image}",
                image=image,
                how=Preprocess(**short, interpolation="bicubic"),
                size=(64, 64),
                pipeline=timm(interpolation="bicubic", crop_pct=0.875),
            ),
            Case(
                name=f"timm_cover_{image}",
                image=image,
                how=Preprocess(**short | {"resize": "cover", "resize_to": (54, 91), "crop": (48, 80)}),
                size=(48, 80),
                pipeline=timm((48, 80), interpolation="bilinear", crop_pct=0.875),
            ),
            Case(
                name=f"ultralytics_{image}",
                image=image,
                how=Preprocess(**boxed),
                size=(64, 64),
                pipeline=lambda pixels: letterbox(pixels, auto=False),
            ),
            Case(
                name=f"ultralytics_rectangle_{image}",
                image=image,
                how=Preprocess(**boxed, stride=32),
                size=(64, 64),
                pipeline=lambda pixels: letterbox(pixels, auto=True),
                dynamic=True,
            ),
            Case(
                name=f"yolox_{image}",
                image=image,
                how=Preprocess(**boxed, anchor="top_left", color="bgr", scale=1.0),
                size=(64, 64),
                pipeline=yolox,
            ),
        ]
    stretch = {"resize": "stretch", "resize_to": (64, 64)}
    return [
        *found,
        Case(
            name="timm_squash_bilinear",
            image="cat_wide",
            how=Preprocess(**stretch, **IMAGENET),
            size=(64, 64),
            pipeline=timm(interpolation="bilinear", crop_pct=1.0, crop_mode="squash"),
        ),
        Case(
            name="tensorflow_pre_crop",
            image="astronaut_tall",
            how=Preprocess(
                **stretch,
                pre_crop=64 / 96,
                interpolation="bicubic",
                scale=1.0,
                mean=(127.0, 127.0, 127.0),
                std=(128.0, 128.0, 128.0),
            ),
            size=(64, 64),
            pipeline=tensorflow,
        ),
        Case(
            name="torchvision_padded_crop",
            image="cat_wide",
            how=Preprocess(resize="short", resize_to=(48,), crop=(64, 64)),
            size=(64, 64),
            pipeline=padded_crop,
        ),
        *(
            Case(
                name=f"opencv_{interpolation}",
                image="cat_wide",
                how=Preprocess(
                    resize="stretch", resize_to=(50, 190), interpolation=interpolation, resampler="opencv"
                ),
                size=(50, 190),
                pipeline=opencv(flag, (50, 190)),
            )
            for interpolation, flag in (
                ("nearest", cv2.INTER_NEAREST),
                ("bilinear", cv2.INTER_LINEAR),
                ("bicubic", cv2.INTER_CUBIC),
            )
        ),
    ]


def block(case: Case, pixels: np.ndarray, tensor: np.ndarray) -> str:
    spec = ModelSpec(
        task="features",
        family="golden",
        variant="golden",
        origin="golden",
        input=InputSpec(height=case.size[0], width=case.size[1], dynamic=FREE if case.dynamic else {}),
        preprocess=case.how,
        output=OutputSpec(names=("features",), layout="features"),
    )
    geometry = plan_geometry(pixels.shape[:2], case.how, spec.input)
    lines = {
        "name": case.name,
        "image": f"{case.image}.rgb {pixels.shape[0]} {pixels.shape[1]}",
        "tensor": f"{case.name}.f32 {' '.join(map(str, tensor.shape))}",
        "resized": "{} {}".format(*geometry.resized),
        "offset": "{} {}".format(*geometry.offset),
    }
    wanted = ("deploykit.format", "deploykit.input.", "deploykit.preprocess.")
    lines |= {key: value for key, value in spec_to_metadata(spec).items() if key.startswith(wanted)}
    return "".join(f"{key}\t{value}\n" for key, value in lines.items())


def main() -> None:
    FOLDER.mkdir(exist_ok=True)
    images = photos()
    for name, pixels in images.items():
        (FOLDER / f"{name}.rgb").write_bytes(pixels.tobytes())
    blocks = []
    for case in cases():
        tensor = case.pipeline(images[case.image])
        (FOLDER / f"{case.name}.f32").write_bytes(tensor.astype("<f4").tobytes())
        blocks.append(block(case, images[case.image], tensor))
    (FOLDER / "index.txt").write_text("\n".join(blocks) + "\n")
    sys.stdout.write(f"{len(blocks)} cases in {FOLDER}\n")


if __name__ == "__main__":
    main()
