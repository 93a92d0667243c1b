"""Pickles are read without importing anything: bombs are refused, and honest ones come out usable."""

from __future__ import annotations

import argparse
import collections
import contextlib
import copy
import copyreg
import datetime
import enum
import functools
import io
import pathlib
import pickle
import struct
import sys
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
from deploykit_exporters.containers.pickles.inert import (
    InertDict,
    InertList,
    class_path,
    to_plain,
)
from deploykit_exporters.containers.pickles.unpickle import load_inert
from hypothesis import given, settings
from hypothesis import strategies as st
from pickled_calls import PROTOCOLS, Call, inert


def test_nothing_real_is_changed_by_build() -> None:
    """BUILD with a slot state sets attributes of whatever is on the stack: never of something real."""
    before = dict(vars(torch._utils))
    stream = b"ctorch._utils\n_rebuild_tensor_v2\nN}(X\x0c\x00\x00\x00__defaults__X\x01\x00\x00\x00xu\x86b."
    with pytest.raises(pickle.UnpicklingError):
        load_inert(io.BytesIO(stream))
    assert torch._utils._rebuild_tensor_v2.__defaults__ == (None,)
    assert dict(vars(torch._utils)) == before


def test_nothing_is_imported() -> None:
    sys.modules.pop("antigravity", None)
    value = load_inert(io.BytesIO(b"cantigravity\ngeohash\n(I1\nI2\nI3\ntR.")).value
    assert class_path(value) == "antigravity.geohash"
    assert value.inert_args == (1, 2, 3)
    assert "antigravity" not in sys.modules


def test_the_extension_registry_is_refused() -> None:
    copyreg.add_extension("os", "system", 113)
    try:
        with pytest.raises(pickle.UnpicklingError, match="EXT1"):
            load_inert(io.BytesIO(b"\x80\x02\x82\x71."))
    finally:
        copyreg.remove_extension("os", "system", 113)


def test_bombs_are_refused_without_memory_or_time() -> None:
    laughs = b"]" + b"".join(
        b"q" + bytes([i]) + b"](h" + bytes([i]) + b"h" + bytes([i]) + b"e" for i in range(90)
    )
    with pytest.raises(pickle.UnpicklingError, match="thousands of times as long"):
        load_inert(io.BytesIO(b"\x80\x02" + laughs + b"."))
    tower = b"\x80\x02}N" + b"".join(b"2\x86" for _ in range(60)) + b"K\x01s."
    with pytest.raises(pickle.UnpicklingError, match="nested"):
        load_inert(io.BytesIO(tower))
    for stream in (
        b"\x80\x02]r\xff\xff\xff\xff.",  # a memo index of 4 thousand million
        b"\x80\x05\x96" + struct.pack("<Q", 1 << 40) + b".",
        b"\x80\x04\x8e" + struct.pack("<Q", 1 << 40) + b".",
        b"cbuiltins\nbytearray\n(L1099511627776L\ntR.",
        b"cnumpy\nempty\n(L1099511627776L\ntR.",
    ):
        try:
            load_inert(io.BytesIO(stream))
        except (pickle.UnpicklingError, ValueError, TypeError):
            continue


@pytest.mark.parametrize(
    "name",
    [
        "cbuiltins\nlist",
        "cbuiltins\nbytes",
        "cbuiltins\nset",
        "cpathlib\nPurePosixPath",
        "ctorch\ndevice",
        "cn\nList",
    ],
)
def test_copies_without_end_are_refused(name: str) -> None:
    """Much that is copied for every few bytes of pickle; the last is a list only by its use."""
    long = 1 << 18
    content = {
        "cbuiltins\nlist": b"(" + b"N" * long + b"l",
        "cbuiltins\nset": b"(" + b"N" * long + b"l",
        "cn\nList": b"(" + b"N" * long + b"l",
        "cbuiltins\nbytes": b"B" + struct.pack("<I", long) + bytes(long),
    }.get(name, b"X" + struct.pack("<I", long) + b"a" * long)
    learn = b"(l(NNe0" if name != "cn\nList" else name.encode() + b"\n)R(NNe0"
    copies = name.encode() + b"\nq\x020" + b"h\x02h\x01\x85R0" * 1000
    with pytest.raises(pickle.UnpicklingError, match="again and again"):
        load_inert(io.BytesIO(learn + content + b"q\x010" + copies + b"N."))


