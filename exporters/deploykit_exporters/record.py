"""Record what a model answers in the process that trained it: golden answers for an export to prove against.

    from record import record  # the file that `deploykit record --print` prints; also deploykit.record

    record(model, "golden.npz", transform=eval_transform, labels=class_names)

Then: ``deploykit export CKPT --golden golden.npz``. Needs numpy, torch, Pillow for pictures; pickles nothing.
"""

from __future__ import annotations

import copy
import dataclasses
import hashlib
import inspect
import json
import os
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager, suppress
from io import BytesIO
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import nn

__all__ = ["FORMAT", "RecordError", "make_images", "places", "record", "synthetic_photo", "watch_last_layer"]

FORMAT = 1
"""Version of the file, and of the recipes for the images that it does not hold."""
_FIRST_VALUES, _OTHER_VALUES = (20_000, 1 << 13), (1 << 13, 1 << 11)
"""Of an output with more values per image than the first number, the second number is kept, evenly spread.
The first output is whole with 300 detections of 17 keypoints, which cannot be compared in part."""
_MOST_OUTPUTS, _MOST_PICTURES, _LONGEST_SIDE = 8, 16, 480
"""Pictures are stored beside the answers: larger ones are made smaller first."""

_RECIPES = {"picture": (1, 0, 1), "soft": (1, 0.4, 0.6), "contrast": (2, -2, 2), "noise": (1, 0, 1)}
"""What every model is run on: how many images, their lowest and highest value."""

_ENDS = (lambda x: x, torch.sigmoid, lambda x: x.softmax(-1), lambda x: x.log_softmax(-1))
_WRAPPERS = ("OptimizedModule", "DataParallel", "DistributedDataParallel", "AveragedModel", "ModelEmaV3")
_LIBRARIES = ("timm", "torchvision", "transformers", "ultralytics", "open_clip", "mmpretrain", "lightning")


class RecordError(ValueError):
    """What was given cannot be recorded; the message says what was wanted and found."""


def record(
    model: nn.Module,
    file: str | os.PathLike[str],
    *,
    size: int | tuple[int, int] | None = None,
    transform: Callable[[Any], Any] | None = None,
    images: Any = (),
    labels: Sequence[str] | Mapping[int, str] | None = None,
    forward: Callable[[Any, torch.Tensor], Any] | None = None,
) -> Path:
    """Run a trained model on images that can be made again anywhere, and write what it answers to a file.

    The model runs in eval mode and float32, on its own device, and is left as it was. Its weights should
    be those of the checkpoint: of a training with EMA, give the averaged model.

    Args:
        model: Also inside DDP or torch.compile, and Ultralytics' ``YOLO``.
        file: The .npz file to write, usually below 1 MB.
        size: (height, width) of the model's input in pixels, or its side; None: what ``transform`` makes.
        transform: The transform of the evaluation, from a Pillow image (RGB) to the tensor that the model
            takes, [C, H, W]; albumentations and the image processors of transformers are called their way.
            That of a model of 2, 4 or more channels is given uint8 arrays [H, W, C].
        images: Pictures of your own for ``transform``: paths, Pillow images or uint8 arrays [H, W, C] (RGB,
            or the model's channels), stored at 480 pixels at most; or one float tensor [N, C, H, W] as a data
            loader gives it, of which four images are used.
        labels: The names of the classes, in the order of the outputs.
        forward: ``forward(model, images)`` where ``model(images)`` does not give what is to be exported:
            ``lambda model, images: model.forward_features(images)``.

    Raises:
        RecordError: something is missing, random, or of another form.
    """
    if Path(file).suffix != ".npz":
        raise RecordError(f"record writes an .npz file, found the name {Path(file).name!r}.")
    arrays: dict[str, np.ndarray] = {}
    with _still(_innermost(model)) as network:
        channels = next((one.in_channels for one in network.modules() if isinstance(one, nn.Conv2d)), 3)
        cases = [*_seeded(channels, size, given := [*_given(channels, transform, images)]), *given]
        told = [_tell(network, forward, case, f"case{n}", arrays) for n, case in enumerate(cases)]
        meta = {
            "format": FORMAT,
            "model": type(network).__name__,
            "labels": _class_names(labels, told[0]["outputs"][0]["shape"]),
            "versions": _versions(),
            "weights": _fingerprints(network),
            "cases": told,
        }
    arrays["golden"] = np.frombuffer(json.dumps(meta).encode(), np.uint8)
    place = Path(file).resolve()  # a link stays, a pipe is written
    draft = place.with_name(f".{place.stem}.{os.getpid()}.part.npz")
    try:
        np.savez_compressed(draft, **arrays)  # type: ignore[arg-type]
        if place.exists() and not place.is_file():
            place.write_bytes(draft.read_bytes())
        else:
            draft.replace(place)
    finally:
        draft.unlink(missing_ok=True)
    return Path(file)


