"""Sheet: a page of text, pictures and bars, filled from the top downwards."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import cache
from itertools import islice

import numpy as np
from numpy.typing import NDArray

# OpenCV's letters are bare strokes, ugly at any size. Pillow holds a real font, so that none has to be found
# on the system, and PyMatting installs it anyway. The font is little more than ASCII: no file names here.
from PIL import Image, ImageDraw, ImageFont

Pixels = NDArray[np.uint8]
Colour = tuple[int, int, int]

PAPER, INK, QUIET, TRACK = (255, 255, 255), (25, 28, 32), (95, 101, 110), (226, 229, 233)
MARGIN_PX, GAP_PX = 24, 22
SWATCH_PX = (18, 34)  # height and width
_SMALLEST_TEXT_PX = 11  # smaller is not read; what does not fit then is cut off
_TITLE_PX, _DETAIL_PX, _LINE = 18, 15, 1.35


@dataclass(frozen=True)
class Key:
    """One entry of a legend."""

    swatch: Pixels  # (h, w, 3)
    label: str


@dataclass(frozen=True)
class Panel:
    """A picture with a caption of two lines, or of a line and a legend."""

    picture: Pixels  # (h, w, 3)
    title: str
    detail: str | Sequence[Key]


class Sheet:
    """Takes one thing below the other, all as wide as the sheet; `pixels` gives the whole."""

    def __init__(self, width: int) -> None:
        """`width` is what is left between the margins, px."""
        self.width = width
        self._strips = [self._blank(MARGIN_PX)]

    def text(self, text: str, size: int = _DETAIL_PX, colour: Colour = INK) -> None:
        """A paragraph of letters of a size in px; broken into lines between words."""
        lines = [""]
        for word in text.split():
            longer = f"{lines[-1]} {word}".strip()
            if text_width(longer, size) > self.width and lines[-1]:
                lines.append(word)
            else:
                lines[-1] = longer
        for line in lines:
            strip = self._strip(round(_LINE * size))
            strip.text(MARGIN_PX, round(_LINE * size / 2), line, size, colour, self.width)
            self._strips.append(strip.pixels())

    def space(self, height: int = GAP_PX) -> None:
        """Nothing, so many px high."""
        self._strips.append(self._blank(height))

    def legend(self, keys: Sequence[Key]) -> None:
        """Swatches with their meaning, in as many lines as they need."""
        strip = self._strip(_legend_height(keys, self.width))
        strip.legend(MARGIN_PX, 0, keys, self.width)
        self._strips.append(strip.pixels())

    def panels(self, panels: Iterable[Panel], columns: int, panel_width: int) -> None:
        """Pictures of one size with their captions, row by row, each row asked for when it is drawn."""
        coming = iter(panels)
        while row := list(islice(coming, columns)):
            keys = [panel.detail for panel in row if not isinstance(panel.detail, str)]
            detail = max([round(_LINE * _DETAIL_PX), *(_legend_height(one, panel_width) for one in keys)])
            caption = round(_LINE * _TITLE_PX) + detail + 4
            strip = self._strip(caption + row[0].picture.shape[0] + GAP_PX)
            for number, panel in enumerate(row):
                left = MARGIN_PX + number * (panel_width + GAP_PX)
                strip.text(left, _TITLE_PX * 2 // 3, panel.title, _TITLE_PX, INK, panel_width)
                top = round(_LINE * _TITLE_PX)
                if isinstance(panel.detail, str):
                    strip.text(left, top + _DETAIL_PX * 2 // 3, panel.detail, _DETAIL_PX, QUIET, panel_width)
                else:
                    strip.legend(left, top, panel.detail, panel_width)
                strip.paste(left, caption, panel.picture)
            self._strips.append(strip.pixels())

    def row(self, parts: Sequence[Words | Bar], height: int = 30) -> None:
        """Words and bars side by side: a row of a table."""
        strip = self._strip(height)
        for part in parts:
            part.draw(strip, height)
        self._strips.append(strip.pixels())

    def pixels(self) -> Pixels:
        """(h, w, 3) uint8 RGB of all that was put on it."""
        return np.vstack([*self._strips, self._blank(max(0, MARGIN_PX - GAP_PX))])

    def _strip(self, height: int) -> _Strip:
        return _Strip((height, self.width + 2 * MARGIN_PX))

    def _blank(self, height: int) -> Pixels:
        return np.full((height, self.width + 2 * MARGIN_PX, 3), PAPER, np.uint8)


@dataclass(frozen=True)
class Words:
    """A cell of a row: `left` px from the margin, at most `width` px wide."""

    left: int
    width: int
    text: str
    colour: Colour = INK
    to_the_right: bool = False

    def draw(self, strip: _Strip, height: int) -> None:
        """Draw it in the middle of the strip."""
        size = _DETAIL_PX
        left = MARGIN_PX + self.left
        if self.to_the_right:
            left += max(0, self.width - round(text_width(self.text, size)))
        strip.text(left, height // 2, self.text, size, self.colour, self.width)


@dataclass(frozen=True)
class Bar:
    """A bar of a row: parts of the whole, from the left; what remains is the track."""

    left: int
    width: int
    parts: Sequence[tuple[float, Colour]]  # shares, 0 to 1

    def draw(self, strip: _Strip, height: int) -> None:
        """Draw it in the middle of the strip."""
        top, bottom = height // 2 - 8, height // 2 + 8
        start = MARGIN_PX + self.left
        strip.box(start, top, start + self.width, bottom, TRACK)
        done = 0.0
        for share, colour in self.parts:
            ends = (round(start + self.width * at) for at in (done, done + share))
            first, last = ends
            # A share that is not nothing shows.
            strip.box(first, top, max(last, first + 1) if share > 0 else first, bottom, colour)
            done += share


class _Strip:
    """A part of the sheet that is drawn on."""

    def __init__(self, size: tuple[int, int]) -> None:
        self._image = Image.new("RGB", size[::-1], PAPER)
        self._draw = ImageDraw.Draw(self._image)

    def text(self, left: int, middle: int, text: str, size: int, colour: Colour, width: int) -> None:
        """One line; smaller, or cut off, where it would be wider."""
        text, size = fitted(text, size, width)
        self._draw.text((left, middle), text, fill=colour, font=_font(size), anchor="lm")

    def box(self, left: int, top: int, right: int, bottom: int, colour: Colour) -> None:
        """A filled rectangle; `right` and `bottom` are no longer part of it."""
        if right > left:
            self._draw.rectangle((left, top, right - 1, bottom - 1), fill=colour)

    def paste(self, left: int, top: int, picture: Pixels) -> None:
        """A picture."""
        self._image.paste(Image.fromarray(picture), (left, top))

    def legend(self, left: int, top: int, keys: Sequence[Key], width: int) -> None:
        """Swatches with their meaning."""
        for key, x, line in _flow(keys, width):
            y = top + line * _legend_line()
            self.paste(left + x, y + (_legend_line() - key.swatch.shape[0]) // 2, key.swatch)
            after = x + key.swatch.shape[1] + 7
            self.text(left + after, y + _legend_line() // 2, key.label, _DETAIL_PX, INK, width - after)

    def pixels(self) -> Pixels:
        """(h, w, 3)."""
        return np.array(self._image)


def text_width(text: str, size: int) -> float:
    """Px that a line of letters of this size takes."""
    return float(_font(size).getlength(text))


def fitted(text: str, size: int, width: int) -> tuple[str, int]:
    """The text and its size, smaller where it would be wider than `width` px, and cut off at the smallest."""
    while size > _SMALLEST_TEXT_PX and text_width(text, size) > width:
        size -= 1
    if text_width(text, size) <= width:
        return text, size
    while text and text_width(f"{text}...", size) > width:
        text = text[:-1]
    return f"{text.rstrip()}...", size


@cache
def _font(size: int) -> ImageFont.FreeTypeFont | ImageFont.ImageFont:
    return ImageFont.load_default(size)


def _legend_line() -> int:
    return round(1.5 * _DETAIL_PX)


def _legend_height(keys: Sequence[Key], width: int) -> int:
    return _legend_line() * (1 + max(line for _, _, line in _flow(keys, width)))


def _flow(keys: Sequence[Key], width: int) -> list[tuple[Key, int, int]]:
    """Where each entry of a legend goes: px from the left, and the number of its line."""
    placed, x, line = [], 0, 0
    for key in keys:
        takes = key.swatch.shape[1] + 7 + round(text_width(key.label, _DETAIL_PX))
        if x and x + takes > width:
            x, line = 0, line + 1
        placed.append((key, x, line))
        x += takes + 20
    return placed
