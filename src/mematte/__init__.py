"""Image matting with adaptive token routing: any image, at its own resolution.

import mematte

mematte.cut("photo.jpg", "trimap.png", "cutout.png")

engine = mematte.load("tiny")
matte = engine("photo.jpg", "trimap.png")
matte.save("alpha.png")
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from .api import cut, load
    from .engine import Engine, Matte
    from .errors import (
        DeviceError,
        ImageFileError,
        InputError,
        MatteError,
        MatteWarning,
        OutputError,
        SizeMismatchError,
        TrimapError,
        WeightsError,
    )

__version__ = "0.1.0"

_HOMES = {
    "api": ("cut", "load"),
    "engine": ("Engine", "Matte"),
    "errors": (
        "DeviceError",
        "ImageFileError",
        "InputError",
        "MatteError",
        "MatteWarning",
        "OutputError",
        "SizeMismatchError",
        "TrimapError",
        "WeightsError",
    ),
}

__all__ = [
    "DeviceError",
    "Engine",
    "ImageFileError",
    "InputError",
    "Matte",
    "MatteError",
    "MatteWarning",
    "OutputError",
    "SizeMismatchError",
    "TrimapError",
    "WeightsError",
    "cut",
    "load",
]


def __getattr__(name: str) -> object:
    """Load a public name from its home when it is first asked for: torch takes a second to import."""
    from importlib import import_module

    for home, names in _HOMES.items():
        if name in names:
            value: object = getattr(import_module(f"{__name__}.{home}"), name)
            globals()[name] = value
            return value
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
