"""Write INT8 graphs, and what becomes of them at load on x86 processors, for pytest and the C++ tests.

    python tests/golden/make_int8.py

``int8/index.txt`` has one block of ``key<TAB>value`` lines per graph, blocks end with an empty line:

    model       the file beside it
    unsigned    SHA-256 of the file with unsigned activations; ``-``: it stays as it is
    wide        SHA-256 of that with unsigned weights; ``-``: it stays as it is
    signed      1: products of signed values are left in it that may leave 16 bits
    exact       1: there are in the file

``int8/advice.txt`` has one per file of low precision and engine: what ``advice`` says. ``int8/cpus.txt`` has
one per processor: ``machine``, ``cpuinfo`` (``\\n`` ends a line) and ``class``.
"""

from __future__ import annotations

import hashlib
import tempfile
from pathlib import Path

import numpy as np
import onnx
from deploykit_runtimes.contract.spec import PrecisionRecord
from deploykit_runtimes.machine.cpu import cpu_class
from deploykit_runtimes.ort.saturation import keeps_signed, widen_products
from deploykit_runtimes.ort.unsigned import make_unsigned
from deploykit_runtimes.runner import Placement
from deploykit_runtimes.suitability import record_advice
from onnx import numpy_helper

FOLDER = Path(__file__).parent / "int8"
HEAD = '<ir_version: 8, opset_import: ["": {opset}]> g (float[2, 4, 4, 4] x) => ({outputs}) <{stored}>'
SCALES = "float s = {0.125}, float t = {0.5}, int8 z = {0}"
GRAPHS = {
    "product": """
        xq = QuantizeLinear (x, s, z)
        xd = DequantizeLinear (xq, s, z)
        wd = DequantizeLinear <axis = 0> (w, ws, wz)
        y = Conv (xd, wd)
        yq = QuantizeLinear (y, t, z)
        out = DequantizeLinear (yq, t, z)""",
    "small_weights": """
        xq = QuantizeLinear (x, s, z)
        xd = DequantizeLinear (xq, s, z)
        wd = DequantizeLinear <axis = 0> (small, ws, wz)
        out = Conv (xd, wd)""",
    "moves": """
        xq = QuantizeLinear (x, s, z)
        a = Transpose <perm = [0, 2, 3, 1]> (xq)
        b = Slice (a, zeros, fours)
        c = Concat <axis = 1> (b, stored)
        d = MaxPool <kernel_shape = [2, 2], pads = [1, 1, 1, 1]> (c)
        e = Resize <mode = "nearest"> (d, "", doubled)
        f, h = Split <axis = 0> (e, ones)
        i = Gather (f, one)
        k = Unsqueeze (i, one)
        l = Squeeze (k, one)
        out = DequantizeLinear (l, s, z)
        other = DequantizeLinear (h, s, z)""",
    "linear_resize": """
        xq = QuantizeLinear (x, s, z)
        xr = Resize <mode = "linear"> (xq, "", doubled)
        out = DequantizeLinear (xr, s, z)""",
    "constants_beside": """
        xq = QuantizeLinear (x, s, z)
        xd = DequantizeLinear (xq, s, z)
        sd = DequantizeLinear (stored, s, z)
        moved = Add (xd, sd)
        out = MatMul (sd, moved)""",
    "shared": """
        xq = QuantizeLinear (x, s, z)
        first = DequantizeLinear (xq, s, z)
        second = DequantizeLinear (xq, s)
        wd = DequantizeLinear (w, ws)
        y = Conv (first, wd)
        out = Add (y, second)""",
    "weights_of_both": """
        xq = QuantizeLinear (x, s, z)
        xd = DequantizeLinear (xq, s, z)
        kept = Cast <to = 1> (xq)
        uq = QuantizeLinear (x, s, u)
        ud = DequantizeLinear (uq, s, u)
        wd = DequantizeLinear <axis = 0> (w, ws, wz)
        vd = DequantizeLinear <axis = 0> (wide, ws, wz)
        a = Conv (xd, wd)
        b = Conv (ud, vd)
        c = Conv (b, vd)
        d = Add (a, c)
        out = Add (d, kept)""",
    "read_as_numbers": """
        xq = QuantizeLinear (x, s, z)
        xd = DequantizeLinear (xq, s, z)
        xc = Cast <to = 1> (xq)
        out = Add (xd, xc)""",
    "given_out": """
        xq = QuantizeLinear (x, s, z)
        out = DequantizeLinear (xq, s, z)""",
    "read_in_a_branch": """
        xq = QuantizeLinear (x, s, z)
        sum = ReduceSum <keepdims = 0> (x)
        positive = Cast <to = 9> (sum)
        out = If (positive) <
            then_branch = then () => (y) { y = DequantizeLinear (xq, s, z) },
            else_branch = otherwise () => (v) { v = Identity (x) }>""",
    "around_three": """
        xq = QuantizeLinear (x, s, three)
        out = DequantizeLinear (xq, s, three)""",
    "half_around_three": """
        xq = QuantizeLinear (x, s, z)
        xd = DequantizeLinear (xq, s, three)
        yq = QuantizeLinear (xd, s, z)
        out = DequantizeLinear (yq, s, z)""",
    "unsigned_already": """
        xq = QuantizeLinear (x, s, u)
        out = DequantizeLinear (xq, s, u)""",
    "by_channel": """
        xq = QuantizeLinear <axis = 1> (x, ws, wz)
        xd = DequantizeLinear <axis = 1> (xq, ws, wz)
        xe = DequantizeLinear <axis = 1> (xq, ws)
        out = Add (xd, xe)""",
    "told_by_type": """
        xq = QuantizeLinear <output_dtype = 3> (x, s)
        out = DequantizeLinear (xq, s)""",
    "in_blocks": """
        xq = QuantizeLinear <axis = 1, block_size = 2> (x, blocks, zero_blocks)
        out = DequantizeLinear <axis = 1, block_size = 2> (xq, blocks, zero_blocks)""",
    "other_domain": """
        xq = other.QuantizeLinear (x, s, z)
        xd = DequantizeLinear (xq, s, z)
        yq = QuantizeLinear (x, s, z)
        yd = other.DequantizeLinear (yq, s, z)
        out = Add (xd, yd)""",
}
OUTPUTS = {
    "moves": "float[a, b, c, d] out, float[e, f, h, i] other",
    "given_out": "float[a, b, c, d] out, int8[2, 4, 4, 4] xq",
}
OPSETS = {"told_by_type": 21, "in_blocks": 21}
PROCESSORS = (
    ("x86_64", "processor\t: 0\nmodel name\t: A\nflags\t\t: fpu avx2 fma\nbugs\t\t: avx_vnni\n"),
    ("x86_64", "flags\t\t: fpu avx512f avx512_vnni\n\nprocessor\t: 1\nflags\t\t: fpu\n"),
    ("x86_64", "flags : avx2 avx_vnni\n"),
    ("x86_64", ""),
    ("x86_64", "flags :\nFeatures : avx_vnni\n"),
    ("aarch64", "Features\t: fp asimd asimddp\n"),
    ("aarch64", "Features\t: fp asimd\n"),
    ("riscv64", "isa\t\t: rv64imafdc\n"),
)


