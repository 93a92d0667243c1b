"""From the facts of a machine to what runs, what does not, and the line that would fix it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import asdict, dataclass

from deploykit_runtimes.ort.plugins import PLUGINS
from deploykit_runtimes.runtimes import available_runtimes

from deploykit.checkup.engines import ONE_WHEEL, engine_findings
from deploykit.checkup.families import family_findings
from deploykit.checkup.finding import Finding
from deploykit.checkup.machine import SERVE_PACKAGES, Machine

__all__ = ["Diagnosis", "Finding", "diagnose"]

_PLUGIN_SINCE = (1, 23)
_KINDS = ("engines", "abilities", "conflicts", "tested")
_EXPORT_PACKAGES = ("torch", "timm", "onnx", "onnxscript", "onnxsim", "safetensors")


@dataclass(frozen=True, kw_only=True, repr=False)
class Diagnosis:
    """Engines that run models, abilities that need packages, and conflicts between packages.

    Attributes:
        machine: The machine that was examined.
        asked: The runtime that has to work, by its full name; empty: any.
        tested: The golden cases of a model on each engine that runs, if a model was given.
    """

    machine: Machine
    engines: tuple[Finding, ...]
    abilities: tuple[Finding, ...]
    conflicts: tuple[Finding, ...]
    asked: str = ""
    tested: tuple[Finding, ...] = ()

    def __repr__(self) -> str:
        """What runs, and the fix of each that does not, line by line."""
        found = (*self.engines, *self.abilities, *self.conflicts, *self.tested)
        lines = [f"{'ok' if each.ok else 'no'}  {each.name}: {each.detail}" for each in found]
        fixes = [f"\n    fix: {each.fix}" if each.fix else "" for each in found]
        return "\n".join(line + fix for line, fix in zip(lines, fixes, strict=True))

    @property
    def ok(self) -> bool:
        """An engine runs (the requested one, if any), no packages conflict, and no engine fails a golden
        case of the given model.
        """
        runs = self.asked in self.ready if self.asked else bool(self.ready)
        return runs and not self.conflicts and all(each.ok for each in self.tested)

    @property
    def ready(self) -> tuple[str, ...]:
        """Names of the engines that run, as ``--runtime`` takes them."""
        return tuple(
            engine.name for engine in self.engines if engine.ok and engine.name in available_runtimes()
        )

    def engine(self, name: str) -> Finding:
        """The finding for a runtime, by its full name."""
        return next(found for found in self.engines if found.name == name)

    def to_dict(self) -> dict[str, object]:
        """Plain values for JSON."""
        asked = {"runtime": asdict(self.engine(self.asked))} if self.asked else {}
        found = {name: [asdict(each) for each in getattr(self, name)] for name in _KINDS}
        return {"machine": self.machine.to_dict(), **asked, "ok": self.ok, "ready": self.ready, **found}


def diagnose(machine: Machine, *, asked: str = "") -> Diagnosis:
    """Diagnose a machine. A pure function, so that made-up machines can be tested."""
    return Diagnosis(
        machine=machine,
        asked=asked,
        engines=engine_findings(machine),
        abilities=(
            _export(machine),
            _yolo(machine),
            *family_findings(machine.broken_families),
            _serve(machine),
        ),
        conflicts=tuple(found for check in _CONFLICTS if (found := check(machine)) is not None),
    )


def _export(machine: Machine) -> Finding:
    missing = [name for name in _EXPORT_PACKAGES if name not in machine.packages]
    if missing:
        detail, fix = f"missing {', '.join(missing)}", "pip install 'deploykit[export]'"
        return Finding(name="export", ok=False, detail=detail, fix=fix)
    if not machine.wheels:
        return Finding(
            name="export",
            ok=False,
            detail="the proof needs onnxruntime",
            fix="pip install 'deploykit[export,cpu]'",
        )
    return Finding(name="export", ok=True, detail=f"torch {machine.packages['torch']}")


def _yolo(machine: Machine) -> Finding:
    if "ultralytics" not in machine.packages:
        return Finding(
            name="export of YOLO",
            ok=False,
            detail="ultralytics is not installed (AGPL-3.0: check that its terms suit you)",
            fix="pip install 'deploykit[yolo]'",
        )
    detail = (
        f"ultralytics {machine.packages['ultralytics']} (AGPL-3.0: its terms apply to what you build with it)"
    )
    return Finding(name="export of YOLO", ok=True, detail=detail)


def _serve(machine: Machine) -> Finding:
    missing = [name for name in SERVE_PACKAGES if name not in machine.packages]
    if missing:
        detail, fix = f"missing {', '.join(missing)}", "pip install 'deploykit[serve]'"
        return Finding(name="serve", ok=False, detail=detail, fix=fix)
    return Finding(name="serve", ok=True, detail=f"grpcio {machine.packages['grpcio']}")


def _several_wheels(machine: Machine) -> Finding | None:
    if len(machine.wheels) < 2:
        return None
    keep = "'deploykit[gpu]'" if machine.nvidia_driver else "'deploykit[cpu]'"
    names = " and ".join(machine.wheels)
    return Finding(
        name="onnxruntime",
        ok=False,
        detail=f"{names} are {'both' if len(machine.wheels) == 2 else 'all'} installed; they overwrite each "
        "other's files",
        fix=ONE_WHEEL.format(" ".join(machine.wheels)) + keep,
    )


def _old_for_plugins(machine: Machine) -> Finding | None:
    plugins = [plugin.package for plugin in PLUGINS.values() if plugin.package in machine.packages]
    version = next((machine.packages[wheel] for wheel in machine.wheels), "")
    if not plugins or not version or _numbers(version) >= _PLUGIN_SINCE:
        return None
    return Finding(
        name="plug-ins",
        ok=False,
        detail=f"{', '.join(plugins)} need onnxruntime {'.'.join(map(str, _PLUGIN_SINCE))}, found {version}",
        fix=f"pip install --upgrade {machine.wheels[0]}",
    )


def _numbers(version: str) -> tuple[int, ...]:
    return tuple(int(part) for part in version.split(".")[:2] if part.isdecimal())


def _memory(machine: Machine) -> Finding | None:
    memory = machine.cpu.memory_limit
    if memory is None or memory >= 1 << 29:
        return None
    return Finding(
        name="memory",
        ok=False,
        detail=f"the container allows {memory >> 20} MB, models need more",
        fix="start the container with --memory 2g or more",
    )


_CONFLICTS: tuple[Callable[[Machine], Finding | None], ...] = (_several_wheels, _old_for_plugins, _memory)
