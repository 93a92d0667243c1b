"""The OpenAPI document, and the server against it."""

from __future__ import annotations

import base64
import re
import subprocess
import sys
from collections import Counter
from pathlib import Path
from typing import Any

import pytest
import schemathesis
from hypothesis import HealthCheck, Phase, given, seed, settings
from openapi_spec_validator import OpenAPIV31SpecValidator
from schemathesis import GenerationMode

from deploykit.serve.http.openapi import openapi

NAMES = {"name": "tiny", "version": "1"}
# Loading counts the version up, and unloading leaves nothing to ask: tests of their own call these.
CHANGING = ("load", "unload")


def test_the_document_is_one() -> None:
    OpenAPIV31SpecValidator(openapi()).validate()


def test_the_server_keeps_to_it(server, tmp_path: Path) -> None:
    """Every check of schemathesis on what it makes up for a model that is there: good, bad and borderline."""
    (tmp_path / "schemathesis.toml").write_text(
        f"""
        [parameters]
        "path.name" = "{NAMES["name"]}"
        "path.version" = "{NAMES["version"]}"
        """
    )
    command = [sys.executable, "-m", "schemathesis.cli", "--config-file", "schemathesis.toml", "run"]
    options = ["--checks", "all", "--phases", "coverage,fuzzing", "--max-examples", "6", "--seed", "1"]
    # Which tensors and pictures a model takes is beyond a schema; the next test sends those.
    excluded = ["--exclude-checks", "positive_data_acceptance"]
    for name in CHANGING:
        excluded += ["--exclude-operation-id", name]
    run = subprocess.run(
        [*command, f"{server.url}/openapi.json", *options, *excluded, "--no-color"],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )
    assert run.returncode == 0, run.stdout + run.stderr
    assert "Tested: 20" in run.stdout
    cases = re.search(r"(\d+) generated", run.stdout)
    assert cases is not None
    assert int(cases[1]) > 500


@pytest.fixture
def bodies(picture: bytes) -> dict[str, Any]:
    """What the model answers."""
    entry = {"name": "images", "shape": [1, 3, 32, 32], "datatype": "FP32", "data": [0.5] * 3072}
    tensors = {"id": "7", "inputs": [entry], "outputs": [{"name": "logits"}]}
    pictures = {"id": "7", "images": [base64.b64encode(picture).decode()], "top_k": 2}
    return {"infer": tensors, "predict": pictures}


def test_good_requests_are_answered_as_it_says(server, bodies: dict[str, Any]) -> None:
    schema = schemathesis.openapi.from_url(f"{server.url}/openapi.json")
    statuses: Counter[int] = Counter()
    for result in schema.get_all_operations():
        operation = result.ok()
        name = operation.path.rpartition("/")[2]
        if name in CHANGING:
            continue
        fixed: dict[str, Any] = {}
        if "{" in operation.path:
            fixed["path_parameters"] = {key: NAMES[key] for key in NAMES if f"{{{key}}}" in operation.path}
        if name in bodies:
            fixed |= {"body": bodies[name], "media_type": "application/json"}

        @seed(1)
        @settings(
            max_examples=8,
            deadline=None,
            database=None,
            phases=[Phase.generate],
            suppress_health_check=list(HealthCheck),
        )
        def check(case: schemathesis.Case) -> None:
            statuses[case.call_and_validate().status_code] += 1

        given(case=operation.as_strategy(GenerationMode.POSITIVE, **fixed))(check)()
    assert set(statuses) == {200}
    assert statuses[200] > 40
