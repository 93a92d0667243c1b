"""Keras HDF5 files, in the layout that Keras writes."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest
import torch
from deploykit_exporters.containers.read import read_checkpoint
from deploykit_runtimes.errors import CheckpointError

KERNEL = np.arange(3 * 3 * 2 * 4, dtype=np.float32).reshape(3, 3, 2, 4)
LAYERS: dict[str, dict[str, np.ndarray]] = {
    "stem_conv": {"stem_conv/kernel:0": KERNEL},
    "stem_bn": {
        "stem_bn/gamma:0": np.arange(4, dtype=np.float32),
        "stem_bn/moving_mean:0": np.arange(4, dtype=np.float16),
    },
    "stem_activation": {},
    "probs": {"probs/bias:0": np.ones(5, dtype=">f4")},
}
NAMES = ["stem_conv/kernel:0", "stem_bn/gamma:0", "stem_bn/moving_mean:0", "probs/bias:0"]


def write(
    path: Path, layers: dict[str, dict[str, np.ndarray]], whole: bool = False, **attributes: Any
) -> Path:
    with h5py.File(path, "w") as file:
        root = file.create_group("model_weights") if whole else file
        root.attrs["layer_names"] = [name.encode() for name in layers]
        root.attrs["keras_version"] = b"2.2.4"
        for layer, arrays in layers.items():
            group = root.create_group(layer)
            group.attrs["weight_names"] = [name.encode() for name in arrays]
            for name, array in arrays.items():
                group[name] = array
        for name, value in attributes.items():
            file.attrs[name] = value
    return path


@pytest.mark.parametrize("whole", [False, True], ids=["weights", "model"])
def test_arrays_are_unchanged_and_in_order(whole: bool, tmp_path: Path) -> None:
    config = json.dumps({"class_name": "Model", "config": {"name": "efficientnet-b0"}})
    path = write(tmp_path / "b0.h5", LAYERS, whole, **({"model_config": config} if whole else {}))
    checkpoint = read_checkpoint(path)
    assert checkpoint.container == "keras-h5"
    assert list(checkpoint.tensors) == NAMES
    assert np.array_equal(checkpoint.tensors["stem_conv/kernel:0"].numpy(), KERNEL)
    assert checkpoint.tensors["stem_bn/moving_mean:0"].dtype == torch.float16
    assert checkpoint.tensors["probs/bias:0"].tolist() == [1.0] * 5
    assert checkpoint.meta["layer_names"] == list(LAYERS)
    assert checkpoint.meta["keras_version"] == "2.2.4"
    assert checkpoint.meta.get("model_config") == (json.loads(config) if whole else None)


def test_names_of_nested_models(tmp_path: Path) -> None:
    nested: dict[str, dict[str, np.ndarray]] = {
        "efficientnet-b0": {"stem_conv/kernel:0": KERNEL, "stem_bn/gamma:0": np.ones(4)},
        "dense": {"sequential/dense/kernel:0": np.ones((4, 2)), "sequential/dense/bias:0": np.ones(2)},
        "attention": {
            "attention/query/kernel:0": np.ones(2),
            "attention/key/kernel:0": np.zeros(2),
        },
        "scale": {"gain": np.ones(1)},
    }
    assert list(read_checkpoint(write(tmp_path / "n.h5", nested)).tensors) == [
        "stem_conv/kernel:0",
        "stem_bn/gamma:0",
        "dense/kernel:0",
        "dense/bias:0",
        "attention/query/kernel:0",
        "attention/key/kernel:0",
        "scale/gain",
    ]


def test_names_split_over_several_attributes(tmp_path: Path) -> None:
    path = write(tmp_path / "b0.h5", LAYERS)
    with h5py.File(path, "a") as file:
        names = list(file.attrs["layer_names"])
        del file.attrs["layer_names"]
        file.attrs["layer_names0"], file.attrs["layer_names1"] = names[:2], names[2:]
    assert list(read_checkpoint(path).tensors) == NAMES


def refuse(path: Path, message: str) -> None:
    with pytest.raises(CheckpointError, match=message):
        read_checkpoint(path)


def test_other_hdf5_files_are_refused(tmp_path: Path) -> None:
    with h5py.File(tmp_path / "data.h5", "w") as file:
        file["images"] = np.zeros(3)
    refuse(tmp_path / "data.h5", "an HDF5 file with images")
    with h5py.File(tmp_path / "m.weights.h5", "w") as file:
        file["layers/conv2d/vars/0"] = KERNEL
    refuse(tmp_path / "m.weights.h5", "numbers instead of names")


def test_links_to_other_files_are_not_followed(tmp_path: Path) -> None:
    write(tmp_path / "other.h5", LAYERS)
    path = write(tmp_path / "b0.h5", LAYERS)
    with h5py.File(path, "a") as file:
        del file["stem_conv/stem_conv/kernel:0"]
        file["stem_conv/stem_conv/kernel:0"] = h5py.ExternalLink("other.h5", "stem_conv/stem_conv/kernel:0")
    refuse(path, "does not hold it")
    with h5py.File(path, "a") as file:
        del file["stem_conv/stem_conv/kernel:0"]
        external = [(str(tmp_path / "other.h5"), 0, 288)]
        file.create_dataset("stem_conv/stem_conv/kernel:0", KERNEL.shape, "f4", external=external)
    refuse(path, "not a plain array")


def test_arrays_that_are_not_there_are_refused(tmp_path: Path) -> None:
    path = write(tmp_path / "b0.h5", LAYERS)
    with h5py.File(path, "a") as file:
        del file["probs/probs/bias:0"]
        file.create_dataset("probs/probs/bias:0", (1 << 20, 1 << 20), "f4", chunks=(64, 64))
    refuse(path, "claims")


def test_a_cut_file_is_refused(tmp_path: Path) -> None:
    path = write(tmp_path / "b0.h5", LAYERS)
    content = path.read_bytes()
    for length in (9, 100, len(content) // 2, len(content) - 1):
        path.write_bytes(content[:length])
        refuse(path, "complete HDF5 file")
