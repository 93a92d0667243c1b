"""What runs in a Ray cluster: a model behind HTTP and Ray's handles, with batching.

``deploykit package ray`` writes the ``serve.yaml`` that names ``build_app``. Below the route of a model:

    GET  /         what it takes and returns            POST /infer    tensors, Open Inference Protocol
    GET  /ready    200                                  POST /predict  images: bytes, multipart or base64

Both are handled as in ``deploykit serve``: see ``deploykit.protocol``.
"""

from __future__ import annotations

import asyncio
import logging
import os
from collections.abc import Awaitable, Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
import ray
import starlette.requests
import starlette.responses
from deploykit_runtimes.answers.results import Result
from deploykit_runtimes.engine_options import EngineOptions
from deploykit_runtimes.errors import DeploykitError
from deploykit_runtimes.onnx.file import read_onnx
from deploykit_runtimes.onnx.model_files import files_of
from deploykit_runtimes.open import open_runner
from deploykit_runtimes.pixels.images import read_image
from deploykit_runtimes.pixels.pixel_format import PixelFormat
from deploykit_runtimes.prediction.predictor import Predictor
from deploykit_runtimes.runner import CheckedFeeds, FiniteFeeds, check_feeds
from deploykit_runtimes.selftest.run import require_self_test
from deploykit_runtimes.trt.profiles import default_profile
from ray import serve

from deploykit.package.models import PackagedModel
from deploykit.package.ray_front import Front
from deploykit.package.ray_http import MAX_BODY, read_body, to_starlette
from deploykit.protocol.errors import MethodError, NotFoundError
from deploykit.protocol.http import headers_by_name, inflated, read_query
from deploykit.protocol.limits import MAX_IMAGES, MAX_PIXELS
from deploykit.protocol.metadata import model_metadata
from deploykit.protocol.picture_cost import check_picture, pixel_budget
from deploykit.protocol.pictures import drawn, predict_response, read_pictures
from deploykit.protocol.responses import Response, failure, json_response
from deploykit.protocol.tensors import HEADER_LENGTH, read_request, write_response

__all__ = ["ModelServer", "build_app"]

log = logging.getLogger("deploykit.package.ray")

_TOO_MANY_FAILURES = 3
_VERSION = "1"
"""Of a model: Ray's applications have one."""
Feeds = dict[str, np.ndarray]
Handler = Callable[[starlette.requests.Request], Awaitable[Response]]
_T = TypeVar("_T")


def build_app(args: dict[str, Any]) -> serve.Application:
    """The application of one model.

    Args:
        args: Those of ``serve.yaml``: the arguments of ``ModelServer``, and ``resubmit``, whether a
            ``Front`` resends requests that were lost with a replica.
    """
    settings = dict(args)
    resubmit = settings.pop("resubmit", True)
    model = serve.deployment(name="Model")(ModelServer).bind(**settings)
    return serve.deployment(name="Front")(Front).bind(model) if resubmit else model


