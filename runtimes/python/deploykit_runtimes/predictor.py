"""Images in, results out: pre-processing, batches through a runner, decoding."""

from __future__ import annotations

import math
import threading
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from time import perf_counter
from typing import Any, Literal, Self, TypeAlias, TypedDict, Unpack, overload

import numpy as np
from PIL import Image

from deploykit_runtimes.arguments import as_count, as_size, refuse_unknown
from deploykit_runtimes.decode import classifications, decode
from deploykit_runtimes.errors import OptionError
from deploykit_runtimes.geometry import Geometry
from deploykit_runtimes.images import ImageSource, open_image, read_image
from deploykit_runtimes.pixel_format import PixelFormat
from deploykit_runtimes.preprocess import Preprocessor, as_type
from deploykit_runtimes.ranking import read_ranking
from deploykit_runtimes.readings import refuse_unclear
from deploykit_runtimes.results import Result
from deploykit_runtimes.runner import CheckedFeeds, FiniteFeeds, Placement, Runner
from deploykit_runtimes.shapes import check_same_crop, check_size
from deploykit_runtimes.spec import THRESHOLD_INPUTS, AxisRange, ModelSpec
from deploykit_runtimes.thresholds import Thresholds, ThresholdsOf

__all__ = ["PredictOptions", "Predictor", "Prepared", "Timings"]

_ONE_IMAGE = (np.ndarray, str, Path, bytes, Image.Image)
_DEFAULT_BATCH = 8
_SPARE = 16
"""A kept tensor this many times larger than the next one is given back."""

_SHAPES = 256
"""Of so many shapes it is remembered that the engine takes them."""

# Invariant list types would refuse a list[str] here; Iterable would take a str too.
Sources: TypeAlias = list[Any] | tuple[Any, ...] | Iterator[Any]


class PredictOptions(TypedDict, total=False):
    """The options of ``Predictor.predict``, which explains them."""

    top_k: int | None
    conf: float | None
    iou: float | None
    max_det: int | None
    imgsz: int | tuple[int, int] | None
    batch: int | None


@dataclass(frozen=True, kw_only=True)
class Timings:
    """Where the time of a call went, in milliseconds, summed over its images."""

    decode_ms: float
    preprocess_ms: float
    infer_ms: float
    postprocess_ms: float


@dataclass(frozen=True, kw_only=True)
class Prepared:
    """An image on its way through an engine that somebody else runs.

    Attributes:
        feeds: What ``Runner.infer`` takes: one row, or as many as the model's batch is fixed to.
        image: The decoded picture.
        geometry: How it lies in the tensor.
        thresholds: What to keep of the answer.
        decode_ms, preprocess_ms: What it took.
    """

    feeds: Mapping[str, np.ndarray]
    image: Image.Image | np.ndarray
    geometry: Geometry
    thresholds: Thresholds
    decode_ms: float
    preprocess_ms: float


# Images that fit into one tensor: their places in the answer, pixels, and how they lie in the tensor.
_Job: TypeAlias = tuple[list[int], list[Image.Image | np.ndarray], list[Geometry]]


