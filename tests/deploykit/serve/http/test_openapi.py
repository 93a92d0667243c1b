"""The OpenAPI document, and the server against it."""

from __future__ import annotations

import schemathesis
from hypothesis import HealthCheck, Phase, given, seed, settings
from openapi_spec_validator import OpenAPIV31SpecValidator
from schemathesis.checks import not_a_server_error
from schemathesis.specs.openapi.checks import response_schema_conformance, status_code_conformance

from deploykit.serve.http.openapi import openapi

CHECKS = [not_a_server_error, status_code_conformance, response_schema_conformance]


def test_the_document_is_one() -> None:
    OpenAPIV31SpecValidator(openapi()).validate()


def test_the_server_keeps_to_it(server) -> None:
    schema = schemathesis.openapi.from_url(f"{server.url}/openapi.json")
    tried = 0
    for result in schema.get_all_operations():
        operation = result.ok()
        if operation.path.endswith("/unload"):
            continue  # or all that follows would be told that the model is not ready

        @seed(1)
        @settings(
            max_examples=12,
            deadline=None,
            database=None,
            phases=[Phase.explicit, Phase.generate],
            suppress_health_check=list(HealthCheck),
        )
        def check(case: schemathesis.Case) -> None:
            case.call_and_validate(checks=CHECKS)

        given(case=operation.as_strategy())(check)()
        tried += 1
    assert tried >= 20
