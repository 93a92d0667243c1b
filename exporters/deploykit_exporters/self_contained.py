"""Pre- and post-processing put inside a proven graph, and the proof of the whole."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import torch
from deploykit_runtimes.answers.thresholds import refuse_needless
from deploykit_runtimes.contract.spec import (
    THRESHOLD_INPUTS,
    AxisRange,
    InputSpec,
    ModelSpec,
    OutputSpec,
    ParityRecord,
    Preprocess,
)
from deploykit_runtimes.errors import OptionError
from deploykit_runtimes.machine.scratch import scratch_folder
from deploykit_runtimes.pixels.pixel_format import PixelFormat
from deploykit_runtimes.pixels.preprocess import preprocess
from deploykit_runtimes.prediction.predictor import Predictor

from deploykit_exporters.families.base import BuiltModel
from deploykit_exporters.graph.onnx_export import quiet, simplify
from deploykit_exporters.graph.storage import save_model
from deploykit_exporters.ingraph.compose import NETWORK, Part, compose, trace
from deploykit_exporters.ingraph.postprocess import PostprocessOptions, postprocess_module, postprocess_output
from deploykit_exporters.ingraph.preprocess import MAX_SIDE, InGraphPreprocess, preprocess_module
from deploykit_exporters.options import ExportOptions
from deploykit_exporters.proof.answers import AnswerDifference, answer_photos, prove_answers
from deploykit_exporters.proof.candidate import open_candidate
from deploykit_exporters.proof.golden_cases.keys import Around, golden_keys
from deploykit_exporters.proof.pictures import of_allowed_size, picture_for
from deploykit_exporters.proof.processing import prove_decoding, prove_pixels
from deploykit_exporters.proof.raised import Raised, telling, with_answers
from deploykit_exporters.proof.torch_runner import TorchRunner

if TYPE_CHECKING:
    import onnx

__all__ = ["Composition", "host_output", "host_spec", "network_axes", "refuse_unused", "self_contained_spec"]


def network_axes(dynamic: Mapping[str, AxisRange], how: Preprocess) -> dict[str, AxisRange]:
    """The axes that stay free in the network behind its pre-processing.

    If every image comes out at one size, a free height and width would only slow the network down.

    Raises:
        OptionError: images come out at sizes that the network does not take.
    """
    if how.keeps_size:
        return dict(dynamic)
    free = {"height", "width"} <= dynamic.keys()
    if how.resize == "letterbox":
        varies = free and how.stride > 0
    else:
        varies = how.crop is None and how.resize != "stretch"
        if varies and not free:
            raise OptionError(
                "The model's pre-processing keeps the shape of the image, but the network takes one size.",
                hint="Export with --dynamic, or without --preprocess.",
            )
    return {axis: allowed for axis, allowed in dynamic.items() if varies or axis == "batch"}


def refuse_unused(core: ModelSpec, options: ExportOptions) -> None:
    """Refuse thresholds that the network has no use for, whoever would apply them.

    Raises:
        OptionError: one would have no effect.
    """
    given = {name for name in ("top_k", "conf", "iou", "max_det") if getattr(options, name) is not None}
    refuse_needless(core, given | ({"class_agnostic"} if options.class_agnostic else set()))


def host_output(output: OutputSpec, options: ExportOptions) -> OutputSpec:
    """The thresholds that the user asked for, as the defaults of whoever applies them."""
    return replace(
        output,
        conf=output.conf if options.conf is None else options.conf,
        iou=output.iou if options.iou is None else options.iou,
        max_det=options.max_det or output.max_det,
        class_agnostic=output.class_agnostic or options.class_agnostic,
    )


def self_contained_spec(core: ModelSpec, options: ExportOptions) -> ModelSpec:
    """The contract of the graph with what the options put inside.

    Raises:
        OptionError, ModelError: the model's processing cannot be put inside.
    """
    spec = core
    if options.postprocess:
        spec = replace(spec, output=postprocess_output(core, _post_options(options)))
    if options.preprocess:
        preprocess_module(core, size_is_dynamic=False)  # refuses what cannot be put inside, before the work
        images = replace(core.input, layout="NHWC", dtype="uint8")
        if not core.preprocess.keeps_size:
            sides = AxisRange(min=1, max=MAX_SIDE)
            batch = {axis: allowed for axis, allowed in core.input.dynamic.items() if axis == "batch"}
            images = replace(images, dynamic={**batch, "height": sides, "width": sides})
        spec = replace(
            spec, input=images, network=core.input, preprocess=replace(core.preprocess, included=True)
        )
    return spec


def host_spec(core: ModelSpec, finished: ModelSpec) -> ModelSpec:
    """The contract of the network in a finished graph, for a host that does the rest to the same effect."""
    chosen = {name: getattr(finished.output, name) for name in ("conf", "iou", "max_det", "class_agnostic")}
    return replace(core, input=finished.tensor, output=replace(core.output, **chosen))


@dataclass(frozen=True, kw_only=True)
class Composition:
    """What is put around which network.

    Attributes:
        built: The network in torch.
        core: Its contract alone.
        finished: The contract of the whole, by ``self_contained_spec``.
        options: What the user asked for.
        opset: ONNX operator set.
    """

    built: BuiltModel
    core: ModelSpec
    finished: ModelSpec
    options: ExportOptions
    opset: int

    def write(
        self, network: onnx.ModelProto, draft: Path, output: Path, record: ParityRecord
    ) -> tuple[ModelSpec, onnx.ModelProto]:
        """Write the whole graph to ``draft``, each part proven alone and all of them together.

        Args:
            network: The graph of the network, proven.
            draft: Where to write.
            output: What the draft will be renamed to.
            record: What the proof of the network measured.

        Raises:
            ParityError: an answer of the file is not the checkpoint's.
        """
        before, after, exact, around = self._parts(network)
        model = compose(network, self.core, self.finished, before=before, after=after)
        save_model(model, draft, final=output, spec=self.finished)
        with Predictor(open_candidate(draft)) as candidate, Predictor(self._host()) as reference:
            found = prove_answers(reference, candidate, self._photos, self.finished.output)
            golden = {}
            if self.options.golden_cases:
                golden = golden_keys(self.built, self.core, self.finished, around, candidate.runner)
        raised = self._raised(model, found)
        record = with_answers(replace(record, exact_pixels=exact), raised)
        proven = replace(self.finished, parity=record, golden=golden)
        save_model(model, draft, final=output, spec=proven)
        return proven, model

    def _raised(self, model: onnx.ModelProto, found: AnswerDifference) -> Raised:
        return telling(
            self.built,
            lambda: model,
            host_spec(self.core, self.finished),
            self.finished,
            images=self._photos,
            found=found,
            opener=open_candidate,
        )

    @property
    def _photos(self) -> dict[str, np.ndarray]:
        """Images of the proof, of sizes that the model takes."""
        photos = answer_photos(PixelFormat.of(self.core))
        return {name: of_allowed_size(image, self.core) for name, image in photos.items()}

    def _parts(
        self, network: onnx.ModelProto
    ) -> tuple[onnx.ModelProto | None, onnx.ModelProto | None, float, Around]:
        """Pre- and post-processing, the share of pre-processed values that are exactly the host's, and the
        same parts as torch modules."""
        before = after = ending = None
        module: InGraphPreprocess | None = None
        exact = 1.0
        if self.options.preprocess:
            variable = {"height", "width"} <= self.core.input.dynamic.keys()
            module = preprocess_module(self.core, size_is_dynamic=variable)
            before = self._traced(self._before(module))
            exact = self._prove_before(before)
        if self.options.postprocess:
            heads = self._heads()
            part = self._after(network, module, heads)
            after, ending = self._traced(part), part.module
            self._prove_after(after, heads)
        return before, after, exact, Around(before=module, after=ending)

    def _traced(self, part: Part) -> onnx.ModelProto:
        with torch.inference_mode(), quiet():
            model = trace(part, self.opset)
        return (simplify(model) or model) if self.options.simplify else model

    def _before(self, module: InGraphPreprocess) -> Part:
        images = self.finished.input
        return Part(
            module=module,
            examples={images.name: torch.from_numpy(_batch(picture_for(self.core), images))},
            outputs=["tensor"],
            dynamic={images.name: _free_axes(images)},
        )

    def _tensors(self) -> np.ndarray:
        """A photo as the network takes it."""
        tensor, _ = preprocess(picture_for(self.core), self.core)
        return _batch(tensor, self.core.input)

    def _heads(self) -> Mapping[str, np.ndarray]:
        """What the network says of the photo."""
        with self._host() as network:
            return network.infer({self.core.input.name: self._tensors()})

    def _after(
        self, network: onnx.ModelProto, module: InGraphPreprocess | None, heads: Mapping[str, np.ndarray]
    ) -> Part:
        images = self.finished.input
        given = self._tensors() if module is None else _batch(picture_for(self.core), images)
        examples = {images.name: torch.from_numpy(given)}
        examples.update({NETWORK + name: torch.from_numpy(head) for name, head in heads.items()})
        dynamic = {images.name: _free_axes(images)}
        for value in network.graph.output:
            axes = enumerate(value.type.tensor_type.shape.dim)
            dynamic[NETWORK + value.name] = {
                index: dim.dim_param for index, dim in axes if not dim.HasField("dim_value")
            }
        if self.finished.output.runtime_thresholds:
            examples.update((name, torch.tensor(0.5)) for name in THRESHOLD_INPUTS)
        return Part(
            module=postprocess_module(self.core, _post_options(self.options), preprocess=module),
            examples=examples,
            outputs=self.finished.output.names,
            dynamic=dynamic,
        )

    def _host(self) -> TorchRunner:
        """The checkpoint with the host's processing and the thresholds of the whole."""
        return TorchRunner(self.built, host_spec(self.core, self.finished))

    def _prove_before(self, before: onnx.ModelProto) -> float:
        output = OutputSpec(names=("tensor",), layout="features")
        with scratch_folder() as folder:
            path = folder / "preprocess.onnx"
            save_model(before, path, final=path, spec=replace(self.finished, task="features", output=output))
            with Predictor(open_candidate(path)) as candidate:
                return prove_pixels(candidate, self.core, self._photos)

    def _prove_after(self, after: onnx.ModelProto, heads: Mapping[str, np.ndarray]) -> None:
        with scratch_folder() as folder:
            path = folder / "postprocess.onnx"
            save_model(after, path, final=path, spec=self.finished)
            with open_candidate(path) as candidate:
                core = host_spec(self.core, self.finished)
                prove_decoding(candidate, core, self.finished, picture_for(self.core), heads)


def _free_axes(images: InputSpec) -> dict[int, str]:
    return {index: name for index, name in enumerate(images.axes) if name in images.dynamic}


def _batch(image: np.ndarray, images: InputSpec) -> np.ndarray:
    """An image as a batch that can be traced: exporters take a free axis of size 1 for a constant."""
    count = max(2, images.batch) if "batch" in images.dynamic else images.batch
    return np.repeat(image[None], count, axis=0)


def _post_options(options: ExportOptions) -> PostprocessOptions:
    return PostprocessOptions(
        top_k=options.top_k or 5,
        conf=options.conf,
        iou=options.iou,
        max_det=options.max_det,
        class_agnostic=options.class_agnostic,
        runtime_thresholds=options.runtime_thresholds,
        masks=options.masks,
    )
