"""A family of another package: torchvision's ResNet, ResNeXt and Wide ResNet, from a state dict."""

from __future__ import annotations

from deploykit_exporters.checkpoint import Checkpoint
from deploykit_exporters.families.base import BuiltModel, Hints, Match, OutputGroup
from deploykit_exporters.families.beside import settle_beside
from deploykit_exporters.families.shared.class_names import class_names
from deploykit_exporters.families.shared.classifiers import matched_tensors
from deploykit_exporters.families.shared.imagenet import crop_preprocess
from deploykit_exporters.families.shared.loading import load_strict
from deploykit_runtimes.contract.spec import AxisRange, InputSpec, ModelSpec, OutputSpec

KEYS = {"conv1.weight", "layer1.0.conv1.weight", "layer4.0.downsample.0.weight", "fc.weight"}


class ResNetFamily:
    name = "resnet"

    def match(self, checkpoint: Checkpoint) -> Match | None:
        for view in checkpoint.views():
            if view.tensors.keys() >= KEYS:
                return Match(family=self.name, origin="torchvision", score=0.9, prefix=view.prefix)
        return None

    def build(self, checkpoint: Checkpoint, match: Match, hints: Hints) -> BuiltModel:
        from torchvision.models.resnet import BasicBlock, Bottleneck, ResNet

        tensors = matched_tensors(checkpoint, match)
        blocks = {tuple(key.split(".")[:2]) for key in tensors if key.startswith("layer")}
        depths = [sum(layer == f"layer{n}" for layer, _ in blocks) for n in range(1, 5)]
        width, inputs = tensors["layer1.0.conv2.weight"].shape[:2]
        block = Bottleneck if "layer1.0.conv3.weight" in tensors else BasicBlock
        classes = len(tensors["fc.weight"])
        net = ResNet(block, depths, classes, groups=width // inputs, width_per_group=inputs)
        load_strict(net, tensors, source=checkpoint.path.name)
        size = hints.imgsz or (224, 224)
        names, assumed = class_names(hints, (), classes)
        spec = ModelSpec(
            task="classify",
            family=self.name,
            variant=f"{block.__name__} {'-'.join(map(str, depths))}",
            origin=match.origin,
            input=InputSpec(height=size[0], width=size[1]),
            preprocess=crop_preprocess(size, resize=round(max(size) * 256 / 224), interpolation="bilinear"),
            output=OutputSpec(names=("logits",), layout="logits", activation="softmax"),
            classes=names,
            num_classes=classes,
            source=checkpoint.path.name,
            source_sha256=checkpoint.sha256,
            assumed=("Pre-processing is torchvision's usual one.", *assumed),
        )
        side = AxisRange(min=32, max=4096)
        axes = {"batch": AxisRange(min=1, max=1024), "height": side, "width": side}
        groups = (OutputGroup(output="logits", kind="scores", axis=1),)
        built = BuiltModel(module=net.eval(), spec=spec, axes=axes, groups=groups)
        return settle_beside(built, checkpoint, hints, {}, prefix=match.prefix)


FAMILY = ResNetFamily()
