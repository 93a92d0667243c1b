"""The search: what goes to float32, what returns, and what is not left over."""

from __future__ import annotations

from collections.abc import Callable, Collection

import numpy as np
import onnx
import pytest
from deploykit_exporters.precision.answers import Found
from deploykit_exporters.precision.float_graph import FloatGraph, float_graph
from deploykit_exporters.precision.islands import Chosen, find_islands, without_splinters
from onnx import helper

Graph = Callable[..., onnx.ModelProto]
PRODUCTS = 24


@pytest.fixture
def chain(graph: Graph) -> FloatGraph:
    """24 times a product and a rectifier, then a softmax: 49 nodes."""
    nodes, weights, name = [], {}, "x"
    for index in range(PRODUCTS):
        nodes += [
            helper.make_node("MatMul", [name, f"w{index}"], [f"p{index}"]),
            helper.make_node("Relu", [f"p{index}"], [f"r{index}"]),
        ]
        weights[f"w{index}"] = np.eye(8, dtype=np.float32)
        name = f"r{index}"
    nodes.append(helper.make_node("Softmax", [name], ["y"]))
    return float_graph(graph(nodes, weights))


def search(graph: FloatGraph, costs: dict[int, float], kept: Collection[int] = ()) -> Chosen:
    """The result where float16 costs so much at some nodes, and nothing elsewhere."""

    def measure(half: Collection[int]) -> Found:
        return Found(share=0.4 + sum(cost for place, cost in costs.items() if place in half))

    return find_islands(graph, kept, measure, lambda _: None)


def test_nothing_moves_where_all_is_well(chain: FloatGraph) -> None:
    found = search(chain, {})
    assert found.half == frozenset(chain.able)
    assert not found.moved


def test_a_costly_node_moves_with_little_around_it(chain: FloatGraph) -> None:
    found = search(chain, {20: 3.0})
    assert 20 not in found.half
    assert found.found.cost <= 1
    assert len(found.half) >= len(chain.able) - 4
    assert found.runs < 40


def test_several_costly_nodes_move(chain: FloatGraph) -> None:
    found = search(chain, {4: 2.0, 30: 1.0, 40: 0.3})
    assert {4, 30}.isdisjoint(found.half)
    assert 40 in found.half  # which the budget allows
    assert len(found.half) > len(chain.able) / 2


def test_the_end_is_free_where_it_lessens_the_difference(chain: FloatGraph) -> None:
    end = 2 * PRODUCTS
    assert end in search(chain, {end: 0.05}).half
    found = search(chain, {end: 0.5})
    assert found.half == frozenset(chain.able) - found.moved
    assert end in found.moved
    assert all(place > end - 2 for place in found.moved)


def test_what_stays_for_other_reasons_stays(chain: FloatGraph) -> None:
    found = search(chain, {10: 5.0}, kept=[2, 3])
    assert found.half.isdisjoint({2, 3, 10})


def test_too_far_off_whatever_moves_is_told(chain: FloatGraph) -> None:
    found = find_islands(chain, (), lambda _: Found(share=7.0), lambda _: None)
    assert found.found.cost == 7.0


def test_splinters_join_the_float32_around_them(chain: FloatGraph) -> None:
    half = frozenset(chain.able) - {4, 5, 6, 8, 9}  # 7 is a rectifier alone between them
    assert without_splinters(chain, half) == half - {7}
    product = frozenset(chain.able) - {5, 7}  # 6 is a product: it pays
    assert without_splinters(chain, product) == product
