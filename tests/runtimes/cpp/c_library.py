"""The C interface through ctypes: its structures, and a library that is called with them."""

from __future__ import annotations

import ctypes
import json
from pathlib import Path
from typing import Any

import numpy as np
from deploykit_runtimes.errors import DeploykitError


class Image(ctypes.Structure):
    _fields_ = (
        ("size", ctypes.c_size_t),
        ("pixels", ctypes.c_void_p),
        ("height", ctypes.c_int64),
        ("width", ctypes.c_int64),
        ("channels", ctypes.c_int64),
        ("order", ctypes.c_int),
        ("row_bytes", ctypes.c_int64),
    )


class PredictOptions(ctypes.Structure):
    _fields_ = (
        ("size", ctypes.c_size_t),
        ("top_k", ctypes.c_int64),
        ("conf", ctypes.c_double),
        ("iou", ctypes.c_double),
        ("max_det", ctypes.c_int64),
        ("height", ctypes.c_int64),
        ("width", ctypes.c_int64),
        ("batch", ctypes.c_int64),
    )


class Options(ctypes.Structure):
    _fields_ = (
        ("size", ctypes.c_size_t),
        ("device", ctypes.c_char_p),
        ("threads", ctypes.c_int),
        ("strict", ctypes.c_int),
        ("gpu", ctypes.c_int),
        ("workers", ctypes.c_int),
        ("cache", ctypes.c_char_p),
        ("goal", ctypes.c_char_p),
        ("precision", ctypes.c_char_p),
        ("cuda_graph", ctypes.c_int),
        ("outputs", ctypes.c_char_p),
        ("exact", ctypes.c_int),
    )


class Feed(ctypes.Structure):
    _fields_ = (
        ("size", ctypes.c_size_t),
        ("name", ctypes.c_char_p),
        ("type", ctypes.c_int),
        ("shape", ctypes.POINTER(ctypes.c_int64)),
        ("axes", ctypes.c_size_t),
        ("data", ctypes.c_void_p),
    )


class Tensor(ctypes.Structure):
    _fields_ = (*Feed._fields_[1:],)


# The element types, in the order of deploykit.h.
TYPES = ("float32", "float16", "float64", "uint8", "int8", "uint16", "int16", "int32", "int64")
CALLBACK = ctypes.CFUNCTYPE(None, ctypes.c_void_p, ctypes.c_void_p, ctypes.c_void_p)


class Library:
    """The functions of deploykit.h that the tests call, with Python's values and errors."""

    def __init__(self, path: Path) -> None:
        self.c = ctypes.CDLL(str(path))
        texts = ("error_message", "error_problem", "error_hint", "result_json", "version")
        texts += ("report_problem", "report_summary", "report_json", "model_placement", "model_advice")
        for name in texts:
            getattr(self.c, f"deploykit_{name}").restype = ctypes.c_char_p
        for name in ("model_open", "predict", "predict_async", "use_onnxruntime", "infer", "self_test"):
            getattr(self.c, f"deploykit_{name}").restype = ctypes.c_void_p
        self.c.deploykit_predict_defaults.restype = PredictOptions
        self.c.deploykit_result_count.restype = ctypes.c_size_t
        self.c.deploykit_tensor_count.restype = ctypes.c_size_t
        self.c.deploykit_report_case_count.restype = ctypes.c_size_t

    def check(self, error: int | None) -> None:
        if error is not None:
            pointer = ctypes.c_void_p(error)
            problem = self.c.deploykit_error_problem(pointer).decode()
            hint = self.c.deploykit_error_hint(pointer).decode()
            code = self.c.deploykit_error_code(pointer)
            self.c.deploykit_error_free(pointer)
            raised = DeploykitError(problem, hint=hint)
            raised.exit_code = code
            raise raised

    def open(self, path: Path | str, device: str = "cpu", threads: int = 1, **more: Any) -> ctypes.c_void_p:
        model = ctypes.c_void_p()
        options = Options(ctypes.sizeof(Options), device.encode(), threads)
        for name, value in more.items():
            setattr(options, name, value.encode() if isinstance(value, str) else value)
        self.check(
            self.c.deploykit_model_open(str(path).encode(), ctypes.byref(options), ctypes.byref(model))
        )
        return model

    def predict(
        self, model: ctypes.c_void_p, pixels: list[np.ndarray], **options: Any
    ) -> list[dict[str, Any]]:
        images = (Image * len(pixels))(*map(view, pixels))
        chosen = self.c.deploykit_predict_defaults()
        for name, value in options.items():
            setattr(chosen, name, value)
        results = ctypes.c_void_p()
        self.check(
            self.c.deploykit_predict(
                model, images, ctypes.c_size_t(len(pixels)), ctypes.byref(chosen), ctypes.byref(results)
            )
        )
        count = self.c.deploykit_result_count(results)
        answers = [
            json.loads(self.c.deploykit_result_json(results, ctypes.c_size_t(n)).decode())
            for n in range(count)
        ]
        self.c.deploykit_results_free(results)
        return answers

    def infer(self, model: ctypes.c_void_p, arrays: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
        feeds = (Feed * len(arrays))()
        for feed, (name, array) in zip(feeds, arrays.items(), strict=True):
            shape = (ctypes.c_int64 * array.ndim)(*array.shape)
            feed.size, feed.name, feed.type = (
                ctypes.sizeof(Feed),
                name.encode(),
                TYPES.index(str(array.dtype)),
            )
            feed.shape, feed.axes, feed.data = shape, array.ndim, array.ctypes.data
        tensors, found, tensor = ctypes.c_void_p(), {}, Tensor()
        self.check(self.c.deploykit_infer(model, feeds, ctypes.c_size_t(len(arrays)), ctypes.byref(tensors)))
        for index in range(self.c.deploykit_tensor_count(tensors)):
            assert self.c.deploykit_tensor_get(tensors, ctypes.c_size_t(index), ctypes.byref(tensor)) == 1
            dtype = np.dtype(TYPES[tensor.type])
            shape = tensor.shape[: tensor.axes]
            bytes_ = ctypes.string_at(tensor.data, int(np.prod(shape)) * dtype.itemsize)
            found[tensor.name.decode()] = np.frombuffer(bytes_, dtype).reshape(shape)
        self.c.deploykit_tensors_free(tensors)
        return found


def view(pixels: np.ndarray) -> Image:
    height, width, channels = pixels.shape
    return Image(ctypes.sizeof(Image), pixels.ctypes.data, height, width, channels, 0, pixels.strides[0])
