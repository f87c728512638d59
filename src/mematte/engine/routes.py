"""Routes: pictures of which tokens attended globally in each routed block, over the photo.

Colour stands for decisions alone: the photo beneath keeps its detail, but little of its colour. Orange and
blue are told apart by people of every kind of colour vision.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import cv2
import numpy as np
from numpy.typing import NDArray

from mematte.errors import InputError
from mematte.image import UNKNOWN, Backdrop, Rows, TrimapRows, linear_to_srgb
from mematte.image.bands import row_bands

from .matte import BlockRouting, Report
from .memory import freed_blocks_returned
from .shares import BlockShares, block_shares, times_attended, token_px
from .sheet import GAP_PX, QUIET, SWATCH_PX, Bar, Colour, Key, Panel, Pixels, Sheet, Words

OPACITY = 0.55  # of a tint over the photo: plain to see, and what lies beneath can still be recognised
# What the photo keeps of its colour, so that an orange cat does not seem to attend; and how light its black
# becomes, so that a tint over it is more than a darker black.
SATURATION, LIFTED = 0.2, 0.12
ATTENDS, CAPPED, LEFT_OUT = (255, 140, 0), (45, 135, 255), (0, 0, 0)
# In how many blocks a token attended, from few to all: light to dark, as every eye sees it.
HEAT = ((255, 226, 130), (250, 150, 30), (150, 40, 10))
OUTLINE, OUTLINE_CASING = (255, 255, 255), (20, 20, 20)

PANELS_PX = (1200, 2000)  # height and width that all panels have together, at most
LONGEST_PX, MOST_ENLARGED = 1200, 16  # one panel's longer side; how much larger than the picture it may be
NARROWEST_PX = 330  # of a panel with its caption
SUMMARY_PX = 960  # the least width of a sheet with a summary
# What is held at once while a photo is scaled: pixels of the photo, and of the panel as floats.
_SOURCE_PX, _SCALED_PX = 1_500_000, 100_000


def overlay(
    picture: Rows,
    routing: BlockRouting,
    report: Report,
    opacity: float = OPACITY,
    *,
    size: tuple[int, int] | None = None,
    trimap: TrimapRows | None = None,
) -> Pixels:
    """One block's decisions over the photo, without captions.

    Args:
        picture: the photo, in memory or an open file, which is read in bands.
        routing: of the block.
        report: of the matte.
        opacity: of the tints, 0 to 1.
        size: (height, width) of the result, px; None: the photo's own, or less if a side exceeds 1200 px.
        trimap: whose unknown region is outlined.

    Returns:
        (h, w, 3) uint8 RGB.

    Raises:
        InputError: the opacity is not in [0, 1].
        ImageFileError: a file is damaged.
    """
    _check_opacity(opacity)
    if size is None:
        scale = min(1.0, LONGEST_PX / max(picture.size))
        size = (max(1, round(picture.size[0] * scale)), max(1, round(picture.size[1] * scale)))
    ground = Ground(picture, report, size, trimap)
    return ground.decided(routing, opacity)


def draw_routes(
    picture: Rows,
    routings: Sequence[BlockRouting],
    report: Report,
    *,
    trimap: TrimapRows | None = None,
    opacity: float = OPACITY,
) -> Pixels:
    """(h, w, 3) uint8 RGB: one panel per routed block, with what share attended, and a legend.

    Args:
        picture: the photo, in memory or an open file, which is read in bands.
        routings: of its matte.
        report: of its matte.
        trimap: whose unknown region is outlined.
        opacity: of the tints, 0 to 1.

    Raises:
        InputError: the network has no routed blocks, or the opacity is not in [0, 1].
        ImageFileError: a file is damaged.
    """
    with freed_blocks_returned():
        return _draw(picture, routings, report, block_shares(routings), trimap, opacity, summary=False)


def explain_routes(
    picture: Rows,
    routings: Sequence[BlockRouting],
    report: Report,
    shares: Sequence[BlockShares],
    *,
    trimap: TrimapRows,
    opacity: float = OPACITY,
) -> Pixels:
    """As `draw_routes`, with the photo, a map of how often each token attended, and bars of the shares.

    Args:
        picture: the photo, in memory or an open file, which is read in bands.
        routings: of its matte.
        report: of its matte.
        shares: from `block_shares`, with the trimap's `unknown_tokens`.
        trimap: whose unknown region is outlined.
        opacity: of the tints, 0 to 1.

    Raises:
        InputError, ImageFileError: as `draw_routes`.
    """
    with freed_blocks_returned():  # a sheet is drawn in what matting has left
        return _draw(picture, routings, report, shares, trimap, opacity, summary=True)


def title(shares: BlockShares) -> str:
    """A panel's first line."""
    return f"Block {shares.block}: {shares.share(shares.attending):.1%} of the tokens attend"


