"""A command as a process of its own, measured."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

# A process between this one and the one that is measured, which would begin with the memory of the suite.
# Seconds are those of the processor, whatever else runs beside it.
_MEASURE = """
import json, resource, subprocess, sys
done = subprocess.run(sys.argv[1:], capture_output=True)
used = resource.getrusage(resource.RUSAGE_CHILDREN)
seconds = used.ru_utime + used.ru_stime
print(json.dumps([done.returncode, used.ru_maxrss / 1024, seconds, done.stderr.decode()]))
"""


def measured(*command: str | Path) -> tuple[int, float, float, str]:
    """Exit code, peak memory in megabytes, seconds and what was said."""
    done = subprocess.run(
        [sys.executable, "-S", "-c", _MEASURE, *map(str, command)], capture_output=True, text=True, check=True
    )
    code, megabytes, seconds, said = json.loads(done.stdout)
    return code, megabytes, seconds, said
