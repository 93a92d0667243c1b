"""Accuracy and speed of float32, float16 and INT8 files of trained models, on every engine of this machine.

    python benchmarks/precision/accuracy.py [--only detect,vit] [--markdown] [--json record.json]
                                            [--plot front.png] [--run build/deploykit-run] [--seconds 2]
                                            [--files float32,NNCF]

Models: those of tests/fixtures/trained on the data of tests/fixtures/small_data.py. Each is exported, and
quantised by `deploykit quantize`; beside it ONNX Runtime's ``quantize_static`` with its defaults and, where
installed, NNCF with its defaults, and of YOLOs Ultralytics' own INT8 export, which is for OpenVINO and is
measured by Ultralytics' own ``val``. Accuracy is that of `deploykit eval`, on pictures that did not
calibrate; times are medians of calls in turns with float32 on the same engine, with the quartiles of the
ratio. With ``--run`` the C++ runtime answers the same pictures, and is compared with Python.

INT8 accuracy holds for both classes of CPU: weights lie within [-64, 64], so that no sum saturates.
Needs `pip install -e '.[dev]'`; `pip install nncf` for its rows and Ultralytics'.
"""

from __future__ import annotations

import argparse
import json
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from deploykit_runtimes.engine_options import EngineOptions
from deploykit_runtimes.errors import DeploykitError
from deploykit_runtimes.machine.cpu import cpu_class

import deploykit
from deploykit.benchmark.environment import read_environment
from deploykit.benchmark.timing import sample, summarise, warm_up
from deploykit.quantization.int8.measuring.speed import Speed, Turns

ROOT = Path(__file__).parents[2]
FIXTURES = ROOT / "tests" / "fixtures"
sys.path.insert(0, str(FIXTURES))

RUNTIMES = ("ort-cpu", "ov-cpu")
DIGITS = [str(number) for number in range(10)]
_ULTRALYTICS = "Ultralytics INT8"
COMPARED = 40
"""Pictures that the C++ runtime answers."""


@dataclass(frozen=True, kw_only=True)
class Row:
    """One file on one engine."""

    model: str
    file: str
    engine: str
    metric: str
    accuracy: float
    ms: float
    ratio: float
    low: float
    high: float
    nbytes: int


@dataclass(frozen=True, kw_only=True)
class Subject:
    """A trained model and its data."""

    name: str
    checkpoint: Path
    data: Path
    metric: str
    options: dict[str, Any]


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--only", default="", help="models, joined by commas")
    parser.add_argument("--seconds", type=float, default=2.0, help="for each timing")
    parser.add_argument("--budget", default="1%")
    parser.add_argument("--run", type=Path, help="the program deploykit-run")
    parser.add_argument("--files", default="", help="beginnings of the files' names, joined by commas")
    parser.add_argument("--json", type=Path)
    parser.add_argument("--plot", type=Path)
    parser.add_argument("--markdown", action="store_true")
    asked = parser.parse_args()
    rows: list[Row] = []
    notes: list[str] = []
    with tempfile.TemporaryDirectory() as folder:
        wanted = [name for name in asked.only.split(",") if name] or list(SUBJECTS)
        for name in wanted:
            subject = SUBJECTS[name](Path(folder))
            if subject is None:
                notes.append(f"{name}: its weights are not there")
                continue
            for row in measured(subject, Path(folder) / f"{name}-files", asked, notes):
                rows.append(row)
                sys.stderr.write(f"{line(row)}\n")
    for each in table(rows) if asked.markdown else map(line, rows):
        print(each)
    environment = read_environment()
    print(f"\n{environment.cpu.model} ({cpu_class()}), {environment.cpu.usable} cores")
    print(*notes, sep="\n")
    if asked.json:
        record = {"rows": [asdict(row) for row in rows], "notes": notes, "cpu_class": cpu_class()}
        asked.json.write_text(json.dumps({**record, "environment": environment.to_dict()}, indent=1))
    if asked.plot:
        plot(rows, asked.plot)


