"""Checkpoints whose keys, globals, entries, settings and class names are attacks."""

from __future__ import annotations

import json
import subprocess
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from corpus_of_strangers import EVIL, HONEST, global_named, unicode, zip_pickle

Run = Callable[..., subprocess.CompletedProcess[bytes]]
LONE = f"{EVIL}\ud800\x00"
HEAD = b"\x80\x04"


def _keys(path: Path) -> Path:
    return zip_pickle(path, HEAD + b"}(" + unicode(LONE) + b"K\x01" + unicode(f"a{LONE}") + b"}u.")


def _global(path: Path) -> Path:
    return zip_pickle(path, HEAD + global_named(f"os{LONE}", f"system{LONE}") + b")R.")


def _refused(path: Path) -> Path:
    return zip_pickle(path, HEAD + global_named("os", f"system{LONE}") + b")R.")


def _class(path: Path) -> Path:
    stranger = global_named(f"lib{LONE}", f"Class{LONE}")
    return zip_pickle(path, HEAD + b"}" + unicode(f"model{LONE}") + stranger + b")\x81s.")


def _entry(path: Path) -> Path:
    return zip_pickle(path, HEAD + b"}.", entry=f"archive{EVIL}")


def _other_zip(path: Path) -> Path:
    with zipfile.ZipFile(path, "w") as file:
        file.writestr(EVIL, "x")
    return path


def _persistent(path: Path) -> Path:
    return zip_pickle(path, HEAD + b"(" + unicode(LONE) + unicode(LONE) + b"tQ.")


def _broken(path: Path) -> Path:
    return zip_pickle(path, HEAD + unicode(LONE) + b"\xff.")


def _safetensors(path: Path) -> Path:
    header = json.dumps(
        {"__metadata__": {EVIL: EVIL}, EVIL: {"dtype": EVIL, "shape": [1], "data_offsets": [0, 4]}}
    ).encode()
    path.write_bytes(len(header).to_bytes(8, "little") + header + bytes(4))
    return path


def _safetensors_keys(path: Path) -> Path:
    header = json.dumps({EVIL: {"dtype": "F32", "shape": [1], "data_offsets": [0, 4]}}).encode()
    path.write_bytes(len(header).to_bytes(8, "little") + header + bytes(4))
    return path


def _h5(path: Path) -> Path:
    import h5py

    name = EVIL.replace("\x00", "")
    with h5py.File(path, "w") as file:
        file.attrs["model_config"] = json.dumps({"class_name": name, "config": {"name": name, "layers": []}})
        file.attrs["keras_version"] = name
        file.create_group(name).attrs["weight_names"] = [name]
    return path


FILES = {
    "keys.pth": _keys,
    "global.pth": _global,
    "refused.pth": _refused,
    "class.pth": _class,
    "entry.pth": _entry,
    "zip.pth": _other_zip,
    "persistent.pth": _persistent,
    "broken.pth": _broken,
    "a.safetensors": _safetensors,
    "keys.safetensors": _safetensors_keys,
    "a.h5": _h5,
}


@pytest.mark.parametrize("name", FILES)
def test_files_that_are_refused(run_on: Run, tmp_path: Path, name: str) -> None:
    path = FILES[name](tmp_path / f"{EVIL}{name}")
    done = run_on("--debug", "inspect", path)
    assert done.returncode == 2, done.stderr
    assert b"owned" in done.stderr