def detail(shares: BlockShares) -> str:
    """A panel's second line: the counts."""
    counts = f"{shares.attending:,} of {shares.tokens:,} tokens"
    if shares.capped:
        counts += f"; {shares.capped:,} capped ({shares.share(shares.capped):.1%})"
    return counts


def description(routing: BlockRouting, report: Report) -> str:
    """What the picture and its tokens are: sizes and numbers, in one line."""
    (height, width), (rows, columns) = report.size, routing.attend.shape
    shown = f", shown to the network at {report.enlarged} times its size" if report.enlarged > 1 else ""
    if report.first_reduced > 1:
        shown += (
            f", {report.asked_share:.0%} of it unknown after a first look, {report.unknown_share:.0%} before"
        )
    token = "x".join([f"{token_px(routing, report):.3g}"] * 2)
    computed = f", of which {report.computed_tokens:,} are computed" if routing.left_out is not None else ""
    return (
        f"{width}x{height} px{shown}: {columns}x{rows} = {report.tokens:,} tokens of {token} px each"
        f"{computed}. "
        f"Network {report.network}, at most {report.max_global_tokens:,} tokens attend per block."
    )


class Ground:
    """What the decisions are drawn on: the photo with little colour, as large as a panel, and the outline.

    Args:
        picture: the photo.
        report: of its matte.
        size: (height, width) of the panel, px.
        trimap: whose unknown region is outlined; None: nothing is.
    """

    def __init__(
        self, picture: Rows, report: Report, size: tuple[int, int], trimap: TrimapRows | None
    ) -> None:
        self.size, self._report = size, report
        self._photo = _scaled(picture, size)
        self.muted = muted(self._photo)
        self._outline = None if trimap is None else _outline(_unknown(trimap, size))

    def tokens(self, grid: tuple[int, int]) -> tuple[NDArray[np.intp], NDArray[np.intp]]:
        """The token row that each of the panel's rows has its centre in, and the same of its columns."""
        rows, columns = (
            (((np.arange(panel) + 0.5) * side * self._report.enlarged / panel).astype(np.intp) * count)
            // padded
            for panel, side, count, padded in zip(
                self.size, self._report.size, grid, self._report.padded, strict=True
            )
        )
        return rows, columns

    def tinted(self, kinds: NDArray[np.integer], colours: Sequence[Colour], opacity: float) -> Pixels:
        """(h, w, 3) uint8, of a (h, w) token grid of kinds: 0 is not tinted, k with the k-th colour."""
        shown = kinds[np.ix_(*self.tokens((kinds.shape[0], kinds.shape[1])))]
        result = self.muted.copy()
        for kind, colour in enumerate(colours, start=1):
            np.copyto(result, tint(self.muted, colour, opacity), where=(shown == kind)[..., None])
        return self._outlined(result)

    def photo(self) -> Pixels:
        """(h, w, 3) uint8: the photo in its own colours, outlined."""
        return self._outlined(self._photo.copy())

    def _outlined(self, drawn: Pixels) -> Pixels:
        if self._outline is not None:
            line, casing = self._outline
            drawn[casing] = OUTLINE_CASING
            drawn[line] = OUTLINE
        return drawn

    def decided(self, routing: BlockRouting, opacity: float) -> Pixels:
        """(h, w, 3) uint8: one block's decisions."""
        kinds = routing.attend.astype(np.uint8)
        if routing.capped is not None:
            kinds[routing.capped] = 2
        if routing.left_out is not None:
            kinds[routing.left_out] = 3
        return self.tinted(kinds, (ATTENDS, CAPPED, LEFT_OUT), opacity)


def tint(beneath: Pixels, colour: Colour, opacity: float) -> Pixels:
    """(h, w, 3) uint8 RGB under a tint."""
    # One entry for each value and channel: floats of the whole would be four times as large.
    table = (1 - opacity) * np.arange(256)[:, None] + opacity * np.asarray(colour)
    return np.asarray(cv2.LUT(beneath, np.rint(table).astype(np.uint8)[None]), np.uint8)


def heat_colours(blocks: int) -> tuple[Colour, ...]:
    """The colours of tokens that attended in 1, 2 ... `blocks` of the blocks."""
    at = np.linspace(0, 1, blocks) if blocks > 1 else np.array([0.5])
    channels = [np.interp(at, (0, 0.5, 1), channel) for channel in zip(*HEAT, strict=True)]
    return tuple((round(r), round(g), round(b)) for r, g, b in zip(*channels, strict=True))


