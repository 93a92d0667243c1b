"""KServe manifests, against the classes that KServe generates from its API (the package kserve).

The classes know every field, its type and whether it must be there, as the custom resource definitions
do; patterns and admission webhooks of a cluster are not checked.
"""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable
from importlib.util import find_spec
from pathlib import Path
from typing import Any, Literal

import pytest
import yaml
from deploykit_runtimes.errors import OptionError
from hypothesis import given
from hypothesis import strategies as st

from deploykit.package import package
from deploykit.package.kserve import inference_service, serving_runtime
from deploykit.package.options import KServeOptions

Classifier = Callable[..., Path]
SETTINGS = {"storage_uri": "s3://bucket/models", "image": "registry/deploykit:1"}
RUNTIME, SERVICE = "V1alpha1ServingRuntime", "V1beta1InferenceService"


def problems(*manifests: tuple[str, Path]) -> list[str]:
    """What the API does not take of each manifest."""
    if find_spec("kserve") is None:
        pytest.skip("kserve is not installed: .ci/run gives it an environment of its own")
    command = [sys.executable, "-W", "ignore", str(Path(__file__).with_name("kserve_api.py"))]
    words = [str(word) for manifest in manifests for word in manifest]
    done = subprocess.run([*command, *words], capture_output=True, text=True, check=False, timeout=300)
    assert done.returncode == 0, done.stderr
    found: list[str] = json.loads(done.stdout)
    return found


def test_the_api_takes_what_is_written(classifier: Classifier, tmp_path: Path) -> None:
    good: list[tuple[str, Path]] = []
    for device in ("cpu", "cuda"):
        out = tmp_path / device
        package("kserve", f"ViT_B.16={classifier()}", out, **SETTINGS, device=device, namespace="vision")
        good += [
            (RUNTIME, out / "serving-runtime.yaml"),
            (SERVICE, out / "inference-service-vit-b-16.yaml"),
        ]
    unknown, missing, mistyped = (tmp_path / f"{name}.yaml" for name in ("unknown", "missing", "mistyped"))
    text = good[1][1].read_text()
    unknown.write_text(text.replace("storageUri", "storageURI"))
    mistyped.write_text(text.replace("minReplicas: 1", 'minReplicas: "1"'))
    missing.write_text(good[0][1].read_text().replace("- name: kserve-container\n      image", "- image"))
    found = problems(*good, (SERVICE, unknown), (SERVICE, mistyped), (RUNTIME, missing))
    assert found[:4] == [""] * 4
    assert "storageURI" in found[4]
    assert "minReplicas is '1', wanted int" in found[5]
    assert "name" in found[6]


@pytest.mark.parametrize("device", ["cpu", "cuda"])
def test_service_and_runtime(device: Literal["cpu", "cuda"]) -> None:
    options = KServeOptions(**SETTINGS, device=device)
    model = inference_service("cat", options)["spec"]["predictor"]["model"]
    runtime = serving_runtime(options)
    assert model["storageUri"] == "s3://bucket/models/cat"
    assert model["runtime"] == runtime["metadata"]["name"]
    assert model["resources"] == runtime["spec"]["containers"][0]["resources"]
    assert model["resources"]["limits"].get("nvidia.com/gpu") == ("1" if device == "cuda" else None)


def test_manifests_agree_with_each_other(classifier: Classifier, tmp_path: Path) -> None:
    models = [classifier(), classifier("dog.onnx", external=True)]
    result = package("kserve", models, tmp_path / "out", **SETTINGS)
    assert [facts["resource"] for facts in result.models.values()] == ["mean", "dog"]
    assert "models/dog/weights.bin" in result.files
    runtime = serving_runtime(KServeOptions(**SETTINGS))["spec"]
    container = runtime["containers"][0]
    port = container["ports"][0]["containerPort"]
    assert container["args"][container["args"].index("--port") + 1] == str(port)
    assert container["livenessProbe"]["httpGet"] == {"path": "/v2/health/live", "port": port}
    assert container["readinessProbe"]["httpGet"] == {"path": "/v2/health/ready", "port": port}
    service = inference_service("dog", KServeOptions(**SETTINGS))["spec"]["predictor"]
    assert service["model"]["args"] == ["dog=/mnt/models/dog.onnx"]
    format_ = service["model"]["modelFormat"]
    assert {**format_, "autoSelect": True} in runtime["supportedModelFormats"]
    assert runtime["protocolVersions"] == [service["model"]["protocolVersion"]]
    # `kubectl apply -f DIR` reads every .yaml and .json of the folder itself.
    applied = [file for file in result.files if "/" not in file and Path(file).suffix in (".yaml", ".json")]
    assert sorted(applied) == [
        "inference-service-dog.yaml",
        "inference-service-mean.yaml",
        "serving-runtime.yaml",
    ]


def test_names_that_changed_are_told(classifier: Classifier, tmp_path: Path) -> None:
    result = package("kserve", f"My_Model={classifier()}", tmp_path / "out", **SETTINGS)
    assert result.notes == ("My_Model is my-model in the cluster, as names there are a-z, 0-9 and dashes",)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"storage_uri": ""}, "--storage-uri"),
        ({"storage_uri": "models"}, "--storage-uri"),
        ({"storage_uri": "ftp://x/y"}, "--storage-uri"),
        ({"image": ""}, "--image"),
        ({"cpu": "many"}, "--cpu"),
        ({"memory": "4 GB"}, "--memory"),
        ({"min_replicas": 5}, "--min-replicas 5 is above"),
        ({"namespace": "Vision"}, "--namespace"),
        ({"device": "tpu"}, "--device"),
    ],
)
def test_wrong_options(settings: dict[str, Any], message: str) -> None:
    with pytest.raises(OptionError, match=message):
        KServeOptions(**{**SETTINGS, **settings})


@given(st.text(max_size=30))
def test_uris(text: str) -> None:
    try:
        options = KServeOptions(storage_uri=text, image="x")
    except OptionError:
        return
    assert yaml.safe_load(yaml.safe_dump(inference_service("cat", options)))
