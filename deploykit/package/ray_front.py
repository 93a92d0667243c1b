"""Where requests of a Ray Serve application arrive: a replica that dies costs none of them."""

from __future__ import annotations

from typing import Any

from deploykit_runtimes.errors import InputError
from ray.exceptions import RayActorError
from ray.serve.exceptions import BackPressureError, DeploymentUnavailableError
from starlette.requests import Request
from starlette.responses import Response

from deploykit.package.answers import JsonAnswer
from deploykit.package.bodies import read_body

__all__ = ["ATTEMPTS_HEADER", "Front", "error_response"]

ATTEMPTS_HEADER = "Deploykit-Attempts"
"""How many replicas had the request, where that was more than one."""

_ATTEMPTS = 3
"""A request that was in two replicas when they died may be what killed them: the third one is its last."""
_PASSED_ON = ("type", "method", "path", "root_path", "query_string", "headers")


class Front:
    """Passes requests on to the replicas of a model, and again where one died while it had them.

    Inference has no side effects, so a request may run twice.

    Args:
        model: Ray's handle of the deployment with the model.
    """

    def __init__(self, model: Any) -> None:
        self._model = model

    async def __call__(self, request: Request) -> Response:
        scope = {key: request.scope[key] for key in _PASSED_ON if key in request.scope}
        try:
            body = await read_body(request)
        except InputError as error:
            return error_response(400, str(error))
        for attempt in range(1, _ATTEMPTS + 1):
            try:
                status, headers, content = await self._model.answer.remote(scope, body)
            except RayActorError:
                continue
            except (BackPressureError, DeploymentUnavailableError):
                response = error_response(503, "The model has more requests than it can queue.")
                response.headers["Retry-After"] = "1"
                return response
            told = {ATTEMPTS_HEADER: str(attempt)} if attempt > 1 else {}
            return Response(content, status, {**headers, **told})
        return error_response(503, f"{_ATTEMPTS} replicas died while they had this request.")


def error_response(status: int, text: str) -> Response:
    """The protocol's form of an error."""
    return JsonAnswer({"error": text}, status_code=status)