def trained(task: str, checkpoint: str, metric: str, **options: Any) -> Callable[[Path], Subject | None]:
    def make(folder: Path) -> Subject | None:
        import small_data

        path = FIXTURES / "trained" / checkpoint
        if not path.exists():
            return None
        if metric == "top1":
            data = (
                small_data.write_digits(folder / "digits")
                if not (folder / "digits").exists()
                else folder / "digits"
            )
        else:
            data = small_data.write_scenes(folder / task, task, sizes={"train": 64, "val": 128})
        return Subject(name=task, checkpoint=path, data=data, metric=metric, options=options)

    return make


def lite0(folder: Path) -> Subject | None:
    """EfficientNet-Lite0 with a head for the digits."""
    import make_trained
    import small_data

    if not (FIXTURES / "trained" / "efficientnet_digits.pth").exists():
        return None
    data = folder / "digits"
    if not data.exists():
        small_data.write_digits(data)
    checkpoint = make_trained.write_lite0(folder / "lite0.pth")
    return Subject(
        name="efficientnet", checkpoint=checkpoint, data=data, metric="top1", options={"labels": DIGITS}
    )


SUBJECTS: dict[str, Callable[[Path], Subject | None]] = {
    "vit": trained("vit", "vit.pth.tar", "top1", labels=DIGITS, dynamic="batch"),
    "crossformer": trained("crossformer", "crossformer.pth", "top1", labels=DIGITS),
    "efficientnet": lite0,
    "detect": trained("detect", "detect.pt", "map"),
    "segment": trained("segment", "segment.pt", "map"),
    "pose": trained("pose", "pose.pt", "map"),
    "obb": trained("obb", "obb.pt", "map"),
}


def measured(subject: Subject, folder: Path, asked: Any, notes: list[str]) -> Iterator[Row]:
    """All files of a model on all engines."""
    folder.mkdir()
    float32 = deploykit.export(subject.checkpoint, output=folder / "float32.onnx", **subject.options).path
    files = {"float32": float32}
    makers: dict[str, Callable[..., object]] = {
        "deploykit fp16": partial(deploykit.quantize, float32, fp16=True, calib=pictures(subject)),
        **{
            f"deploykit int8{f' for {engine}' if engine != 'any' else ''}": partial(
                deploykit.quantize,
                float32,
                int8=True,
                calib=subject.data,
                budget=asked.budget,
                slower=True,
                target=engine,
            )
            for engine in ("any", "ort-cpu", "ov")
        },
        "quantize_static": partial(naive, float32, subject),
        "NNCF": partial(nncf, float32, subject),
    }
    chosen = tuple(name for name in asked.files.split(",") if name) or ("",)
    for name, make in makers.items():
        if not name.startswith(chosen):
            continue
        target = folder / f"{name.replace(' ', '-')}.onnx"
        try:
            make(output=target)
        except (DeploykitError, ImportError) as error:
            notes.append(f"{subject.name}, {name}: {error}")
        else:
            files[name] = target
    for name, file in files.items():
        for runtime in RUNTIMES:
            try:
                yield of(subject, name, file, float32, runtime, asked.seconds)
            except DeploykitError as error:
                notes.append(f"{subject.name}, {name} on {runtime}: {error.problem}")
        if asked.run and not name.startswith(("quantize_static", "NNCF")):
            notes.append(f"{subject.name}, {name}: {cpp(asked.run, file, subject)}")
    if subject.metric == "map" and _ULTRALYTICS.startswith(chosen):
        try:
            yield ultralytics(subject, folder / "ultralytics", float32, asked.seconds)
        except ImportError as error:
            notes.append(f"{subject.name}, {_ULTRALYTICS}: {error}")


