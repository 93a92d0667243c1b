"""What runs in a Ray cluster: a model behind HTTP and Ray's handles, with batching.

``deploykit package ray`` writes the ``serve.yaml`` that names ``build_app``. Below the route of a model:

    GET  /         what it takes and returns            POST /infer    tensors, Open Inference Protocol
    GET  /ready    200                                  POST /predict  images: bytes, multipart or base64
"""

from __future__ import annotations

import asyncio
import os
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
import ray
from deploykit_runtimes.answers.results import Result
from deploykit_runtimes.engine_options import EngineOptions
from deploykit_runtimes.errors import DeploykitError, InputError
from deploykit_runtimes.onnx.file import read_onnx
from deploykit_runtimes.open import open_runner
from deploykit_runtimes.pixels.images import read_image
from deploykit_runtimes.pixels.pixel_format import PixelFormat
from deploykit_runtimes.predictor import Predictor
from deploykit_runtimes.runner import check_feeds
from deploykit_runtimes.trt.profiles import default_profile
from ray import serve
from starlette.requests import Request
from starlette.responses import Response

from deploykit.package.answers import JsonAnswer
from deploykit.package.bodies import MAX_PIXELS, predict_options, read_body, read_images
from deploykit.package.models import PackagedModel
from deploykit.package.ray_front import Front, error_response
from deploykit.package.tensors import DATATYPES, HEADER_LENGTH, read_request, write_response
from deploykit.serve.errors import ServeError
from deploykit.serve.images import check_picture, pixel_budget

__all__ = ["ModelServer", "build_app"]

_TOO_MANY_FAILURES = 3
Feeds = dict[str, np.ndarray]
_T = TypeVar("_T")