def stored() -> dict[str, np.ndarray]:
    """Constants by name; those of the text are stored as numbers, these as bytes."""
    ends = np.arange(-128, 128, dtype=np.int8)
    return {
        "w": ends[::16].reshape(4, 4, 1, 1).copy(),
        "wide": ends[8::16].reshape(4, 4, 1, 1).copy(),
        "small": np.linspace(-64, 63, 16).astype(np.int8).reshape(4, 4, 1, 1),
        "ws": np.array([0.25, 0.5, 0.125, 1], np.float32),
        "wz": np.zeros(4, np.int8),
        "three": np.array(3, np.int8),
        "u": np.array(128, np.uint8),
        "stored": ends[:128].reshape(2, 4, 4, 4).copy(),
        "blocks": np.full((2, 2, 4, 4), 0.125, np.float32),
        "zero_blocks": np.zeros((2, 2, 4, 4), np.int8),
        "zeros": np.zeros(4, np.int64),
        "fours": np.array([2, 3, 4, 4], np.int64),
        "doubled": np.array([1, 1, 2, 2], np.float32),
        "ones": np.array([1, 1], np.int64),
        "one": np.array([0], np.int64),
    }


def model(name: str) -> onnx.ModelProto:
    nodes = GRAPHS[name]
    outputs = OUTPUTS.get(name, "float[a, b, c, d] out")
    head = HEAD.format(opset=OPSETS.get(name, 18), outputs=outputs, stored=SCALES)
    if "other." in nodes:
        head = head.replace("18]", '18, "other": 1]')
    made = onnx.parser.parse_model(f"{head} {{{nodes}\n}}")
    words = {word for node in made.graph.node for word in node.input}
    for constant, values in stored().items():
        if constant in words:
            made.graph.initializer.append(numpy_helper.from_array(values, constant))
    made.graph.value_info.append(
        onnx.helper.make_tensor_value_info("xq", onnx.TensorProto.INT8, [2, 4, 4, 4])
    )
    return made