class ModelServer:
    """A replica: one loaded model.

    Args:
        name: What clients ask for.
        path: The .onnx file, relative to Ray's working directory.
        route_prefix: The path of the application.
        runtime, threads: See ``deploykit_runtimes.open.open_runner``.
    """

    def __init__(
        self, name: str, path: str, route_prefix: str = "", runtime: str = "ort-cpu", threads: int = 1
    ) -> None:
        self._name = name
        self._prefix = route_prefix
        runner = open_runner(path, runtime=runtime, options=EngineOptions(threads=threads))
        outside = read_onnx(Path(path))
        self._predictor = Predictor(runner)
        self._model = PackagedModel(
            name=name,
            path=Path(path),
            spec=runner.spec,
            inputs=outside.inputs,
            outputs=outside.outputs,
            files=files_of(path),
        )
        self._engine = ThreadPoolExecutor(1, thread_name_prefix="engine")  # a batch fills while one runs
        self._failures = 0
        self._runs = 0
        self._warm_up()

    def reconfigure(self, user_config: dict[str, Any]) -> None:
        """Apply the batching of ``user_config``, also while running."""
        # The number of images that a run takes is the model's; how many requests share it may be less.
        batch = max(1, min(int(user_config["max_batch"]), self._largest_batch()))
        delay = float(user_config["max_delay_ms"]) / 1000
        for method in (self._share_run, self._share_prediction):
            method.set_max_batch_size(batch)
            method.set_batch_wait_timeout_s(delay)

    def check_health(self) -> None:
        """Tell Ray to replace a replica whose engine fails again and again.

        Raises:
            RuntimeError: the last calls of the engine failed.
        """
        if self._failures >= _TOO_MANY_FAILURES:
            raise RuntimeError(f"the engine of {self._name} failed {self._failures} times in a row")

    def where(self) -> dict[str, Any]:
        """The process, node and devices that this replica runs on, and how often its engine ran."""
        return {
            "pid": os.getpid(),
            "node": ray.get_runtime_context().get_node_id(),
            "runs": self._runs,
            "placement": self._predictor.placement().to_dict(),
        }

    async def __call__(self, request: starlette.requests.Request) -> starlette.responses.Response:
        return to_starlette(await self._respond(request))

    async def answer(self, scope: dict[str, Any], body: bytes) -> Response:
        """The response to an HTTP request that a ``Front`` accepted."""

        async def receive() -> dict[str, Any]:
            return {"type": "http.request", "body": body, "more_body": False}

        return await self._respond(starlette.requests.Request(scope, receive))

    async def infer(self, feeds: Feeds) -> Feeds:
        """Run the graph; single images share a run with those of other requests.

        Raises:
            InputError: a feed is missing, unknown, or outside the declared dtype or range.
        """
        runner = self._predictor.runner
        check_feeds(runner.spec, runner.inputs, feeds)
        if self._model.max_batch and len(feeds[runner.spec.input.name]) == 1:
            shared: Feeds = await self._share_run(feeds)
            return shared
        return await self._on_engine(partial(runner.infer, CheckedFeeds(feeds)))

    async def predict(self, image: np.ndarray, **options: Any) -> Result:
        """The answer for one image, uint8 RGB [H, W, 3]; see ``Predictor.predict`` for the options."""
        answer = await self._share_prediction((image, options))
        if isinstance(answer, DeploykitError):
            raise answer
        result: Result = answer
        return result

    @serve.batch(max_batch_size=1, batch_wait_timeout_s=0.0)  # type: ignore[untyped-decorator]
    async def _share_run(self, requests: list[Feeds]) -> list[Feeds]:
        """Run single images, joined if their shapes are the same."""
        answers: list[Feeds] = [{} for _ in requests]
        for places in _alike([_shapes(feeds) for feeds in requests]):
            joined = CheckedFeeds(
                {name: np.concatenate([requests[place][name] for place in places]) for name in requests[0]}
            )
            outputs = await self._on_engine(partial(self._predictor.runner.infer, joined))
            for row, place in enumerate(places):
                answers[place] = {name: value[row : row + 1] for name, value in outputs.items()}
        return answers

    @serve.batch(max_batch_size=1, batch_wait_timeout_s=0.0)  # type: ignore[untyped-decorator]
    async def _share_prediction(
        self, requests: list[tuple[np.ndarray, dict[str, Any]]]
    ) -> list[Result | DeploykitError]:
        """Answer images with the same options together; the predictor batches images of one size."""
        answers: list[Any] = [None] * len(requests)
        for places in _alike([sorted(options.items()) for _, options in requests]):
            images = [requests[place][0] for place in places]
            results = await self._results(images, requests[places[0]][1])
            for place, result in zip(places, results, strict=True):
                answers[place] = result
        return answers

    async def _results(
        self, images: list[np.ndarray], options: dict[str, Any]
    ) -> Sequence[Result | DeploykitError]:
        """One run, or one per image if the model refuses some of them."""
        batch = len(images) if self._model.max_batch else None
        try:
            return await self._on_engine(partial(self._predict_all, images, batch=batch, **options))
        except DeploykitError as error:
            if len(images) == 1:
                return [error]
            return [(await self._results([image], options))[0] for image in images]

    def _predict_all(self, images: list[np.ndarray], **options: Any) -> list[Result]:
        results: list[Result] = self._predictor.predict(images, **options)
        return results

    async def _on_engine(self, call: Callable[[], _T]) -> _T:
        """Run on the engine's thread, and count failures that the caller did not cause."""
        try:
            result = await asyncio.get_running_loop().run_in_executor(self._engine, call)
        except DeploykitError:
            raise
        except Exception:
            self._failures += 1
            raise
        self._failures = 0
        self._runs += 1
        return result

    async def _respond(self, request: starlette.requests.Request) -> Response:
        try:
            return await self._handler(request)(request)
        except Exception as error:  # noqa: BLE001 - every error becomes a response
            return failure(error, log)

    def _handler(self, request: starlette.requests.Request) -> Handler:
        get, post = ("GET", "HEAD"), ("POST",)
        handlers: dict[str, tuple[tuple[str, ...], Handler]] = {
            "": (get, self._metadata),
            "/ready": (get, self._ready),
            "/infer": (post, self._infer_request),
            "/predict": (post, self._predict_request),
        }
        path = request.url.path.removeprefix(self._prefix).rstrip("/")
        if path not in handlers:
            raise NotFoundError(f"There is no path {request.url.path[:128]}.")
        methods, handler = handlers[path]
        if request.method not in methods:
            raise MethodError(
                f"{path or '/'} takes {' or '.join(methods)}, found {request.method[:16]}.", allowed=methods
            )
        return handler

    async def _metadata(self, request: starlette.requests.Request) -> Response:  # noqa: ARG002 - as the others
        return json_response(model_metadata(self._name, _VERSION, self._model.inputs, self._model.outputs))

    async def _ready(self, request: starlette.requests.Request) -> Response:  # noqa: ARG002
        return json_response({"name": self._name, "ready": True})

    async def _infer_request(self, request: starlette.requests.Request) -> Response:
        headers, body = await _received(request)
        wanted = await asyncio.to_thread(read_request, body, headers.get(HEADER_LENGTH), self._model.inputs)
        async with asyncio.timeout(wanted.timeout):
            # As in `deploykit serve`, a client's own NaN spoils its own answer alone.
            outputs = await self.infer(FiniteFeeds(wanted.feeds))
        placement = str(self._predictor.placement())
        return await asyncio.to_thread(write_response, self._name, _VERSION, placement, wanted, outputs)

    async def _predict_request(self, request: starlette.requests.Request) -> Response:
        headers, body = await _received(request)
        query, kind = read_query(request.scope["query_string"]), headers.get("content-type", "")
        asked = await asyncio.to_thread(read_pictures, bytes(body), kind, query, MAX_IMAGES)
        answers = await asyncio.gather(
            *(
                self._predict_file(file, asked.options, keep=asked.as_image and not n)
                for n, file in enumerate(asked.pictures)
            )
        )
        if asked.as_image:
            return await asyncio.to_thread(drawn, *answers[0], headers.get("accept", ""))
        return predict_response(
            asked,
            self._name,
            _VERSION,
            results=[result for result, _ in answers],
            placement=self._predictor.placement(),
        )

    async def _predict_file(
        self, file: bytes, options: dict[str, Any], *, keep: bool
    ) -> tuple[Result, np.ndarray | None]:
        """The answer for an image file, decoded separately, so that only a damaged one is refused.

        Args:
            file, options: The file and the options.
            keep: Whether its pixels are returned too.
        """
        pixels = await asyncio.to_thread(check_picture, file, MAX_PIXELS)
        async with pixel_budget(MAX_PIXELS).hold(pixels):
            # The thread is not the engine's.
            image = await asyncio.to_thread(read_image, file, PixelFormat.of(self._model.spec))
            return await self.predict(image, **options), image if keep else None

    def _largest_batch(self) -> int:
        return self._model.spec.input.dynamic["batch"].max if self._model.max_batch else 1

    def _warm_up(self) -> None:
        """Run zeros of the model's own size, so that the first request is not slow, and the golden cases,
        so that no wrong engine answers a request.

        Raises:
            ParityError: a golden case fails.
        """
        runner = self._predictor.runner
        profile = default_profile(runner.spec, self._model.inputs)
        feeds = {info.name: np.zeros(profile[info.name].opt, info.dtype) for info in self._model.inputs}
        runner.infer(feeds)
        if runner.spec.golden:
            require_self_test(runner)


async def _received(request: starlette.requests.Request) -> tuple[dict[str, str], bytes | memoryview]:
    """The headers by name, and the whole body, decompressed if necessary."""
    headers = headers_by_name(request.scope["headers"])
    body = await read_body(request)
    encoding = headers.get("content-encoding", "identity").strip().lower()
    return headers, await asyncio.to_thread(inflated, body, encoding, MAX_BODY)


def _alike(keys: Sequence[object]) -> list[list[int]]:
    """Indices of equal keys, grouped, in their order."""
    groups: list[tuple[object, list[int]]] = []
    for place, key in enumerate(keys):
        for known, places in groups:
            if known == key:
                places.append(place)
                break
        else:
            groups.append((key, [place]))
    return [places for _, places in groups]


def _shapes(feeds: Feeds) -> list[tuple[str, tuple[int, ...]]]:
    return sorted((name, value.shape) for name, value in feeds.items())
