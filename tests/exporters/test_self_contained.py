"""Self-contained files: every head, against the plain file behind the host's processing."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from dataclasses import fields, replace
from pathlib import Path

import numpy as np
import onnx
import pytest
import torch
from deploykit_exporters.export import export
from deploykit_exporters.ingraph.sizes import MAX_SIDE
from deploykit_exporters.options import ExportOptions
from deploykit_exporters.proof.answers import compare_answers
from deploykit_exporters.proof.candidate import open_candidate
from deploykit_exporters.verify import verify
from deploykit_runtimes import load
from deploykit_runtimes.answers.results import Classification, Detections
from deploykit_runtimes.errors import InputError, OptionError, ParityError
from deploykit_runtimes.ort.late_cast import cast_late
from PIL import Image
from torch import nn
from transformers import ViTConfig, ViTForImageClassification, ViTImageProcessor

WHOLE = ExportOptions(preprocess=True, postprocess=True)
PHOTOS = ("cat", "china", "flower_portrait", "cat_wide", "cat_small")
CHECKPOINTS = {
    "crossformer": "golden/crossformer/crossformer.pth",
    "efficientnet": "fixtures/mmpretrain_efficientnet_v2.pth",
    "yolox": "fixtures/yolox_plain.pth",
}


@pytest.fixture
def checkpoint_of(golden: Path, ultralytics_file, tmp_path: Path):
    def find(name: str) -> Path:
        if name in CHECKPOINTS:
            return golden.parent / CHECKPOINTS[name]
        path, _ = ultralytics_file(name)
        return Path(path)

    return find


Export = Callable[[Path, ExportOptions], Path]


@pytest.fixture(scope="module")
def exported(tmp_path_factory: pytest.TempPathFactory) -> Export:
    """Exports a checkpoint, once for equal options: who changes the file changes a copy."""
    made: dict[tuple[Path, ExportOptions], Path] = {}

    def once(checkpoint: Path, options: ExportOptions) -> Path:
        if (checkpoint, options) not in made:
            target = tmp_path_factory.mktemp("exported") / "model.onnx"
            made[checkpoint, options] = export(checkpoint, replace(options, output=target)).path
        return made[checkpoint, options]

    return once


def plain_of(options: ExportOptions) -> ExportOptions:
    """The same with nothing inside."""
    inside = {"preprocess", "postprocess", "masks", "runtime_thresholds", "top_k"}
    return ExportOptions(
        **{field.name: getattr(options, field.name) for field in fields(options) if field.name not in inside}
    )


def both(exported: Export, checkpoint: Path, options: ExportOptions) -> tuple[Path, Path]:
    """The plain file and the self-contained one."""
    return exported(checkpoint, plain_of(options)), exported(checkpoint, options)


@pytest.mark.parametrize(
    ("name", "outputs"),
    [
        ("crossformer", ["probabilities", "classes"]),
        ("efficientnet", ["probabilities", "classes"]),
        ("yolo11n-cls", ["probabilities", "classes"]),
        ("yolov8n", ["boxes", "scores", "classes", "count"]),
        ("yolov10n", ["boxes", "scores", "classes", "count"]),
        ("yolox", ["boxes", "scores", "classes", "count"]),
        ("yolo11n-seg", ["boxes", "scores", "classes", "count", "mask_coefficients", "prototypes"]),
        ("yolo11n-pose", ["boxes", "scores", "classes", "count", "keypoints"]),
        ("yolo11n-obb", ["boxes", "scores", "classes", "count", "rotated_boxes"]),
    ],
)
@pytest.mark.parametrize("dynamic", [(), ("all",)], ids=["fixed", "dynamic"])
def test_answers_are_those_of_the_host(
    name: str, outputs: list[str], dynamic: tuple[str, ...], checkpoint_of, exported: Export, photos
) -> None:
    conf = 0.001 if name == "yolox" else None  # its random head scores low
    plain, whole = both(exported, checkpoint_of(name), replace(WHOLE, dynamic=dynamic, conf=conf))
    graph = onnx.load(whole).graph
    assert [value.name for value in graph.input] == ["images"]
    assert [value.name for value in graph.output] == outputs
    assert {node.domain for node in graph.node} == {""}
    seen = 0
    with load(plain) as host, load(whole) as inside:
        record = inside.spec.parity
        assert record is not None
        assert record.answers == 4
        assert record.exact_pixels > 0.999
        for photo in PHOTOS:
            expected, found = host.predict(photos[photo]), inside.predict(photos[photo])
            compare_answers(expected, found, inside.spec.output)
            assert found.image_size == photos[photo].shape[:2]
            seen += len(found) if isinstance(found, Detections) else len(found.top)
    assert seen > 0


def test_masks_at_the_size_of_the_image(checkpoint_of, exported: Export, photos) -> None:
    options = replace(WHOLE, masks=True, max_det=20)
    plain, whole = both(exported, checkpoint_of("yolo11n-seg"), options)
    with load(plain) as host, load(whole) as inside:
        raw = inside.runner.infer({"images": photos["cat"][None]})
        assert raw["masks"].shape == (1, 20, *photos["cat"].shape[:2])
        assert raw["masks"].dtype == np.uint8
        for photo in ("cat", "cat_wide"):
            expected, found = host.predict(photos[photo]), inside.predict(photos[photo])
            assert len(found) > 0
            compare_answers(expected, found, inside.spec.output)


def test_thresholds_at_run_time(checkpoint_of, exported: Export, photos) -> None:
    options = replace(WHOLE, runtime_thresholds=True)
    plain, whole = both(exported, checkpoint_of("yolov8n"), options)
    counts = set()
    with load(plain) as host, load(whole) as inside:
        assert [info.name for info in inside.runner.inputs] == ["images", "conf", "iou"]
        for conf, iou in ((0.25, 0.7), (0.4, 0.7), (0.1, 0.3)):
            expected = host.predict(photos["cat"], conf=conf, iou=iou)
            found = inside.predict(photos["cat"], conf=conf, iou=iou)
            output = replace(inside.spec.output, conf=conf, iou=iou)
            compare_answers(expected, found, output)
            counts.add(len(found))
    assert len(counts) > 1


def test_built_in_thresholds_are_those_that_were_asked_for(checkpoint_of, exported: Export, photos) -> None:
    options = replace(WHOLE, conf=0.4, iou=0.3, max_det=7, class_agnostic=True)
    plain, whole = both(exported, checkpoint_of("yolov8n"), options)
    with load(plain) as host, load(whole) as inside:
        output = inside.spec.output
        assert (output.conf, output.iou, output.max_det, output.class_agnostic) == (0.4, 0.3, 7, True)
        expected, found = host.predict(photos["china"]), inside.predict(photos["china"])
        assert 0 < len(found) <= 7
        compare_answers(expected, found, output)
        assert len(inside.predict(photos["china"], max_det=2)) == 2
        for wrong in ({"conf": 0.1}, {"iou": 0.5}, {"max_det": 8}, {"imgsz": 320}):
            with pytest.raises(OptionError, match="inside its graph"):
                inside.predict(photos["china"], **wrong)


def test_either_half_alone(checkpoint_of, exported: Export, photos) -> None:
    for options in (replace(WHOLE, postprocess=False), replace(WHOLE, preprocess=False)):
        plain, half = both(exported, checkpoint_of("yolov8n"), options)
        with load(plain) as host, load(half) as inside:
            expected, found = host.predict(photos["cat"]), inside.predict(photos["cat"])
            assert len(found) > 0
            compare_answers(expected, found, inside.spec.output)


def test_images_of_several_sizes_are_sorted_into_batches(checkpoint_of, exported: Export, photos) -> None:
    whole = exported(checkpoint_of("yolov8n"), replace(WHOLE, dynamic=("all",)))
    images = [photos[name] for name in ("cat", "china", "cat", "cat_small", "china")]
    with load(whole) as inside:
        together = inside.predict(images)
        for image, answer in zip(images, together, strict=True):
            alone = inside.predict(image)
            np.testing.assert_allclose(answer.boxes, alone.boxes, atol=1e-3)
            np.testing.assert_array_equal(answer.class_ids, alone.class_ids)


def test_a_fixed_batch_is_filled_up(checkpoint_of, exported: Export, photos) -> None:
    whole = exported(checkpoint_of("crossformer"), replace(WHOLE, batch=3))
    with load(whole) as inside:
        assert inside.runner.inputs[0].shape == (3, "height", "width", 3)
        answers = inside.predict([photos["cat"]] * 4)
        assert [answer.top for answer in answers] == [answers[0].top] * 4


def test_top_k(checkpoint_of, exported: Export, photos) -> None:
    whole = exported(checkpoint_of("crossformer"), replace(WHOLE, top_k=3))
    with load(whole) as inside:
        answer = inside.predict(photos["cat"])
        assert isinstance(answer, Classification)
        assert len(answer.top) == 3
        assert len(inside.predict(photos["cat"], top_k=2).top) == 2
        with pytest.raises(OptionError, match="top_k 3"):
            inside.predict(photos["cat"], top_k=4)


@pytest.mark.parametrize(
    ("images", "words"),
    [
        (np.zeros((1, 20, 20, 3), np.float32), "uint8"),
        (np.zeros((20, 20, 3), np.uint8), "4 axes"),
        (np.zeros((1, 0, 20, 3), np.uint8), "height"),
        (np.zeros((1, 20, 20, 4), np.uint8), "fixed to 3"),
        (np.zeros((1, 1, MAX_SIDE + 1, 3), np.uint8), "width"),
    ],
)
def test_bad_images_are_refused_before_the_engine_sees_them(
    images: np.ndarray, words: str, checkpoint_of, exported: Export
) -> None:
    whole = exported(checkpoint_of("crossformer"), WHOLE)
    with load(whole) as inside, pytest.raises(InputError, match=words):
        inside.runner.infer({"images": images})


def test_verify_compares_from_image_to_answer(checkpoint_of, exported: Export, tmp_path: Path) -> None:
    checkpoint = checkpoint_of("crossformer")
    whole = Path(shutil.copy(exported(checkpoint, WHOLE), tmp_path / "whole.onnx"))
    record = verify(checkpoint, whole).parity
    assert record.answers == 4
    assert record.max_abs < 1e-4
    model = onnx.load(whole)
    bias = next(tensor for tensor in model.graph.initializer if tensor.name.endswith("head.bias"))
    values = np.frombuffer(bias.raw_data, np.float32).copy()
    values[0] += 1
    bias.raw_data = values.tobytes()
    onnx.save(model, whole)
    with pytest.raises(ParityError, match="score is off"):
        verify(checkpoint, whole)


@pytest.mark.parametrize(
    ("options", "words"),
    [
        (replace(WHOLE, features=True), "features"),
        (replace(WHOLE, masks=True), "mask"),
        (replace(WHOLE, runtime_thresholds=True), "threshold"),
    ],
)
def test_what_makes_no_sense_is_refused(
    options: ExportOptions, words: str, checkpoint_of, tmp_path: Path
) -> None:
    with pytest.raises(OptionError, match=words):
        export(checkpoint_of("crossformer"), replace(options, output=tmp_path / "whole.onnx"))
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("options", [{"top_k": 3}, {"masks": True}, {"runtime_thresholds": True}])
def test_options_of_the_post_processing_want_it_inside(options: dict[str, int]) -> None:
    with pytest.raises(OptionError, match="--postprocess"):
        ExportOptions(preprocess=True, **options)  # type: ignore[arg-type]


@pytest.mark.parametrize("name", ["crossformer", "yolox"])
def test_a_file_rewritten_for_the_engine_answers_to_the_bit(name: str, tmp_path: Path, checkpoint_of) -> None:
    path = export(checkpoint_of(name), replace(WHOLE, output=tmp_path / "whole.onnx")).path
    rewritten = cast_late(path.read_bytes(), "images")
    assert rewritten is not None
    onnx.checker.check_model(onnx.load_from_string(rewritten), full_check=True)
    image = np.random.default_rng(0).integers(0, 256, (1, 91, 123, 3), dtype=np.uint8)
    with load(path) as model, open_candidate(path) as plain:
        assert (model.placement().rewrites, plain.placement().rewrites) == (("cast_late",), ())
        found, expected = (each.infer({"images": image}) for each in (model.runner, plain))
    assert found.keys() == expected.keys()
    assert all(np.array_equal(found[name], expected[name]) for name in found)


def unresized(folder: Path, perturb) -> tuple[Path, nn.Module]:
    """A ViT of transformers whose processor leaves images at their size."""
    sizes = {"hidden_size": 64, "num_hidden_layers": 2, "num_attention_heads": 4, "intermediate_size": 96}
    model = perturb(ViTForImageClassification(ViTConfig(**sizes, image_size=64, patch_size=16, num_labels=3)))
    model.save_pretrained(folder)
    ViTImageProcessor(do_resize=False).save_pretrained(folder)
    return folder, model


@pytest.mark.parametrize(
    ("how", "taken", "refused"),
    [
        ({}, [(64, 64)], (96, 64)),
        ({"imgsz": (96, 128)}, [(96, 128)], (64, 64)),
        ({"dynamic": ("height",)}, [(64, 64), (160, 64)], (64, 96)),
        ({"dynamic": ("all",), "postprocess": True}, [(64, 64), (192, 160), (256, 32)], (70, 64)),
    ],
    ids=str,
)
def test_images_of_their_own_size_go_into_the_graph(
    how: dict,
    taken: list[tuple[int, int]],
    refused: tuple[int, int],
    perturb,
    photos,
    tmp_path: Path,
) -> None:
    folder, model = unresized(tmp_path / "vit", perturb)
    options = ExportOptions(output=tmp_path / "m.onnx", preprocess=True, **how)
    spec = export(folder, options).spec
    assert (spec.input.layout, spec.input.dtype) == ("NHWC", "uint8")
    steps = {axis: allowed.step for axis, allowed in spec.input.dynamic.items() if axis != "batch"}
    assert set(steps.values()) <= {16}
    processor = ViTImageProcessor.from_pretrained(folder)
    with load(tmp_path / "m.onnx") as predictor:
        for size in taken:
            image = Image.fromarray(photos["cat"]).resize(size[::-1])
            pixels = processor(image, return_tensors="pt")["pixel_values"]
            with torch.inference_mode():
                wanted = model(pixels, interpolate_pos_encoding=True).logits.softmax(-1)[0]
            found = predictor.predict(image)
            assert found.score == pytest.approx(float(wanted.max()), abs=1e-4)
            assert found.top[0].class_id == int(wanted.argmax())
        if len(taken) > 1:
            images = [
                np.asarray(Image.fromarray(photos["cat"]).resize(size[::-1])) for size in (*taken, *taken)
            ]
            assert [one.top[0].class_id for one in predictor.predict(images)] == [
                predictor.predict(one).top[0].class_id for one in images
            ]
        with pytest.raises(InputError, match="does not bring images to this size"):
            predictor.predict(Image.fromarray(photos["cat"]).resize(refused[::-1]))
    assert verify(folder, tmp_path / "m.onnx").parity.max_abs < 1e-3
