"""`deploykit eval` against Ultralytics' val, pycocotools and a validation loop of timm, on the same data.

python benchmarks/evaluation.py [--only detect] [--json record.json]

The models are those of tests/fixtures/trained, the data is that of tests/fixtures/small_data.py. Each row is
one number by the origin's own code and by deploykit.
Needs `pip install -e '.[dev]' pycocotools`.
"""

from __future__ import annotations

import argparse
import contextlib
import io
import json
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass
from importlib.metadata import version
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parents[1]
FIXTURES = ROOT / "tests" / "fixtures"
sys.path.insert(0, str(FIXTURES))

SIDE = 160
PACKAGES = ("ultralytics", "faster-coco-eval", "pycocotools", "timm", "torch", "onnxruntime")
VAL_NAMES = ("precision", "recall", "map50", "map")


@dataclass(frozen=True, kw_only=True)
class Row:
    """One number, counted twice."""

    model: str
    by: str
    what: str
    theirs: float
    ours: float

    @property
    def difference(self) -> float:
        return abs(self.theirs - self.ours)


def data_of(task: str, folder: Path) -> Path:
    import small_data

    if task == "classify":
        return small_data.write_digits(folder / "digits")
    return small_data.write_scenes(folder / task, task, sizes={"train": 2, "val": 64})


def exported(checkpoint: Path, folder: Path, **options: Any) -> Path:
    import deploykit

    target = folder / f"{checkpoint.stem}.onnx"
    return deploykit.export(checkpoint, output=target, golden_cases=False, **options).path


def ultralytics(model: Path, data: Path, folder: Path, **options: Any) -> Any:
    """Its own validation, quietly."""
    from ultralytics import YOLO

    settings = {"device": "cpu", "workers": 0, "plots": False, "verbose": False, "imgsz": SIDE, **options}
    task = "classify" if "digits" in str(data) else data.parent.name
    with contextlib.redirect_stdout(io.StringIO()):
        return YOLO(model, task=task).val(data=str(data), project=str(folder / "runs"), **settings)


def boxes(task: str) -> Callable[[Path], Iterator[Row]]:
    """val of the checkpoint and of the model file, square and in rectangles, and COCO's own code."""

    def run(folder: Path) -> Iterator[Row]:
        import deploykit

        checkpoint, data = FIXTURES / "trained" / f"{task}.pt", data_of(task, folder)
        model = exported(checkpoint, folder, imgsz=SIDE)
        for name, path, rect in (
            (checkpoint.name, checkpoint, False),
            (f"{checkpoint.name}, rect", checkpoint, True),
            (model.name, model, False),
        ):
            theirs = ultralytics(path, data, folder, rect=rect)
            asked: dict[str, Any] = {"imgsz": SIDE, "rect": rect} if path == checkpoint else {}
            ours = deploykit.evaluate(path, data, **asked).models[0].scores
            parts = {"boxes": theirs.box, "masks": "seg", "keypoints": "pose"}
            for part, measured in parts.items():
                if part in ours:
                    found = getattr(theirs, measured) if isinstance(measured, str) else measured
                    for what, value in zip(VAL_NAMES, found.mean_results(), strict=True):
                        yield Row(
                            model=name,
                            by="Ultralytics val",
                            what=f"{part} {what}",
                            theirs=float(value),
                            ours=ours[part][what],
                        )
        if task != "obb":
            yield from coco(model, data.parent / "val.json", task)

    return run


def coco(model: Path, truth: Path, task: str) -> Iterator[Row]:
    """pycocotools on what `predict` answers, in the form of COCO's results."""
    import numpy as np
    from deploykit_runtimes.answers.masks import encode_rle
    from pycocotools import mask as masks
    from pycocotools.coco import COCO
    from pycocotools.cocoeval import COCOeval

    import deploykit

    ours = deploykit.evaluate(model, truth).models[0].scores["coco"]
    with contextlib.redirect_stdout(io.StringIO()):
        known = COCO(str(truth))
    numbers = {each["name"]: each["id"] for each in known.loadCats(known.getCatIds())}
    results = []
    report = deploykit.evaluate(model, truth, fresh=True)
    with deploykit.load(model) as predictor:
        from deploykit_runtimes.answers.decode import find, in_image

        from deploykit.evaluation.measure import Measure

        measure = Measure.of(predictor)
        for sample in report.runs[0].dataset.samples:
            prepared = predictor.prepare(str(sample.path), plan=measure.plan)
            outputs = predictor.runner.infer(prepared.feeds)
            found = find(outputs, predictor.spec, 0, prepared.geometry, measure.thresholds, every_class=True)
            answer = in_image(found, predictor.spec)
            for index, box in enumerate(answer.boxes.tolist()):
                entry: dict[str, Any] = {
                    "image_id": sample.number,
                    "category_id": numbers[answer.names[index]],
                    "bbox": [box[0], box[1], box[2] - box[0], box[3] - box[1]],
                    "score": float(answer.scores[index]),
                }
                if task == "segment":
                    plain = encode_rle(answer.masks[index])
                    entry["segmentation"] = masks.frPyObjects(plain, *plain["size"])
                if task == "pose":
                    entry["keypoints"] = answer.keypoints[index].ravel().tolist()
                results.append(entry)
    kinds = {"boxes": "bbox", "masks": "segm", "keypoints": "keypoints"}
    for part in ours:
        with contextlib.redirect_stdout(io.StringIO()):
            run = COCOeval(known, known.loadRes([dict(each) for each in results]), kinds[part])
            if part == "keypoints":
                run.params.kpt_oks_sigmas = np.full(4, 0.25)
            run.evaluate()
            run.accumulate()
            run.summarize()
        names = ("map", "map50", "map75")
        for place, what in enumerate(names):
            yield Row(
                model=model.name,
                by="pycocotools",
                what=f"{part} {what}",
                theirs=float(run.stats[place]),
                ours=ours[part][what],
            )