def build_app(args: dict[str, Any]) -> serve.Application:
    """The application of one model.

    Args:
        args: Those of ``serve.yaml``: the arguments of ``ModelServer``, and ``resubmit``, whether a
            ``Front`` sends requests again that a replica took with it when it died.
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
        route_prefix: Where the application lies.
        runtime, threads: See ``deploykit_runtimes.open.open_runner``.
    """

    def __init__(
        self, name: str, path: str, route_prefix: str = "", runtime: str = "ort-cpu", threads: int = 1
    ) -> None:
        self._name = name
        self._prefix = route_prefix
        runner = open_runner(path, runtime=runtime, options=EngineOptions(threads=threads, rewritten=True))
        outside = read_onnx(Path(path))
        self._predictor = Predictor(runner)
        self._model = PackagedModel(
            name=name, path=Path(path), spec=runner.spec, inputs=outside.inputs, outputs=outside.outputs
        )
        self._engine = ThreadPoolExecutor(1, thread_name_prefix="engine")  # a batch fills while one runs
        self._failures = 0
        self._runs = 0
        self._warm_up()

    def reconfigure(self, user_config: dict[str, Any]) -> None:
        """Take the batching of ``user_config`` over, also while running."""
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

    async def __call__(self, request: Request) -> Response:
        path = request.url.path.removeprefix(self._prefix).rstrip("/")
        handlers = {
            ("GET", ""): self._metadata,
            ("GET", "/ready"): self._ready,
            ("POST", "/infer"): self._infer_request,
            ("POST", "/predict"): self._predict_request,
        }
        handler = handlers.get((request.method, path))
        if handler is None:
            known = any(path == there for _, there in handlers)
            return error_response(
                405 if known else 404, f"{request.method} {request.url.path} is not answered."
            )
        try:
            return await handler(request)
        except ServeError as error:
            return error_response(error.status, str(error))
        except InputError as error:
            return error_response(400, str(error))
        except DeploykitError as error:
            return error_response(400 if error.exit_code == 2 else 500, str(error))

    async def answer(self, scope: dict[str, Any], body: bytes) -> tuple[int, dict[str, str], bytes]:
        """Status, headers and body that answer an HTTP request which a ``Front`` took."""

        async def receive() -> dict[str, Any]:
            return {"type": "http.request", "body": body, "more_body": False}

        response = await self(Request(scope, receive))
        return response.status_code, dict(response.headers), bytes(response.body)

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
        return await self._on_engine(lambda: runner.infer(feeds))

    async def predict(self, image: np.ndarray, **options: Any) -> Result:
        """The answer for one image, uint8 RGB [H, W, 3]; see ``Predictor.predict`` for the options."""
        answer = await self._share_prediction((image, options))
        if isinstance(answer, DeploykitError):
            raise answer
        result: Result = answer
        return result

    @serve.batch(max_batch_size=1, batch_wait_timeout_s=0.0)  # type: ignore[untyped-decorator]
    async def _share_run(self, requests: list[Feeds]) -> list[Feeds]:
        """Runs of single images, joined where their shapes are alike."""
        answers: list[Feeds] = [{} for _ in requests]
        for places in _alike([_shapes(feeds) for feeds in requests]):
            joined = {
                name: np.concatenate([requests[place][name] for place in places]) for name in requests[0]
            }
            outputs = await self._on_engine(partial(self._predictor.runner.infer, joined))
            for row, place in enumerate(places):
                answers[place] = {name: value[row : row + 1] for name, value in outputs.items()}
        return answers

    @serve.batch(max_batch_size=1, batch_wait_timeout_s=0.0)  # type: ignore[untyped-decorator]
    async def _share_prediction(
        self, requests: list[tuple[np.ndarray, dict[str, Any]]]
    ) -> list[Result | DeploykitError]:
        """Images that are wanted with the same options; the predictor batches those of one size."""
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
        """One run, or one for each image where the model refuses some of them."""
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
        """Run on the engine's thread, and count failures that are not the caller's."""
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

    async def _metadata(self, request: Request) -> Response:  # noqa: ARG002 - all handlers are alike
        def described(tensors: Sequence[Any]) -> list[dict[str, Any]]:
            return [
                {
                    "name": info.name,
                    "datatype": DATATYPES.get(info.dtype, info.dtype),
                    "shape": [n if isinstance(n, int) else -1 for n in info.shape],
                }
                for info in tensors
            ]

        return JsonAnswer(
            {
                "name": self._name,
                "versions": ["1"],
                "platform": "onnxruntime_onnx",
                "inputs": described(self._model.inputs),
                "outputs": described(self._model.outputs),
            }
        )

    async def _ready(self, request: Request) -> Response:  # noqa: ARG002
        return JsonAnswer({"name": self._name, "ready": True})

    async def _infer_request(self, request: Request) -> Response:
        wanted = read_request(await read_body(request), request.headers.get(HEADER_LENGTH))
        outputs = await self.infer(wanted.feeds)
        placement = str(self._predictor.placement())
        body, headers = write_response(self._name, placement, wanted, outputs)
        return Response(body, headers=headers)

    async def _predict_request(self, request: Request) -> Response:
        options = predict_options(request.query_params)
        files = await read_images(request)
        results = await asyncio.gather(*(self._predict_file(file, options) for file in files))
        return JsonAnswer(
            {
                "model_name": self._name,
                "model_version": "1",
                "results": [result.to_dict() for result in results],
                "placement": self._predictor.placement().to_dict(),
            }
        )

    async def _predict_file(self, file: bytes, options: dict[str, Any]) -> Result:
        """The answer for an image file, which is decoded apart, so that a damaged one is refused alone."""
        pixels = await asyncio.to_thread(check_picture, file, MAX_PIXELS)
        async with pixel_budget(MAX_PIXELS).hold(pixels):
            # The thread is not the engine's.
            image = await asyncio.to_thread(read_image, file, PixelFormat.of(self._model.spec))
            return await self.predict(image, **options)

    def _largest_batch(self) -> int:
        return self._model.spec.input.dynamic["batch"].max if self._model.max_batch else 1

    def _warm_up(self) -> None:
        """Run zeros in the model's own size, so that the first request does not pay for it."""
        runner = self._predictor.runner
        profile = default_profile(runner.spec, self._model.inputs)
        feeds = {info.name: np.zeros(profile[info.name].opt, info.dtype) for info in self._model.inputs}
        runner.infer(feeds)


def _alike(keys: Sequence[object]) -> list[list[int]]:
    """Places of equal keys together, in their order."""
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
