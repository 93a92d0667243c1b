"""``deploykit selftest``: the golden cases of a model file on engines of this machine."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click
from deploykit_runtimes.errors import DeploykitError, ParityError

from deploykit.commands.shared.completing import runtimes
from deploykit.commands.shared.line import Command
from deploykit.commands.shared.options import common, engine_options, existing_file, existing_path
from deploykit.progress import Progress
from deploykit.terminal import bad, columns, dim, echo, echo_json, good, pairs, paragraph, strong

if TYPE_CHECKING:
    from deploykit_runtimes.selftest.compare import Difference
    from deploykit_runtimes.selftest.run import CaseResult, SelfTest

__all__ = ["command"]


@click.command(
    "selftest",
    cls=Command,
    examples=(
        "deploykit selftest best.onnx --runtime ort-cpu --runtime ov-cpu --json",
        "deploykit selftest best.onnx --url http://localhost:8000 --compute fp16",
    ),
)
@click.argument("model", type=existing_path)
@click.option(
    "--runtime",
    "names",
    multiple=True,
    metavar="NAME",
    shell_complete=runtimes,
    help="Engine and device to test, as in predict; may be given several times. Default: ort-cpu.",
)
@click.option(
    "--device", metavar="DEVICE", help="Device, named as in torch: cpu, cuda, cuda:1, 0 (a GPU), npu, ..."
)
@click.option(
    "--url",
    metavar="URL",
    help="Test a server that runs MODEL instead (Triton, KServe, deploykit serve): http://HOST:PORT, "
    "followed by /v2/models/NAME if the server does not call it by the name of the file.",
)
@click.option(
    "--compute",
    metavar="fp32|tf32|fp16|bf16|int8",
    help="With --url: precision in which the server computes. Default: what deploykit serve reports; "
    "fp32 for others.",
)
@click.option(
    "--api-key-file",
    type=existing_file,
    metavar="FILE",
    help="With --url: file with the server's key on its first line.",
)
@engine_options()
@common
def command(
    *,
    model: Path,
    names: tuple[str, ...],
    device: str | None,
    url: str | None,
    compute: str | None,
    api_key_file: Path | None,
    json_output: bool,
    **settings: Any,
) -> int:
    """Run the golden cases that MODEL carries, and compare the answers with the checkpoint's.

    MODEL is an .onnx file, an engine, or a folder that `build` wrote. The exit code is 3 when a case fails:
    the engine is wrong, or the file damaged. Tolerances are those of the precision that the engine computes
    in, measured at export.

    With --url the answers are those of a server, by the Open Inference Protocol.
    """
    from deploykit.operations import selftest
    from deploykit.serve.options import read_keys

    asked = tuple(name for text in names for name in text.split(",") if name) or (None,)
    if device is not None and len(asked) > 1:
        raise click.UsageError("--device names one engine: give either it or several --runtime.")
    if url is not None:
        key = read_keys(api_key_file)[0] if api_key_file else ""
        settings |= {"url": url, "compute": compute, "key": key}
    elif compute is not None or api_key_file is not None:
        raise click.UsageError("--compute and --api-key-file are for a server: give its --url too.")
    tested: list[SelfTest] = []
    problems: list[DeploykitError] = []
    with Progress() as report:
        for name in asked:
            try:
                tested.append(selftest(model, runtime=name, device=device, report=report, **settings))
            except DeploykitError as error:
                if len(asked) == 1:
                    raise
                problems.append(error)
    if json_output:
        failed = [{"problem": error.problem, "hint": error.hint} for error in problems]
        echo_json({"model": str(model), "tests": [each.to_dict() for each in tested], "not_run": failed})
    else:
        for each in tested:
            echo(*_lines(each))
        for problem in problems:
            echo(bad(problem.problem), *paragraph(problem.hint, indent=2))
    if not all(each.ok for each in tested):
        return ParityError.exit_code
    return problems[0].exit_code if problems else 0


def _lines(tested: SelfTest) -> list[str]:
    from deploykit_runtimes.selftest.run import ADVICE

    where = tested.placement
    rows = [row for case in tested.cases for row in _rows(case)]
    header = ("case", "output", "difference", "allowed", "agree", "")
    lines = [
        strong(where.title),
        *pairs(
            [
                ("precision", where.precision),
                ("rewrites", ", ".join(where.rewrites)),
                ("judged by", f"the tolerances for {tested.precision}"),
            ]
        ),
        *columns(header, rows, left=2),
        "",
        good(str(tested)) if tested.ok else bad(str(tested)),
    ]
    return lines if tested.ok else [*lines, *paragraph(ADVICE, indent=2)]


def _rows(case: CaseResult) -> list[Sequence[str]]:
    if case.skipped or case.error:
        return [(case.title, case.error or dim(f"left out: {case.skipped}"), "", "", "", "")]
    return [_row(case, each) for each in case.outputs]


def _row(case: CaseResult, found: Difference) -> Sequence[str]:
    agree = f"{found.agreed}/{found.answers}" if found.answers else ""
    verdict = "ok" if found.ok else "wrong"
    return (case.title, found.output, f"{found.found:.1e}", f"{found.allowed:.1e}", agree, verdict)
