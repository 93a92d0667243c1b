"""The options of the doctor."""

from __future__ import annotations

from dataclasses import dataclass

from deploykit_runtimes.devices import RuntimeOptions
from deploykit_runtimes.options.option import declared, same_as

__all__ = ["DoctorOptions"]


@declared
@dataclass(frozen=True, kw_only=True, repr=False)
class DoctorOptions(RuntimeOptions):
    """The runtime that has to work; by default any."""

    runtime: str | None = same_as(
        RuntimeOptions, "runtime", help="Exit with 0 only if this runtime works here."
    )
