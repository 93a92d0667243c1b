"""Where requests to a Ray Serve application arrive: they survive the death of a replica."""

from __future__ import annotations

import logging
from dataclasses import replace
from typing import Any

import starlette.requests
import starlette.responses
from ray.exceptions import RayActorError
from ray.serve.exceptions import BackPressureError, DeploymentUnavailableError

from deploykit.package.ray_http import read_body, to_starlette
from deploykit.protocol.errors import NotReadyError, OverloadedError, ReplicasLostError
from deploykit.protocol.responses import Response, failure

__all__ = ["ATTEMPTS_HEADER", "Front"]

log = logging.getLogger("deploykit.package.ray")

ATTEMPTS_HEADER = "Deploykit-Attempts"
"""How many replicas had the request, where that was more than one."""

_ATTEMPTS = 3
"""A request that was in two replicas when they died may be what killed them: the third one is its last."""
_PASSED_ON = ("type", "method", "path", "root_path", "query_string", "headers")


class Front:
    """Passes requests on to the replicas of a model, and resends those whose replica died.

    Inference has no side effects, so a request may run twice.

    Args:
        model: Ray's handle of the deployment with the model.
    """

    def __init__(self, model: Any) -> None:
        self._model = model

    async def __call__(self, request: starlette.requests.Request) -> starlette.responses.Response:
        try:
            response = await self._answer(request)
        except Exception as error:  # noqa: BLE001 - every error becomes a response
            response = failure(error, log)
        return to_starlette(response)

    async def _answer(self, request: starlette.requests.Request) -> Response:
        scope = {key: request.scope[key] for key in _PASSED_ON if key in request.scope}
        body = await read_body(request)
        for attempt in range(1, _ATTEMPTS + 1):
            try:
                response: Response = await self._model.answer.remote(scope, body)
            except RayActorError:
                continue
            except BackPressureError as error:
                raise OverloadedError("The model has more requests than it can queue.") from error
            except DeploymentUnavailableError as error:
                raise NotReadyError("No replica of the model could be started.") from error
            told = {ATTEMPTS_HEADER: str(attempt)} if attempt > 1 else {}
            return replace(response, headers={**response.headers, **told})
        raise ReplicasLostError(f"{_ATTEMPTS} replicas died while they had this request.")
