"""Pictures small enough to check every pixel, and writers that owe nothing to the code under test."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import OpenImageIO as oiio  # noqa: N813
import pytest

Store = Callable[..., Path]


@pytest.fixture
def store(tmp_path: Path) -> Store:
    """Write an array as it is, by OpenImageIO: store("a.exr", array, "half", names=..., attribute=value)."""

    def write(
        name: str, array: np.ndarray, kind: str, names: tuple[str, ...] | None = None, **header: Any
    ) -> Path:
        array = array[..., None] if array.ndim == 2 else array
        spec = oiio.ImageSpec(array.shape[1], array.shape[0], array.shape[2], kind)
        if names is not None:
            spec.channelnames = names
        for key, value in header.items():
            if key in ("x", "y", "full_width", "full_height"):
                setattr(spec, key, value)
            else:
                spec.attribute(key.replace("__", ":"), value)
        writer = oiio.ImageOutput.create(str(tmp_path / name))
        assert writer.open(str(tmp_path / name), spec), writer.geterror()
        assert writer.write_image(np.ascontiguousarray(array)), writer.geterror()
        assert writer.close()
        return tmp_path / name

    return write


@pytest.fixture
def rgb() -> np.ndarray:
    """(13, 17, 3) uint8, all values different enough to notice any turn or swap."""
    return np.random.default_rng(1).integers(0, 256, (13, 17, 3), dtype=np.uint8)


@pytest.fixture
def rgba(rgb: np.ndarray) -> np.ndarray:
    """(13, 17, 4) uint8; alpha from 40 up, so that premultiplied 8 bits still hold the colours."""
    alpha = np.random.default_rng(2).integers(40, 256, (13, 17, 1), dtype=np.uint8)
    return np.concatenate((rgb, alpha), axis=2)


@pytest.fixture
def profile() -> bytes:
    """An sRGB ICC profile that Pillow makes."""
    from PIL import ImageCms

    return ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()
