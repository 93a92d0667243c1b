"""What a client gets in place of an answer: the status is of the error's kind, never of its exit code."""

from __future__ import annotations

import json
import logging

import pytest
from deploykit_runtimes.errors import (
    CheckpointError,
    DependencyError,
    DeploykitError,
    InputError,
    ModelError,
    OptionError,
    RuntimeUnavailableError,
)

from deploykit.protocol import errors
from deploykit.protocol.errors import RequestError
from deploykit.protocol.responses import failure

log = logging.getLogger("deploykit.test")


def kinds(error: type[RequestError] = RequestError) -> list[type[RequestError]]:
    return [each for kind in error.__subclasses__() for each in (kind, *kinds(kind))]


def made(kind: type[RequestError]) -> RequestError:
    return kind("a cause", allowed=("GET", "HEAD")) if kind is errors.MethodError else kind("a cause")


def test_every_kind_of_error_is_in_the_table_with_its_statuses() -> None:
    assert errors.__doc__ is not None
    rows = [line.split() for line in errors.__doc__.splitlines() if "──" in line]
    table = {name: (int(status), grpc) for _, name, status, grpc, *_ in rows}
    assert table == {kind.__name__: (kind.status, kind.grpc_status) for kind in kinds()}


@pytest.mark.parametrize("kind", kinds())
def test_an_error_of_a_request_has_its_own_status(
    kind: type[RequestError], caplog: pytest.LogCaptureFixture
) -> None:
    response = failure(made(kind), log)
    assert response.status == kind.status
    assert json.loads(response.body) == {"error": "a cause"}
    assert ("Retry-After" in response.headers) is (kind.retry_after is not None)
    assert ("Allow" in response.headers) is (kind.status == 405)
    assert ("WWW-Authenticate" in response.headers) is (kind.status == 401)
    assert not caplog.records


@pytest.mark.parametrize(
    ("error", "status", "told", "logged"),
    [
        (InputError("a cause"), 400, True, False),
        (OptionError("a cause"), 400, True, False),
        (ModelError("a cause"), 500, True, True),
        (TimeoutError(), 504, False, False),
        # Not what a client can change, whatever the exit code: that of a checkpoint is an option's.
        (CheckpointError("a cause"), 500, False, True),
        (DependencyError("a cause"), 500, False, True),
        (RuntimeUnavailableError("a cause"), 500, False, True),
        (DeploykitError("a cause"), 500, False, True),
        (ZeroDivisionError("a cause"), 500, False, True),
    ],
)
def test_other_errors_have_the_status_of_their_kind(
    error: Exception, status: int, told: bool, logged: bool, caplog: pytest.LogCaptureFixture
) -> None:
    response = failure(error, log)
    assert response.status == status
    assert ("a cause" in response.body.decode()) is told
    assert bool(caplog.records) is logged