def two_coats(opacity: float) -> float:
    """The opacity where colours are many: what lies beneath would make one look like the next."""
    return 1 - (1 - opacity) ** 2


def _check_opacity(opacity: float) -> None:
    if not 0 <= opacity <= 1:
        raise InputError(f"An opacity is between 0, nothing to see, and 1, nothing beneath, not {opacity}.")


def muted(photo: Pixels) -> Pixels:
    """(h, w, 3) uint8 RGB with little colour and without deep black: what tints lie over."""
    # Each channel comes near the luminance; the last column is added.
    mix = SATURATION * np.eye(3) + (1 - SATURATION) * np.array([0.2126, 0.7152, 0.0722])
    matrix = np.column_stack(((1 - LIFTED) * mix, np.full(3, 255 * LIFTED)))
    return np.asarray(cv2.transform(photo, matrix), np.uint8)


def _scaled(picture: Rows, size: tuple[int, int]) -> Pixels:
    """The photo at another size, display-referred. A file is read downwards, once."""
    backdrop, result = Backdrop(picture, size), np.empty((*size, 3), np.uint8)
    source_row = -(-picture.size[0] // size[0]) * picture.size[1]  # px of the photo under a row
    most = max(1, min(_SOURCE_PX // source_row, _SCALED_PX // size[1]))
    for rows in row_bands(size, most * size[1]):
        result[rows] = np.rint(255 * np.clip(linear_to_srgb(backdrop.rows(rows)), 0, 1))
    return result


def _unknown(trimap: TrimapRows, size: tuple[int, int]) -> NDArray[np.bool_]:
    """(h, w): whether any pixel of the trimap under each of the panel's is unknown. Read downwards, once."""
    tops, lefts = (np.arange(panel) * side // panel for panel, side in zip(size, trimap.size, strict=True))
    result = np.empty(size, np.bool_)
    for rows in row_bands((size[0], max(size[1], trimap.size[1] * -(-trimap.size[0] // size[0])))):
        top = int(tops[rows.start])
        # Of a panel that is larger than the trimap, the next band may begin in the row where this one ends.
        bottom = (
            trimap.size[0] if rows.stop == size[0] else int(max(tops[rows.stop], tops[rows.stop - 1] + 1))
        )
        is_unknown = trimap.level_rows(slice(top, bottom)) == UNKNOWN
        # Where the panel is larger, a start is repeated, and `reduceat` repeats the value.
        by_row = np.logical_or.reduceat(is_unknown, tops[rows] - top, axis=0)
        result[rows] = np.logical_or.reduceat(by_row, lefts, axis=1)
    return result


def _outline(region: NDArray[np.bool_]) -> tuple[NDArray[np.bool_], NDArray[np.bool_]]:
    """(h, w) twice: the line just inside a region's edge, and its casing, so that it shows on everything.

    The picture's own edges are none of the region's.
    """
    cross, square = np.ones((3, 3), np.uint8), np.ones((3, 3), np.uint8)
    cross[::2, ::2] = 0
    inside = region.astype(np.uint8)
    line = region & (cv2.erode(inside, cross, borderType=cv2.BORDER_REPLICATE) == 0)
    around = cv2.dilate(line.astype(np.uint8), square) > 0
    return line, around & ~line


def _draw(
    picture: Rows,
    routings: Sequence[BlockRouting],
    report: Report,
    shares: Sequence[BlockShares],
    trimap: TrimapRows | None,
    opacity: float,
    summary: bool,
) -> Pixels:
    if not routings:
        raise InputError(
            f"The network {report.weights} ({report.network}) has no routed blocks: every token attends "
            "globally, so there are no routes to draw."
        )
    _check_opacity(opacity)
    # Of a single block the map of how often would show the same again.
    with_heat = summary and len(routings) > 1
    columns, size = arrangement(picture.size, len(routings) + summary + with_heat)
    ground = Ground(picture, report, size, trimap)
    panel_width = max(size[1], NARROWEST_PX)
    width = columns * panel_width + (columns - 1) * GAP_PX
    sheet = Sheet(max(width, SUMMARY_PX if summary else 0))
    sheet.text("Which tokens attend globally", 26)
    sheet.text(description(routings[0], report), colour=QUIET)
    sheet.space(8)
    sheet.legend(_legend(shares, trimap is not None, opacity))
    sheet.space(16)

    def panels() -> Iterator[Panel]:
        if summary:
            touched = f"{shares[0].unknown:,} of {shares[0].tokens:,} tokens have unknown pixels"
            yield Panel(ground.photo(), "The photograph", touched)
        for routing, one in zip(routings, shares, strict=True):
            yield Panel(ground.decided(routing, opacity), title(one), detail(one))
        if with_heat:
            heat, coats = heat_colours(len(routings)), two_coats(opacity)
            yield Panel(
                ground.tinted(times_attended(routings), heat, coats),
                f"In how many of the {len(routings)} blocks each token attends",
                [
                    Key(_swatch(colour, coats, short=True), f"{times}")
                    for times, colour in enumerate((None, *heat))
                ],
            )

    sheet.panels(panels(), columns, panel_width)
    if summary:
        _summarise(sheet, shares)
    return sheet.pixels()


def arrangement(picture: tuple[int, int], panels: int) -> tuple[int, tuple[int, int]]:
    """How many panels stand side by side, and their (height, width) in px: so that they are largest.

    A small picture is enlarged, or its tokens would be too small to see.
    """
    height, width = picture
    best, best_scale = 1, 0.0
    for columns in range(1, min(panels, PANELS_PX[1] // NARROWEST_PX) + 1):
        rows = -(-panels // columns)
        scale = min(PANELS_PX[0] / rows / height, PANELS_PX[1] / columns / width)
        if scale > best_scale:
            best, best_scale = columns, scale
    scale = min(best_scale, LONGEST_PX / max(height, width), MOST_ENLARGED)
    return best, (max(1, int(scale * height)), max(1, int(scale * width)))


def _legend(shares: Sequence[BlockShares], outlined: bool, opacity: float) -> list[Key]:
    """What the colours of a block's panel mean."""
    keys = [Key(_swatch(ATTENDS, opacity), "attends globally")]
    if any(one.capped for one in shares):
        keys.append(Key(_swatch(CAPPED, opacity), "capped: asked to attend, refined instead"))
    keys.append(Key(_swatch(None, opacity), "refined"))
    if shares[0].left_out:
        keys.append(Key(_swatch(LEFT_OUT, opacity), "not computed: far from unknown pixels"))
    if outlined:
        keys.append(Key(_outline_swatch(), "edge of the trimap's unknown region"))
    return keys


def _swatch(colour: Colour | None, opacity: float, short: bool = False) -> Pixels:
    """A tint as it looks over dark to light parts of a photo; None: no tint."""
    height, width = SWATCH_PX
    grey = np.linspace(0, 255, width // 2 if short else width)
    beneath = muted(np.broadcast_to(grey[None, :, None], (height, len(grey), 3)).astype(np.uint8))
    return beneath if colour is None else tint(beneath, colour, opacity)


def _outline_swatch() -> Pixels:
    swatch = _swatch(None, 0)
    middle = swatch.shape[0] // 2
    swatch[middle - 1 : middle + 2] = OUTLINE_CASING
    swatch[middle] = OUTLINE
    return swatch


def _summarise(sheet: Sheet, shares: Sequence[BlockShares]) -> None:
    """A row of bars for each block."""
    label, number, gap = 80, 78, 30
    side = sheet.width // 8  # the bars of the unknown region and of all else
    bar = sheet.width - label - 3 * number - gap - 2 * (side + number)
    numbers = label + bar
    inside = numbers + 3 * number + gap
    outside = inside + side + number
    sheet.text("What share of the tokens attends", 20)
    sheet.row(
        [
            Words(label, bar, "all tokens", QUIET),
            *(
                Words(numbers + number * place, number, word, QUIET, to_the_right=True)
                for place, word in enumerate(("attend", "capped", "refined"))
            ),
            Words(inside, side + number, "in the unknown region", QUIET),
            Words(outside, side + number, "elsewhere", QUIET),
        ]
    )
    for one in shares:
        counts = (one.attending, one.capped, one.refined)
        parts = [(one.share(one.attending), ATTENDS), (one.share(one.capped), CAPPED)]
        sheet.row(
            [
                Words(0, label, f"Block {one.block}"),
                Bar(label, bar, parts),
                *(
                    Words(numbers + number * place, number, f"{one.share(count):.1%}", to_the_right=True)
                    for place, count in enumerate(counts)
                ),
                *_side(inside, side, number, one.share_inside),
                *_side(outside, side, number, one.share_outside),
            ]
        )


def _side(left: int, bar: int, number: int, share: float | None) -> list[Words | Bar]:
    """A bar and its number; no bar where there are no tokens to share."""
    if share is None:
        return [Words(left, bar, "no tokens", QUIET)]
    return [
        Bar(left, bar, [(share, ATTENDS)]),
        Words(left + bar, number - 16, f"{share:.1%}", to_the_right=True),
    ]
