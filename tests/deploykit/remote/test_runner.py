"""Golden cases on servers: right ones pass, wrong ones fail, and what is another model is refused."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from deploykit_runtimes.errors import ModelError, OptionError
from wrong_engines import planted

import deploykit
from deploykit.cli import main
from deploykit.remote.runner import open_remote

Answers = dict[str, tuple[int, bytes, dict[str, str]]]
Answering = Callable[[Answers], str]
Output = pytest.CaptureFixture[str]


def test_a_right_server_passes(model: Path, detector: Path, capsys: Output) -> None:
    with deploykit.serve.running([str(model), str(detector)], port=0, grpc_port=None) as server:
        url = f"http://127.0.0.1:{server.state.port}"
        tested = deploykit.selftest(model, url=url)
        assert tested.ok
        assert tested.precision == "fp32"
        assert tested.placement.engine == "deploykit"
        assert {each.agreed for case in tested.cases for each in case.outputs} == {1, 3}
        assert main(["selftest", str(detector), "--url", f"{url}/v2/models/shapes"]) == 0
        said = capsys.readouterr().out
    assert "self-test passed" in said
    assert f"at {url}" in said


def test_a_wrong_server_fails(model: Path, tmp_path: Path, capsys: Output) -> None:
    wrong = planted(model, "one bias", tmp_path / "digits.onnx")
    with deploykit.serve.running([str(wrong)], port=0, grpc_port=None, selftest=False) as server:
        url = f"http://127.0.0.1:{server.state.port}"
        assert main(["selftest", str(model), "--url", url]) == 3
    assert "self-test failed: " in capsys.readouterr().out


def test_a_key_is_sent(model: Path, tmp_path: Path, capsys: Output) -> None:
    key = tmp_path / "keys.txt"
    key.write_text("# of the test\nopen-sesame-1\n")
    with deploykit.serve.running([str(model)], port=0, grpc_port=None, api_keys=("open-sesame-1",)) as server:
        url = f"http://127.0.0.1:{server.state.port}"
        assert main(["selftest", str(model), "--url", url, "--api-key-file", str(key)]) == 0
        assert main(["selftest", str(model), "--url", url]) == 7
    said = capsys.readouterr().err
    assert "HTTP 401" in said
    assert "--api-key-file" in said


def test_another_model_is_refused(model: Path, detector: Path) -> None:
    with deploykit.serve.running([str(model), str(detector)], port=0, grpc_port=None) as server:
        url = f"http://127.0.0.1:{server.state.port}/v2/models/shapes"
        with pytest.raises(ModelError, match="has the inputs images UINT8"):
            deploykit.selftest(model, url=url)


def test_the_largest_batch_of_the_server_holds(
    model: Path, answering: Answering, server_info: Answers
) -> None:
    config = {"GET /v2/models/digits/config": (200, json.dumps({"max_batch_size": 2}).encode(), {})}
    with open_remote(model, answering(server_info | config)) as runner:
        assert runner.spec.input.dynamic["batch"].max == 2
        assert runner.placement().title.startswith("triton 2.60.0 at http://")
    with open_remote(model, answering(server_info), compute="fp16") as runner:
        assert runner.spec.input.dynamic["batch"].max == 1024
        assert runner.placement().precision == "fp16"


@pytest.mark.parametrize("status", [400, 500])
def test_a_server_that_refuses_fails_the_test(
    model: Path, answering: Answering, server_info: Answers, status: int
) -> None:
    refused = {"POST /v2/models/digits/infer": (status, b'{"error": "out of memory"}', {})}
    tested = deploykit.selftest(model, url=answering(server_info | refused))
    assert not tested.ok
    assert f"HTTP {status}, out of memory" in tested.problem


def test_one_number_per_image_may_have_an_axis_of_its_own(detector: Path, answering: Answering) -> None:
    """Triton returns the count of boxes as [N, 1]."""
    from deploykit_runtimes.builds.model_folder import read_model

    file = read_model(detector)
    kinds = {"uint8": "UINT8", "float32": "FP32", "int32": "INT32", "int64": "INT64"}
    said = {
        kind: [{"name": info.name, "datatype": kinds[info.dtype], "shape": []} for info in infos]
        for kind, infos in (("inputs", file.inputs), ("outputs", file.outputs))
    }
    outputs = [
        {
            "name": info.name,
            "datatype": kinds[info.dtype],
            "shape": [1] * max(len(info.shape), 2),
            "data": [0],
        }
        for info in file.outputs
    ]
    url = answering(
        {
            "GET /v2/models/shapes": (200, json.dumps(said).encode(), {}),
            "POST /v2/models/shapes/infer": (200, json.dumps({"outputs": outputs}).encode(), {}),
        }
    )
    with open_remote(detector, url) as runner:
        found = runner.infer({"images": np.zeros((1, 9, 9, 3), np.uint8)})
    assert {info.name: found[info.name].ndim for info in file.outputs} == {
        info.name: len(info.shape) for info in file.outputs
    }


def test_options_of_engines_are_not_for_servers(model: Path, capsys: Output) -> None:
    for wrong in ({"runtime": "ort-cpu"}, {"device": "cpu"}, {"threads": 2}, {"compute": "fp8"}):
        with pytest.raises(OptionError):
            deploykit.selftest(model, url="http://127.0.0.1:9", **wrong)
    with pytest.raises(OptionError, match="give its url"):
        deploykit.selftest(model, compute="fp16")
    assert main(["selftest", str(model), "--compute", "fp16"]) == 2
    assert "--url" in capsys.readouterr().err
