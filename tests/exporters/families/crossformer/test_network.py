"""CrossFormer: published sizes, the geometry of groups, and the forms that are exported."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable

import numpy as np
import onnx
import onnxruntime
import pytest
import torch
from deploykit_exporters.families.crossformer.attention import GroupAttention
from deploykit_exporters.families.crossformer.embedding import CrossScaleEmbedding, CrossScaleMerging
from deploykit_exporters.families.crossformer.exportable import dynamic_form, fixed_form, index_map
from deploykit_exporters.families.crossformer.grouping import MASKED, PaddedGroups, divide
from deploykit_exporters.families.crossformer.network import CrossFormer, CrossFormerConfig
from deploykit_exporters.families.crossformer.position_bias import DynamicPositionBias, offsets_of
from deploykit_exporters.graph.onnx_export import export_graph, simplify
from deploykit_runtimes.contract.spec import AxisRange, InputSpec, ModelSpec, OutputSpec, Preprocess
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

TINY = CrossFormerConfig(
    widths=(8, 16, 32, 64),
    depths=(2, 2, 2, 2),
    heads=(1, 2, 4, 8),
    groups=(7, 7, 7, 7),
    intervals=(8, 4, 2, 1),
    cooling=((), (), (), ()),
    mlp_widths=(16, 32, 64, 128),
    position_widths=(2, 4, 4, 8),
    num_classes=6,
)
PLUS = dataclasses.replace(
    TINY,
    depths=(2, 2, 5, 2),
    groups=(4, 4, 14, 7),
    intervals=(4, 2, 1, 1),
    cooling=((), (), (2,), ()),
    num_classes=0,
)
ADAPTIVE = dataclasses.replace(TINY, depths=(2, 2, 1, 1), intervals=(0, 0, 0, 0))
SHAPES = [
    (2, 224, 224),
    (1, 320, 416),
    (1, 480, 288),
    (3, 225, 231),
    (1, 56, 84),
    (3, 32, 32),
    (2, 97, 33),
    (1, 448, 32),
    (1, 127, 500),
]


def published(dim: int, depths: tuple[int, ...], *, plus: bool = False) -> CrossFormerConfig:
    """The configuration of a released model; its head is as wide as the paper's ImageNet one."""
    widths = tuple(dim << stage for stage in range(4))
    every_third = tuple(tuple(range(2, depth - 1, 3)) if plus else () for depth in depths)
    return dataclasses.replace(
        TINY,
        widths=widths,
        depths=depths,
        heads=tuple(width // 32 for width in widths),
        cooling=every_third,
        mlp_widths=tuple(4 * width for width in widths),
        position_widths=tuple(width // 16 for width in widths),
        num_classes=1000,
    )


@pytest.mark.parametrize(
    ("config", "millions"),
    [
        (published(64, (1, 1, 8, 6)), 27.8),
        (published(96, (2, 2, 6, 2)), 30.7),
        (published(96, (2, 2, 18, 2)), 52.0),
        (published(128, (2, 2, 18, 2)), 92.0),
        (published(64, (2, 2, 18, 2), plus=True), 23.3),
        (published(96, (2, 2, 18, 2), plus=True), 52.0),
        (published(128, (2, 2, 18, 2), plus=True), 92.0),
        (published(128, (6, 6, 18, 2), plus=True), 96.0),
    ],
    ids=["T", "S", "B", "L", "++S", "++B", "++L", "++H"],
)
def test_parameters_are_those_of_the_papers(config: CrossFormerConfig, millions: float) -> None:
    with torch.device("meta"):
        model = CrossFormer(config)
    assert sum(p.numel() for p in model.parameters()) / 1e6 == pytest.approx(millions, abs=0.05)


maps = st.tuples(st.integers(1, 20), st.integers(1, 20))
group_sizes = st.integers(1, 9)
interval_sizes = st.integers(0, 5)


@settings(deadline=None, max_examples=50)
@given(size=maps, group=group_sizes, interval=interval_sizes)
def test_groups_follow_the_rule(size: tuple[int, int], group: int, interval: int) -> None:
    near, far = divide(*size, group, interval)
    assert (near.height, near.width, near.interval) == (far.height, far.width, 1)
    if min(size) <= group:
        assert far == near
        assert (near.height, near.width, near.rows, near.columns) == (*size, 1, 1)
        assert near.mask is None
    else:
        assert (near.height, near.width) == (group, group)
        assert far.interval == (interval or -(-max(size) // group))
    for groups in (near, far):
        step = groups.interval
        block = (groups.height * step, groups.width * step)
        for side, padded, unit in zip(size, groups.padded, block, strict=True):
            assert 0 <= padded - side < unit
            assert padded % unit == 0


@settings(deadline=None, max_examples=50)
@given(size=maps, group=group_sizes, interval=interval_sizes, batch=st.integers(1, 3))
def test_members_lie_an_interval_apart_and_come_back(
    size: tuple[int, int], group: int, interval: int, batch: int
) -> None:
    height, width = size
    rows, columns = torch.meshgrid(torch.arange(height), torch.arange(width), indexing="ij")
    tokens = torch.stack((rows, columns), dim=-1).float().expand(batch, height, width, 2)
    for groups in divide(height, width, group, interval):
        split = groups.split(tokens)
        assert torch.equal(groups.join(split), tokens)
        real = (
            torch.ones(split.shape[:2], dtype=torch.bool)
            if groups.mask is None
            else (groups.mask.flatten(1) == 0).repeat(batch, 1)
        )
        assert real.sum() == batch * height * width
        members = split.reshape(-1, groups.height, groups.width, 2)
        real = real.reshape(-1, groups.height, groups.width)
        for axis, both in ((0, real[:, 1:] & real[:, :-1]), (1, real[:, :, 1:] & real[:, :, :-1])):
            steps = members.diff(dim=1 + axis)[both]
            assert torch.all(steps[:, axis] == groups.interval)
            assert torch.all(steps[:, 1 - axis] == 0)


@settings(deadline=None, max_examples=50)
@given(size=maps, group=group_sizes, interval=interval_sizes)
def test_arithmetic_on_sizes_gives_the_same_groups_as_branches(
    size: tuple[int, int], group: int, interval: int
) -> None:
    tokens = torch.rand(2, *size, 3) + 1
    for padded, indexed in zip(
        divide(*size, group, interval), index_map(tokens, group, interval), strict=True
    ):
        assert (indexed.height, indexed.width) == (padded.height, padded.width)
        assert torch.equal(indexed.offsets.table, padded.offsets.table)
        assert torch.equal(indexed.offsets.index, padded.offsets.index)
        split = indexed.split(tokens)
        assert indexed.mask is not None
        real = (indexed.mask == 0).squeeze(1).transpose(1, 2).repeat(2, 1, 1)
        assert torch.equal(split * real, padded.split(tokens))
        mask = torch.zeros_like(indexed.mask) if padded.mask is None else padded.mask
        assert torch.equal(indexed.mask, mask)
        assert torch.equal(indexed.join(split), tokens)


@pytest.mark.parametrize("size", [(5, 9), (9, 5), (7, 7), (3, 16), (1, 8)])
def test_one_group_of_the_map_equals_the_padded_square_of_the_official_code(size: tuple[int, int]) -> None:
    torch.manual_seed(0)
    attention = GroupAttention(16, 2, 4).eval()
    tokens = torch.randn(2, *size, 16)
    whole, _ = divide(*size, 7, 2)
    square = PaddedGroups(map_height=size[0], map_width=size[1], height=max(size), width=max(size))
    torch.testing.assert_close(attention(tokens, whole), attention(tokens, square))


def test_the_mask_takes_all_weight_from_padding_in_half_precision_too() -> None:
    logits = torch.tensor([8.0, -8.0, 8.0 + MASKED], dtype=torch.float16)
    assert torch.softmax(logits.float(), 0)[2] == 0
    assert torch.isfinite(logits).all()


@settings(deadline=None, max_examples=25)
@given(height=st.integers(1, 5), width=st.integers(1, 5), seed=st.integers(0, 999))
def test_position_bias_is_the_mlp_of_each_offset(height: int, width: int, seed: int) -> None:
    torch.manual_seed(seed)
    position = DynamicPositionBias(4, 3)
    bias = position(offsets_of(height, width, torch.device("cpu")))
    places = [(y, x) for y in range(height) for x in range(width)]
    offsets = [[(qy - ky, qx - kx) for ky, kx in places] for qy, qx in places]
    layers = nn.Sequential(position.pos_proj, position.pos1, position.pos2, position.pos3)
    expected = layers(torch.tensor(offsets, dtype=torch.float32)).permute(2, 0, 1)
    torch.testing.assert_close(bias, expected[None])


def test_embedding_shares_channels_among_kernels_and_rounds_sizes_down() -> None:
    embedding = CrossScaleEmbedding(3, 64, (4, 8, 16, 32))
    assert [proj.out_channels for proj in embedding.projs] == [32, 16, 8, 8]
    assert embedding(torch.zeros(2, 3, 33, 39)).shape == (2, 8, 9, 64)
    merging = CrossScaleMerging(8, (2, 4))
    assert [reduction.out_channels for reduction in merging.reductions] == [8, 8]
    assert merging(torch.zeros(2, 7, 5, 8)).shape == (2, 3, 2, 16)


@pytest.fixture(scope="module", params=[TINY, PLUS, ADAPTIVE], ids=["plain", "plus", "adaptive"])
def model(request: pytest.FixtureRequest, perturb: Callable[[nn.Module, int], nn.Module]) -> CrossFormer:
    torch.manual_seed(0)
    network = perturb(CrossFormer(request.param), 0)
    assert isinstance(network, CrossFormer)
    # Position biases that matter: random initialisation leaves them near zero.
    for module in network.modules():
        if isinstance(module, DynamicPositionBias):
            module.get_parameter("pos3.2.weight").data.mul_(4)
    return network


def outputs(network: nn.Module, images: torch.Tensor) -> list[np.ndarray]:
    with torch.inference_mode():
        found = network(images)
    return [tensor.numpy() for tensor in (found if isinstance(found, tuple) else (found,))]


def assert_same(found: list[np.ndarray], expected: list[np.ndarray], tolerance: float) -> None:
    assert len(found) == len(expected)
    for one, other in zip(found, expected, strict=True):
        assert one.shape == other.shape
        assert np.abs(one - other).max() <= tolerance * np.abs(other).max()


def noise(shape: tuple[int, int, int]) -> torch.Tensor:
    batch, height, width = shape
    return torch.randn(batch, 3, height, width, generator=torch.Generator().manual_seed(height * width))


@pytest.mark.parametrize("shape", SHAPES, ids=str)
def test_both_forms_compute_what_the_network_computes(
    model: CrossFormer, shape: tuple[int, int, int]
) -> None:
    images = noise(shape)
    expected = outputs(model, images)
    assert_same(outputs(dynamic_form(model), images), expected, 1e-6)
    assert_same(outputs(fixed_form(model, *shape[1:]), images), expected, 1e-6)


def test_the_forms_share_weights_and_leave_the_network_alone(model: CrossFormer) -> None:
    own = {name: parameter.data_ptr() for name, parameter in model.named_parameters()}
    for form in (dynamic_form(model), fixed_form(model, 64, 96)):
        theirs = {name: parameter.data_ptr() for name, parameter in form.named_parameters()}
        assert theirs.items() <= own.items()
    assert all(".pos." not in name for name in theirs)
    assert {name: parameter.data_ptr() for name, parameter in model.named_parameters()} == own


def spec_of(config: CrossFormerConfig, size: tuple[int, int], *dynamic: str) -> ModelSpec:
    names = ("logits",) if config.num_classes else ("stage0", "stage1", "stage2", "stage3")
    axes = {axis: AxisRange(min=1 if axis == "batch" else 32, max=4096) for axis in dynamic}
    return ModelSpec(
        task="classify" if config.num_classes else "features",
        family="crossformer",
        variant="test",
        origin="official",
        input=InputSpec(height=size[0], width=size[1], dynamic=axes),
        preprocess=Preprocess(),
        output=OutputSpec(names=names, layout="logits" if config.num_classes else "features"),
    )


def session(graph: onnx.ModelProto) -> onnxruntime.InferenceSession:
    return onnxruntime.InferenceSession(graph.SerializeToString(), providers=["CPUExecutionProvider"])


@pytest.fixture(scope="module")
def dynamic_graph(model: CrossFormer) -> onnx.ModelProto:
    """Traced where no map is a single group, so that this decision must come from the graph."""
    spec = spec_of(model.config, (480, 512), "batch", "height", "width")
    return export_graph(dynamic_form(model), spec, exporter="torchscript", opset=18)


def test_one_dynamic_graph_is_right_at_every_size(model: CrossFormer, dynamic_graph: onnx.ModelProto) -> None:
    runner = session(dynamic_graph)
    for shape in SHAPES:
        images = noise(shape)
        found = runner.run(None, {"images": images.numpy()})
        assert_same(found, outputs(model, images), 1e-5)


def test_a_simplified_dynamic_graph_is_right_too(model: CrossFormer, dynamic_graph: onnx.ModelProto) -> None:
    simplified = simplify(dynamic_graph)
    assert simplified is not None
    runner = session(simplified)
    for shape in SHAPES[3:6]:
        images = noise(shape)
        assert_same(runner.run(None, {"images": images.numpy()}), outputs(model, images), 1e-5)


def test_graphs_use_operators_that_engines_take(dynamic_graph: onnx.ModelProto) -> None:
    used = {node.op_type for node in dynamic_graph.graph.node}
    assert used.isdisjoint({"NonZero", "Loop", "If", "Scan", "ScatterND", "GatherND", "Where"})
    assert "LayerNormalization" in used


def test_a_fixed_graph_holds_constants_only() -> None:
    torch.manual_seed(0)
    config = dataclasses.replace(PLUS, depths=(1, 2, 3, 1))
    network = CrossFormer(config).eval()
    size = (96, 128)
    form = fixed_form(network, *size)
    graph = export_graph(form, spec_of(config, size), exporter="torchscript", opset=18)
    simplified = simplify(graph)
    assert simplified is not None
    used = {node.op_type for node in simplified.graph.node}
    assert used.isdisjoint({"Shape", "Range", "Gather", "Relu", "Expand", "ConstantOfShape", "Cast", "Where"})
    images = noise((1, *size))
    assert_same(session(simplified).run(None, {"images": images.numpy()}), outputs(network, images), 1e-5)


def test_a_fixed_size_graph_takes_any_batch(model: CrossFormer) -> None:
    spec = spec_of(model.config, (64, 160), "batch")
    graph = export_graph(fixed_form(model, 64, 160), spec, exporter="torchscript", opset=18)
    runner = session(graph)
    for batch in (1, 3):
        images = noise((batch, 64, 160))
        assert_same(runner.run(None, {"images": images.numpy()}), outputs(model, images), 1e-5)
