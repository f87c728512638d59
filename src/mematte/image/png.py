"""PNG files chunk by chunk: is the file whole, and is it animated?"""

from __future__ import annotations

import struct
import zlib
from pathlib import Path

from mematte.errors import ImageFileError

_SIGNATURE = b"\x89PNG\r\n\x1a\n"


def check_png(path: Path) -> str | None:
    """Walk a PNG's chunks; None for every other format. Returns a note for an animated one.

    libpng prints on stderr when it meets damage, so damage is found here: lengths and checksums of all
    chunks. OpenImageIO also has no word for animated PNG.
    """
    note = None
    with path.open("rb") as file:
        if file.read(8) != _SIGNATURE:
            return None
        name = b""
        while name != b"IEND":
            head = file.read(8)
            if len(head) < 8:
                raise ImageFileError(f"{path} is truncated: the PNG ends before its last chunk.")
            length, name = struct.unpack(">I4s", head)
            checksum, left = zlib.crc32(name), length
            while left and (block := file.read(min(left, 1 << 20))):
                if name == b"acTL" and left == length and len(block) >= 4:
                    note = f"first of {struct.unpack('>I', block[:4])[0]} frames"
                checksum, left = zlib.crc32(block, checksum), left - len(block)
            stored = file.read(4)
            if left or len(stored) < 4:
                raise ImageFileError(
                    f"{path} is truncated: the PNG ends inside its {name.decode('latin1')} chunk."
                )
            if int.from_bytes(stored, "big") != checksum:
                raise ImageFileError(
                    f"{path} is damaged: the checksum of a {name.decode('latin1')} chunk is wrong."
                )
    return note


def is_png(path: Path) -> bool:
    """Whether a file begins as PNGs do."""
    with path.open("rb") as file:
        return file.read(8) == _SIGNATURE


def is_interlaced_png(path: Path) -> bool:
    """Whether a PNG's rows come in seven passes, so that its decoder must hold it whole."""
    with path.open("rb") as file:
        return file.read(29)[28:] == b"\x01"  # signature 8, length and name 8, IHDR's 13th byte
