"""``deploykit doctor``: what runs here, and the line that would fix what does not."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import click
from deploykit_runtimes.errors import ParityError

from deploykit.checkup.options import DoctorOptions
from deploykit.commands.shared.declared import click_options
from deploykit.commands.shared.line import Command
from deploykit.commands.shared.options import common, existing_path
from deploykit.progress import Progress
from deploykit.terminal import bad, dim, echo, echo_json, good, pairs, paragraph, size, strong

if TYPE_CHECKING:
    from deploykit.checkup.diagnosis import Diagnosis, Finding
    from deploykit.checkup.machine import Machine

__all__ = ["command"]


@click.command(
    "doctor",
    cls=Command,
    examples=(
        "deploykit doctor",
        "deploykit doctor best.onnx --runtime ort-cuda",
    ),
)
@click.argument("model", type=existing_path, required=False)
@click_options(DoctorOptions)
@common
def command(model: Path | None, runtime: str | None, device: str | None, json_output: bool) -> int:
    """Try each engine on a tiny model, and name the one line that would fix each that cannot run.

    With MODEL, its golden cases are run on each engine that works here; the exit code is 3 when one fails.
    Otherwise it is 0 when an engine runs (with --runtime: that one) and no packages are in conflict, else 1.
    """
    from deploykit.operations import doctor

    with Progress() as report:
        found = doctor(model, runtime=runtime, device=device, report=report)
    if json_output:
        echo_json(found.to_dict())
    else:
        echo(*_lines(found))
    if not all(each.ok for each in found.tested):
        return ParityError.exit_code
    return 0 if found.ok else 1


def _lines(diagnosis: Diagnosis) -> list[str]:
    machine, wanted = diagnosis.machine, diagnosis.asked
    lines = [strong("machine"), *pairs(_rows(machine)), ""]
    for title, findings in (
        ("engines", diagnosis.engines),
        ("abilities", diagnosis.abilities),
        ("conflicts", diagnosis.conflicts),
        ("golden cases of the model", diagnosis.tested),
    ):
        if findings:
            lines += [strong(title), *_findings(findings), ""]
    verdict = (
        f"Models run here on {', '.join(diagnosis.ready)}." if diagnosis.ready else "No engine runs here."
    )
    if diagnosis.conflicts:
        verdict += " Fix the conflict first."
    lines.append(good(verdict) if diagnosis.ok else bad(verdict))
    if wanted and wanted not in diagnosis.ready:
        asked = diagnosis.engine(wanted)
        lines += [bad(f"{wanted} does not run here: {asked.detail}"), f"{dim('fix:')} {asked.fix}"]
    return lines


def _rows(machine: Machine) -> list[tuple[str, str | list[str]]]:
    cpu, linked = machine.cpu, machine.linked_libraries
    cores = f"{cpu.usable} of {cpu.cores} usable"
    if cpu.quota is not None:
        cores += f", limited to {cpu.quota:g} cores' worth of time"
    return [
        ("python", machine.python),
        ("system", machine.system),
        ("processor", cpu.model),
        ("cores", cores),
        ("instructions", " ".join(cpu.flags)),
        ("memory limit", size(cpu.memory_limit) if cpu.memory_limit else ""),
        ("accelerators", "; ".join(machine.gpus or machine.accelerators)),
        ("driver", f"NVIDIA's, for CUDA up to {machine.driver_cuda}" if machine.driver_cuda else ""),
        ("libraries", [f"{name} provider links to {', '.join(libs)}" for name, libs in linked.items()]),
        ("packages", ", ".join(f"{name} {version}" for name, version in machine.packages.items())),
    ]


def _findings(findings: Sequence[Finding]) -> list[str]:
    width = max(len(finding.name) for finding in findings)
    lines = []
    for finding in findings:
        mark = good("ok ") if finding.ok else bad("no ")
        indent = 8 + width
        first, *more = paragraph(finding.detail, indent=indent)
        lines += [f"  {mark} {finding.name:<{width}}  {first[indent:]}", *more]
        if finding.fix:
            lines += paragraph(f"{dim('fix:')} {finding.fix}", indent=indent)
    return lines
