"""Lay the demo's results side by side, as the README shows them: python demo/sheet.py, after demo/run.py."""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np

from mematte.image import read_picture

HERE = Path(__file__).resolve().parent
SHEETS = HERE.parent / "docs" / "images"
DETAILS = {"cat": (300, 40, 150, 100), "astronaut": (140, 5, 174, 116)}  # x, y, width, height of the zoom
ZOOM = 3


def main() -> None:
    """Write docs/images/NAME.jpg (photo, trimap, alpha, composite) and NAME_detail.jpg (a part, enlarged)."""
    SHEETS.mkdir(exist_ok=True)
    for name, (x, y, width, height) in DETAILS.items():
        files = (
            HERE / "out" / f"{name}.png",
            HERE / f"{name}_trimap.png",
            HERE / "out" / f"{name}_alpha.png",
            HERE / "out" / f"{name}_composite.png",
        )
        photo, trimap, alpha, composite = (read_picture(file).pixels[..., ::-1] for file in files)
        sheet = np.hstack((photo, trimap, alpha, composite))
        cv2.imwrite(str(SHEETS / f"{name}.jpg"), sheet, [cv2.IMWRITE_JPEG_QUALITY, 88])
        zoomed = [
            cv2.resize(picture[y : y + height, x : x + width], None, fx=ZOOM, fy=ZOOM)
            for picture in (photo, alpha, composite)
        ]
        cv2.imwrite(str(SHEETS / f"{name}_detail.jpg"), np.hstack(zoomed), [cv2.IMWRITE_JPEG_QUALITY, 88])


if __name__ == "__main__":
    main()
