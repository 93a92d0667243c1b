"""What the limit of memory costs an honest model: python benchmarks/memory_limit.py [MODEL] [--rounds 15]

Told first is the processor time of setting the limit and lifting it. Then a model is opened and run in fresh
processes in turns: without a limit, and with the one that ``deploykit`` sets for its own process
(RLIMIT_DATA). Shown are the medians of opening, of the first run, and of the runs behind it, for which
nothing is set any more. Without a model, a ViT-B/16 with random weights is exported.
"""

from __future__ import annotations

import argparse
import json
import statistics
import subprocess
import sys
import tempfile
from pathlib import Path

RUN = """
import json, sys, time
import numpy as np
from deploykit_runtimes import open_runner
from deploykit_runtimes.machine.memory_limit import limit_memory
if sys.argv[2] == "limited":
    limit_memory()
start = time.perf_counter()
with open_runner(sys.argv[1]) as runner:
    opened = time.perf_counter()
    feeds = {
        each.name: np.zeros([n if isinstance(n, int) else 1 for n in each.shape], each.dtype)
        for each in runner.inputs
    }
    runner.infer(feeds)
    first = time.perf_counter()
    for _ in range(5):
        runner.infer(feeds)
    rest = (time.perf_counter() - first) / 5
print(json.dumps({"open": opened - start, "first run": first - opened, "later runs": rest}))
"""
ALONE = """
import time
from deploykit_runtimes.machine.memory_limit import limit_memory, loading
limit_memory()
start = time.process_time()
for _ in range(2000):
    with loading(1 << 20):
        pass
print((time.process_time() - start) / 2000 * 1e6)
"""
SIDES = ("unlimited", "limited")


def vit(folder: Path) -> Path:
    import timm
    import torch

    from deploykit.api import export

    path = folder / "vit.pth"
    name = "vit_base_patch16_224"
    torch.save({"arch": name, "state_dict": timm.create_model(name).state_dict()}, path)
    return export(path).path


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("model", type=Path, nargs="?")
    parser.add_argument("--rounds", type=int, default=15)
    arguments = parser.parse_args()
    alone = subprocess.run([sys.executable, "-c", ALONE], capture_output=True, text=True, check=True)
    print(f"setting and lifting the limit: {float(alone.stdout):.0f} us of processor time", flush=True)
    with tempfile.TemporaryDirectory() as folder:
        model = arguments.model or vit(Path(folder))
        taken: dict[str, list[dict[str, float]]] = {side: [] for side in SIDES}
        for turn in range(arguments.rounds):
            for side in SIDES if turn % 2 else SIDES[::-1]:
                command = [sys.executable, "-c", RUN, str(model), side]
                done = subprocess.run(command, capture_output=True, text=True, check=True)
                taken[side].append(json.loads(done.stdout.splitlines()[-1]))
        print(f"{model.name}, {model.stat().st_size >> 20} MB, {arguments.rounds} rounds")
        for what in taken["limited"][0]:
            without, limited = (statistics.median(one[what] for one in taken[side]) for side in SIDES)
            pairs = zip(*(taken[side] for side in SIDES), strict=True)
            ratio = statistics.median(ours[what] / bare[what] for bare, ours in pairs)
            print(f"  {what:10s} {1e3 * without:8.1f} ms, limited {1e3 * limited:8.1f} ms, ratio {ratio:.3f}")


if __name__ == "__main__":
    main()
