"""Time of `import deploykit` over `import numpy`, and of `deploykit --help`, in fresh processes.

python benchmarks/import_time.py [--rounds 15]
"""

from __future__ import annotations

import argparse
import statistics
import subprocess
import sys
import time

SIDES = {
    "python": [sys.executable, "-c", "pass"],
    "import numpy": [sys.executable, "-c", "import numpy"],
    "import numpy, deploykit": [sys.executable, "-c", "import numpy, deploykit"],
    "deploykit --help": [sys.executable, "-m", "deploykit", "--help"],
}


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--rounds", type=int, default=15)
    rounds = parser.parse_args().rounds
    samples: dict[str, list[float]] = {name: [] for name in SIDES}
    for _ in range(rounds + 1):
        for name, command in SIDES.items():
            start = time.perf_counter()
            subprocess.run(command, check=True, stdout=subprocess.DEVNULL)
            samples[name].append(1e3 * (time.perf_counter() - start))
    for name, values in samples.items():
        print(f"{name:26} median {statistics.median(values[1:]):6.0f} ms")


if __name__ == "__main__":
    main()
