"""Candidates: signed and symmetric, weights of seven bits, and only what was chosen in 8 bits."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import TensorProto, numpy_helper

from deploykit.quantization.int8.graph.groups import groups_of, split
from deploykit.quantization.int8.graph.insert import FORMS, Choice, Form, quantised
from deploykit.quantization.int8.graph.network import Network, read_network
from deploykit.quantization.int8.graph.saturation import may_saturate


@pytest.fixture(scope="module")
def network(detector: Path) -> Network:
    return read_network(detector)


def all_of(network: Network, form: Form, bits: int = 7) -> Choice:
    nodes = frozenset(node.name for node in network.nodes())
    return Choice(nodes=nodes, method="min-max", form=form, weight_bits=bits)


def ranges(network: Network) -> dict[str, float]:
    return dict.fromkeys(network.tensors, 8.0)


@pytest.mark.parametrize("form", FORMS, ids=lambda form: form.name)
def test_every_form_is_signed_symmetric_and_runs(network: Network, form: Form) -> None:
    import onnxruntime

    model = quantised(network, all_of(network, form), ranges(network))
    onnx.checker.check_model(model)
    constants = {each.name: numpy_helper.to_array(each) for each in model.graph.initializer}
    quantisers = [node for node in model.graph.node if node.op_type == "QuantizeLinear"]
    assert quantisers
    for node in quantisers:
        assert constants[node.input[2]].dtype == np.int8
        assert not constants[node.input[2]].any()
    assert may_saturate(model) == ()
    session = onnxruntime.InferenceSession(model.SerializeToString(), providers=["CPUExecutionProvider"])
    shape = [1, 3, network.spec.input.height, network.spec.input.width]
    assert np.isfinite(session.run(None, {"images": np.zeros(shape, np.float32)})[0]).all()


def test_weights_of_eight_bits_are_named_by_the_proof(network: Network) -> None:
    model = quantised(network, all_of(network, FORMS[0], bits=8), ranges(network))
    assert len(may_saturate(model)) > 10


def test_only_chosen_layers_lose_their_weights(network: Network) -> None:
    groups = groups_of(network)
    names = [name for group in groups for name in group.nodes]
    assert sorted(names) == sorted(node.name for node in network.nodes())
    assert len(groups) < len(names) / 3, "layers of one kind are one group"
    choice = Choice(nodes=frozenset(groups[0].nodes), method="min-max", form=FORMS[0])
    model = quantised(network, choice, ranges(network))
    stored = [
        each for each in model.graph.initializer if each.data_type == TensorProto.INT8 and len(each.dims) > 1
    ]
    assert len(stored) == len(groups[0].nodes)


def test_the_parts_of_a_group_are_the_group(network: Network) -> None:
    for group in groups_of(network):
        parts = split(group)
        assert [name for part in parts for name in part.nodes] == list(group.nodes)
        assert len(parts) == min(8, len(group.nodes))


def test_keys_of_choices_tell_them_apart(network: Network) -> None:
    keys = {all_of(network, form, bits).key for form in FORMS for bits in (7, 8)}
    assert len(keys) == 2 * len(FORMS)
    assert all_of(network, FORMS[0]).key == all_of(network, FORMS[0]).key


def test_what_decodes_boxes_stays_in_float(network: Network) -> None:
    """Boxes in pixels and scores of one tensor would share a scale, on which scores round to 0."""
    model = quantised(network, all_of(network, FORMS[-1]), ranges(network))
    [output] = [each.name for each in model.graph.output]
    makers = {name: node for node in model.graph.node for name in node.output}
    last = makers[output]
    while last.op_type not in ("Conv", "QuantizeLinear", "DequantizeLinear"):
        last = makers[next(name for name in last.input if name in makers)]
        assert last.op_type != "QuantizeLinear"
    assert makers[output].op_type != "DequantizeLinear"


def test_nodes_inside_loops_find_what_they_read(fixtures: Path, tmp_path: Path) -> None:
    import deploykit

    options = {"preprocess": True, "postprocess": True, "golden_cases": False}
    path = deploykit.export(
        fixtures / "trained" / "segment.pt", output=tmp_path / "whole.onnx", **options
    ).path
    whole = read_network(path)
    for form in (FORMS[0], FORMS[-1]):
        onnx.checker.check_model(quantised(whole, all_of(whole, form), ranges(whole)))
