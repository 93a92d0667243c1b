"""The options of a server, shared by the command line and Python."""

from __future__ import annotations

import hmac
from dataclasses import dataclass
from pathlib import Path

from deploykit_runtimes.arguments import known_fields
from deploykit_runtimes.contract.readings import parse_outputs
from deploykit_runtimes.errors import OptionError
from deploykit_runtimes.runtimes import canonical_runtime

from deploykit.protocol.limits import MAX_BODY_MB, MAX_IMAGES, MAX_PIXELS

__all__ = ["LOG_LEVELS", "ServeOptions", "read_keys"]

LOG_LEVELS = ("debug", "info", "warning", "error")

_SHORTEST_KEY = 8


@known_fields
@dataclass(frozen=True, kw_only=True)
class ServeOptions:
    """How models are served.

    Attributes:
        host, port: Where HTTP is served; port 0 takes a free one.
        grpc_port: Where gRPC is served; None: not at all.
        runtime: The engine, one of ``available_runtimes()``.
        threads: Threads inside one operator on the CPU, for a request that runs alone; None: every core.
        strict: Refuse models of which a part would run elsewhere.
        exact: Run the files' own graphs, node for node; see ``EngineOptions``.
        gpu: Number of the GPU, for runtimes that use one.
        outputs: What the outputs of other exporters' models mean: ``NAME=READING``, or ``READING`` for all;
            see ``EngineOptions``.
        max_batch: Most rows that run together; None: by the engine (see ``ServedModel``).
        max_delay_ms: How long a request may wait for others to run with, while an instance is idle.
        queue: Most requests that wait per model; more are refused with 503.
        instances: Requests or batches that run at the same time per model; None: one per core on a CPU,
            else 1.
        timeout_s: Longest that a request may take.
        api_keys: Bearer keys of which a client needs one; empty: none is needed.
        cors: Origins of web pages that may call, or ``*``.
        max_body_mb: Largest request, in MB of 10^6 bytes.
        max_pixels: Most pixels of one picture, known before it is decoded.
        max_images: Most pictures of one request.
        poll_s: How often model files are looked at for changes; 0: never.
        log_json: Log in lines of JSON.
        log_level: From which level on, one of ``LOG_LEVELS``; ``debug`` has a line for each request.

    Raises:
        OptionError: a value is out of range.
    """

    host: str = "127.0.0.1"
    port: int = 8000
    grpc_port: int | None = 8001
    runtime: str = "ort-cpu"
    threads: int | None = None
    strict: bool = False
    exact: bool = False
    gpu: int = 0
    outputs: tuple[str, ...] = ()
    max_batch: int | None = None
    max_delay_ms: float = 0.0
    queue: int = 256
    instances: int | None = None
    timeout_s: float = 60.0
    api_keys: tuple[str, ...] = ()
    cors: tuple[str, ...] = ()
    max_body_mb: float = MAX_BODY_MB
    max_pixels: int = MAX_PIXELS
    max_images: int = MAX_IMAGES
    poll_s: float = 1.0
    log_json: bool = False
    log_level: str = "info"

    def __post_init__(self) -> None:
        canonical_runtime(self.runtime)
        for text in self.outputs:
            parse_outputs(text.rpartition("=")[2])
        if not isinstance(self.host, str) or not self.host.strip():
            raise OptionError(f"host wants an address, such as 127.0.0.1 or 0.0.0.0, found {self.host!r}.")
        if self.log_level not in LOG_LEVELS:
            raise OptionError(f"log_level is one of {', '.join(LOG_LEVELS)}, found {self.log_level!r}.")
        for name in ("port", "grpc_port"):
            port = getattr(self, name)
            if port is not None and not 0 <= port < 1 << 16:
                raise OptionError(f"{name} wants a number from 0 to 65535, found {port}.")
        for name in ("threads", "max_batch", "instances", "queue", "max_pixels", "max_images"):
            value = getattr(self, name)
            if value is not None and value < 1:
                raise OptionError(f"{name} wants at least 1, found {value}.")
        for name, lowest in (("max_delay_ms", 0), ("poll_s", 0)):
            if not lowest <= getattr(self, name) < float("inf"):
                raise OptionError(f"{name} wants a number from {lowest}, found {getattr(self, name)}.")
        for name in ("timeout_s", "max_body_mb"):
            if not 0 < getattr(self, name) < float("inf"):
                raise OptionError(f"{name} wants a number above 0, found {getattr(self, name)}.")

    @property
    def max_body(self) -> int:
        """Largest request in bytes."""
        return int(self.max_body_mb * 1e6)

    def outputs_of(self, model: str) -> str | None:
        """What the outputs of a model mean, by its name; None: what its file tells."""
        named = {name: reading for name, _, reading in (text.rpartition("=") for text in self.outputs)}
        return named.get(model, named.get(""))

    def accepts_key(self, header: str) -> bool:
        """Whether the header ``Authorization`` holds one of the keys, compared in constant time."""
        if not self.api_keys:
            return True
        scheme, _, key = header.partition(" ")
        given = key.strip().encode()
        # All keys are compared, so that the time does not tell which one nearly fits.
        matches = [hmac.compare_digest(given, known.encode()) for known in self.api_keys]
        return scheme.lower() == "bearer" and any(matches)


def read_keys(path: str | Path) -> tuple[str, ...]:
    """The keys of a file, one on each line; empty lines and those that begin with ``#`` are left out.

    Raises:
        OptionError: the file cannot be read, or holds no key, or one that is easily guessed.
    """
    try:
        lines = [line.strip() for line in Path(path).read_text("utf-8").splitlines()]
    except (OSError, UnicodeDecodeError) as error:
        raise OptionError(f"The keys in {path} cannot be read: {error}.") from error
    keys = tuple(line for line in lines if line and not line.startswith("#"))
    if not keys:
        raise OptionError(f"{path} holds no key.", hint="Write one key on each line.")
    if any(len(key) < _SHORTEST_KEY or not key.isascii() or " " in key for key in keys):
        raise OptionError(
            f"A key wants at least {_SHORTEST_KEY} ASCII characters without spaces.",
            hint='Make one: python -c "import secrets; print(secrets.token_urlsafe(32))"',
        )
    return keys
