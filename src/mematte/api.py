"""The two functions that most programs need: `load` for many images, `cut` for one."""

from __future__ import annotations

import os
import warnings
from pathlib import Path

from .engine import Engine, Matte
from .engine.device import begin, choose_device, choose_precision
from .engine.run import Enlarge, Narrow, WindowsChoice
from .errors import MatteWarning
from .files import check_spares_inputs
from .image import DEFAULT_MAX_PIXELS, check_output
from .weights import load_weights


def load(
    weights: str | os.PathLike[str] = "tiny",
    *,
    device: str = "auto",
    precision: str = "auto",
    memory: str | int | None = None,
    max_global_tokens: int | None = None,
    enlarge: Enlarge = "auto",
    windows: WindowsChoice = "auto",
    narrow: Narrow = "auto",
) -> Engine:
    """Load weights and make an engine of them.

    Args:
        weights: a name ("tiny"), a Hugging Face id ("org/name"), or a path to a file or folder. A `Path` is a
            path, whatever names there are.
        device: "auto", "cpu", "cuda", "cuda:1" or "mps".
        precision: "auto", "float32", "bfloat16" or "float16".
        memory: what to stay within, bytes or "4GB": on a CPU the resident memory of the whole process, on a
            GPU what is allocated there. None = what is free at each call, less a margin.
        max_global_tokens: at most so many tokens attend globally in each routed block; None = 18,500.
        enlarge: 2 or 3 = the network is shown pictures at so many times their size; "auto" = 2
            where the weights gain by it.
        windows: "unknown" = only what lies near the unknown region is computed, which is faster the less of a
            picture is unknown; "auto" = as the weights ask.
        narrow: "always" = a picture is shown to the network reduced first, and what is clear then is not
            asked about again; "never" = it is not; "auto" = as the weights ask, of large pictures.

    Raises:
        WeightsError: the weights are missing, damaged, or of another network.
        DeviceError: the device or the precision is not there.
        InputError: `weights` is neither a string nor a path; `memory` is no amount or more than there is;
            `max_global_tokens` is no whole number or negative.
    """
    chosen = choose_device(device)
    begin(chosen)
    choose_precision(precision, chosen)  # fails sooner than a download
    return Engine(
        load_weights(weights),
        device=device,
        precision=precision,
        memory=memory,
        max_global_tokens=max_global_tokens,
        enlarge=enlarge,
        windows=windows,
        narrow=narrow,
    )


def cut(
    image: object,
    trimap: object,
    output: str | os.PathLike[str],
    *,
    weights: str | os.PathLike[str] = "tiny",
    device: str = "auto",
    precision: str = "auto",
    memory: str | int | None = None,
    force: bool = False,
    max_pixels: int = DEFAULT_MAX_PIXELS,
) -> Matte:
    """Cut the foreground out of an image and write it with its alpha.

    Args:
        image: path, PIL image, or array (H, W[, 1, 3, 4]) of uint8, uint16 or float in [0, 1].
        trimap: path, PIL image, or array (H, W): black background, grey unknown, white foreground.
        output: an RGBA file: .png, .tif, .exr, .webp or .jxl.
        weights, device, precision, memory: as for `load`.
        force: replace an existing file.
        max_pixels: refuse files of larger pictures, by their header.

    Returns:
        The `Matte`, for whatever else is wanted of it.

    Raises:
        MatteError: as `load`, `Engine` and `Matte.save_cutout` raise; nothing was written then.
    """
    read = [Path(source) for source in (image, trimap) if isinstance(source, (str, os.PathLike))]
    check_spares_inputs(Path(output), read)
    check_output(output, "cutout", force)  # before the work, not after it
    matte = load(weights, device=device, precision=precision, memory=memory)(
        image, trimap, max_pixels=max_pixels
    )
    for warning in matte.report.warnings:
        warnings.warn(warning, MatteWarning, stacklevel=2)
    matte.save_cutout(output, force=force)
    return matte
