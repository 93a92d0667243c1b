"""What a model takes of an image: how many channels, which colours, and whose decoder made them."""

from __future__ import annotations

from dataclasses import dataclass

from deploykit_runtimes.contract.spec import Color, ModelSpec, Resampler
from deploykit_runtimes.errors import ModelError

__all__ = ["RGB", "PixelFormat"]

_CHANNELS: dict[Color, int] = {"rgb": 3, "bgr": 3, "grey": 1}


@dataclass(frozen=True, kw_only=True)
class PixelFormat:
    """The form in which images are decoded for a model.

    Attributes:
        color: ``rgb`` and ``bgr``: RGB, which the pre-processing reorders. ``grey``: one channel.
            ``as_is``: the channels of the file or array, not converted.
        channels: Number of channels.
        library: Whose arithmetic turns colours into grey, and whose rules read a file ``as_is``.

    Raises:
        ModelError: the colours have another number of channels.
    """

    color: Color = "rgb"
    channels: int = 3
    library: Resampler = "pillow"

    def __post_init__(self) -> None:
        wanted = _CHANNELS.get(self.color, self.channels)
        if self.channels != wanted or self.channels < 1:
            raise ModelError(
                f"The model takes {self.channels} channels, but its pre-processing makes {self.color} images "
                f"of {wanted}.",
                hint="Export the checkpoint again, or prepare the tensor yourself and call runner.infer().",
            )

    @classmethod
    def of(cls, spec: ModelSpec) -> PixelFormat:
        """What a model's contract says.

        Raises:
            ModelError: its colours and its number of channels contradict each other.
        """
        how = spec.preprocess
        return cls(color=how.color, channels=spec.input.channels, library=how.resampler)

    def __str__(self) -> str:
        if self.color == "as_is":
            return f"images of {self.channels} channel{'s' if self.channels > 1 else ''}"
        return "grey images" if self.color == "grey" else "RGB images"


RGB = PixelFormat()
"""Colour images, as most models take them."""