def of(subject: Subject, name: str, file: Path, float32: Path, runtime: str, seconds: float) -> Row:
    report = deploykit.evaluate(file, subject.data, runtimes=runtime, fresh=True).models[0]
    spec = deploykit.load(float32).spec
    shape = (1, spec.input.channels, spec.input.height, spec.input.width)
    feeds = {spec.input.name: np.random.default_rng(0).random(shape, np.float32)}
    speed: Speed = Turns(float32, runtime, EngineOptions(), feeds, seconds=seconds)(file)
    return Row(
        model=subject.name,
        file=name,
        engine=runtime,
        metric=subject.metric,
        accuracy=report.top1 if subject.metric == "top1" else report.map,
        ms=speed.ms,
        ratio=speed.ratio,
        low=speed.low,
        high=speed.high,
        nbytes=file.stat().st_size,
    )


def pictures(subject: Subject) -> Path:
    """Pictures of the training split: a data.yaml, or a folder of them."""
    if subject.metric == "map":
        return subject.data
    folder = subject.data.parent / f"{subject.data.name}-flat"
    if not folder.exists():
        folder.mkdir()
        for number, path in enumerate(sorted((subject.data / "train").rglob("*.png"))[::11]):
            (folder / f"{number}.png").write_bytes(path.read_bytes())
    return folder


