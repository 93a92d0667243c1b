"""Files whose every name is an attack on the terminal, and what is asserted of what is printed of them."""

from __future__ import annotations

import pickle
import re
import struct
import zipfile
from pathlib import Path

import numpy as np
from deploykit_runtimes.contract.metadata import spec_to_metadata
from deploykit_runtimes.contract.spec import AxisRange, InputSpec, ModelSpec, OutputSpec, Preprocess
from deploykit_runtimes.text.printable import printable

# Title, clipboard, clear, colour; the same by C1; a carriage return and a forged line; the direction
# of writing; what is not seen; separators.
EVIL = (
    "\x1b]0;owned\x07\x1b]52;c;b3duZWQ=\x07\x1b[2J\x1b[35mpink"
    "\x9b2J\x9d0;owned\x9c\r\n\terror: forged\x0b\x0c\x08\x7f"
    "\u202eesrever\u2066\u200b\ufeff\u2028\x85end"
)
NAME = re.sub(r"\s", "", EVIL)
"""Without white space, which separates names in metadata."""
HONEST = "\u864e\u6591\u732b \u0642\u0637\u0629 \U0001f468\u200d\U0001f469\u200d\U0001f467 cafe\u0301"
_OURS = re.compile(r"\x1b\[(?:0|1|2|31|32|33)m")


def check_text(data: bytes) -> str:
    """What came out, as text: valid UTF-8 without anything that a terminal obeys but our colours."""
    text = data.decode("utf-8")
    for line in _OURS.sub("", text).split("\n"):
        assert printable(line, len(line)) == line
        assert not line.lstrip().startswith(("error: forged", "forged"))
    return text


def write_model(path: Path, classes: tuple[str, ...], text: str, tensor: str, **metadata: str) -> Path:
    """A classifier that runs, with the texts as its names; without a contract where ``metadata`` is given."""
    import onnx
    from onnx import TensorProto, helper, numpy_helper

    weights = np.linspace(-1, 1, 3 * len(classes), dtype=np.float32).reshape(3, -1)
    source, mean, answer = f"in{tensor}", f"mean{tensor}", f"out{tensor}"
    nodes = [
        helper.make_node("ReduceMean", [source, "axes"], [mean], name=f"node{text}", keepdims=0),
        helper.make_node("MatMul", [mean, f"weights{text}"], [answer], name=f"node2{text}"),
    ]
    graph = helper.make_graph(
        nodes,
        text,
        [helper.make_tensor_value_info(source, TensorProto.FLOAT, [f"batch{text}", 3, 8, 8])],
        [helper.make_tensor_value_info(answer, TensorProto.FLOAT, [f"batch{text}", len(classes)])],
        [
            numpy_helper.from_array(np.array([2, 3]), "axes"),
            numpy_helper.from_array(weights, f"weights{text}"),
            numpy_helper.from_array(weights, f"unused{text}"),
        ],
        doc_string=text,
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], producer_name=text)
    model.ir_version = 9
    spec = ModelSpec(
        task="classify",
        family=text,
        variant=text,
        origin=text,
        input=InputSpec(name=source, height=8, width=8, dynamic={"batch": AxisRange(min=1, max=8)}),
        preprocess=Preprocess(resize="stretch", resize_to=(8, 8)),
        output=OutputSpec(names=(answer,), layout="logits", activation="softmax"),
        classes=classes,
        num_classes=len(classes),
        source=text,
        recognised=(text, text),
        assumed=(text,),
        exporter=text,
    )
    for key, value in (metadata or spec_to_metadata(spec)).items():
        model.metadata_props.add(key=key, value=value)
    onnx.save(model, path)
    return path


def zip_pickle(path: Path, content: bytes, entry: str = "archive") -> Path:
    """A file of torch.save around a pickle that was written by hand."""
    with zipfile.ZipFile(path, "w") as file:
        file.writestr(f"{entry}/data.pkl", content)
        file.writestr(f"{entry}/version", "3\n")
        file.writestr(f"{entry}/data/{entry}", b"x")
    return path


def unicode(text: str) -> bytes:
    """The opcode of a text, lone surrogates too."""
    data = text.encode("utf-8", "surrogatepass")
    return b"X" + struct.pack("<I", len(data)) + data


def global_named(module: str, name: str) -> bytes:
    """The opcodes of a global, whatever its name."""
    return unicode(module) + unicode(name) + b"\x93"


def plain_pickle(value: object) -> bytes:
    return pickle.dumps(value, protocol=2)