def test_honest_keys_of_any_number_are_read() -> None:
    """Indices, also those of numpy, and names: as label encoders and optimisers have them."""
    keys = [
        *range(20_000),
        *range(-5_000, 0),
        *map(np.int64, range(30_000, 40_000)),
        *map(str, range(20_000)),
    ]
    value = {key: index for index, key in enumerate(keys)}
    assert inert({"names": value, "seen": set(keys)}) == {"names": value, "seen": set(keys)}
    few = {(index, "a"): float(index) for index in range(1000)} | {index / 7: index for index in range(1000)}
    assert inert(few) == few


def test_names_without_end_are_refused() -> None:
    many = b"".join(b"cn\nA%d\n0" % index for index in range(10_001))
    deep = b"cn\nA\nq\x000" + b"".join(
        b"cbuiltins\ngetattr\n(h\x00X\xc8\x00\x00\x00" + b"a" * 200 + b"tRq\x000" for _ in range(6)
    )
    for stream in (many, deep):
        with pytest.raises(pickle.UnpicklingError, match="more globals"):
            load_inert(io.BytesIO(stream + b"N."))


@given(st.binary(max_size=200))
@settings(max_examples=300, deadline=None)
def test_any_bytes_fail_in_a_known_way(content: bytes) -> None:
    from deploykit_exporters.containers.torch_file import MALFORMED

    with contextlib.suppress(*MALFORMED):
        load_inert(io.BytesIO(content))


def test_odd_escapes_do_not_warn() -> None:
    assert class_path(load_inert(io.BytesIO(b"ca\nb\\X\n.")).value) == "a.b\\X"


class Colour(enum.Enum):
    RED = "red"


class CfgNode(dict):  # type: ignore[type-arg]
    def __init__(self, *args: Any) -> None:
        super().__init__(*args)
        self.__dict__["__immutable__"] = True


class Names(list):  # type: ignore[type-arg]
    pass


class Settings:
    def __init__(self) -> None:
        self.size = (224, 224)
        self.callback: Callable[..., Any] = functools.partial(len, "abc")


class Slotted:
    __slots__ = ("depth", "width")
    depth: int


@pytest.mark.parametrize("protocol", PROTOCOLS)
def test_plain_values_are_what_they_were(protocol: int) -> None:
    value = {
        "numbers": [0, 1, -1, 2**31, -(2**70), 1.5, float("inf"), True, False, None],
        "text": ["", "naïve", "日本", "x" * 300, b"", b"\x00\xff", bytearray(b"ab")],
        "sets": [{1, 2}, frozenset({3}), set()],
        "tuples": [(), (1,), (1, 2), (1, 2, 3), (1, 2, 3, 4)],
        ("a", 1): 2 + 3j,
        frozenset({"cat", "dog"}): 0.5,
        "ordered": collections.OrderedDict([("b", 1), ("a", 2)]),
        "counter": collections.Counter("aab"),
        "default": collections.defaultdict(list, {"k": [1]}),
        "deque": collections.deque([1, 2], maxlen=5),
        "size": torch.Size([1, 2]),
        "dtype": torch.float16,
        "device": torch.device("cuda", 1),
        "path": pathlib.PurePosixPath("/data/train"),
        "windows": pathlib.PureWindowsPath("C:\\data"),
    }
    found = inert(value, protocol)
    assert found.pop("device") == "cuda:1"
    assert found.pop("deque") == [1, 2]
    value.pop("device"), value.pop("deque")
    if protocol < 3:  # which has no bytearray
        assert list(map(bytes, found["text"][-3:])) == list(map(bytes, value["text"][-3:]))  # type: ignore[index]
        found["text"] = value["text"]
    assert found == value
    assert list(found["ordered"]) == ["b", "a"]


