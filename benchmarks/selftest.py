"""What golden cases cost: bytes in the file, time at export, and time before a server is ready; the last two
with and without them in turns, each in a fresh process.

python benchmarks/selftest.py [--rounds 5] [--only efficientnet_b0]
"""

from __future__ import annotations

import argparse
import json
import statistics
import subprocess
import sys
import tempfile
from pathlib import Path

from witness import FILES

_OPEN = """
import json, sys, time
from pathlib import Path
from deploykit.serve.opening import open_model
from deploykit.serve.options import ServeOptions
start = time.perf_counter()
model = open_model("model", "1", Path(sys.argv[1]), ServeOptions(selftest=sys.argv[2] == "1"))
opened = time.perf_counter() - start
print(json.dumps({"open": opened, "test": model.tested.seconds if model.tested else 0.0}))
"""


def exported(checkpoint: Path, target: Path, *options: str) -> dict[str, float]:
    command = [sys.executable, "-m", "deploykit", "export", str(checkpoint), "--dynamic", "--json"]
    command += ["--no-witness", "-o", str(target), *options]
    done = subprocess.run(command, check=True, capture_output=True, text=True)
    found: dict[str, float] = json.loads(done.stdout)["seconds"]
    return found


def opened(model: Path, *, tested: bool) -> dict[str, float]:
    command = [sys.executable, "-c", _OPEN, str(model), str(int(tested))]
    found: dict[str, float] = json.loads(
        subprocess.run(command, check=True, capture_output=True, text=True).stdout
    )
    return found


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--only", choices=list(FILES))
    asked = parser.parse_args()
    print(
        "| model | golden cases, bytes | made in, s | ready without, s | ready with, s | the test alone, s |"
    )
    print("| --- | --- | --- | --- | --- | --- |")
    for name in [asked.only] if asked.only else FILES:
        with tempfile.TemporaryDirectory() as text:
            folder = Path(text)
            checkpoint = FILES[name](folder)
            exported(checkpoint, folder / "bare.onnx", "--no-golden")
            stages = exported(checkpoint, folder / "full.onnx")
            size = (folder / "full.onnx").stat().st_size - (folder / "bare.onnx").stat().st_size
            runs = [
                (opened(folder / "full.onnx", tested=False), opened(folder / "full.onnx", tested=True))
                for _ in range(asked.rounds)
            ]
            without, with_them, test = (
                statistics.median(values)
                for values in zip(
                    *((bare["open"], full["open"], full["test"]) for bare, full in runs), strict=True
                )
            )
            print(
                f"| {name} | {size:,} | {stages['golden cases']:.2f} | {without:.2f} | {with_them:.2f} "
                f"| {test:.2f} |",
                flush=True,
            )


if __name__ == "__main__":
    main()