class Predictor:
    """A model and its contract. Safe to call from many threads if its runner is.

    Args:
        runner: The loaded model; ``close`` closes it.

    Raises:
        ModelError: its colours and its number of channels contradict each other, or it is not known what
            its outputs mean.
    """

    def __init__(self, runner: Runner) -> None:
        self._runner = runner
        self._spec = runner.spec
        if runner.spec.readings is not None:
            refuse_unclear(runner.spec, runner.outputs)
        self._preprocessor = Preprocessor(runner.spec)
        self._thresholds = ThresholdsOf(runner.spec)
        image, allowed = runner.spec.input, runner.spec.input.dynamic.get("batch")
        self._limit = image.batch if allowed is None else max(allowed.min, min(_DEFAULT_BATCH, allowed.max))
        how = runner.spec.preprocess
        self._format = PixelFormat.of(runner.spec)
        self._takes_arrays = how.included or how.resampler == "opencv" or how.color == "as_is"
        self._scratch = _Scratch()
        # An engine that ranks classes says so by a method of its own: see ``ranking``.
        self._infer: Callable[..., dict[str, np.ndarray]] = getattr(runner, "infer_ranked", runner.infer)
        self._passed: set[tuple[int, ...]] = set()

    @property
    def spec(self) -> ModelSpec:
        """The model's contract."""
        return self._spec

    @property
    def runner(self) -> Runner:
        """The engine below."""
        return self._runner

    @overload
    def predict(self, source: ImageSource, **options: Unpack[PredictOptions]) -> Result: ...

    @overload
    def predict(self, source: Sources, **options: Unpack[PredictOptions]) -> list[Result]: ...

    def predict(
        self, source: ImageSource | Sources, **options: Unpack[PredictOptions]
    ) -> Result | list[Result]:
        """Answer for one image, or for each of several.

        Args:
            source: A path, the bytes of a file, a Pillow image, a uint8 array [H, W, C] (RGB, or as the
                model's channels are), or a list or any other iterable of these; see ``read_image``.
            top_k: Number of classes of a classification; 5, or what the graph gives, when None.
            conf: Lowest score of a detection, exclusive; the model's own default when None.
            iou: Overlap above which the worse of two boxes falls; likewise.
            max_det: Most detections of one image; likewise.
            imgsz: Side, or (height, width), to use instead of the model's own; needs dynamic axes, and
                pre-processing outside of the graph.
            batch: Most images to run at once where the batch axis is dynamic (8). Images are batched
                with neighbours whose tensors have the same size.

        Returns:
            One result for one image, a list in the order of the sources for several.

        Raises:
            InputError: an image cannot be read, or does not fit the model.
            OptionError: an option is out of range.
            ModelError: the outputs contradict the contract.
        """
        answer: Result | list[Result] = self._predict(source, _Clock(), **options)
        return answer

    def predict_timed(
        self, source: ImageSource | Sources, **options: Unpack[PredictOptions]
    ) -> tuple[Any, Timings]:
        """The same as ``predict``, and where the time went."""
        clock = _Clock()
        answer = self._predict(source, clock, **options)
        return answer, clock.timings()

    def _predict(
        self,
        source: ImageSource | Sources,
        clock: _Clock,
        *,
        imgsz: int | tuple[int, int] | None = None,
        batch: int | None = None,
        **thresholds: Any,
    ) -> Any:
        if thresholds:
            refuse_unknown(thresholds, tuple(PredictOptions.__annotations__), where="predict()")
        keep = self._thresholds.asked(thresholds) if thresholds else self._thresholds.defaults
        limit = self._limit if batch is None else self._checked_batch(batch)
        size = None if imgsz is None else self._size(imgsz)
        sources = _several(source)
        if sources is None:
            return self._run(self._job(source, size, clock), keep, clock)[0]
        results: list[Any] = [None] * len(sources)
        for start in range(0, len(sources), limit):
            window = range(start, min(start + limit, len(sources)))
            for job in self._jobs(sources, window, size, clock):
                for place, result in zip(job[0], self._run(job, keep, clock), strict=True):
                    results[place] = result
        return results

    def prepare(
        self,
        source: ImageSource,
        *,
        imgsz: int | tuple[int, int] | None = None,
        top_k: int | None = None,
        conf: float | None = None,
        iou: float | None = None,
        max_det: int | None = None,
    ) -> Prepared:
        """The first half of ``predict`` on one image, for callers that run the engine themselves.

        Raises:
            InputError: the image cannot be read, or does not fit the model.
            OptionError: an option is out of range.
        """
        clock = _Clock()
        keep = self._thresholds.of(top_k=top_k, conf=conf, iou=iou, max_det=max_det)
        size = None if imgsz is None else self._size(imgsz)
        _, images, geometries = self._job(source, size, clock)
        feeds = self._feeds(self._tensor(images, geometries, owned=True), keep)
        clock.lap("preprocess")
        timings = clock.timings()
        return Prepared(
            feeds=feeds,
            image=images[0],
            geometry=geometries[0],
            thresholds=keep,
            decode_ms=timings.decode_ms,
            preprocess_ms=timings.preprocess_ms,
        )

    def read(self, prepared: Prepared, outputs: Mapping[str, np.ndarray]) -> Result:
        """The second half: what the engine returned for ``prepared.feeds`` as the answer.

        Raises:
            ModelError: the outputs contradict the contract.
        """
        return decode(outputs, self._spec, [prepared.geometry], prepared.thresholds)[0]

    def placement(self) -> Placement:
        """What really runs where."""
        return self._runner.placement()

    def close(self) -> None:
        """Free the engine."""
        self._runner.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exc: object) -> None:
        self.close()

    def _checked_batch(self, batch: int) -> int:
        image = self._spec.input
        allowed = image.dynamic.get("batch")
        batch = as_count(batch, "batch")
        if allowed is None and batch != image.batch:
            raise OptionError(
                f"The model's batch is fixed to {image.batch}, found batch={batch}.",
                hint="Export with --dynamic to run other batches.",
            )
        if allowed is not None and batch not in allowed:
            raise OptionError(f"The model runs batches of {allowed}, found batch={batch}.")
        return batch

    def _size(self, imgsz: int | tuple[int, int]) -> tuple[int, int] | None:
        size = as_size(imgsz)
        if size is not None:
            check_size(self._spec, size)
            check_same_crop(self._spec, size)
        return size

    def _job(self, source: Any, size: tuple[int, int] | None, clock: _Clock) -> _Job:
        """Decode one image."""
        image = self._decode(source)
        clock.lap("decode")
        return [0], [image], [self._preprocessor.plan(image, size)]

    def _jobs(
        self, sources: Sequence[Any], window: range, size: tuple[int, int] | None, clock: _Clock
    ) -> Iterable[_Job]:
        """Decode the images of a window, and group them by the size of their tensors."""
        jobs: dict[tuple[int, int], _Job] = {}
        for place in window:
            _, (image,), (geometry,) = self._job(sources[place], size, clock)
            # A graph that resizes by itself takes the image as it is.
            key = geometry.image_size if self._spec.preprocess.included else geometry.input_size
            places, images, geometries = jobs.setdefault(key, ([], [], []))
            places.append(place)
            images.append(image)
            geometries.append(geometry)
            clock.lap("preprocess")
        return jobs.values()

    def _decode(self, source: ImageSource) -> Image.Image | np.ndarray:
        """In the form that the resampler takes, so that large images are not copied between the two."""
        as_array = isinstance(source, np.ndarray) or self._takes_arrays
        return read_image(source, self._format) if as_array else open_image(source, self._format)

    def _run(self, job: _Job, thresholds: Thresholds, clock: _Clock) -> list[Result]:
        _, images, geometries = job
        tensor = self._tensor(images, geometries)
        feeds = self._feeds(tensor, thresholds)
        clock.lap("preprocess")
        outputs = self._infer(feeds)
        if type(feeds) is FiniteFeeds and len(self._passed) < _SHAPES:
            self._passed.add(tensor.shape)
        clock.lap("infer")
        ranking = read_ranking(outputs, thresholds.top_k)
        if ranking is None:
            results = decode(outputs, self._spec, geometries, thresholds)
        else:
            results = classifications(*ranking, self._spec, geometries)
        clock.lap("postprocess")
        return results

    def _feeds(self, tensor: np.ndarray, thresholds: Thresholds) -> dict[str, np.ndarray]:
        feeds: dict[str, np.ndarray] = {}
        if tensor.dtype != np.float16:  # in which pixels can overflow
            feeds = CheckedFeeds() if tensor.shape in self._passed else FiniteFeeds()
        feeds[self._spec.input.name] = tensor
        if self._spec.output.runtime_thresholds:
            feeds.update((name, np.array(getattr(thresholds, name), np.float32)) for name in THRESHOLD_INPUTS)
        return feeds

    def _tensor(
        self, images: list[Image.Image | np.ndarray], geometries: list[Geometry], *, owned: bool = False
    ) -> np.ndarray:
        """The input of the graph; a batch that must be larger than the job is filled with zeros.

        Unless it is ``owned`` by the caller, it is valid until the thread makes the next one.
        """
        graph = self._spec.input
        count = _batch_size(len(images), graph.batch, graph.dynamic.get("batch"))
        if self._spec.preprocess.included:
            if count == 1:
                return np.ascontiguousarray(images[0])[None]  # the caller's own pixels where they can be
            raw = np.zeros((count, *geometries[0].image_size, graph.channels), np.uint8)
            for image, pixels in zip(images, raw, strict=False):
                pixels[:] = np.asarray(image)
            return raw
        shape = (count, graph.channels, *geometries[0].input_size)
        tensor = np.empty(shape, np.float32) if owned else self._scratch.take(shape)
        if count > len(images):
            tensor[len(images) :] = 0
        for image, geometry, out in zip(images, geometries, tensor, strict=False):
            self._preprocessor.render(image, geometry, out=out)
        if graph.layout == "NHWC":
            tensor = np.ascontiguousarray(tensor.transpose(0, 2, 3, 1))
        return as_type(tensor, graph.dtype)