def _random(count: int, seed: int, first: int = 0) -> np.ndarray:
    """Evenly distributed pixels, uint8 [count] (splitmix64), the same on every machine and numpy."""
    if (half := count // 2) >= 1 << 19:  # which bounds the memory
        return np.concatenate([_random(half, seed, first), _random(count - half, seed, first + half)])
    golden = 0x9E3779B97F4A7C15
    start = np.uint64(seed * golden & (1 << 64) - 1)
    bits = (np.arange(first, first + count, dtype=np.uint64) + start) * np.uint64(golden)
    bits = (bits ^ (bits >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    bits = (bits ^ (bits >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return ((bits ^ (bits >> np.uint64(31))) >> np.uint64(56)).astype(np.uint8)


def _clouds(height: int, width: int, cells: int, seed: int) -> np.ndarray:
    """Random values of ``cells`` a side with straight lines between them: int64 [H, W] in 0..255."""
    grid = _random((cells + 2) ** 2, seed).reshape(cells + 2, cells + 2).astype(np.int64)
    down, across = (np.arange(side) * cells * 256 // side for side in (height, width))
    row, column, below, right = down >> 8, across >> 8, (down & 255)[:, None], across & 255
    upper = grid[row][:, column] * (256 - right) + grid[row][:, column + 1] * right
    lower = grid[row + 1][:, column] * (256 - right) + grid[row + 1][:, column + 1] * right
    return np.asarray(upper * (256 - below) + lower * below) >> 16


def _picture(channels: int, height: int, width: int, seed: int) -> np.ndarray:
    """What photos have: soft light, edges, texture, and colours that go together; uint8 [C, H, W]."""
    light = 2 * _clouds(height, width, 4, seed) + _clouds(height, width, 23, seed + 1)
    light += 220 * (_clouds(height, width, 5, seed + 2) > 140) + _clouds(height, width, 120, seed + 3) // 2
    planes = np.stack([light + _clouds(height, width, 3, seed + 4 + n) for n in range(channels)])
    low, high = int(planes.min()), int(planes.max())
    return ((planes - low) * 255 // max(high - low, 1)).astype(np.uint8)


def synthetic_photo(channels: int = 3) -> np.ndarray:
    """A picture much like a photo that needs no file: uint8 RGB [375, 500, 3], or of other channels."""
    return np.ascontiguousarray(_picture(channels, 375, 500, 100).transpose(1, 2, 0))


def make_images(recipe: Mapping[str, Any]) -> np.ndarray:
    """Images by their recipe: float32 [N, C, H, W] between its ``low`` and ``high``."""
    count, channels, height, width = recipe["shape"]
    low, high = np.float32(recipe["low"]), np.float32(recipe["high"])
    if recipe["kind"] == "noise":
        pixels = _random(count * channels * height * width, recipe["seed"])
    else:
        each = [_picture(channels, height, width, recipe["seed"] + 50 * n) for n in range(count)]
        pixels = np.stack(each)
    values = np.divide(pixels.reshape(count, channels, height, width), np.float32(255), dtype=np.float32)
    return np.asarray(np.add(np.multiply(values, high - low, values), low, values))


def _seeded(channels: int, size: Any, given: list[dict[str, Any]]) -> Iterator[dict[str, Any]]:
    """Cases whose images can be made again by their recipe."""
    if size is None and not given:
        raise RecordError("record wants size=, the model's input in pixels, or transform= or images=.")
    shape = given[0]["images"].shape[1:] if given else (channels, 0, 0)
    sides = shape[1:] if size is None else (size, size) if isinstance(size, int) else tuple(size)
    if len(sides) != 2 or not all(isinstance(side, int) and side > 0 for side in sides):
        raise RecordError(f"size= wants a side or (height, width) in pixels, found {size!r}.")
    for seed, (name, (count, low, high)) in enumerate(_RECIPES.items(), start=1):
        recipe: dict[str, Any] = {"kind": name, "seed": seed, "low": low, "high": high}
        recipe["shape"] = [count, shape[0], *sides]
        yield {"name": name, "images": make_images(recipe), "recipe": recipe}


def _given(channels: int, transform: Any, images: Any) -> Iterator[dict[str, Any]]:
    """Cases of pictures as the transform makes them, and of tensors as they are."""
    if isinstance(images, torch.Tensor):
        images = images.detach().float().cpu().numpy()
    if isinstance(images, np.ndarray) and images.ndim == 4 and images.dtype.kind == "f":
        yield {"name": "batch", "of": "tensor", "images": np.ascontiguousarray(images[:4], np.float32)}
        images = ()
    one = isinstance(images, str) or not hasattr(images, "__iter__") or getattr(images, "ndim", 0) == 3
    images = [images] if one else list(images)
    if images and transform is None:
        raise RecordError("images= wants transform=, which makes the model's input from them.")
    if len(images) > _MOST_PICTURES:
        raise RecordError(f"images= wants at most {_MOST_PICTURES} pictures, found {len(images)}.")
    colours = channels in (1, 3)
    pillow = colours or any(hasattr(one, "convert") for one in images)
    if transform is not None:
        photo = synthetic_photo(3 if colours else channels)
        made = _transformed(transform, photo, pillow)
        yield {"name": "photo", "of": "photo", "images": made, "bands": photo.shape[2]}
    for n, pixels in enumerate((_pixels(one, colours) for one in images), start=1):
        made = _transformed(transform, pixels, pillow)
        yield {"name": f"picture {n}", "of": "picture", "images": made, "pixels": pixels}


def _pixels(picture: Any, colours: bool) -> np.ndarray:
    """uint8 RGB [H, W, 3], or [H, W, C] of a picture with other channels (a page each, or in an array)."""
    from PIL import Image, ImageOps, ImageSequence

    if isinstance(picture, (str, os.PathLike)):
        file = BytesIO(Path(picture).read_bytes())
        picture = np.load(file) if str(picture).endswith(".npy") else Image.open(file)
        picture = ImageOps.exif_transpose(picture) if colours and hasattr(picture, "convert") else picture
    if colours:
        small = (Image.fromarray(picture) if isinstance(picture, np.ndarray) else picture).convert("RGB")
        small.thumbnail((_LONGEST_SIDE, _LONGEST_SIDE))
        return np.array(small)
    if not isinstance(picture, np.ndarray):
        picture = np.dstack([np.array(page) for page in ImageSequence.Iterator(picture)])
    if picture.dtype != np.uint8 or picture.ndim != 3:
        raise RecordError(f"A picture is {picture.dtype} {list(picture.shape)}, wanted uint8 [H, W, C].")
    step = -(-max(picture.shape[:2]) // _LONGEST_SIDE)
    return np.ascontiguousarray(picture[::step, ::step])


def _transformed(transform: Any, pixels: np.ndarray, pillow: bool) -> np.ndarray:
    """What a transform makes of a picture, float32 [1, C, H, W]; it must be the same twice."""
    first, second = _apply(transform, pixels, pillow), _apply(transform, pixels, pillow)
    if not np.array_equal(first, second, equal_nan=True):
        raise RecordError("transform= gives another tensor each time: give the transform of the evaluation.")
    return first


def _apply(transform: Any, pixels: np.ndarray, pillow: bool) -> np.ndarray:
    from PIL import Image

    picture: Any = Image.fromarray(pixels) if pillow else pixels.copy()
    if type(transform).__module__.partition(".")[0] == "albumentations":
        found = transform(image=pixels.copy())
    elif hasattr(transform, "model_input_names"):  # an image processor of transformers
        found = transform(images=picture, return_tensors="pt")
    else:
        found = transform(picture)
    if isinstance(found, Mapping):
        found = found["pixel_values"] if "pixel_values" in found else found.get("image")
    array = found.detach().cpu().numpy() if isinstance(found, torch.Tensor) else np.asarray(found)
    array = array[None] if array.ndim == 3 else array
    if array.ndim != 4 or len(array) != 1 or array.dtype.kind != "f":
        found = f"found {array.dtype} {list(array.shape)}"
        raise RecordError(f"transform= has to return what the model takes, floats [C, H, W], {found}.")
    return np.ascontiguousarray(array, np.float32)


def _innermost(model: Any) -> nn.Module:
    """The module inside torch.compile, DDP, an average, or Ultralytics' ``YOLO``."""
    if type(model).__module__.startswith("ultralytics.") and hasattr(model, "predictor"):
        model = model.model
    while type(model).__name__ in _WRAPPERS:
        model = model._orig_mod if hasattr(model, "_orig_mod") else model.module
    if not isinstance(model, nn.Module):
        raise RecordError(f"record wants a torch module, found {type(model).__name__}.")
    return model


@contextmanager
def _still(model: nn.Module) -> Iterator[nn.Module]:
    """The model in eval mode and plain float32; a copy of it where its weights are of another type."""
    if any(one.is_floating_point() and one.dtype != torch.float32 for one in model.state_dict().values()):
        model = copy.deepcopy(model).float()
    modes = [(module, module.training) for module in model.modules()]
    device = next(model.parameters(), torch.zeros(1)).device.type
    try:
        with torch.no_grad(), torch.autocast(device, enabled=False), _without_tf32():
            yield model.eval()
    finally:
        for module, mode in modes:
            module.training = mode


@contextmanager
def _without_tf32() -> Iterator[None]:
    """GPUs may round float32 to ten bits of mantissa; here they do not."""
    backends: Any = torch.backends
    old = ((backends.cuda.matmul, "allow_tf32", False), (backends.cudnn, "allow_tf32", False))
    new = [(backends.cuda.matmul, "fp32_precision", "ieee"), (backends.cudnn.conv, "fp32_precision", "ieee")]
    with ExitStack() as stack:
        for place, name, value in (*old, *new):
            with suppress(AttributeError, RuntimeError):  # of torch before 2.9, and where both are mixed
                stack.callback(setattr, place, name, getattr(place, name))
                setattr(place, name, value)
        yield


def _run(network: nn.Module, forward: Any, images: np.ndarray) -> dict[str, torch.Tensor]:
    """The outputs by name; of the linear layer behind the first also ``:NAME`` (its input) and ``logits``."""
    batch = torch.from_numpy(images).to(next(network.parameters(), torch.zeros(1)).device)
    with watch_last_layer(network) as find:
        if forward is not None:
            found = forward(network, batch)
        elif "pixel_values" in inspect.signature(network.forward).parameters:
            found = network(pixel_values=batch)  # a model of transformers, whose first argument may be text
        else:
            found = network(batch)
    outputs = dict(list(_named(found, ""))[:_MOST_OUTPUTS])
    if not outputs:
        raise RecordError(f"The model gives {type(found).__name__}, not tensors: forward= says which.")
    if (last := find(first := next(iter(outputs.values())))) is not None:
        outputs.update({} if torch.equal(last[2], first) else {"logits": last[2]}, **{f":{last[0]}": last[1]})
    return outputs


def _tell(network: nn.Module, forward: Any, case: Any, key: str, arrays: dict[str, np.ndarray]) -> Any:
    """Run a case, keep its arrays under names that start with ``key``, and say the rest."""
    images, digest = case["images"], hashlib.sha256(case["images"].tobytes())
    told = {"name": case["name"], "sha256": digest.hexdigest(), "outputs": []}
    told.update({one: case[one] for one in ("recipe", "of", "bands") if one in case})
    if "of" in case:
        _pack(case, key, arrays)
    outputs = _run(network, forward, images)
    again = _run(network, forward, images) if key == "case0" else outputs
    if not all(torch.allclose(one, again[name], rtol=1e-3, atol=1e-3) for name, one in outputs.items()):
        raise RecordError("The model answers differently each time: a part of it is random in eval mode.")
    for n, (name, tensor) in enumerate(outputs.items()):
        values = tensor.float().cpu().numpy()
        most, some = _OTHER_VALUES if n else _FIRST_VALUES
        kept = values.size if values.size <= most * len(images) else some
        arrays[f"{key}.output{n}"] = values.ravel()[places(values.size, kept)]
        told["outputs"].append({"name": name, "shape": list(values.shape)})
    return told


def _named(found: Any, name: str) -> Iterator[tuple[str, torch.Tensor]]:
    """The float tensors in tuples, lists, mappings and dataclasses, by their place."""
    entries: Any = ()
    if isinstance(found, torch.Tensor):
        if found.is_floating_point() and found.ndim:
            yield name or "output", found.detach()
    elif isinstance(found, Mapping):
        entries = found.items()
    elif dataclasses.is_dataclass(found):
        entries = [(one.name, getattr(found, one.name)) for one in dataclasses.fields(found)]
    elif isinstance(found, (tuple, list)):
        entries = [(name, found[n]) for n, name in enumerate(getattr(found, "_fields", range(len(found))))]
    for key, value in entries:
        yield from _named(value, f"{name}.{key}" if name else str(key))


@contextmanager
def watch_last_layer(network: nn.Module) -> Iterator[Callable[[torch.Tensor], Any]]:
    """While open, ``find(output)`` gives (name, input, output) of the linear layer behind it, or None."""
    calls: list[tuple[str, torch.Tensor, torch.Tensor]] = []

    def watch(name: str) -> Any:
        return lambda _, inputs, output: calls.append((name, inputs[0], output))

    layers = [(name, one) for name, one in network.named_modules() if isinstance(one, nn.Linear)]
    hooks = [layer.register_forward_hook(watch(name)) for name, layer in layers]

    def find(output: torch.Tensor) -> Any:
        made = [call for call in calls if any(torch.equal(end(call[2]), output) for end in _ENDS)]
        return made[-1] if made else None

    try:
        yield find
    finally:
        for hook in hooks:
            hook.remove()


def places(size: int, kept: int) -> np.ndarray:
    """Which of an output's values are kept: int64 [kept], evenly spread."""
    return np.arange(kept, dtype=np.int64) * size // kept


def _pack(case: Mapping[str, Any], key: str, arrays: dict[str, np.ndarray]) -> None:
    """Images made of pixels have few different values: keep those, and which of them each is."""
    arrays.update({f"{key}.{one}": case[one] for one in ("images", "pixels") if one in case})
    levels, which = np.unique(case["images"], return_inverse=True)
    if len(levels) <= 1 << 16:
        arrays[f"{key}.levels"] = levels
        arrays[f"{key}.images"] = which.reshape(case["images"].shape).astype(np.uint16)


def _fingerprints(network: nn.Module) -> dict[str, Any]:
    """Shape, mean and root mean square of every weight, which tell two sets of weights apart."""
    found = {}
    for name, weight in network.state_dict().items():
        if weight.is_floating_point() and weight.numel():
            values = weight.cpu().double()
            numbers = [values.mean().item(), values.square().mean().sqrt().item()]
            found[name.replace("_orig_mod.", "")] = [list(values.shape), *numbers]
    return found


def _class_names(labels: Any, shape: Sequence[int]) -> list[str]:
    """Of a list, or of a mapping from 0, 1, ... as Ultralytics has it; none where there are no labels."""
    names = [] if labels is None else [str(labels[n]) for n in range(len(labels))]
    if names and len(shape) == 2 and shape[1] != len(names):
        raise RecordError(f"labels= gives {len(names)} names, the model has {shape[1]} outputs.")
    return names


def _versions() -> dict[str, str]:
    """Of what takes part, as far as it is imported."""
    known = {"python": sys.version.split()[0], "torch": torch.__version__, "numpy": np.__version__}
    found = {name: getattr(sys.modules.get(name), "__version__", "") for name in _LIBRARIES}
    return {**known, **{name: str(version) for name, version in found.items() if version}}
