"""Images in, results out: pre-processing, batches through a runner, decoding."""

from __future__ import annotations

import math
import threading
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import islice
from time import perf_counter
from typing import Any, Self, TypeAlias, TypedDict, Unpack, overload

import numpy as np
from PIL import Image

from deploykit_runtimes.decode import Thresholds, decode
from deploykit_runtimes.errors import ModelError, OptionError
from deploykit_runtimes.geometry import Geometry, plan_geometry
from deploykit_runtimes.images import ImageSource, open_image, read_image
from deploykit_runtimes.preprocess import as_size, render
from deploykit_runtimes.results import Result
from deploykit_runtimes.runner import Placement, Runner
from deploykit_runtimes.spec import AxisRange, ModelSpec

__all__ = ["PredictOptions", "Predictor", "Timings"]

_DEFAULT_BATCH = 8
_SPARE = 4
"""A kept tensor this many times larger than the next one is given back."""

# Invariant list types would refuse a list[str] here.
Sources: TypeAlias = list[Any] | tuple[Any, ...]


class PredictOptions(TypedDict, total=False):
    """The options of ``Predictor.predict``, which explains them."""

    top_k: int
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
class _Job:
    """Images of one tensor size, and their places in the answer."""

    places: list[int]
    images: list[Image.Image | np.ndarray]
    geometries: list[Geometry]


class Predictor:
    """A model and its contract. Safe to call from many threads if its runner is.

    Args:
        runner: The loaded model; ``close`` closes it.

    Raises:
        ModelError: the model takes something else than RGB images.
    """

    def __init__(self, runner: Runner) -> None:
        self._runner = runner
        self._scratch = _Scratch()
        if runner.spec.input.channels != 3:
            raise ModelError(
                f"The model takes {runner.spec.input.channels} channels; images are fed as 3 (RGB or BGR).",
                hint="Prepare the tensor yourself and call runner.infer().",
            )

    @property
    def spec(self) -> ModelSpec:
        """The model's contract."""
        return self._runner.spec

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
        """Answer for one image, or for each of a list or tuple.

        Args:
            source: A path, the bytes of a file, a Pillow image, a uint8 RGB array [H, W, 3], or a
                list of these.
            top_k: Number of classes of a classification (5).
            conf: Lowest score of a detection, exclusive; the model's own default when None.
            iou: Overlap above which the worse of two boxes falls; likewise.
            max_det: Most detections of one image; likewise.
            imgsz: Side, or (height, width), to use instead of the model's own; needs dynamic axes.
            batch: Most images to run at once where the batch axis is dynamic (8). Images are batched
                with neighbours whose tensors have the same size.

        Returns:
            One result for one image, a list in the order of the sources for a list.

        Raises:
            InputError: an image cannot be read, or does not fit the model.
            OptionError: an option is out of range.
            ModelError: the outputs contradict the contract.
        """
        answer: Result | list[Result] = self.predict_timed(source, **options)[0]
        return answer

    def predict_timed(
        self,
        source: ImageSource | Sources,
        *,
        top_k: int = 5,
        conf: float | None = None,
        iou: float | None = None,
        max_det: int | None = None,
        imgsz: int | tuple[int, int] | None = None,
        batch: int | None = None,
    ) -> tuple[Any, Timings]:
        """The same as ``predict``, and where the time went."""
        thresholds = Thresholds.of(self.spec.output, top_k=top_k, conf=conf, iou=iou, max_det=max_det)
        sources: list[Any] = list(source) if isinstance(source, list | tuple) else [source]
        clock = _Clock()
        results: list[Result | None] = [None] * len(sources)
        remaining = iter(enumerate(sources))
        while window := list(islice(remaining, self._batch_limit(batch))):
            for job in self._jobs(window, as_size(imgsz), clock):
                for place, result in zip(job.places, self._run(job, thresholds, clock), strict=True):
                    results[place] = result
        return results if isinstance(source, list | tuple) else results[0], clock.timings()

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

    def _batch_limit(self, batch: int | None) -> int:
        image = self.spec.input
        if batch is not None and batch < 1:
            raise OptionError(f"batch wants at least 1, found {batch}.")
        if "batch" not in image.dynamic:
            if batch is not None and batch != image.batch:
                raise OptionError(
                    f"The model's batch is fixed to {image.batch}, found batch={batch}.",
                    hint="Export with --dynamic to run other batches.",
                )
            return image.batch
        allowed = image.dynamic["batch"]
        if batch is not None and batch not in allowed:
            raise OptionError(f"The model runs batches of {allowed}, found batch={batch}.")
        return batch or max(allowed.min, min(_DEFAULT_BATCH, allowed.max))

    def _jobs(
        self, window: Sequence[tuple[int, ImageSource]], imgsz: tuple[int, int] | None, clock: _Clock
    ) -> Iterator[_Job]:
        jobs: dict[tuple[int, ...], _Job] = {}
        for place, source in window:
            with clock.decoding:
                image = self._decode(source)
            height, width = image.size[::-1] if isinstance(image, Image.Image) else image.shape[:2]
            size = (height, width)
            geometry = plan_geometry(size, self.spec.preprocess, self.spec.input, imgsz)
            # A graph that resizes by itself takes the image as it is.
            key = size if self.spec.preprocess.included else geometry.input_size
            job = jobs.setdefault(key, _Job(places=[], images=[], geometries=[]))
            job.places.append(place)
            job.images.append(image)
            job.geometries.append(geometry)
        yield from jobs.values()

    def _decode(self, source: ImageSource) -> Image.Image | np.ndarray:
        """In the form that the resampler takes, so that large images are not copied between the two."""
        how = self.spec.preprocess
        as_array = how.included or how.resampler == "opencv" or isinstance(source, np.ndarray)
        return read_image(source) if as_array else open_image(source)

    def _run(self, job: _Job, thresholds: Thresholds, clock: _Clock) -> list[Result]:
        with clock.preprocessing:
            images = self._tensor(job)
        with clock.inferring:
            outputs = self._runner.infer({self.spec.input.name: images})
        with clock.postprocessing:
            return decode(outputs, self.spec, job.geometries, thresholds)

    def _tensor(self, job: _Job) -> np.ndarray:
        """The input of the graph; a batch that must be larger than the job is filled with zeros."""
        image = self.spec.input
        count = _batch_size(len(job.images), image.batch, image.dynamic.get("batch"))
        if self.spec.preprocess.included:
            height, width = job.geometries[0].image_size
            raw = np.zeros((count, height, width, 3), np.uint8)
            for pixels, item in zip(raw, job.images, strict=False):
                pixels[:] = np.asarray(item)
            return raw
        tensor = self._scratch.take((count, 3, *job.geometries[0].input_size))
        tensor[len(job.images) :] = 0
        for out, item, geometry in zip(tensor, job.images, job.geometries, strict=False):
            render(item, geometry, self.spec.preprocess, out=out)
        if image.layout == "NHWC":
            tensor = np.ascontiguousarray(tensor.transpose(0, 2, 3, 1))
        return tensor.astype(image.dtype, copy=False)


