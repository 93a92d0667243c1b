"""Fixtures shared by the whole suite."""

from __future__ import annotations

import os
import sys
from collections import Counter
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pytest
from hypothesis import HealthCheck, settings

if TYPE_CHECKING:
    from torch import nn

os.environ.setdefault("YOLO_OFFLINE", "true")
os.environ.setdefault("YOLO_AUTOINSTALL", "false")
os.environ.setdefault("HF_HUB_OFFLINE", "1")
# One process per core runs the suite.
os.environ.setdefault("OMP_NUM_THREADS", "1")

# On a busy machine everything is slow: how fast examples are made and run decides nothing.
settings.register_profile("any-speed", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("any-speed")

TESTS = Path(__file__).parent
sys.path.insert(0, str(TESTS))  # of wrong_engines, which the tests of several floors import


# What takes a minute and more of one worker, the longest first: last, it would keep one worker
# busy while the others have ended.
_LONG = (
    "runtimes/cpp/",
    "exporters/test_self_contained.py",
    "exporters/test_engine_builds.py",
    "exporters/families/shared/timm_library/test_config_arguments.py",
    "deploykit/faults/",
    "test_quality.py",
    "exporters/test_forged.py",
    "exporters/test_engines_agree.py",
    "exporters/proof/",
    "exporters/families/vit/test_towers_settings.py",
)


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    places = [str(TESTS / name) for name in _LONG]

    def turn(item: pytest.Item) -> int:
        return next((n for n, place in enumerate(places) if str(item.path).startswith(place)), len(places))

    items.sort(key=turn)


def skipped_lines(reports: Iterable[pytest.TestReport]) -> list[str]:
    """Every reason for which tests were skipped, with their number; it says how to have them run."""
    reasons: Counter[str] = Counter()
    for report in reports:
        _, _, said = report.longrepr  # the file, the line and the reason
        reasons[said.removeprefix("Skipped: ")] += 1
    return [f"{number:6d}  {reason}" for reason, number in sorted(reasons.items(), key=lambda each: -each[1])]


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    lines = skipped_lines(terminalreporter.stats.get("skipped", ()))
    if lines:
        terminalreporter.section("skipped, and what has them run")
        terminalreporter.write_line("\n".join(lines))


@pytest.fixture(scope="session")
def golden() -> Path:
    """The folder of golden vectors, shared by pytest and ctest."""
    return TESTS / "golden"


@pytest.fixture(scope="session")
def fixtures() -> Path:
    """Small checkpoints written by real training code (see the scripts beside them)."""
    return TESTS / "fixtures"


@pytest.fixture(scope="session")
def photos() -> dict[str, np.ndarray]:
    """Real photos, uint8 RGB [H, W, 3], of different sizes and orientations."""
    import skimage.data
    from sklearn.datasets import load_sample_images

    china, flower = load_sample_images().images
    cat = skimage.data.chelsea()
    return {
        "cat": cat,
        "astronaut": skimage.data.astronaut(),
        "rocket": skimage.data.rocket(),
        "coffee": skimage.data.coffee(),
        "china": china,
        "flower_portrait": np.ascontiguousarray(flower.swapaxes(0, 1)),
        "cat_wide": np.ascontiguousarray(cat[100:160]),
        "cat_small": np.ascontiguousarray(cat[::7, ::7]),
    }


@pytest.fixture(scope="session")
def perturb() -> Callable[[nn.Module, int], nn.Module]:
    """Give a module weights with which a wrong key mapping cannot pass: every BatchNorm statistic,
    affine parameter and bias differs from its default and from its neighbours."""
    import torch

    def apply(module: nn.Module, seed: int = 0) -> nn.Module:
        generator = torch.Generator().manual_seed(seed)

        def noise(tensor: torch.Tensor) -> torch.Tensor:
            return torch.randn(tensor.shape, generator=generator)

        with torch.no_grad():
            for name, parameter in module.named_parameters():
                if parameter.ndim == 1:
                    scale = 0.1 if name.endswith("bias") else 0.2
                    parameter.add_(scale * noise(parameter))
            for name, buffer in module.named_buffers():
                if name.endswith("running_mean"):
                    buffer.add_(0.1 * noise(buffer))
                elif name.endswith("running_var"):
                    buffer.mul_(1 + 0.3 * noise(buffer).abs())
        return module.eval()

    return apply
