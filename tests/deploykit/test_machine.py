"""Facts read from made-up file trees."""

from __future__ import annotations

from pathlib import Path

import pytest
from deploykit_runtimes.machine.cpu import cpu_class

from deploykit.machine import installed, read_cpu

CPUINFO = """processor\t: 0
model name\t: Made-up 9000 @ 3.0GHz
cpu MHz\t\t: 2999.5
flags\t\t: fpu avx2 avx512f amx_tile unknown_flag

processor\t: 1
model name\t: Made-up 9000 @ 3.0GHz
"""


def tree(root: Path, files: dict[str, str]) -> Path:
    for name, text in files.items():
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    return root


def test_an_x86_machine(tmp_path: Path) -> None:
    files = {"proc/cpuinfo": CPUINFO, "proc/loadavg": "0.50 0.25 0.10 1/200 4242\n"}
    cpu = read_cpu(tree(tmp_path, files))
    assert cpu.model == "Made-up 9000 @ 3.0GHz"
    assert cpu.flags == ("avx2", "avx512f", "amx_tile")
    assert cpu.kind == cpu_class(tmp_path)
    assert cpu.mhz == pytest.approx(2999.5)
    assert cpu.load == (0.5, 0.25, 0.1)
    assert (cpu.quota, cpu.memory_limit, cpu.governor) == (None, None, "")


def test_frequency_and_governor_come_from_sysfs(tmp_path: Path) -> None:
    folder = "sys/devices/system/cpu/cpu0/cpufreq"
    cpu = read_cpu(
        tree(
            tmp_path, {f"{folder}/scaling_cur_freq": "2400000\n", f"{folder}/scaling_governor": "powersave\n"}
        )
    )
    assert (cpu.mhz, cpu.governor) == (2400.0, "powersave")


@pytest.mark.parametrize(
    ("files", "quota", "memory"),
    [
        ({"cpu.max": "150000 100000\n", "memory.max": "1073741824\n"}, 1.5, 1 << 30),
        ({"cpu.max": "max 100000\n", "memory.max": "max\n"}, None, None),
        ({"cpu/cpu.cfs_quota_us": "200000\n", "cpu/cpu.cfs_period_us": "100000\n"}, 2.0, None),
        ({"cpu/cpu.cfs_quota_us": "-1\n", "cpu/cpu.cfs_period_us": "100000\n"}, None, None),
        ({"memory/memory.limit_in_bytes": "9223372036854771712\n"}, None, None),
        ({"cpu.max": "garbage", "memory.max": ""}, None, None),
    ],
)
def test_container_limits(
    tmp_path: Path, files: dict[str, str], quota: float | None, memory: int | None
) -> None:
    root = tree(tmp_path, {f"sys/fs/cgroup/{name}": text for name, text in files.items()})
    cpu = read_cpu(root)
    assert (cpu.quota, cpu.memory_limit) == (quota, memory)


def test_a_machine_that_tells_nothing(tmp_path: Path) -> None:
    cpu = read_cpu(tmp_path)
    assert cpu.model
    assert cpu.usable >= 1
    assert cpu.load == ()


def test_installed_leaves_out_what_is_not() -> None:
    assert set(installed("click", "no-such-distribution-here")) == {"click"}