@pytest.fixture(scope="module")
def talkative(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A checkpoint of timm's training script, with attacks in all that is beside the weights."""
    import timm
    import torch

    torch.manual_seed(0)
    model = timm.create_model("vit_tiny_patch16_224", num_classes=3, img_size=32, depth=1)
    path = tmp_path_factory.mktemp("talkative") / f"{EVIL}.pth"
    arguments = {"model": "vit_tiny_patch16_224", EVIL: EVIL, "note": f"b{LONE}", "long": "x" * 100_000}
    torch.save(
        {
            "state_dict": model.state_dict(),
            "epoch": 1,
            "args": arguments,
            EVIL: EVIL,
            "class_names": [EVIL, f"b{LONE}", HONEST],
        },
        path,
    )
    return path


def test_inspect_tells_it(run_on: Run, talkative: Path) -> None:
    done = run_on("inspect", talkative)
    assert done.returncode == 0, done.stderr
    assert b"owned" in done.stdout
    document = json.loads(run_on("inspect", talkative, "--json").stdout)
    assert EVIL in document["entries"]


def test_export_and_verify(run_on: Run, talkative: Path, evil_picture: Path, tmp_path: Path) -> None:
    labels = tmp_path / f"{EVIL}.json"
    labels.write_text(json.dumps([EVIL, f"b{LONE}", HONEST]), encoding="utf-8")
    target = tmp_path / f"{EVIL}.onnx"
    done = run_on("export", talkative, "-o", target, "--labels", labels)
    assert done.returncode == 0, done.stderr
    assert HONEST.encode() in done.stdout
    done = run_on("predict", target, evil_picture, "--json")
    names = [entry["name"] for entry in json.loads(done.stdout)["results"][0]["top"]]
    assert HONEST in names
    done = run_on("verify", talkative, target, evil_picture)
    assert done.returncode == 0, done.stderr


@pytest.mark.parametrize(
    ("suffix", "text"),
    [("txt", f"a\n{EVIL}\n\n{EVIL}"), ("json", json.dumps({"a": EVIL})), ("yaml", f"names: [{EVIL}")],
    ids=["txt", "json", "yaml"],
)
def test_labels_that_do_not_fit(run_on: Run, talkative: Path, tmp_path: Path, suffix: str, text: str) -> None:
    labels = tmp_path / f"{EVIL}.{suffix}"
    labels.write_text(text, encoding="utf-8")
    done = run_on("export", talkative, "-o", tmp_path / "a.onnx", "--labels", labels)
    assert done.returncode in (2, 4, 5), done.stderr


def test_what_the_training_library_says(
    run_on: Run, ultralytics_file: Callable[..., tuple[Path, Any]], evil_picture: Path, tmp_path: Path
) -> None:
    """Ultralytics, which is asked as a second witness, prints on its own."""

    def plant(model: Any) -> None:
        model.names = {0: EVIL, 1: f"b{LONE}", 2: HONEST}
        model.args = {EVIL: EVIL}
        model.yaml[EVIL] = EVIL

    path, _ = ultralytics_file("yolo11n", edit=plant)
    target = tmp_path / f"{EVIL}.onnx"
    for command in (("inspect", path), ("export", path, "-o", target, "--dynamic", "batch")):
        done = run_on(*command)
        assert done.returncode == 0, done.stderr
        assert HONEST.encode() in done.stdout
    assert run_on("predict", target, evil_picture, "--conf", "0.01").returncode == 0
    classes = json.loads(run_on("inspect", target, "--json").stdout)["spec"]["classes"]
    assert classes[1].endswith("end?\x00")  # UTF-8 has no form for half of a surrogate pair
    assert classes[2] == HONEST


def test_golden_answers(run_on: Run, tmp_path: Path) -> None:
    import torch

    import deploykit

    class Stranger(torch.nn.Module):
        def forward(self, images: torch.Tensor) -> dict[str, torch.Tensor]:
            return {f"out{EVIL}": images.mean((2, 3))}

    Stranger.__name__ = Stranger.__qualname__ = EVIL
    path = tmp_path / f"{EVIL}.npz"
    deploykit.record(Stranger(), path, size=8, labels=[EVIL, f"b{EVIL}", HONEST])
    for flags in ((), ("--json",)):
        done = run_on("record", path, *flags)
        assert done.returncode in (0, 2), done.stderr
        assert b"owned" in done.stdout + done.stderr
