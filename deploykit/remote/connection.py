"""Requests to a server of the Open Inference Protocol, within limits, and what it says about itself."""

from __future__ import annotations

import http.client
import json
import math
import re
from collections.abc import Mapping, Sequence
from typing import Any, NoReturn
from urllib.parse import quote, unquote, urlsplit

import numpy as np
from deploykit_runtimes.errors import ModelError, OptionError, RuntimeUnavailableError
from deploykit_runtimes.pixels.urls import shown_url
from deploykit_runtimes.text.printable import one_line, printable

from deploykit.protocol.datatypes import datatype_of, dtype_of
from deploykit.protocol.errors import BadRequestError
from deploykit.remote.exchange import TooLargeError, exchange

__all__ = ["Connection", "parse_url"]

_PATIENCE_SECONDS = 300.0
"""For a whole request: a server may build an engine at its first."""
_LARGEST_FACTS = 1 << 24
"""Bytes of what a server says about itself and its models."""
_LARGEST_ANSWER = 1 << 28
"""Bytes of tensors: twenty times those of a YOLO's golden cases."""
_LARGEST_JSON = 1 << 26
"""Bytes of JSON among them: Python takes up to twenty times as much."""
_LENGTH = "Inference-Header-Content-Length"
_PATH = re.compile(r"(?P<base>(?:/(?!v2(?:/|$))[^/]+)*)(?:/v2(?:/models/(?P<name>[^/]+))?)?/?")
_FORM = "http://HOST:PORT, or http://HOST:PORT/v2/models/NAME"


def parse_url(url: str) -> tuple[str, str, str]:
    """The parts of a server's URL.

    Args:
        url: ``http://host:8000`` or ``http://host:8000/v2/models/NAME``, also https, also below a path.

    Returns:
        The origin (``http://host:8000``), the path in front of ``/v2``, and the model's name, empty if the
            URL names none.

    Raises:
        OptionError: the URL has neither form.
    """
    try:
        parts = urlsplit(url)
        usable = parts.scheme in ("http", "https") and bool(parts.hostname) and parts.port != 0
    except ValueError:
        usable = False
    if not usable or parts.query or parts.fragment:
        raise OptionError(f"--url wants {_FORM}, found {shown_url(url)!r}.")
    if parts.username is not None:
        raise OptionError(
            "--url takes no user or password.", hint="Give the server's key with --api-key-file."
        )
    path = _PATH.fullmatch(parts.path)
    if path is None:
        raise OptionError(f"--url wants {_FORM}, found {shown_url(url)!r}.")
    return f"{parts.scheme}://{parts.netloc}", path["base"], unquote(path["name"] or "")


