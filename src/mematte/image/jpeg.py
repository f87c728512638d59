"""JPEG files marker by marker: can one be decoded row by row, and is it whole?"""

from __future__ import annotations

import os
from pathlib import Path

# Source: ITU-T T.81, annex B. Frames of one pass are 0xC0 (baseline), 0xC1 (extended), 0xC9 (arithmetic).
_ONE_PASS, _FRAMES = (0xC0, 0xC1, 0xC9), frozenset(range(0xC0, 0xD0)) - {0xC4, 0xC8, 0xCC}
_SCAN = 0xDA
_ALONE = (0x00, 0x01, *range(0xD0, 0xD9))  # no segment follows; with 0x00 it is no marker


def is_progressive_jpeg(path: Path) -> bool:
    """Whether a JPEG's channels or details come in several passes, so that its decoder must hold it whole.

    What cannot be followed counts as such: it is the dearer answer.
    """
    channels = 0
    with path.open("rb") as file:
        if file.read(2) != b"\xff\xd8":
            return True
        while file.read(1) == b"\xff":
            while (code := file.read(1)) == b"\xff":
                pass  # fill bytes
            segment = file.read(max(0, int.from_bytes(file.read(2), "big") - 2))
            if not code or not segment:
                return True
            if code[0] in _FRAMES:
                if code[0] not in _ONE_PASS or len(segment) < 6:
                    return True
                channels = segment[5]
            if code[0] == _SCAN:
                return segment[0] != channels  # a scan of fewer channels: the others follow
    return True


def has_end(path: Path) -> bool:
    """Whether a JPEG's end follows its first scan, whatever lies between its segments.

    libjpeg complains once of a file: where it has found something odd it does not say that the rest is
    missing.
    """
    with path.open("rb") as file:
        file.seek(2)
        while byte := file.read(1):
            if byte != b"\xff":
                continue
            while (code := file.read(1)) == b"\xff":
                pass  # fill bytes
            if code and code[0] == _SCAN:
                break
            if code and code[0] not in _ALONE:
                file.seek(max(0, int.from_bytes(file.read(2), "big") - 2), os.SEEK_CUR)
        last = b""
        while block := file.read(1 << 20):
            if b"\xff\xd9" in last + block:
                return True
            last = block[-1:]
    return False
