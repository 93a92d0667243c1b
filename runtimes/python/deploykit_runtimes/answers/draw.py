"""Boxes, masks, keypoints and labels drawn into a picture."""

from __future__ import annotations

import colorsys
from collections.abc import Sequence
from functools import lru_cache
from typing import TypeAlias

import numpy as np
from PIL import Image, ImageDraw, ImageFont

from deploykit_runtimes.text.printable import printable

__all__ = ["Canvas", "class_color"]

Color: TypeAlias = tuple[int, int, int]
_MOST_LETTERS = 120
_GOLDEN_RATIO = 0.618033988749895
_WHITE, _BLACK = (255, 255, 255), (0, 0, 0)


@lru_cache(maxsize=1024)
def class_color(class_id: int) -> Color:
    """A saturated RGB colour; neighbouring ids lie far apart on the colour circle."""
    hue = (class_id * _GOLDEN_RATIO + 0.02) % 1
    value = (1.0, 0.8, 0.6)[class_id // 16 % 3]
    red, green, blue = colorsys.hsv_to_rgb(hue, 0.85, value)
    return round(red * 255), round(green * 255), round(blue * 255)


class Canvas:
    """A copy of a picture to draw on. Lines and text grow with the picture.

    Args:
        image: uint8 RGB [H, W, 3].
    """

    def __init__(self, image: np.ndarray) -> None:
        self._image = Image.fromarray(np.ascontiguousarray(image))
        self._draw = ImageDraw.Draw(self._image)
        side = (self._image.width + self._image.height) / 2
        self.line_width = max(1, round(side / 300))
        self._font = _font(max(10, min(round(side / 38), 96)))

    def array(self) -> np.ndarray:
        """The picture, uint8 RGB [H, W, 3]."""
        return np.array(self._image)

    def box(self, box: Sequence[float], color: Color) -> None:
        """Outline x1, y1, x2, y2; what lies outside the picture is moved to its edge."""
        right, bottom = self._image.width - 1, self._image.height - 1
        x1, x2 = sorted(min(max(x, 0), right) for x in (box[0], box[2]))
        y1, y2 = sorted(min(max(y, 0), bottom) for y in (box[1], box[3]))
        self._draw.rectangle((x1, y1, x2, y2), outline=color, width=self.line_width)

    def polygon(self, points: np.ndarray, color: Color) -> None:
        """Outline the polygon with the corners [n, 2]."""
        corners = [(float(x), float(y)) for x, y in points]
        self._draw.line([*corners, corners[0]], fill=color, width=self.line_width, joint="curve")

    def dots(self, points: np.ndarray, color: Color) -> None:
        """Filled dots with a dark rim at the points [n, 2]."""
        radius = max(2, 1.5 * self.line_width)
        for x, y in points.tolist():
            self._draw.ellipse((x - radius, y - radius, x + radius, y + radius), fill=color, outline=_BLACK)

    def mask(self, mask: np.ndarray, color: Color, *, opacity: float = 0.45) -> None:
        """Tint the pixels where ``mask``, bool [H, W], is set."""
        alpha = Image.fromarray(mask.astype(np.uint8) * round(255 * opacity))
        self._image.paste(Image.new("RGB", self._image.size, color), mask=alpha)

    def heat(self, values: np.ndarray, *, opacity: float = 0.6) -> None:
        """Lay values in 0..1, float [h, w], over the whole picture: dark to bright."""
        shades = Image.fromarray(np.rint(np.clip(values, 0, 1) * 255).astype(np.uint8))
        shades = shades.resize(self._image.size, Image.Resampling.BILINEAR)
        self._image.paste(Image.blend(self._image, shades.convert("RGB"), opacity))

    def label(self, text: str, corner: Sequence[float], color: Color) -> None:
        """A text box that sits on ``corner`` (x, y), moved to lie inside the picture."""
        text = printable(text, _MOST_LETTERS)
        pad = max(1, self.line_width)
        x1, y1, x2, y2 = self._draw.textbbox((0, 0), text, font=self._font)
        width, height = x2 - x1 + 2 * pad, y2 - y1 + 2 * pad
        left = max(0, min(corner[0], self._image.width - width))
        above = corner[1] - height
        top = max(0, min(above if above >= 0 else corner[1], self._image.height - height))
        self._draw.rectangle((left, top, left + width, top + height), fill=color)
        self._draw.text((left + pad - x1, top + pad - y1), text, font=self._font, fill=_readable_on(color))

    def panel(self, lines: Sequence[str], colors: Sequence[Color]) -> None:
        """Labels one below the other in the top-left corner, as many as fit."""
        _, top, _, bottom = self._draw.textbbox((0, 0), "Ag", font=self._font)
        step = bottom - top + 3 * self.line_width + 2
        for row, (line, color) in enumerate(zip(lines, colors, strict=True)):
            if row and (row + 1) * step > self._image.height:
                break
            self.label(line, (0, (row + 1) * step), color)


@lru_cache(maxsize=16)
def _font(size: int) -> ImageFont.FreeTypeFont | ImageFont.ImageFont:
    return ImageFont.load_default(size=size)


def _readable_on(color: Color) -> Color:
    luminance = 0.299 * color[0] + 0.587 * color[1] + 0.114 * color[2]
    return _BLACK if luminance > 140 else _WHITE