class Connection:
    """A server of the protocol.

    Args:
        url: Where it is; see ``parse_url``.
        key: The bearer key that it requires; empty: none.
    """

    def __init__(self, url: str, *, key: str = "") -> None:
        self.origin, self._base, self.model = parse_url(url)
        self._key = key

    def server_info(self) -> dict[str, Any]:
        """The server's name, version and extensions; empty for one that only has models, such as Ray Serve.

        Raises:
            RuntimeUnavailableError: it cannot be reached.
        """
        status, content, _ = self._ask("GET", "")
        found = _object(content) if status == 200 else None
        return found if found is not None and isinstance(found.get("name"), str) else {}

    def model_identity(self, model: str) -> dict[str, Any]:
        """What the server says about a model: its inputs and outputs.

        Raises:
            ModelError: the server does not have the model.
            RuntimeUnavailableError: it cannot be reached, or does not speak the protocol.
        """
        status, content, _ = self._ask("GET", _path(model))
        found = _object(content) if status == 200 else None
        if found is not None and isinstance(found.get("inputs"), list):
            return found
        if self.server_info():
            raise ModelError(
                f"{self.origin} has no model {model!r} that is ready: {_reason(status, content)}.",
                hint=self._names(),
            )
        raise RuntimeUnavailableError(
            f"{self.origin} does not answer as a server of the Open Inference Protocol: "
            f"{_reason(status, content)}.",
            hint=f"Give the address of its REST interface: {_FORM}.",
        )

    def page(self, model: str, what: str) -> dict[str, Any]:
        """Another page of the server about a model, such as its ``config``; empty if there is no such page.

        Raises:
            RuntimeUnavailableError: it cannot be reached.
        """
        status, content, _ = self._ask("GET", f"{_path(model)}/{what}")
        return (_object(content) or {}) if status == 200 else {}

    def infer(
        self, model: str, feeds: Mapping[str, np.ndarray], outputs: Sequence[str]
    ) -> tuple[dict[str, np.ndarray], dict[str, Any]]:
        """Run a model once, with tensors in binary.

        Args:
            model: The model's name.
            feeds: The inputs by name.
            outputs: The requested outputs.

        Returns:
            The outputs by name, and the parameters of the answer.

        Raises:
            ModelError: the server refuses the request, or its answer is damaged.
            RuntimeUnavailableError: it cannot be reached.
        """
        head = json.dumps(
            {
                "inputs": [
                    {
                        "name": name,
                        "shape": list(array.shape),
                        "datatype": datatype_of(array.dtype),
                        "parameters": {"binary_data_size": array.nbytes},
                    }
                    for name, array in feeds.items()
                ],
                "outputs": [{"name": name, "parameters": {"binary_data": True}} for name in outputs],
            }
        ).encode()
        content = b"".join([head, *(np.ascontiguousarray(array).tobytes() for array in feeds.values())])
        headers = {_LENGTH: str(len(head)), "Content-Type": "application/octet-stream"}
        status, answer, length = self._ask("POST", f"{_path(model)}/infer", content, headers)
        if status != 200:
            raise ModelError(f"The server refuses the request: {_reason(status, answer)}.")
        return self._tensors(answer, length)

    def _names(self) -> str:
        status, content, _ = self._ask("POST", "/repository/index", b"{}")
        try:
            found = json.loads(content) if status == 200 else []
            names = [str(entry["name"]) for entry in found]
        except (ValueError, TypeError, KeyError):
            names = []
        listed = f"It has {', '.join(names[:20])}. " if names else ""
        return f"{listed}Name it in the URL: {self.origin}{self._base}/v2/models/NAME."

    def _ask(
        self, verb: str, path: str, content: bytes | None = None, headers: Mapping[str, str] | None = None
    ) -> tuple[int, bytes, str]:
        """Status, body, and the length of the JSON before the binary tensors, as the answer states it."""
        sent = {"User-Agent": "deploykit", **(headers or {})}
        if self._key:
            sent["Authorization"] = f"Bearer {self._key}"
        url = f"{self.origin}{self._base}/v2{path}"
        largest = _LARGEST_ANSWER if path.endswith("/infer") else _LARGEST_FACTS
        try:
            answer = exchange(verb, url, content, sent, seconds=_PATIENCE_SECONDS, largest=largest)
        except TooLargeError:
            self._damaged(f"it has more than {largest >> 20} MiB")
        except (OSError, http.client.HTTPException, ValueError) as error:
            raise RuntimeUnavailableError(
                f"{self.origin} cannot be reached: {one_line(error) or type(error).__name__}.",
                hint="Is the server running, and is this the port of its REST interface?",
            ) from error
        if answer.status in (401, 403):
            raise RuntimeUnavailableError(
                f"{self.origin} answers nobody without its key: {_reason(answer.status, answer.content)}.",
                hint="Give the file with it: --api-key-file FILE.",
            )
        return answer.status, answer.content, answer.headers.get(_LENGTH, "")

    def _tensors(self, content: bytes, length: str) -> tuple[dict[str, np.ndarray], dict[str, Any]]:
        size = int(length) if length.isascii() and length.isdecimal() and len(length) < 20 else len(content)
        if min(size, len(content)) > _LARGEST_JSON:
            self._damaged(f"it has more than {_LARGEST_JSON >> 20} MiB of JSON")
        document = _object(content[:size])
        described = document.get("outputs") if document is not None else None
        if document is None or not isinstance(described, list):
            self._damaged("it is not a JSON object with outputs")
        tail = memoryview(content)[size:]
        outputs: dict[str, np.ndarray] = {}
        for entry in described:
            name, array, tail = self._tensor(entry, tail)
            outputs[name] = array
        parameters = document.get("parameters")
        return outputs, parameters if isinstance(parameters, dict) else {}

    def _tensor(self, entry: Any, tail: memoryview) -> tuple[str, np.ndarray, memoryview]:
        try:
            name, shape = str(entry["name"]), [int(n) for n in entry["shape"]]
            dtype = dtype_of(entry["datatype"])
            nbytes = (entry.get("parameters") or {}).get("binary_data_size")
            if nbytes is None:
                return name, np.array(entry["data"], dtype).reshape(shape), tail
            if min(shape, default=0) < 0 or nbytes != math.prod(shape) * dtype.itemsize or nbytes > len(tail):
                self._damaged(f"output {name[:64]!r} {shape} comes with {nbytes} of {len(tail)} bytes")
            array = np.frombuffer(tail[:nbytes], dtype).reshape(shape)
        except (BadRequestError, KeyError, TypeError, ValueError, AttributeError, OverflowError) as error:
            self._damaged(f"an output is not described as the protocol does it ({one_line(error)})")
        return name, array.astype(dtype.newbyteorder("="), copy=False), tail[nbytes:]

    def _damaged(self, why: str) -> NoReturn:
        raise ModelError(f"The answer of {self.origin} cannot be read: {why}.")


def _path(model: str) -> str:
    return f"/models/{quote(model, safe='')}"


def _object(content: bytes) -> dict[str, Any] | None:
    try:
        found = json.loads(content)
    except (ValueError, RecursionError):
        return None
    return found if isinstance(found, dict) else None


def _reason(status: int, content: bytes) -> str:
    """The reason that a server gives, in one short line."""
    found = _object(content) or {}
    said = found.get("error") or found.get("detail") or ""
    return f"HTTP {status}" + (f", {printable(str(said), 500).rstrip('.')}" if said else "")
