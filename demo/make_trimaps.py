"""Make the trimaps of the demo's two photographs from outlines drawn by hand.

Each outline is a list of points (x, y, half): a place on the object's edge, in pixels of the photograph, and
how many pixels on either side of it are left to the matting network. Between points the outline is a smooth
curve. Inside it is foreground, outside is background, and within `half` of it is unknown: wide where hair,
fur and blur are, narrow where the edge is sharp. Points may lie beyond the frame, where the object goes on.

Run it from anywhere: python demo/make_trimaps.py [--overlay FOLDER]
The photographs come with scikit-image; demo/README.md says whose they are.
"""

from __future__ import annotations

import argparse
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

import cv2
import numpy as np
import numpy.typing as npt
import skimage.data

HERE = Path(__file__).resolve().parent
BACKGROUND, UNKNOWN, FOREGROUND = 0, 128, 255

Array = npt.NDArray[np.uint8]
Points = Sequence[tuple[float, float, float]]


class Drawing(NamedTuple):
    """An object's closed outline, and open strokes that are unknown too: whiskers, flying hair."""

    outline: Points
    strokes: Sequence[Points]


CAT = Drawing(
    outline=[
        # The left ear and cheek, soft against the blanket.
        (44, -80, 0), (43, -20, 9), (41, 0, 9), (37, 25, 9),
        (33, 45, 9), (30, 75, 9), (30, 98, 9), (29, 112, 10),
        # The shoulder behind it, out of focus.
        (15, 121, 12), (0, 129, 14), (-20, 138, 14),
        # Below the frame.
        (-40, 340, 0), (390, 340, 0),
        # The chest, out of focus.
        (388, 300, 13), (388, 280, 13), (387, 266, 13), (383, 256, 13), (375, 246, 13), (364, 234, 13),
        (353, 223, 13), (343, 212, 12),
        # The right cheek, in focus, and the fur beside the eye.
        (336, 201, 9), (347, 185, 8), (356, 167, 8), (361, 155, 9), (363, 140, 11), (364, 122, 12),
        (363, 107, 12), (360, 92, 11), (356, 80, 10),
        # The right ear, slightly out of focus.
        (364, 67, 8), (374, 48, 8), (378, 30, 8), (387, 15, 8), (398, 0, 8), (412, -20, 8), (430, -80, 0),
    ],
    strokes=[
        # Brow whiskers, right.
        [(358, 80, 7), (385, 80, 7), (405, 85, 7), (420, 93, 7)],
        [(366, 88, 8), (392, 96, 7), (416, 110, 7)],
        # Cheek whiskers, right, where they leave the chest.
        [(345, 226, 7), (375, 224, 6), (408, 219, 6)],
        [(370, 253, 8), (390, 261, 7), (408, 271, 7)],
    ],
)  # fmt: skip

ASTRONAUT = Drawing(
    outline=[
        # The left sleeve, from below the frame up.
        (50, 530, 4), (41, 512, 4), (26, 485, 4), (23, 445, 4), (24, 433, 4), (20, 410, 4), (19, 395, 4),
        (24, 378, 4), (26, 360, 4), (26, 346, 4), (31, 332, 4), (33, 319, 4), (37, 306, 4), (40, 297, 4),
        (46, 281, 4), (57, 262, 4), (68, 245, 4), (80, 232, 4), (97, 221, 4), (110, 208, 4),
        # The collar's clasp and ring.
        (114, 199, 4), (113, 189, 4), (117, 184, 5), (124, 177, 4),
        (130, 167, 4), (142, 155, 4), (155, 150, 4),
        (170, 147.5, 4), (182, 148, 4),
        # Jaw and ear, left.
        (182.5, 138, 4), (181, 132, 4), (177, 130.5, 4), (173, 125, 4),
        # Hair.
        (170, 118, 6), (161, 108, 8), (156, 99, 8), (154, 90, 8), (153, 80, 8), (153, 70, 8), (156, 60, 8),
        (162, 51, 9), (172, 43, 10), (184, 37, 11), (192, 32, 11),
        (198, 26, 10), (207, 21, 8), (218, 18, 7),
        (231, 16, 7), (242, 17, 7), (257, 22, 8), (270, 29, 8), (282, 37, 8), (290, 47, 8), (297, 58, 8),
        (300, 72, 8), (302, 86, 8), (300, 98, 8), (296, 107, 8), (289, 118, 7), (282, 125, 6),
        # Ear and jaw, right.
        (280, 130, 4), (273, 136, 4), (267, 138, 4), (266, 143, 4),
        (262, 153, 4), (258, 161, 4), (256, 172, 4),
        # The ring again.
        (268, 182, 4), (280, 192, 4), (290, 204, 4), (299, 218, 4), (304, 231, 4),
        # The right shoulder, with its yellow strap.
        (320, 243, 4), (334, 255, 4), (341, 263, 4), (346, 274, 4),
        (351, 284, 5), (356, 300, 5), (359, 322, 5),
        (363, 333, 5), (363, 342, 5), (368, 348, 4),
        # The helmet on her arm.
        (382, 344.5, 4), (398, 343, 4), (418, 344.5, 4), (434, 349.5, 4), (450, 358, 4), (466, 370, 4),
        (478, 383, 4), (488, 400, 4), (493, 416, 4), (496, 436, 4),
        (498, 449, 5), (503, 456, 6), (504, 465, 5),
        (508, 477, 5), (514, 487, 5), (540, 500, 5),
        # Below the frame.
        (560, 580, 0), (60, 580, 0),
    ],
    strokes=[],
)  # fmt: skip


