"""Ray Serve applications: the folder, and a run on a cluster of two nodes of which one loses its replica."""

from __future__ import annotations

import ast
import json
import subprocess
import sys
import tomllib
from collections.abc import Callable
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import yaml
from deploykit_runtimes.contract.spec import AxisRange
from deploykit_runtimes.errors import OptionError
from deploykit_runtimes.open import open_runner
from PIL import Image

import deploykit
from deploykit.package import package

Classifier = Callable[..., Path]
PORT = 18230
ROOT = Path(__file__).parents[3]
REFUSED = {"path": 404, "method": 405, "media type": 415, "too many": 413, "left out": 501, "late": 504}


def test_folder(classifier: Classifier, tmp_path: Path) -> None:
    free = classifier("free.onnx", batch=AxisRange(min=1, max=6))
    package("ray", [free, f"fixed={classifier()}"], tmp_path / "out", cpus=1.5, max_replicas=7, device="cuda")
    folder = tmp_path / "out"
    requirements = (folder / "requirements.txt").read_text().splitlines()
    extra = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["optional-dependencies"]["serve"]
    protocol = [line for line in extra if line.startswith(("orjson", "python-multipart"))]
    assert requirements == ["./source[gpu]", "ray[serve]>=2.40", *protocol]
    names = {
        node.asname
        for node in ast.walk(ast.parse((folder / "app.py").read_text()))
        if hasattr(node, "asname")
    }
    config: dict[str, Any] = yaml.safe_load((folder / "serve.yaml").read_text())
    assert config["http_options"]["host"] == "127.0.0.1"
    for application, name, batch in zip(config["applications"], ("free", "fixed"), (6, 1), strict=True):
        module, _, attribute = application["import_path"].partition(":")
        assert (folder / f"{module}.py").is_file()
        assert attribute in names
        assert application["route_prefix"] == f"/v2/models/{name}"
        assert (folder / application["args"]["path"]).is_file()
        assert application["args"]["threads"] == 2
        front, deployment = application["deployments"]
        assert (front["name"], deployment["name"]) == ("Front", "Model")
        assert deployment["user_config"]["max_batch"] == batch
        assert deployment["max_ongoing_requests"] >= batch
        assert deployment["autoscaling_config"]["max_replicas"] == 7
        assert deployment["ray_actor_options"] == {"num_cpus": 1.5, "num_gpus": 1}


def test_without_the_front(classifier: Classifier, tmp_path: Path) -> None:
    package("ray", classifier(), tmp_path / "out", resubmit=False)
    (application,) = yaml.safe_load((tmp_path / "out" / "serve.yaml").read_text())["applications"]
    assert [deployment["name"] for deployment in application["deployments"]] == ["Model"]
    assert application["args"]["resubmit"] is False


def test_ray_takes_the_configuration(classifier: Classifier, tmp_path: Path) -> None:
    """Read by Ray's own schema, which refuses unknown fields of deployments."""
    if find_spec("ray") is None:
        pytest.skip("ray is not installed: .ci/run gives it an environment of its own")
    package("ray", classifier(), tmp_path / "out")
    code = "import sys, yaml; from ray.serve.schema import ServeDeploySchema as S; "
    code += "S.model_validate(yaml.safe_load(open(sys.argv[1])))"
    command = [sys.executable, "-c", code, str(tmp_path / "out" / "serve.yaml")]
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=300)
    assert done.returncode == 0, done.stderr


@pytest.mark.parametrize(
    "settings",
    [{"min_replicas": 5}, {"min_replicas": 0}, {"queue": 0}, {"cpus": 0}, {"device": "tpu"}, {"port": 0}],
)
def test_wrong_options(settings: dict[str, Any], classifier: Classifier, tmp_path: Path) -> None:
    with pytest.raises(OptionError):
        package("ray", classifier(), tmp_path / "out", **settings)


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory, export_vit: Callable[..., Path]) -> dict[str, Any]:
    """What happened on the cluster."""
    if find_spec("ray") is None:
        pytest.skip("ray is not installed: .ci/run gives it an environment of its own")
    import skimage.data

    folder = tmp_path_factory.mktemp("ray")
    package(
        "ray",
        f"cat={export_vit(dynamic='batch')}",
        folder / "app",
        min_replicas=2,
        max_replicas=2,
        port=PORT,
        max_delay_ms=50,  # so that a replica has requests under way most of the time
        cpus=0.7,  # one on each node of one CPU
    )
    Image.fromarray(skimage.data.chelsea()).save(folder / "cat.jpg")
    script = Path(__file__).with_name("ray_cluster.py")
    command = [sys.executable, str(script), str(folder / "app"), str(folder / "cat.jpg")]
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=1200)
    assert done.returncode == 0, done.stderr[-4000:]
    told: dict[str, Any] = json.loads(done.stdout)
    return {**told, "image": (folder / "cat.jpg").read_bytes()}


def test_answers_are_those_of_predict(run: dict[str, Any], export_vit: Callable[..., Path]) -> None:
    model = export_vit(dynamic="batch")
    answers = run["answers"]
    assert {status for status, _ in answers.values()} == {200}
    with deploykit.load(model) as predictor:
        expected = predictor.predict(run["image"]).to_dict()
    for kind in ("predict bytes", "predict form", "predict base64", "predict packed"):
        found = answers[kind][1]["results"]
        assert len(found) == (2 if kind == "predict base64" else 1)
        assert answers[kind][1].get("id") == ("seven" if kind == "predict form" else None)
        for each in found:
            assert [entry["name"] for entry in each["top"]] == [entry["name"] for entry in expected["top"]]
            scores = [[entry["score"] for entry in side["top"]] for side in (each, expected)]
            assert np.allclose(*scores, atol=1e-5)
    images = np.linspace(0, 1, 2 * 3 * 32 * 32, dtype=np.float32).reshape(2, 3, 32, 32)
    with open_runner(model) as runner:
        logits = runner.infer({"images": images})["logits"]
    assert answers["predict drawn"][1] == "image/png"
    for kind in ("infer one by one", "infer batch", "infer bare", "tritonclient", "tritonclient packed"):
        assert np.allclose(answers[kind][1], logits, atol=1e-5)
    assert answers["metadata"][1]["inputs"] == [
        {"name": "images", "datatype": "FP32", "shape": [-1, 3, 32, 32]}
    ]


def test_requests_shared_runs(run: dict[str, Any]) -> None:
    assert sum(run["runs_at_kill"]) < run["killed_after"]


def test_bad_requests_are_told(run: dict[str, Any]) -> None:
    for kind, (status, body) in run["refused"].items():
        assert (kind, status) == (kind, REFUSED.get(kind, 400))
        assert body["error"], kind
    assert run["good after bad"][0] == 200


def test_a_killed_replica_costs_no_request(run: dict[str, Any]) -> None:
    """The clients sent nothing twice: what was under way in it went to the other one, by Ray or the front."""
    total = run["total"]
    assert len(run["nodes"]) == 2
    assert len(run["replaced_by"]) == 1
    assert total // 4 <= run["killed_after"] < total
    assert run["load"] == {"200": total}, run["problems"]
    assert run["retried"] == {}
    assert run["resubmitted"] <= run["threads"]
