"""Try an engine for real: ``python -m deploykit.checkup.probe NAME`` runs a tiny model on it.

It is a process of its own, because an engine whose libraries do not fit can end the process.
"""

from __future__ import annotations

import json
import subprocess
import sys
from contextlib import suppress
from dataclasses import dataclass

import numpy as np
from deploykit_runtimes.machine.scratch import scratch_folder

from deploykit.checkup.tiny import INPUT_SHAPE, tiny_model
from deploykit.process.children import run_child

__all__ = ["Probe", "probe"]

_SECONDS = 60


@dataclass(frozen=True, kw_only=True)
class Probe:
    """Whether an engine ran, and its version and device, or what stopped it.

    Attributes:
        devices: The devices that the engine lists, if it lists any.
    """

    ok: bool
    detail: str
    devices: tuple[str, ...] = ()


def probe(name: str) -> Probe:
    """Run the tiny model on an engine in a process of its own."""
    try:
        done = run_child("deploykit.checkup.probe", name, seconds=_SECONDS)
    except subprocess.TimeoutExpired:
        return Probe(ok=False, detail=f"did not answer within {_SECONDS} s")
    return read_answer(done.returncode, done.stdout, done.stderr)


def read_answer(code: int, stdout: str, stderr: str) -> Probe:
    """Read the answer from the last line of stdout; engines may print anything before it."""
    lines = stdout.strip().splitlines()
    if code == 0 and lines:
        # A line that is not ours is reported below.
        with suppress(json.JSONDecodeError, KeyError, TypeError, AttributeError):
            answer = json.loads(lines[-1])
            devices = tuple(str(device) for device in answer.get("devices", ()))
            return Probe(ok=bool(answer["ok"]), detail=str(answer["detail"]), devices=devices)
    reason = f"was ended by signal {-code}" if code < 0 else f"ended with exit code {code}"
    last = stderr.strip().splitlines()[-1:] or ["no message"]
    return Probe(ok=False, detail=f"the test process {reason}: {last[0][:200]}")


def _run(name: str) -> dict[str, object]:
    """Run the tiny model here, check its answer, and name what ran."""
    from deploykit_runtimes.open import open_runner

    images = np.random.default_rng(0).random(INPUT_SHAPE, dtype=np.float32)
    with scratch_folder() as folder:
        path = folder / "tiny.onnx"
        path.write_bytes(tiny_model())
        with open_runner(path, runtime=name, threads=1) as runner:
            found = runner.infer({"images": images})["logits"]
            placement = runner.placement()
    detail = f"{placement.engine} {placement.version} on {placement.device}"
    if not np.allclose(found, images.mean((2, 3)), atol=1e-3):
        raise ValueError(f"{detail} gave a wrong answer on a tiny model")
    return {"ok": True, "detail": detail, "devices": _openvino_devices() if name.startswith("ov-") else []}


def _openvino_devices() -> list[str]:
    from deploykit_runtimes.ov import load_openvino

    openvino = load_openvino()
    core = openvino.Core()
    return [f"{name} {core.get_property(name, 'FULL_DEVICE_NAME')}" for name in core.available_devices]


def _main(name: str) -> None:
    try:
        answer = _run(name)
    except Exception as error:  # noqa: BLE001 - whatever stops an engine is the answer
        answer = {"ok": False, "detail": " ".join(str(error).split("\n  ")[0].split())[:400]}
    sys.stdout.write("\n" + json.dumps(answer) + "\n")


if __name__ == "__main__":
    _main(sys.argv[1])
