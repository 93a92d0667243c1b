"""Whether repeating the gates of squeeze-and-excitation is faster on this processor.

    python benchmarks/gates.py [MODEL.onnx ...] [--threads 1,8] [--turns 12] [--openings 5]

``deploykit_runtimes.ort.gates`` rewrites EfficientNets at load on x86-64 with AVX2 and without AVX-512, where
it was measured. ONNX Runtime's blocks have 8 channels with AVX2 and 16 with AVX-512, so what a gate costs
differs between them. Run this on an idle machine (frequency governor ``performance``), once for each
kind of processor, before ``repeating_pays`` decides anew; the first line says which instruction sets the
processor has.

Without models, EfficientNet-B0 with random weights (the time does not depend on them). Each model runs
as it is in the file, with the gates of maps of up to ``gates.SMALL`` pixels repeated, as at load where a
call has several threads, and with all gates repeated, as at load where it has one. The three take turns
of eight calls, of which the first two warm up; the ratio is the median over the turns, each against the
file's own turn beside it, with its quartiles. Two sessions of one file differ by 1 % with where their
memory lies, so each is opened several times. A form is faster where the upper quartile is below 1. The
last line of each block says by how much the answers differ, as a share of the largest number.
"""

from __future__ import annotations

import argparse
import statistics
import tempfile
import time
from functools import partial
from pathlib import Path

import numpy as np
from deploykit_runtimes.engine_options import EngineOptions
from deploykit_runtimes.machine.cores import usable_cores
from deploykit_runtimes.ort.gates import SMALL, repeat_gates
from deploykit_runtimes.ort.options import session_settings
from onnxruntime import InferenceSession, SessionOptions

from deploykit.api import export
from deploykit.benchmark.environment import read_environment

CALLS, WARM_UP = 8, 2
PLAIN = "as in the file"
SETS = ("avx2", "avx_vnni", "avx512f", "avx512bw", "avx512_vnni", "amx_tile")


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument(
        "models", nargs="*", type=Path, help="exported by deploykit, with fixed height and width"
    )
    parser.add_argument("--threads", default="", help="default: 1 and all usable cores")
    parser.add_argument("--turns", type=int, default=12)
    parser.add_argument("--openings", type=int, default=5)
    given = parser.parse_args()
    threads = [int(n) for n in given.threads.split(",") if n] or sorted({1, usable_cores()})
    environment = read_environment()
    print(f"{environment.cpu.model}, {environment.cpu.usable} cores, {' '.join(instruction_sets())}")
    print(f"onnxruntime {environment.packages['onnxruntime']}")
    for text in environment.warnings():
        print(f"note: {text}")
    with tempfile.TemporaryDirectory() as folder:
        for path in given.models or [efficientnet_b0(Path(folder))]:
            for count in threads:
                report(path, count, given.turns, given.openings)


def instruction_sets() -> list[str]:
    """Those of the processor that matter here; empty where Linux does not tell."""
    try:
        text = Path("/proc/cpuinfo").read_text(encoding="utf-8")
    except OSError:
        return []
    flags = next((line.split() for line in text.splitlines() if line.startswith("flags")), [])
    return [name for name in SETS if name in flags]


def efficientnet_b0(folder: Path) -> Path:
    import timm
    import torch

    path = folder / "efficientnet_b0.pth"
    weights = timm.create_model("efficientnet_b0").state_dict()
    torch.save({"arch": "efficientnet_b0", "state_dict": weights}, path)
    return export(path).path


def report(path: Path, threads: int, turns: int, openings: int) -> None:
    """Measure one file with one number of threads, and print it."""
    original = path.read_bytes()
    forms: dict[str, bytes] = {PLAIN: original}
    for name, largest in ((f"maps up to {SMALL}", SMALL), ("all maps", None)):
        if (form := repeat_gates(original, largest=largest)) is not None:
            forms[name] = form
    print(f"\n{path.name}, {threads} thread{'s' if threads > 1 else ''}")
    if len(forms) == 1:
        print("  no gates whose maps' sizes the file tells")
        return
    samples: dict[str, list[float]] = {name: [] for name in forms}
    apart = dict.fromkeys(forms, 0.0)
    for _ in range(openings):
        sessions = {name: opened(form, threads) for name, form in forms.items()}
        feeds = feeds_of(sessions[PLAIN])
        answers = {name: session.run(None, feeds)[0] for name, session in sessions.items()}
        for name, answer in answers.items():
            gap = np.abs(answer - answers[PLAIN]).max() / np.abs(answers[PLAIN]).max()
            apart[name] = max(apart[name], float(gap))
        for _ in range(turns):
            for name, session in sessions.items():
                samples[name].append(turn(partial(session.run, None, feeds)))
    for name, times in samples.items():
        ratios = [a / b for a, b in zip(times, samples[PLAIN], strict=True)]
        low, middle, high = statistics.quantiles(ratios, n=4)
        spent = f"median {statistics.median(times):7.3f} ms  best {min(times):7.3f} ms"
        print(f"  {name:16} {spent}  {middle:.3f} ({low:.3f} - {high:.3f})")
    print(
        "  largest difference "
        + ", ".join(f"{name} {gap:.1e}" for name, gap in apart.items() if name != PLAIN)
    )


def opened(model: bytes, threads: int) -> InferenceSession:
    options = SessionOptions()
    session_settings(EngineOptions(threads=threads)).apply(options)
    return InferenceSession(model, options, providers=["CPUExecutionProvider"])


def feeds_of(session: InferenceSession) -> dict[str, np.ndarray]:
    """Noise of batch 1."""
    (image,) = session.get_inputs()
    shape = [size if isinstance(size, int) else 1 for size in image.shape]
    return {image.name: np.random.default_rng(0).standard_normal(shape, dtype=np.float32)}


def turn(call: partial[object]) -> float:
    """The median time of the calls of a turn, in ms."""
    times = []
    for _ in range(CALLS):
        start = time.perf_counter()
        call()
        times.append(1e3 * (time.perf_counter() - start))
    return statistics.median(times[WARM_UP:])


if __name__ == "__main__":
    main()