@pytest.mark.parametrize("protocol", PROTOCOLS)
@pytest.mark.parametrize("dtype", ["f4", ">f8", "i8", "u1", "?", "c8", "U5", "S3", "f2"])
def test_numpy_values_are_rebuilt(protocol: int, dtype: str) -> None:
    array = np.arange(6).reshape(2, 3).astype(dtype)
    found = inert({"a": array, "f": np.asfortranarray(array), "s": array[1, 1], "e": array[:0]}, protocol)
    for key, expected in {"a": array, "f": array, "s": array[1, 1], "e": array[:0]}.items():
        assert np.array_equal(found[key], expected)
        assert found[key].dtype.newbyteorder("=") == expected.dtype.newbyteorder("=")
    found["a"][0, 0] = found["a"][0, 1]  # owned, writable


def test_arrays_of_objects_become_inert() -> None:
    value = {
        "objects": np.array([Settings(), None]),
        "record": np.zeros(2, "i4,f4"),
        "time": np.datetime64("2024"),
        "w": np.ones(2),
    }
    found = inert(value)
    assert class_path(found["objects"]) == "numpy.ndarray"
    assert np.array_equal(found["w"], np.ones(2))


@pytest.mark.parametrize("protocol", PROTOCOLS)
def test_objects_keep_their_attributes(protocol: int) -> None:
    here = __name__
    config = CfgNode({"MODEL": CfgNode({"CROSS": CfgNode({"DEPTHS": [2, 2, 6, 2]})})})
    slotted = Slotted()
    slotted.depth = 12
    value = {
        "config": config,
        "args": argparse.Namespace(model="vit", mean=(0.5,)),
        "names": Names(["cat", "dog"]),
        "colour": Colour.RED,
        "settings": Settings(),
        "when": datetime.date(2024, 2, 29),
        "function": test_nothing_is_imported,
        "class": Settings,
    }
    if protocol >= 2:
        value["slotted"] = slotted
    found = inert(value, protocol)
    assert isinstance(found["config"], InertDict)
    assert found["config"]["MODEL"]["CROSS"]["DEPTHS"] == [2, 2, 6, 2] == found["config"].MODEL.CROSS.DEPTHS
    assert class_path(found["config"]) == f"{here}.CfgNode"
    assert vars(found["args"]) == {"model": "vit", "mean": (0.5,)}
    assert isinstance(found["names"], InertList)
    assert found["names"] == ["cat", "dog"]
    assert found["settings"].size == (224, 224)
    assert class_path(found["settings"].callback) == "functools.partial"
    assert class_path(found["class"]) == f"{here}.Settings"
    assert to_plain(found["colour"]) in ("red", f"{here}.Colour.RED")
    if protocol >= 2:
        assert found["slotted"].depth == 12
    with pytest.raises(AttributeError, match="holds no 'absent'"):
        found["settings"].absent  # noqa: B018


def test_functions_reached_by_getattr_are_named_not_fetched() -> None:
    found = inert(Call(getattr, Settings, "callback"))
    assert class_path(found) == f"{__name__}.Settings.callback"


def test_shared_and_recursive_objects_stay_so() -> None:
    shared: list[Any] = [1]
    loop: dict[str, Any] = {"shared": shared, "again": shared}
    loop["self"] = loop
    found = inert(loop)
    assert found["self"] is found
    assert found["shared"] is found["again"]
    assert to_plain(found) == {"shared": [1], "again": [1], "self": "..."}


def test_python_2_names_are_understood() -> None:
    assert load_inert(io.BytesIO(b"c__builtin__\nset\n((lp0\nI1\naI2\natR.")).value == {1, 2}
    base = b"ccopy_reg\n_reconstructor\n(c__main__\nNet\nc__builtin__\nobject\nNtR(dS'depth'\nI3\nsb."
    assert load_inert(io.BytesIO(base)).value.depth == 3


def test_stand_ins_can_be_copied_and_shown() -> None:
    found = copy.deepcopy(inert(Settings()))
    assert found.size == (224, 224)
    assert repr(found) == f"<inert {__name__}.Settings>"
    assert repr(inert(CfgNode({"MODEL": 1}))) == f"<inert {__name__}.CfgNode {{'MODEL': 1}}>"
    assert repr(inert(Names("a"))) == f"<inert {__name__}.Names ['a']>"
