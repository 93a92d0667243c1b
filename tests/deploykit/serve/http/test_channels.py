"""Pictures of other channels than three: the server answers as ``predict`` does, or says what it wants."""

from __future__ import annotations

import base64
import io
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import timm
import torch
from deploykit_exporters.export import export
from deploykit_exporters.options import ExportOptions
from deploykit_runtimes import load
from PIL import Image

from deploykit import serve


@pytest.fixture(scope="module")
def models(tmp_path_factory: pytest.TempPathFactory, perturb: Any) -> dict[str, Path]:
    folder, made = tmp_path_factory.mktemp("channels"), {}
    for name, channels in (("grey", 1), ("bands", 5)):
        torch.manual_seed(0)
        model = timm.create_model(
            "vit_tiny_patch16_224", num_classes=3, img_size=32, depth=1, in_chans=channels
        )
        torch.save(perturb(model, 0).state_dict(), folder / f"{name}.pth")
        made[name] = export(folder / f"{name}.pth", ExportOptions(dynamic=("batch",))).path
    return made


@pytest.fixture(scope="module")
def client(models: dict[str, Path], client_of: Any) -> Iterator[Any]:
    names = [f"{name}={path}" for name, path in models.items()]
    with serve.running(names, port=0, grpc_port=None, max_pixels=10_000, poll_s=0.0) as running:
        yield client_of(running.state.port)


def npy(array: np.ndarray) -> bytes:
    file = io.BytesIO()
    np.save(file, array)
    return file.getvalue()


def encoded(image: Image.Image, **options: Any) -> bytes:
    file = io.BytesIO()
    image.save(file, **options)
    return file.getvalue()


@pytest.fixture
def pixels() -> np.ndarray:
    return np.random.default_rng(0).integers(0, 256, (60, 80, 5), dtype=np.uint8)


def test_answers_of_predict(client: Any, models: dict[str, Path], pixels: np.ndarray) -> None:
    pages = [Image.fromarray(band) for band in np.moveaxis(pixels, 2, 0)]
    colours = Image.fromarray(np.ascontiguousarray(pixels[..., :3]))
    files = {
        "bands": [npy(pixels), encoded(pages[0], format="TIFF", save_all=True, append_images=pages[1:])],
        "grey": [
            encoded(colours, format="PNG"),
            encoded(colours, format="JPEG"),
            encoded(pages[0], format="PNG"),
            npy(pixels[..., 0]),
        ],
    }
    file = io.BytesIO()
    tifffile = pytest.importorskip("tifffile")
    tifffile.imwrite(file, pixels, photometric="minisblack", planarconfig="contig")
    files["bands"].append(file.getvalue())
    for name, bodies in files.items():
        wanted = load(models[name]).predict(bodies)
        for body, same in zip(bodies, wanted, strict=True):
            coded = json.dumps({"images": [base64.b64encode(body).decode()]}).encode()
            for sent, kind in ((body, "application/octet-stream"), (coded, "application/json")):
                path = f"/v2/models/{name}/predict"
                status, _, content = client("POST", path, sent, Content_Type=kind)
                assert status == 200, content
                (result,) = json.loads(content)["results"]
                for entry, want in zip(result["top"], same.to_dict()["top"], strict=True):
                    assert entry["score"] == pytest.approx(want["score"], abs=1e-6)
            status, _, content = client("POST", f"{path}?format=image", body, Accept="image/png")
            assert status == 200, content
            assert Image.open(io.BytesIO(content)).size == (80, 60)


def test_what_does_not_fit(client: Any, pixels: np.ndarray) -> None:
    large = np.zeros((200, 100, 5), np.uint8)
    for body, wanted, text in (
        (encoded(Image.fromarray(pixels[..., 0]), format="PNG"), 400, "takes images of 5 channels"),
        (npy(pixels[..., :4]), 400, "[H, W, 5]"),
        (npy(pixels)[:-1], 400, "damaged or truncated"),
        (npy(pixels.astype(np.float32)), 400, "float32"),
        (npy(large), 413, "at most 10000 pixels"),
        (npy(large)[:100], 400, "cannot be read as a .npy file"),
    ):
        status, _, content = client("POST", "/v2/models/bands/predict", body)
        assert (status, text in content.decode()) == (wanted, True), content
