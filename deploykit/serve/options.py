"""The options of a server, shared by the command line and Python."""

from __future__ import annotations

import hmac
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from deploykit_runtimes.devices import RuntimeOptions
from deploykit_runtimes.engine_options import EngineOptions
from deploykit_runtimes.errors import OptionError
from deploykit_runtimes.options.option import Options, declared, option, same_as
from deploykit_runtimes.runtimes import canonical_runtime

from deploykit.protocol.limits import MAX_BODY_MB, MAX_IMAGES, MAX_PIXELS

__all__ = ["ServeOptions", "read_keys"]

LogLevel = Literal["debug", "info", "warning", "error"]

_SHORTEST_KEY = 8


@declared
@dataclass(frozen=True, kw_only=True, repr=False)
class ServeOptions(Options):
    """How the models are served."""

    host: str = option("127.0.0.1", "Address to listen on.", metavar="HOST")
    port: int = option(8000, "HTTP port; 0: any free one.", least=0, most=65535, metavar="PORT")
    grpc_port: int | None = option(
        8001, "gRPC port; 0: any free one.", "None: no gRPC at all.", least=0, most=65535, metavar="PORT"
    )
    runtime: str = same_as(RuntimeOptions, "runtime", default="ort-cpu")
    outputs: tuple[str, ...] = option(
        (),
        "What the outputs of another exporter's model mean, as in predict; repeatable, per model.",
        form="words",
        several=True,
        metavar="[NAME=]READING",
        completes="readings",
    )
    threads: int | None = same_as(EngineOptions, "threads")
    strict: bool = same_as(EngineOptions, "strict")
    exact: bool = same_as(EngineOptions, "exact")
    gpu: int = same_as(EngineOptions, "gpu")
    selftest: bool = option(
        True,
        "Do not run the golden cases that a model carries before it is ready.",
        "True: run them, and refuse a model that fails one.",
    )
    max_batch: int | None = option(
        None,
        "Maximum number of rows that run together. Default: 8, or 1 on a CPU, where batches gain nothing.",
        least=1,
        metavar="N",
    )
    max_delay_ms: float = option(
        0.0,
        "Longest wait for a batch to fill.",
        "In milliseconds, while an instance is idle.",
        flags="--max-delay",
        least=0,
        metavar="MS",
    )
    queue: int = option(
        256,
        "Maximum number of requests that wait per model.",
        "More are refused with 503.",
        least=1,
        metavar="N",
    )
    instances: int | None = option(
        None,
        "Concurrent runs per model. Default: one per core on a CPU, else 1.",
        least=1,
        most=256,
        metavar="N",
    )
    timeout_s: float = option(
        60.0, "Longest time that a request may take.", flags="--timeout", above=0, metavar="S"
    )
    api_keys: tuple[str, ...] = option(
        (), "Bearer keys, one of which a client needs; empty: none is needed.", form="texts", flags=()
    )
    cors: tuple[str, ...] = option(
        (),
        "Web origin that may call the server, or *; repeatable.",
        form="words",
        several=True,
        metavar="ORIGIN",
    )
    max_body_mb: float = option(
        MAX_BODY_MB, "Largest request.", "In MB of 10^6 bytes.", flags="--max-body", above=0, metavar="MB"
    )
    max_pixels: int = option(
        MAX_PIXELS,
        "Maximum number of pixels of a picture.",
        "Checked before it is decoded.",
        least=1,
        metavar="N",
    )
    max_images: int = option(MAX_IMAGES, "Maximum number of pictures per request.", least=1, flags=())
    poll_s: float = option(
        1.0, "How often files are checked for changes; 0: never.", flags="--poll", least=0, metavar="S"
    )
    log_json: bool = option(False, "Log one JSON object per line.")
    log_level: LogLevel = option("info", "Lowest level to log; debug adds a line for each request.")

    def __post_init__(self) -> None:
        super().__post_init__()
        canonical_runtime(self.runtime)
        for text in self.outputs:
            from deploykit_runtimes.contract.readings import parse_outputs

            parse_outputs(text.rpartition("=")[2])
        if not _is_host(self.host):
            raise OptionError(f"--host wants an address, such as 127.0.0.1 or 0.0.0.0, found {self.host!r}.")

    @property
    def max_body(self) -> int:
        """The largest request in bytes."""
        return int(self.max_body_mb * 1e6)

    def outputs_of(self, model: str) -> str | None:
        """The meaning of a model's outputs, by its name; None: as its file says."""
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


def _is_host(value: object) -> bool:
    """Whether the system can be asked to listen on this host: a name that cannot be encoded would not give
    a clear error.
    """
    try:
        return isinstance(value, str) and bool(value.strip()) and b"\0" not in value.encode("idna")
    except UnicodeError:
        return False


def read_keys(path: str | Path) -> tuple[str, ...]:
    """The keys in a file, one per line; empty lines and lines that begin with ``#`` are skipped.

    Raises:
        OptionError: the file cannot be read, holds no key, or holds one that is easily guessed.
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