def smooth(points: Points, *, closed: bool) -> Iterator[tuple[float, float, float]]:
    """Yield a Catmull-Rom curve through the points, about every quarter of a pixel; `half` goes linearly."""
    before_first, after_last = (points[-1], points[0]) if closed else (points[0], points[-1])
    padded = np.array([before_first, *points, after_last, points[1]], dtype=np.float64)
    for i in range(len(points) if closed else len(points) - 1):
        before, start, end, after = padded[i : i + 4]
        length_px = np.hypot(*(end - start)[:2])
        for t in np.arange(0, 1, 1 / max(4 * length_px, 1)):
            curve = start + 0.5 * t * (
                end
                - before
                + t * (2 * before - 5 * start + 4 * end - after + t * (3 * (start - end) + after - before))
            )
            yield float(curve[0]), float(curve[1]), float(start[2] + t * (end[2] - start[2]))


def draw(drawing: Drawing, size: tuple[int, int]) -> Array:
    """(height, width) uint8 trimap of 0, 128 and 255."""
    curve = list(smooth(drawing.outline, closed=True))
    trimap = np.full(size, BACKGROUND, dtype=np.uint8)
    corners = np.rint([point[:2] for point in curve]).astype(np.int32)
    cv2.fillPoly(trimap, [corners], FOREGROUND)
    for stroke in drawing.strokes:
        curve.extend(smooth(stroke, closed=False))
    sixteenths = 4  # OpenCV's fixed point: four fractional bits
    for x, y, half in curve:
        if half > 0:
            centre = (round(x * 16), round(y * 16))
            cv2.circle(trimap, centre, round(half * 16), UNKNOWN, cv2.FILLED, cv2.LINE_8, sixteenths)
    return trimap


def overlay(image: Array, trimap: Array) -> Array:
    """(2H, 2W, 3) the picture at 200 %, background tinted red, foreground green, unknown as it is."""
    tinted = image.astype(np.float64)
    for level, colour in ((BACKGROUND, (255, 0, 0)), (FOREGROUND, (0, 255, 0))):
        where = trimap == level
        tinted[where] = 0.65 * tinted[where] + 0.35 * np.array(colour)
    return cv2.resize(tinted.astype(np.uint8), None, fx=2, fy=2, interpolation=cv2.INTER_NEAREST).astype(
        np.uint8
    )


def photograph(file: str) -> Array:
    """(H, W, 3) uint8 RGB, one of those that scikit-image brings along."""
    pixels = cv2.imread(str(Path(skimage.data.data_dir) / file), cv2.IMREAD_COLOR)
    assert pixels is not None, file
    return pixels[..., ::-1].astype(np.uint8)


def main() -> None:
    """Write the two trimaps beside this script, and overlays to look at if a folder is given."""
    parser = argparse.ArgumentParser(description="Make the demo's trimaps.")
    parser.add_argument(
        "--overlay", type=Path, metavar="FOLDER", help="also write the trimaps over the pictures"
    )
    folder: Path | None = parser.parse_args().overlay

    pictures = {"cat": ("chelsea.png", CAT), "astronaut": ("astronaut.png", ASTRONAUT)}
    for name, (file, drawing) in pictures.items():
        image = photograph(file)
        trimap = draw(drawing, image.shape[:2])
        cv2.imwrite(str(HERE / f"{name}_trimap.png"), trimap)
        if folder is not None:
            folder.mkdir(parents=True, exist_ok=True)
            cv2.imwrite(str(folder / f"{name}_overlay.png"), overlay(image, trimap)[..., ::-1])


if __name__ == "__main__":
    main()