def classify(folder: Path) -> Iterator[Row]:
    import deploykit

    checkpoint, data = FIXTURES / "trained" / "classify.pt", data_of("classify", folder)
    model = exported(checkpoint, folder)
    for path in (checkpoint, model):
        theirs = ultralytics(path, data, folder, imgsz=32)
        ours = deploykit.evaluate(path, data).models[0].scores
        for what in ("top1", "top5"):
            yield Row(
                model=path.name,
                by="Ultralytics val",
                what=what,
                theirs=float(getattr(theirs, what)),
                ours=ours[what],
            )


def vit(folder: Path) -> Iterator[Row]:
    """timm's network, its transform and its count, as its validate.py has them."""
    import torch
    from timm.data import create_dataset, create_loader
    from timm.models.vision_transformer import VisionTransformer
    from timm.utils import AverageMeter, accuracy

    import deploykit

    checkpoint, data = FIXTURES / "trained" / "vit.pth.tar", data_of("classify", folder)
    saved = torch.load(checkpoint, weights_only=False)
    network = VisionTransformer(
        img_size=32, patch_size=4, embed_dim=64, depth=4, num_heads=1, mlp_ratio=3, num_classes=10
    )
    network.load_state_dict({name: value.float() for name, value in saved["state_dict"].items()})
    network.eval()
    dataset = create_dataset("", root=str(data / "val"), is_training=False)
    loader = create_loader(
        dataset,
        (3, 32, 32),
        64,
        interpolation="bicubic",
        mean=(0.5,) * 3,
        std=(0.5,) * 3,
        num_workers=0,
        crop_pct=1.0,
        use_prefetcher=False,
        device=torch.device("cpu"),
    )
    meters = AverageMeter(), AverageMeter()
    with torch.inference_mode():
        for images, target in loader:
            for meter, value in zip(meters, accuracy(network(images), target, topk=(1, 5)), strict=True):
                meter.update(value.item(), len(images))
    model = exported(checkpoint, folder, dynamic="batch", labels=[str(n) for n in range(10)])
    for path in (checkpoint, model):
        found = deploykit.evaluate(path, data, labels=[str(n) for n in range(10)]).models[0].scores
        for what, meter in zip(("top1", "top5"), meters, strict=True):
            theirs = meter.avg / 100
            yield Row(model=path.name, by="timm loop", what=what, theirs=theirs, ours=found[what])


TASKS: dict[str, Callable[[Path], Iterator[Row]]] = {
    "detect": boxes("detect"),
    "segment": boxes("segment"),
    "pose": boxes("pose"),
    "obb": boxes("obb"),
    "classify": classify,
    "vit": vit,
}


def processor() -> str:
    """Its name by lscpu, and how many are online."""
    said = subprocess.run(["lscpu"], check=True, capture_output=True, text=True, env={"LC_ALL": "C"}).stdout
    facts = dict(line.split(":", 1) for line in said.splitlines() if ":" in line)
    return f"{facts['Model name'].strip()}, {facts['CPU(s)'].strip()} CPUs"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--only", choices=TASKS, action="append", help="one part; may be repeated")
    parser.add_argument("--json", type=Path, help="write the record there")
    args = parser.parse_args()
    rows: list[Row] = []
    with tempfile.TemporaryDirectory() as name:
        print(
            "| model | by | number | theirs | deploykit | difference |\n| --- | --- | --- | --- | --- | --- |"
        )
        for task in args.only or TASKS:
            for row in TASKS[task](Path(name)):
                rows.append(row)
                values = f"{row.theirs:.5f} | {row.ours:.5f} | {row.difference:.5f}"
                print(f"| {row.model} | {row.by} | {row.what} | {values} |", flush=True)
    packages = {each: version(each) for each in PACKAGES}
    told = ", ".join(f"{package} {number}" for package, number in packages.items())
    print(f"\n{processor()}; {told}; largest difference {max(row.difference for row in rows):.5f}")
    if args.json:
        record = {"processor": processor(), "packages": packages, "rows": [asdict(row) for row in rows]}
        args.json.write_text(json.dumps(record, indent=1))


if __name__ == "__main__":
    main()
