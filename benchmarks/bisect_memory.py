"""Peak memory of a bisection against that of the model itself: bisect_memory.py MODEL.onnx [CHECKPOINT]

A weight is changed in a copy of the model, and the layer is looked for between the two, as ``deploykit verify
--bisect`` does after it has exported the checkpoint anew. With the checkpoint, that export is measured too.
Each measurement is a process of its own; what its imports take is left out.
"""

from __future__ import annotations

import resource
import subprocess
import sys
import tempfile
from dataclasses import replace
from pathlib import Path

import numpy as np


def peak() -> int:
    """Bytes: the largest resident set of this process so far."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024


def run_whole(model: Path, runtime: str) -> None:
    """Open a model and run it once."""
    from deploykit_exporters.bisect.inputs import cases_of
    from deploykit_exporters.bisect.search import Search  # noqa: F401 - the imports of both are the same
    from deploykit_runtimes.open import open_runner

    before = peak()
    with open_runner(model, runtime=runtime, exact=True) as runner:
        _, feeds = next(cases_of(runner.spec, ()))
        runner.infer(feeds)
    print(peak() - before)


def run_search(model: Path, wrong: Path, runtime: str) -> None:
    """Look for the layer in which two files differ."""
    from deploykit_exporters.bisect.inputs import cases_of
    from deploykit_exporters.bisect.search import Search
    from deploykit_exporters.bisect.sides import UNOPTIMISED, Side, opener_of
    from deploykit_exporters.bisect.stored import Stored
    from deploykit_runtimes.engine_options import EngineOptions
    from deploykit_runtimes.onnx.file import read_onnx

    before = peak()
    engine = EngineOptions()
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        spec = replace(read_onnx(model).spec(), golden={})
        _, feeds = next(cases_of(spec, ()))
        sides = [
            Side(
                title=title,
                graph=Stored(file, folder / title, spec),
                opener=opener_of(title, engine, folder),
                feeds=feeds,
            )
            for title, file in ((UNOPTIMISED, model), (runtime, wrong))
        ]
        search = Search(sides[0], sides[1], 1e-4)
        layer = search.first()
    assert layer is not None
    print(peak() - before, layer.name, search.compared)


def run_export(model: Path, checkpoint: str) -> None:
    """Export the checkpoint as the model was, before anything is compared."""
    import onnxruntime  # noqa: F401 - imports are not measured
    import onnxsim  # noqa: F401
    import timm  # noqa: F401
    from deploykit_exporters.bisect.anew import export_like
    from deploykit_exporters.options import ExportOptions
    from deploykit_runtimes.onnx.file import read_onnx

    before = peak()
    with tempfile.TemporaryDirectory() as name:
        export_like(checkpoint, read_onnx(model).spec(), ExportOptions(), Path(name) / "anew.onnx")
    print(peak() - before)


def plant(model: Path, wrong: Path) -> None:
    """Change one weight in the middle of a model."""
    import onnx
    from onnx import numpy_helper

    found = onnx.load(model)
    weights = {tensor.name: tensor for tensor in found.graph.initializer}
    read = [
        name for node in found.graph.node if node.op_type in ("Conv", "Gemm", "MatMul") for name in node.input
    ]
    tensors = [weights[name] for name in read if name in weights and len(weights[name].dims) > 1]
    tensor = tensors[len(tensors) // 2]
    values = numpy_helper.to_array(tensor).copy()
    values.flat[np.abs(values).argmax()] *= -30  # of random weights, less drowns
    tensor.CopyFrom(numpy_helper.from_array(values, tensor.name))
    onnx.save(found, wrong)


def main(model: Path, *checkpoint: str) -> None:
    """Print a line an engine, and one for the export."""
    with tempfile.TemporaryDirectory() as folder:
        wrong = Path(folder) / "wrong.onnx"
        subprocess.run([sys.executable, __file__, "plant", model, wrong], check=True)
        print(f"{model}: {model.stat().st_size / 1e6:.0f} MB")
        for runtime in ("ort-cpu", "ov-cpu"):
            whole = measured("whole", model, runtime)
            search = measured("search", model, wrong, runtime)
            share = int(search[0]) / int(whole[0])
            print(
                f"{runtime}: the model {int(whole[0]) / 1e6:.0f} MB, "
                f"the search {int(search[0]) / 1e6:.0f} MB ({share:.2f} times), "
                f"{search[1]} after {search[2]} cuts"
            )
    for source in checkpoint:
        print(f"exported anew from {source}: {int(measured('export', model, source)[0]) / 1e6:.0f} MB")


def measured(*arguments: object) -> list[str]:
    """What a process of its own prints."""
    command = [sys.executable, __file__, *map(str, arguments)]
    return subprocess.run(command, check=True, capture_output=True, text=True).stdout.split()


if __name__ == "__main__":
    match sys.argv[1:]:
        case ["whole", file, name]:
            run_whole(Path(file), name)
        case ["search", file, other, name]:
            run_search(Path(file), Path(other), name)
        case ["plant", file, other]:
            plant(Path(file), Path(other))
        case ["export", file, source]:
            run_export(Path(file), source)
        case [file, *sources]:
            main(Path(file), *sources)
