"""Compressed answers, as ``Accept-Encoding`` asks for them (RFC 9110, 12.5.3)."""

from __future__ import annotations

import math
import zlib
from dataclasses import replace

from deploykit.protocol.http import CODINGS
from deploykit.protocol.responses import Response

__all__ = ["coding_for", "compressed"]

_LEAST = 1400
"""Bytes of a body that may fit into one packet as they are."""

_LEVEL = 1
"""zlib's fastest: numbers hardly get smaller with more work."""


def coding_for(accepted: str, *, alone: bool) -> str | None:
    """The coding in which a client wants its answer; None: uncompressed.

    Args:
        accepted: The header ``Accept-Encoding``.
        alone: Accept only a coding that is named alone, as by tritonclient's
            ``response_compression_algorithm``. HTTP libraries offer every coding they know, whether or not
            it helps their caller, and tritonclient's asyncio client offers some that it cannot read.
    """
    weights = _weights(accepted)
    if alone and len(weights) != 1:
        return None
    wanted = {name: weights.get(name, 0.0 if alone else weights.get("*", 0.0)) for name in CODINGS}
    best = max(wanted, key=lambda name: wanted[name])
    return best if wanted[best] > 0 and wanted[best] >= weights.get("identity", 0.0) else None


def compressed(response: Response, coding: str) -> Response:
    """The same answer in a coding; pictures, and answers that are small or would not shrink, stay as they
    are.
    """
    if len(response.body) < _LEAST or response.content_type in ("image/jpeg", "image/png"):
        return response
    packer = zlib.compressobj(_LEVEL, wbits=CODINGS[coding])
    body = packer.compress(response.body) + packer.flush()
    if len(body) >= len(response.body):
        return response
    return replace(response, body=body, headers={**response.headers, "Content-Encoding": coding})


def _weights(accepted: str) -> dict[str, float]:
    """The weight of each coding that a client accepts; codings with an unreadable weight are left out."""
    weights: dict[str, float] = {}
    for offer in accepted.split(","):
        name, _, parameter = offer.partition(";")
        key, _, value = parameter.partition("=")
        try:
            weight = float(value) if key.strip().lower() == "q" else 1.0
        except ValueError:
            continue
        if name.strip() and math.isfinite(weight):
            weights[name.strip().lower()] = weight
    return weights