class _Scratch(threading.local):
    """The input tensor of a thread's last call, kept for its next one.

    Fresh memory of this size comes from the kernel page by page, which costs more than filling it.
    """

    buffer = np.empty(0, np.float32)

    def take(self, shape: tuple[int, ...]) -> np.ndarray:
        """Uninitialised float32 of this shape, valid until the thread takes the next one."""
        count = math.prod(shape)
        if not count <= self.buffer.size <= _SPARE * count:
            self.buffer = np.empty(count, np.float32)
        return self.buffer[:count].reshape(shape)


def _batch_size(images: int, fixed: int, allowed: AxisRange | None) -> int:
    """The smallest batch the model takes that holds the images."""
    if allowed is None:
        return fixed
    return max(allowed.min, -(-images // allowed.step) * allowed.step)


class _Stopwatch:
    """Adds up the time spent inside its ``with`` blocks."""

    def __init__(self) -> None:
        self.total_ms = 0.0
        self._started = 0.0

    def __enter__(self) -> None:
        self._started = perf_counter()

    def __exit__(self, *exc: object) -> None:
        self.total_ms += (perf_counter() - self._started) * 1e3


class _Clock:
    """The stopwatches of one call."""

    def __init__(self) -> None:
        self.decoding, self.preprocessing = _Stopwatch(), _Stopwatch()
        self.inferring, self.postprocessing = _Stopwatch(), _Stopwatch()

    def timings(self) -> Timings:
        return Timings(
            decode_ms=self.decoding.total_ms,
            preprocess_ms=self.preprocessing.total_ms,
            infer_ms=self.inferring.total_ms,
            postprocess_ms=self.postprocessing.total_ms,
        )