def calibration(float32: Path, subject: Subject) -> list[dict[str, np.ndarray]]:
    data = subject.data.parent if subject.data.suffix else subject.data
    files = sorted(path for path in data.rglob("*.png") if "train" in path.parts)
    files += sorted(path for path in data.rglob("*.jpg") if "train" in path.parts)
    with deploykit.load(float32) as predictor:
        return [dict(predictor.prepare(path).feeds) for path in files[:: max(len(files) // 64, 1)][:64]]


def naive(float32: Path, subject: Subject, *, output: Path) -> None:
    """ONNX Runtime's quantiser with its defaults."""
    from onnxruntime.quantization import CalibrationDataReader, quantize_static

    feeds = iter(calibration(float32, subject))

    class Reader(CalibrationDataReader):  # type: ignore[misc]
        def get_next(self) -> dict[str, np.ndarray] | None:
            return next(feeds, None)

    quantize_static(float32, output, Reader())
    keep_metadata(float32, output)


def nncf(float32: Path, subject: Subject, *, output: Path) -> None:
    """NNCF with its defaults, on the ONNX file."""
    import nncf as library
    import onnx

    model = onnx.load(float32)
    found = library.quantize(model, library.Dataset(calibration(float32, subject)))
    onnx.save(found, output)
    keep_metadata(float32, output)


def ultralytics(subject: Subject, folder: Path, float32: Path, seconds: float) -> Row:
    """Ultralytics' INT8 export (NNCF, for OpenVINO), and what its own validation finds of it.

    Times are of OpenVINO's own calls without Ultralytics around them, in turns with the float32 file.
    """
    import nncf  # noqa: F401 - else Ultralytics would ask pip for it
    import openvino
    from ultralytics import YOLO

    folder.mkdir()
    checkpoint = folder / subject.checkpoint.name
    shutil.copy(subject.checkpoint, checkpoint)
    spec = deploykit.load(float32).spec
    side = spec.input.height
    made = Path(YOLO(checkpoint).export(format="openvino", int8=True, data=str(subject.data), imgsz=side))
    found = YOLO(made).val(
        data=str(subject.data), imgsz=side, split="val", batch=1, plots=False, verbose=False
    )
    part = {"segment": "seg", "pose": "pose"}.get(subject.name, "box")
    core = openvino.Core()
    settings = {"PERFORMANCE_HINT": "LATENCY", "INFERENCE_PRECISION_HINT": "f32"}
    files = {"float32": float32, "candidate": next(made.glob("*.xml"))}
    feed = np.random.default_rng(0).random((1, 3, side, side), np.float32)
    calls: dict[str, Callable[[], object]] = {}
    for name, file in files.items():
        request = core.compile_model(str(file), "CPU", settings).create_infer_request()
        calls[name] = lambda request=request: request.infer([feed])  # type: ignore[misc]
        warm_up(calls[name], max_seconds=seconds)
    times = sample(calls, seconds=seconds)
    ratios = [a / b for a, b in zip(times["float32"], times["candidate"], strict=True)]
    low, ratio, high = np.quantile(ratios, (0.25, 0.5, 0.75))
    return Row(
        model=subject.name,
        file=_ULTRALYTICS,
        engine="ov-cpu",
        metric=subject.metric,
        accuracy=float(getattr(found, part).map),
        ms=summarise(times["candidate"]).median * 1e3,
        ratio=float(ratio),
        low=float(low),
        high=float(high),
        nbytes=sum(path.stat().st_size for path in made.glob("*.bin")),
    )


def keep_metadata(float32: Path, target: Path) -> None:
    import onnx

    model, source = onnx.load(target), onnx.load(float32)
    del model.metadata_props[:]
    model.metadata_props.extend(
        entry for entry in source.metadata_props if not entry.key.startswith("deploykit.golden.")
    )
    onnx.save(model, target)


def cpp(program: Path, file: Path, subject: Subject) -> str:
    """How many of its answers are those of Python."""
    root = subject.data.parent if subject.data.suffix else subject.data
    found = sorted(path for kind in ("*.png", "*.jpg") for path in root.rglob(kind) if "val" in path.parts)
    chosen = [str(path) for path in found[:COMPARED]]
    told = subprocess.run([program, file, *chosen], check=True, capture_output=True, text=True)
    theirs = json.loads(told.stdout)
    theirs = theirs["results"] if isinstance(theirs, dict) else theirs
    with deploykit.load(file) as predictor:
        ours = [predictor.predict(Path(path).read_bytes()).to_dict() for path in chosen]
    same = sum(best(a) == best(b) for a, b in zip(theirs, ours, strict=True))
    return f"C++ answers {same} of {len(chosen)} pictures as Python"


def best(answer: dict[str, Any]) -> Any:
    if "top" in answer:
        return answer["top"][0]["class_id"]
    return sorted(each["class_id"] for each in answer.get("detections", []))


def line(row: Row) -> str:
    return (
        f"{row.model:13} {row.file:28} {row.engine:8} {row.metric} {row.accuracy:.4f}  {row.ms:7.2f} ms "
        f"{row.ratio:5.2f}x ({row.low:.2f} to {row.high:.2f})  {row.nbytes / 1e6:.2f} MB"
    )


def table(rows: list[Row]) -> Iterator[str]:
    yield "| model | file | engine | accuracy | ms | times float32 | MB |"
    yield "| --- | --- | --- | --- | --- | --- | --- |"
    for row in rows:
        yield (
            f"| {row.model} | {row.file} | {row.engine} | {row.metric} {row.accuracy:.4f} | {row.ms:.2f} | "
            f"{row.ratio:.2f} ({row.low:.2f} to {row.high:.2f}) | {row.nbytes / 1e6:.2f} |"
        )


def plot(rows: list[Row], target: Path) -> None:
    """Accuracy against time, a panel for each model."""
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot

    names = list(dict.fromkeys(row.model for row in rows))
    figure, panels = pyplot.subplots(1, len(names), figsize=(4.2 * len(names), 3.8), squeeze=False)
    files = list(dict.fromkeys(row.file for row in rows))
    for panel, name in zip(panels[0], names, strict=True):
        for row in (each for each in rows if each.model == name):
            marker = "o" if row.engine == "ort-cpu" else "^"
            panel.scatter(
                row.ms, row.accuracy, marker=marker, color=f"C{files.index(row.file)}", label=row.file
            )
        panel.set_title(name)
        panel.set_xlabel("ms a call")
        panel.set_ylabel(next(row.metric for row in rows if row.model == name))
        panel.margins(0.15)
    handles, labels = panels[0][0].get_legend_handles_labels()
    unique = dict(zip(labels, handles, strict=True))
    figure.legend(unique.values(), unique.keys(), loc="lower center", ncols=len(unique), frameon=False)
    figure.suptitle("circles: ONNX Runtime, triangles: OpenVINO", fontsize=9)
    figure.tight_layout(rect=(0, 0.08, 1, 1))
    figure.savefig(target, dpi=110)


if __name__ == "__main__":
    main()
