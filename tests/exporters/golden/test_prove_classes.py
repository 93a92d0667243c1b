"""Classes, scores and shapes that are not those of the training."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from deploykit_exporters.export import export
from deploykit_exporters.options import ExportOptions
from deploykit_exporters.record import record
from deploykit_runtimes.errors import OptionError
from recordings import NAMES, SIDE, Make, Prove, refused

# What is wrong with the head.


def test_names_in_another_order(vit: Make, prove: Prove) -> None:
    options = {"labels": ("b", "a", *NAMES[2:])}
    error = refused(lambda: prove(vit(), vit(), options, labels=NAMES))
    assert "differ in the head: the classes are in another order: class 0 is 'a'" in error.problem
    assert "'b' in the file" in error.problem


def test_other_names(vit: Make, prove: Prove) -> None:
    error = refused(lambda: prove(vit(), vit(), {"labels": ("x", *NAMES[1:])}, labels=NAMES))
    assert "class names differ: class 0 is 'a' in the training process, 'x'" in error.problem


def test_classes_in_another_order(vit: Make, prove: Prove) -> None:
    other = vit()
    order = [1, 0, 2, 3, 6, 4, 5]
    with torch.no_grad():
        for parameter in other.head.parameters():
            parameter.copy_(parameter[order])
    error = refused(lambda: prove(vit(), other))
    assert "differ in the head (what goes into it agrees" in error.problem
    assert "another order: class 0 there is 1 here" in error.hint


def test_another_number_of_classes(vit: Make, prove: Prove) -> None:
    error = refused(lambda: prove(vit(), vit(num_classes=5)))
    assert "the recorded model has 5 classes, the checkpoint 7" in error.problem


@pytest.mark.parametrize(
    ("forward", "says"),
    [
        (lambda net, images: net(images).sigmoid(), "after a sigmoid"),
        (lambda net, images: net(images).log_softmax(-1), "after a log_softmax"),
        (lambda net, images: net(images) / 0.07, "deploykit's times 14.28"),
    ],
)
def test_scores_behind_an_activation(forward: Any, says: str, vit: Make, prove: Prove) -> None:
    error = refused(lambda: prove(vit(), vit(), forward=forward))
    assert "differ in the head" in error.problem
    assert says in error.hint


def test_another_bias(vit: Make, prove: Prove) -> None:
    other = vit()
    with torch.no_grad():
        other.head.bias += 0.1
    assert "differ in the head" in refused(lambda: prove(vit(), other)).problem


def test_something_else_was_recorded_than_is_exported(vit: Make, prove: Prove) -> None:
    with pytest.raises(OptionError, match=r"no output of the shape \[1, 17, 64\] \(features\)") as caught:
        prove(vit(), vit(), {"features": True})
    assert "forward=" in caught.value.hint


def test_images_that_the_network_does_not_take(vit: Make, prove: Prove, tmp_path: Path) -> None:
    with pytest.raises(OptionError, match="recorded on images of 1x64x64, the network takes 3x64x64"):
        prove(vit(), vit(in_chans=1))
    net = vit(dynamic_img_size=True, dynamic_img_pad=True)
    torch.save(net.state_dict(), tmp_path / "model.pth")
    golden = record(net, tmp_path / "golden.npz", size=72)
    with pytest.raises(OptionError, match="recorded on images of 3x72x72") as caught:
        export(tmp_path / "model.pth", ExportOptions(golden=golden))
    assert "--imgsz 72,72" in caught.value.hint


def test_a_size_that_the_network_takes_and_the_file_does_not(vit: Make, prove: Prove, tmp_path: Path) -> None:
    net = vit(dynamic_img_size=True)
    torch.save(net.state_dict(), tmp_path / "model.pth")
    golden = record(net, tmp_path / "golden.npz", size=96)
    fixed = export(tmp_path / "model.pth", ExportOptions(golden=golden)).spec.parity
    assert "the file takes another size" in fixed.golden_said
    free = export(tmp_path / "model.pth", ExportOptions(golden=golden, dynamic="all")).spec.parity
    assert "the file within" in free.golden_said


def test_images_that_are_not_those_that_were_recorded(vit: Make, tmp_path: Path) -> None:
    torch.save(vit().state_dict(), tmp_path / "model.pth")
    golden = record(vit(), tmp_path / "golden.npz", size=SIDE)
    with np.load(golden) as file:
        meta = json.loads(file["golden"].tobytes())
        meta["cases"][0]["recipe"]["seed"] = 7
        np.savez(golden, **{**file, "golden": np.frombuffer(json.dumps(meta).encode(), np.uint8)})
    with pytest.raises(OptionError, match="'picture' are not those that were recorded"):
        export(tmp_path / "model.pth", ExportOptions(golden=golden))


def test_a_case_with_outputs_of_another_shape(vit: Make, tmp_path: Path) -> None:
    torch.save(vit().state_dict(), tmp_path / "model.pth")
    golden = record(vit(), tmp_path / "golden.npz", size=SIDE)
    with np.load(golden) as file:
        meta = json.loads(file["golden"].tobytes())
        meta["cases"][1]["outputs"][0]["shape"] = [7]
        np.savez(golden, **{**file, "golden": np.frombuffer(json.dumps(meta).encode(), np.uint8)})
    with pytest.raises(OptionError, match=r"no output of the shape \[1, 7\]"):
        export(tmp_path / "model.pth", ExportOptions(golden=golden))
