"""`deploykit record`, and `--golden` of `export` and `verify`."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest
import timm
import torch
from deploykit_exporters import record as module
from deploykit_runtimes.errors import CheckpointError

import deploykit
from deploykit.cli import main

Output = pytest.CaptureFixture[str]
SOURCE = Path(module.__file__).read_text(encoding="utf-8")


def recorded(checkpoint: Path, path: Path, **how: object) -> Path:
    """The answers of the tiny ViT that the checkpoint holds."""
    net = timm.create_model("vit_tiny_patch16_224", num_classes=3, img_size=32, depth=1)
    net.load_state_dict(torch.load(checkpoint, weights_only=True))
    return deploykit.record(net, path, size=32, **how)  # type: ignore[arg-type]


def test_print_gives_the_file_and_nothing_else(capsys: Output) -> None:
    assert main(["record", "--print"]) == 0
    assert capsys.readouterr().out == SOURCE
    assert main(["record", "--json"]) == 0
    assert json.loads(capsys.readouterr().out) == {"path": module.__file__, "source": SOURCE}


def test_without_an_option_it_says_how(capsys: Output) -> None:
    assert main(["record"]) == 0
    said = capsys.readouterr().out
    for part in ("deploykit.record(model, ", "deploykit record --print > record.py", "--golden golden.npz"):
        assert part in said


def test_inspect_says_what_the_file_is(checkpoint: Path, tmp_path: Path, capsys: Output) -> None:
    golden = recorded(checkpoint, tmp_path / "golden.npz", labels=["ant", "bee", "crow"])
    assert main(["inspect", str(golden)]) == 0
    shown = capsys.readouterr().out
    for part in ("golden answers of 5 images, format 1", "VisionTransformer", f"torch {torch.__version__}"):
        assert part in shown
    assert "picture 1x3x32x32: output [1, 3]" in shown
    assert main(["inspect", str(golden), "--json"]) == 0
    told = json.loads(capsys.readouterr().out)
    assert (told["kind"], told["inputs"], told["format"]) == ("golden", 5, 1)


def test_inspect_of_a_damaged_one_says_so(checkpoint: Path, tmp_path: Path, capsys: Output) -> None:
    golden = recorded(checkpoint, tmp_path / "golden.npz")
    golden.write_bytes(golden.read_bytes()[:-100])
    assert main(["inspect", str(golden)]) == 2
    assert "golden.npz is the beginning of an archive, but not a whole one" in capsys.readouterr().err


def test_golden_answers_are_no_checkpoint(checkpoint: Path, tmp_path: Path, capsys: Output) -> None:
    golden = recorded(checkpoint, tmp_path / "golden.npz")
    assert main(["export", str(golden)]) == 2
    said = capsys.readouterr().err
    assert "found golden answers that deploykit.record wrote" in said
    assert "--golden" in said
    with pytest.raises(CheckpointError, match="golden answers") as error:
        deploykit.inspect(golden)
    assert "deploykit inspect FILE" in str(error.value.hint)


def test_it_shows_what_a_file_holds(checkpoint: Path, tmp_path: Path, capsys: Output) -> None:
    golden = recorded(checkpoint, tmp_path / "golden.npz", labels=["ant", "bee", "crow"])
    assert main(["record", str(golden)]) == 0
    shown = capsys.readouterr().out
    for part in ("VisionTransformer", "3: ant, bee, crow", "picture 1x3x32x32: output [1, 3]", "sha256"):
        assert part in shown
    assert main(["record", str(golden), "--json"]) == 0
    told = json.loads(capsys.readouterr().out)
    assert told["labels"] == ["ant", "bee", "crow"]
    assert told["cases"][0] == {
        "name": "picture",
        "of": "recipe",
        "shape": [1, 3, 32, 32],
        "outputs": {"output": [1, 3]},
    }
    golden.write_text("nothing")
    assert main(["record", str(golden)]) == 2
    assert "not an .npz file" in capsys.readouterr().err


def test_printing_imports_no_torch() -> None:
    code = (
        "import sys\nfrom deploykit.cli import main\nmain(['record', '--print'])\n"
        "sys.exit('torch' in sys.modules or 'deploykit_exporters' in sys.modules)"
    )
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, check=False).returncode == 0


def test_recording_needs_none_of_the_packages_of_the_export(tmp_path: Path) -> None:
    code = (
        "import sys\n"
        "for name in ('onnx', 'timm', 'onnxsim', 'safetensors'): sys.modules[name] = None\n"
        "import deploykit, torch\n"
        "deploykit.record(torch.nn.Conv2d(3, 2, 3), 'golden.npz', size=8)\n"
        "sys.exit('deploykit_exporters' in sys.modules)"
    )
    subprocess.run([sys.executable, "-c", code], cwd=tmp_path, check=True)
    assert (tmp_path / "golden.npz").is_file()


def test_errors_are_deploykits() -> None:
    with pytest.raises(deploykit.DeploykitError, match="wants size=") as caught:
        deploykit.record(torch.nn.Conv2d(3, 2, 3), "golden.npz")
    assert caught.value.exit_code == 2


def test_export_inspect_and_verify(checkpoint: Path, tmp_path: Path, capsys: Output) -> None:
    golden, model = recorded(checkpoint, tmp_path / "golden.npz"), tmp_path / "vit.onnx"
    assert main(["export", str(checkpoint), "-o", str(model), "--golden", str(golden)]) == 0
    assert "VisionTransformer (torch " in capsys.readouterr().out
    assert main(["inspect", str(model)]) == 0
    shown = capsys.readouterr().out
    assert "golden answers " in shown
    assert "network within" in shown
    assert main(["verify", str(checkpoint), str(model), "--golden", str(golden), "--json"]) == 0
    assert "the file within" in json.loads(capsys.readouterr().out)["parity"]["golden_said"]


def test_a_file_without_golden_answers_says_so(checkpoint: Path, tmp_path: Path, capsys: Output) -> None:
    model = tmp_path / "vit.onnx"
    assert main(["export", str(checkpoint), "-o", str(model)]) == 0
    capsys.readouterr()
    assert main(["inspect", str(model)]) == 0
    assert "golden answers: none recorded in training" in capsys.readouterr().out


def test_answers_that_differ_end_with_3(checkpoint: Path, tmp_path: Path, capsys: Output) -> None:
    def doubled(net: torch.nn.Module, images: torch.Tensor) -> torch.Tensor:
        return 2 * net(images)

    golden, model = recorded(checkpoint, tmp_path / "golden.npz", forward=doubled), tmp_path / "vit.onnx"
    assert main(["export", str(checkpoint), "-o", str(model), "--golden", str(golden)]) == 3
    said = capsys.readouterr().err
    assert "differ in the head" in said
    assert "deploykit's times 2:" in said
    assert not model.exists()
    assert main(["export", str(checkpoint), "-o", str(model)]) == 0
    assert main(["verify", str(checkpoint), str(model), "--golden", str(golden)]) == 3


def test_a_bad_file_ends_with_2_before_torch_is_loaded(checkpoint: Path, tmp_path: Path) -> None:
    bad = tmp_path / "bad.npz"
    bad.write_text("nothing")
    code = (
        "import sys\nfrom deploykit.cli import main\n"
        f"code = main(['export', {str(checkpoint)!r}, '--golden', {str(bad)!r}])\n"
        "sys.exit(99 if 'torch' in sys.modules else code)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 2
    assert f"--golden {bad} cannot be used: it is not an .npz file." in done.stderr
    assert "Traceback" not in done.stderr
