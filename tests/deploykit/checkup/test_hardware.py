"""Accelerators of made-up machines, as the kernel lists them."""

from __future__ import annotations

from pathlib import Path

import pytest

from deploykit.checkup.hardware import accelerators

PLACES = {
    "nvidia-gpu": ("bus/pci/devices/0000:01:00.0/vendor", "0x10de"),
    "intel-gpu": ("class/drm/card0/device/vendor", "0x8086"),
    "intel-npu": ("class/accel/accel0/device/vendor", "0x8086"),
}


@pytest.mark.parametrize("name", PLACES)
def test_a_device_is_known_by_its_vendor(tmp_path: Path, name: str) -> None:
    place, vendor = PLACES[name]
    file = tmp_path / place
    file.parent.mkdir(parents=True)
    file.write_text(f"{vendor}\n")
    assert accelerators(tmp_path) == (name,)
    file.write_text("0x1234\n")
    assert accelerators(tmp_path) == ()


def test_a_machine_without_sysfs_has_none(tmp_path: Path) -> None:
    (tmp_path / "bus/pci/devices/a/vendor").mkdir(parents=True)
    assert accelerators(tmp_path) == ()