def _several(source: Any) -> Sequence[Any] | None:
    """The images of a list or any other iterable; None for one image."""
    if isinstance(source, _ONE_IMAGE) or not isinstance(source, Iterable):
        return None
    return source if isinstance(source, Sequence) else list(source)


class _Scratch(threading.local):
    """The input tensor of a thread's last call, kept for its next one.

    Fresh memory of this size comes from the kernel page by page, which costs more than filling it.
    """

    tensor = buffer = np.empty(0, np.float32)

    def take(self, shape: tuple[int, ...]) -> np.ndarray:
        """Uninitialised float32 of this shape, valid until the thread takes the next one."""
        if self.tensor.shape != shape:
            count = math.prod(shape)
            if not count <= self.buffer.size <= _SPARE * count:
                self.buffer = np.empty(count, np.float32)
            self.tensor = self.buffer[:count].reshape(shape)
        return self.tensor


def _batch_size(images: int, fixed: int, allowed: AxisRange | None) -> int:
    """The smallest batch the model takes that holds the images."""
    if allowed is None:
        return fixed
    return max(allowed.min, -(-images // allowed.step) * allowed.step)


class _Clock:
    """Shares the time of a call out among its stages."""

    def __init__(self) -> None:
        self._laps: list[tuple[str, float]] = [("", perf_counter())]

    def lap(self, stage: Literal["decode", "preprocess", "infer", "postprocess"]) -> None:
        """What passed since the last lap was spent on this stage."""
        self._laps.append((stage, perf_counter()))

    def timings(self) -> Timings:
        spent = {"decode": 0.0, "preprocess": 0.0, "infer": 0.0, "postprocess": 0.0}
        for (_, before), (stage, now) in pairwise(self._laps):
            spent[stage] += now - before
        return Timings(**{f"{stage}_ms": 1e3 * seconds for stage, seconds in spent.items()})