def overridable() -> onnx.ModelProto:
    """A zero point that the caller may give."""
    made = model("product")
    made.ir_version = 3
    made.graph.input.extend(
        onnx.helper.make_tensor_value_info(tensor.name, tensor.data_type, tensor.dims)
        for tensor in made.graph.initializer
    )
    return made


def advices() -> str:
    ort, ov = ("onnxruntime", "cpu", "CPUExecutionProvider"), ("openvino", "cpu", "CPU")
    cuda = ("onnxruntime", "cuda", "CUDAExecutionProvider")
    plugin = ("onnxruntime", "gpu", "OpenVINOExecutionProvider.2")
    rtx, trt = ("onnxruntime", "gpu", "NvTensorRTRTXExecutionProvider"), ("tensorrt", "NVIDIA T4", "TensorRT")
    both = ("vnni", "no-vnni")
    blocks = []
    for compute, target, cpus, (engine, device, provider), precision, cpu in (
        ("int8", "any", both, ort, "int8", "no-vnni"),
        ("int8", "ort-cpu", both, ort, "int8", "vnni"),
        ("int8", "ort-cpu", both, ov, "int8", "vnni"),
        ("int8", "ov", both, ort, "int8", "vnni"),
        ("int8", "ov", both, plugin, "int8", "vnni"),
        ("int8", "trt", (), rtx, "int8", "vnni"),
        ("int8", "trt", (), trt, "int8", "vnni"),
        ("int8", "trt", (), cuda, "int8", "vnni"),
        ("int8", "any", ("vnni",), ort, "int8+fp32", "no-vnni"),
        ("int8", "any", both, ov, "int8", "arm-dot"),
        ("int8", "any", ("vnni",), cuda, "int8", "no-vnni"),
        ("fp16", "any", (), ort, "fp32", "vnni"),
        ("fp16", "any", (), ort, "fp16", "arm-dot"),
        ("fp16", "trt", (), ort, "fp32", "vnni"),
        ("fp16", "any", (), ov, "fp32", "vnni"),
        ("int8", "other", (), ("another", "", "x"), "int8", "other"),
    ):
        record = PrecisionRecord(compute=compute, target=target, cpus=cpus)
        placement = Placement(
            engine=engine, version="1", device=device, precision=precision, providers={provider: 1}
        )
        lines = {
            "compute": compute,
            "target": target,
            "cpus": " ".join(cpus),
            "engine": engine,
            "device": device,
            "provider": provider,
            "precision": precision,
            "cpu": cpu,
            "advice": record_advice(record, placement, cpu),
        }
        blocks.append("".join(f"{key}\t{value}\n" for key, value in lines.items()))
    return "\n".join(blocks)


def digest(model: bytes | None) -> str:
    return "-" if model is None else hashlib.sha256(model).hexdigest()


def main() -> None:
    FOLDER.mkdir(exist_ok=True)
    blocks = []
    for name, made in {**{name: model(name) for name in GRAPHS}, "overridable": overridable()}.items():
        path = FOLDER / f"{name}.onnx"
        path.write_bytes(made.SerializeToString(deterministic=True))
        content = path.read_bytes()
        found = make_unsigned(content)
        wide = widen_products(found or content)
        lines = {
            "model": path.name,
            "unsigned": digest(found),
            "wide": digest(wide),
            "signed": int(keeps_signed(memoryview(wide or found or content))),
            "exact": int(keeps_signed(memoryview(content))),
        }
        blocks.append("".join(f"{key}\t{value}\n" for key, value in lines.items()))
    (FOLDER / "index.txt").write_text("\n".join(blocks), encoding="utf-8")
    blocks = []
    for machine, cpuinfo in PROCESSORS:
        with tempfile.TemporaryDirectory() as folder:
            (Path(folder) / "proc").mkdir()
            (Path(folder) / "proc/cpuinfo").write_text(cpuinfo, encoding="utf-8")
            found_class = cpu_class(Path(folder), architecture=machine)
        escaped = cpuinfo.replace("\n", "\\n")
        blocks.append(f"machine\t{machine}\ncpuinfo\t{escaped}\nclass\t{found_class}\n")
    (FOLDER / "advice.txt").write_text(advices(), encoding="utf-8")
    (FOLDER / "cpus.txt").write_text("\n".join(blocks), encoding="utf-8")


if __name__ == "__main__":
    main()
