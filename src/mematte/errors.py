"""Every error a user can cause, as a tree.

    MatteError
    ├── ImageFileError          a file cannot be read as a picture
    ├── OutputError             a result cannot be written where it was asked for
    ├── TrimapError             a trimap that says nothing, or not what a trimap says
    │   └── SizeMismatchError   image and trimap differ in size
    ├── InputError              an argument is of the wrong type, shape or range
    ├── WeightsError            weights are missing, damaged, or of another network
    ├── DataError               training data are missing, damaged, or do not pair
    ├── ExportError             a network cannot be written for another runtime
    ├── TrainingError           a training run cannot start, or cannot go on
    └── DeviceError             the device or precision asked for is not there
        └── BudgetError         the memory asked for does not suffice

Messages say what is wrong, the values, and what to do next. Each class is also the built-in error
that a caller would expect (`ValueError`, `OSError`, ...), so code that knows nothing of us can catch it.
"""

from __future__ import annotations

from typing import Any


class MatteError(Exception):
    """Root of every error that a user of `mematte` can cause."""


class InputError(MatteError, ValueError):
    """An argument is of the wrong type, shape or range."""


class ImageFileError(MatteError, OSError):
    """A file cannot be read as a picture."""


class OutputError(MatteError, OSError):
    """A result cannot be written where it was asked for; nothing was left behind."""


class TrimapError(MatteError, ValueError):
    """A trimap that says nothing, or not what a trimap says."""


class SizeMismatchError(TrimapError):
    """Image and trimap differ in size. Sizes are (height, width), printed as people say them."""

    def __init__(self, image: tuple[int, int], trimap: tuple[int, int]) -> None:
        self.sizes = image, trimap
        lies_on_its_side = tuple(image) == tuple(trimap)[::-1]
        super().__init__(
            f"The trimap must be as large as the image: the image is {image[1]}x{image[0]} px, "
            f"the trimap {trimap[1]}x{trimap[0]} px. "
            + (
                "It lies on its side: turn it by 90 degrees, as the image's EXIF orientation turns the image."
                if lies_on_its_side
                else "Make one that fits with `mematte trimap`."
            )
        )

    def __reduce__(self) -> tuple[type, tuple[tuple[int, int], tuple[int, int]]]:
        """Made again from the sizes, not from the message: errors travel between processes."""
        return type(self), self.sizes


class WeightsError(MatteError, ValueError):
    """Weights are missing, damaged, or of another network."""


class DataError(MatteError, ValueError):
    """Training data are missing, damaged, or do not pair."""


class ExportError(MatteError, RuntimeError):
    """A network cannot be written for another runtime, or is another network there; no file is left."""


class TrainingError(MatteError, RuntimeError):
    """A training run cannot start, or cannot go on; its last checkpoint is whole."""


class DeviceError(MatteError, RuntimeError):
    """The device or the precision that was asked for is not there."""


class BudgetError(DeviceError):
    """A picture cannot be matted within the memory asked for. Sizes are (height, width), memory is bytes."""

    def __init__(self, size: tuple[int, int], memory: int, least: int, enlarged: int = 1) -> None:
        """`enlarged`: times its size that the picture is shown at."""
        self.size, self.memory, self.least, self.enlarged = size, memory, least, enlarged
        megabytes = -(-least // 10**7) * 10  # upwards, so that what is said suffices
        shown, smaller = (
            (f", shown at {enlarged} times their size,", "--enlarge 1, ") if enlarged > 1 else ("", "")
        )
        super().__init__(
            f"{size[1]}x{size[0]} px{shown} do not fit into {memory / 1e6:,.0f} MB. The least is "
            f"{megabytes:,} MB: use --memory {megabytes}MB or more, {smaller}or a smaller network."
        )

    def __reduce__(self) -> tuple[Any, ...]:
        """Made again from the sizes, not from the message: errors travel between processes."""
        return type(self), (self.size, self.memory, self.least, self.enlarged)


class MatteWarning(UserWarning):
    """Something a user should know, though the work goes on."""
