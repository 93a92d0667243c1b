"""Images in, results out: pre-processing, batches through a runner, decoding."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Self, TypeAlias, Unpack, overload

import numpy as np
from PIL import Image

from deploykit_runtimes.answers.decode import classifications, decode
from deploykit_runtimes.answers.results import Result
from deploykit_runtimes.answers.thresholds import Thresholds, ThresholdsOf
from deploykit_runtimes.contract.readings import refuse_unclear
from deploykit_runtimes.contract.shapes import check_same_crop, check_size
from deploykit_runtimes.contract.spec import THRESHOLD_INPUTS, AxisRange, ModelSpec
from deploykit_runtimes.errors import OptionError
from deploykit_runtimes.options.arguments import as_count, as_flag, as_size, refuse_unknown
from deploykit_runtimes.pixels.geometry import Geometry
from deploykit_runtimes.pixels.images import open_image, read_image
from deploykit_runtimes.pixels.picture import Picture
from deploykit_runtimes.pixels.pixel_format import PixelFormat
from deploykit_runtimes.pixels.preprocess import Preprocessor, as_type
from deploykit_runtimes.pixels.sources import (
    ImageSource,
    OneImage,
    ReadySource,
    Sources,
    read_source,
    rgb_of_bgr,
    several,
)
from deploykit_runtimes.pixels.tensor_memory import TensorMemory
from deploykit_runtimes.prediction.options import ELSEWHERE, PredictKeywords
from deploykit_runtimes.prediction.timings import Clock, Timings
from deploykit_runtimes.runner import CheckedFeeds, FiniteFeeds, Placement, Runner
from deploykit_runtimes.text.printable import printable

__all__ = ["PredictKeywords", "Predictor", "Prepared", "Timings"]

_DEFAULT_BATCH = 8
_SHAPES = 256
"""How many shapes are remembered as ones that the engine takes."""


@dataclass(frozen=True, kw_only=True)
class Prepared:
    """An image on its way through an engine that somebody else runs.

    Attributes:
        feeds: What ``Runner.infer`` takes: one row, or as many as the model's batch is fixed to.
        image: The decoded picture.
        picture: The picture as it was given, for the result.
        geometry: How it lies in the tensor.
        thresholds: What to keep of the answer.
        decode_ms, preprocess_ms: What it took.
    """

    feeds: Mapping[str, np.ndarray]
    image: Image.Image | np.ndarray
    picture: Picture
    geometry: Geometry
    thresholds: Thresholds
    decode_ms: float
    preprocess_ms: float


# Images that fit into one tensor: their places in the answer, pixels, how they lie in the tensor, origins.
_Job: TypeAlias = tuple[list[int], list[Image.Image | np.ndarray], list[Geometry], list[Picture]]


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
        self._memory = TensorMemory()
        self._passed: set[tuple[int, ...]] = set()

    @property
    def spec(self) -> ModelSpec:
        """The model's contract."""
        return self._spec

    @property
    def runner(self) -> Runner:
        """The engine below."""
        return self._runner

    def __repr__(self) -> str:
        spec, image = self._spec, self._spec.input
        classes = f", {spec.num_classes or len(spec.classes)} classes" if spec.num_classes else ""
        what = "a model by another exporter" if spec.family == "unknown" else spec.variant
        size = f"{image.height}x{image.width}{' or other sizes' if 'height' in image.dynamic else ''}"
        return (
            f"Predictor({printable(what, 120)}: {spec.task}{classes}, {size}, {type(self._runner).__name__})"
        )

    @overload
    def predict(self, source: OneImage, **options: Unpack[PredictKeywords]) -> Result: ...

    @overload
    def predict(
        self, source: str | os.PathLike[str], **options: Unpack[PredictKeywords]
    ) -> Result | list[Result]: ...

    @overload
    def predict(self, source: Sources, **options: Unpack[PredictKeywords]) -> list[Result]: ...

    def predict(
        self, source: ImageSource | Sources, **options: Unpack[PredictKeywords]
    ) -> Result | list[Result]:
        """Answer for one image, or for each of several. ``model(source)`` is the same.

        Args:
            source: A path, an http(s) URL, an open file, the bytes of a file (also as bytearray or
                memoryview), a Pillow image, or a uint8 array [H, W, C] (RGB, or as the model's channels are);
                see ``read_image``. Several: a list or any other iterable of these, a folder, which stands
                for the images in it, or a glob pattern (``**`` allowed).
            top_k: Number of classes of a classification; 5, or what the graph gives, when None.
            conf: Lowest score of a detection, exclusive; the model's own default when None.
            iou: Overlap above which the worse of two boxes falls; likewise.
            max_det: Most detections of one image; likewise.
            imgsz: Side, or (height, width), to use instead of the model's own; needs dynamic axes, and
                pre-processing outside the graph.
            batch: Most images to run at once where the batch axis is dynamic (8). Images are batched
                with neighbours whose tensors have the same size.
            bgr: Arrays, and those of .npy files, have OpenCV's order of colours, as ``cv2.imread`` and
                ``VideoCapture.read`` give them. Other sources know their order.
            progress: Called as ``progress(done, total)`` while several images are answered.

        Returns:
            One result for one image; for several a list, in the order of the sources, or in natural order for
            a folder or pattern. Each remembers its picture, for ``plot``, ``show`` and ``save``.

        Raises:
            InputError: an image cannot be read, or does not fit the model.
            OptionError: an option is out of range.
            ModelError: the outputs contradict the contract.
        """
        answer: Result | list[Result] = self._predict(source, Clock(), **options)
        return answer

    __call__ = predict

    def predict_timed(
        self, source: ImageSource | Sources, **options: Unpack[PredictKeywords]
    ) -> tuple[Any, Timings]:
        """The same as ``predict``, and where the time went."""
        clock = Clock()
        answer = self._predict(source, clock, **options)
        return answer, clock.timings()

    def _predict(
        self,
        source: ImageSource | Sources,
        clock: Clock,
        *,
        imgsz: int | tuple[int, int] | None = None,
        batch: int | None = None,
        bgr: bool = False,
        progress: Callable[[int, int], None] | None = None,
        **thresholds: Any,
    ) -> Any:
        if thresholds:
            names = tuple(PredictKeywords.__annotations__)
            refuse_unknown(thresholds, names, where="predict()", elsewhere=ELSEWHERE)
        if bgr:
            self._check_bgr(bgr)
        keep = self._thresholds.asked(thresholds) if thresholds else self._thresholds.defaults
        limit = self._limit if batch is None else self._checked_batch(batch)
        size = None if imgsz is None else self._size(imgsz)
        sources = several(source)
        if sources is None:
            return self._run(self._job(source, size, bgr, clock), keep, clock)[0]
        results: list[Any] = [None] * len(sources)
        for start in range(0, len(sources), limit):
            window = range(start, min(start + limit, len(sources)))
            for job in self._jobs(sources, window, size, bgr, clock):
                for place, result in zip(job[0], self._run(job, keep, clock), strict=True):
                    results[place] = result
            if progress is not None:
                progress(window.stop, len(sources))
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
        bgr: bool = False,
        plan: Callable[[tuple[int, int]], Geometry] | None = None,
    ) -> Prepared:
        """The first half of ``predict`` on one image, for callers that run the engine themselves.

        Args:
            source, imgsz, top_k, conf, iou, max_det, bgr: As for ``predict``.
            plan: Where the pixels go, from the height and width of the image, instead of the model's own way;
                of no effect where pre-processing is inside the graph.

        Raises:
            InputError: the image cannot be read, or does not fit the model.
            OptionError: an option is out of range.
        """
        clock = Clock()
        keep = self._thresholds.of(top_k=top_k, conf=conf, iou=iou, max_det=max_det)
        size = None if imgsz is None else self._size(imgsz)
        if bgr:
            self._check_bgr(bgr)
        _, images, geometries, pictures = self._job(source, size, bgr, clock)
        if plan is not None and not self._spec.preprocess.included:
            geometries = [plan(geometry.image_size) for geometry in geometries]
        feeds = self._feeds(self._tensor(images, geometries, owned=True), keep)
        clock.lap("preprocess")
        timings = clock.timings()
        return Prepared(
            feeds=feeds,
            image=images[0],
            picture=pictures[0],
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
        results = decode(outputs, self._spec, [prepared.geometry], prepared.thresholds)
        return _remembering(results, [prepared.picture])[0]

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

    def _check_bgr(self, bgr: object) -> None:
        if as_flag(bgr, "bgr") and self._format.color == "as_is":
            raise OptionError(
                f"bgr sets the order of colours; the model takes {self._format}, which are not reordered.",
                hint="Give the channels in the order that the model was trained on.",
            )

    def _job(self, source: Any, size: tuple[int, int] | None, bgr: bool, clock: Clock) -> _Job:
        """Decode one image."""
        source = read_source(source)
        source = rgb_of_bgr(source) if bgr else source
        picture = Picture(source)
        image = self._decode(source)
        clock.lap("decode")
        return [0], [image], [self._preprocessor.plan(image, size)], [picture]

    def _jobs(
        self, sources: Sequence[Any], window: range, size: tuple[int, int] | None, bgr: bool, clock: Clock
    ) -> Iterable[_Job]:
        """Decode the images of a window, and group them by the size of their tensors."""
        jobs: dict[tuple[int, int], _Job] = {}
        for place in window:
            _, (image,), (geometry,), (picture,) = self._job(sources[place], size, bgr, clock)
            # A graph that resizes by itself takes the image as it is.
            key = geometry.image_size if self._spec.preprocess.included else geometry.input_size
            job = jobs.setdefault(key, ([], [], [], []))
            job[0].append(place)
            job[1].append(image)
            job[2].append(geometry)
            job[3].append(picture)
            clock.lap("preprocess")
        return jobs.values()

    def _decode(self, source: ReadySource) -> Image.Image | np.ndarray:
        """In the form that the resampler takes, so that large images are not copied between the two."""
        as_array = isinstance(source, np.ndarray) or self._takes_arrays
        return read_image(source, self._format) if as_array else open_image(source, self._format)

    def _run(self, job: _Job, thresholds: Thresholds, clock: Clock) -> list[Result]:
        _, images, geometries, pictures = job
        tensor = self._tensor(images, geometries)
        feeds = self._feeds(tensor, thresholds)
        clock.lap("preprocess")
        outputs, best = self._runner.infer_best(feeds, thresholds.top_k)
        if type(feeds) is FiniteFeeds and len(self._passed) < _SHAPES:
            self._passed.add(tensor.shape)
        clock.lap("infer")
        if best is None:
            results = decode(outputs, self._spec, geometries, thresholds)
        else:
            results = classifications(*best, self._spec, geometries)
        _remembering(results, pictures)
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
        tensor = np.empty(shape, np.float32) if owned else self._memory.take(shape)
        if count > len(images):
            tensor[len(images) :] = 0
        for image, geometry, out in zip(images, geometries, tensor, strict=False):
            self._preprocessor.render(image, geometry, out=out)
        if graph.layout == "NHWC":
            tensor = np.ascontiguousarray(tensor.transpose(0, 2, 3, 1))
        return as_type(tensor, graph.dtype)


def _remembering(results: list[Result], pictures: Iterable[Picture]) -> list[Result]:
    """The new results, each with its picture. A copy of each would cost more than some of them take."""
    for result, picture in zip(results, pictures, strict=True):
        object.__setattr__(result, "picture", picture)
    return results


def _batch_size(images: int, fixed: int, allowed: AxisRange | None) -> int:
    """The smallest batch the model takes that holds the images."""
    if allowed is None:
        return fixed
    return max(allowed.min, -(-images // allowed.step) * allowed.step)
