"""What is evaluated: a network, one of PyMatting's methods, or alphas that are there already.

A `Method` says what decides its alphas before it is started, so that scores of an earlier run can be told
from others; `start` makes it ready, once in each process.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Mapping
from contextlib import redirect_stdout
from dataclasses import dataclass, field
from functools import cached_property
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, Protocol

import numpy as np

from mematte.data.layouts import Found
from mematte.errors import DataError, InputError, TrimapError
from mematte.eval.datasets import check_size, files_by_name, read_alpha
from mematte.eval.evaluate import EvalPair
from mematte.eval.metrics import Alpha
from mematte.image import DEFAULT_MAX_PIXELS, UNKNOWN

if TYPE_CHECKING:
    from mematte.engine import Matte
    from mematte.engine.run import Enlarge, Narrow, WindowsChoice

Peer = Literal["closed-form", "knn", "lbdm"]

ALPHA_ENDINGS = ("", ".alpha", "_alpha", "-alpha", "_matte", "-matte", "_pha")
"""Between a picture's name and the suffix of a ready prediction; `mematte matte` writes photo.alpha.png."""


@dataclass(frozen=True, eq=False)
class Estimate:
    """An alpha for one picture.

    Attributes:
        alpha: (H, W) float in [0, 1], or uint8.
        matte: a network's, with its routes and what there is to say about them.
    """

    alpha: Alpha
    matte: Matte | None = None


Estimator = Callable[[EvalPair], Estimate]


class Method(Protocol):
    """Anything that gives alphas."""

    @property
    def settings(self) -> Mapping[str, Any]:
        """All that decides its alphas, as plain JSON, in the words that people read."""

    def files(self, name: str) -> tuple[Path, ...]:
        """What it reads for a picture beside the picture."""

    def start(self, processes: int) -> Estimator:
        """Make it ready in this process, which is one of so many.

        Raises:
            MatteError: it cannot be.
        """


@dataclass(frozen=True)
class Network:
    """Weights of ours, published ones or ViTMatte's, in our engine. Attributes as for `mematte.load`.

    Attributes:
        everyone: all tokens attend, whatever the routers say: what routing costs in quality.
    """

    weights: str = "tiny"
    device: str = "auto"
    precision: str = "auto"
    memory: str | None = None
    max_global_tokens: int | None = None
    enlarge: Enlarge = "auto"
    windows: WindowsChoice = "auto"
    narrow: Narrow = "auto"
    everyone: bool = False

    @cached_property
    def settings(self) -> dict[str, Any]:
        """As `Method.settings`.

        Raises:
            WeightsError, DeviceError, InputError: what `start` would raise.
        """
        from mematte.engine.device import choose_device, choose_precision
        from mematte.engine.memory import parse_memory, show_memory
        from mematte.files import sha256
        from mematte.weights import load_weights

        device = choose_device(self.device)
        precision = choose_precision(self.precision, device)
        memory = "what is free" if self.memory is None else show_memory(parse_memory(self.memory))
        weights = load_weights(self.weights)
        # A name of the catalogue may ask for others than the file does that it stands for.
        windows = f"auto, these weights ask for {weights.windows}" if self.windows == "auto" else self.windows
        above = f"{weights.narrow_above:,} px" if weights.narrow_above else "no size"
        narrow = f"auto, these weights ask for it above {above}" if self.narrow == "auto" else self.narrow
        # What a Hugging Face folder says of it lies beside the weights, so that their checksum does not tell.
        mean, std = (
            " ".join(f"{value:g}" for value in values)
            for values in (weights.preprocessing.mean, weights.preprocessing.std)
        )
        is_file = Path(weights.source).is_file()
        return {
            "method": "network",
            "weights": weights.name,
            "weights sha256" if is_file else "weights source": (
                sha256(Path(weights.source)) if is_file else weights.source
            ),
            "preprocessing": f"mean {mean}, std {std}, padded with {weights.preprocessing.padding}",
            "blocks": weights.spec.blocks,
            "attending": "every token" if self.everyone else "as the routers choose",
            "device": str(device),
            "precision": str(precision).removeprefix("torch."),
            "enlarge": str(self.enlarge),
            "windows": windows,
            "narrow": narrow,
            "memory": memory,
            "max global tokens": self.max_global_tokens,
        }

    def files(self, name: str) -> tuple[Path, ...]:  # noqa: ARG002, the same for every picture
        """As `Method.files`: none."""
        return ()

    def start(self, processes: int) -> Estimator:
        """As `Method.start`; with its share of the cores and, unless `memory` says more, of what is free."""
        import torch

        from mematte.engine import Engine, Plan
        from mematte.engine.device import choose_device
        from mematte.engine.memory import default_budget, used_bytes
        from mematte.model.router import Decide, everyone
        from mematte.weights import load_weights

        class Unrouted(Engine):
            """All tokens attend."""

            def decision(self, plan: Plan) -> Decide:  # noqa: ARG002, whatever the plan says
                return everyone

        if processes > 1:  # threads that wait for each other's cores take several times as long
            torch.set_num_threads(max(1, torch.get_num_threads() // processes))
        memory: str | int | None = self.memory
        if memory is None and processes > 1:
            device = choose_device(self.device)
            used = used_bytes(device)
            memory = used + (default_budget(device) - used) // processes
        engine = (Unrouted if self.everyone else Engine)(
            load_weights(self.weights),
            device=self.device,
            precision=self.precision,
            memory=memory,
            max_global_tokens=self.max_global_tokens,
            enlarge=self.enlarge,
            windows=self.windows,
            narrow=self.narrow,
        )

        def estimate(pair: EvalPair) -> Estimate:
            matte = engine(pair.image, pair.trimap)
            return Estimate(matte.alpha, matte)

        return estimate


@dataclass(frozen=True)
class PyMatting:
    """One of the methods without a network that PyMatting has, as it comes."""

    name: Peer

    @property
    def settings(self) -> dict[str, Any]:
        """As `Method.settings`."""
        return {"method": self.name, "PyMatting": version("pymatting")}

    def files(self, name: str) -> tuple[Path, ...]:  # noqa: ARG002, the same for every picture
        """As `Method.files`: none."""
        return ()

    def start(self, processes: int) -> Estimator:  # noqa: ARG002, it takes no share of anything
        """As `Method.start`."""
        import pymatting

        solve = {
            "closed-form": pymatting.estimate_alpha_cf,
            "knn": pymatting.estimate_alpha_knn,
            "lbdm": pymatting.estimate_alpha_lbdm,
        }[self.name]

        def estimate(pair: EvalPair) -> Estimate:
            if len(np.unique(pair.trimap)) < 3:
                raise TrimapError(f"{self.name} needs a trimap with foreground, background and unknown.")
            levels = np.where(pair.trimap == UNKNOWN, 0.5, pair.trimap / 255)
            image = pair.image
            scale = np.iinfo(image.dtype).max if image.dtype.kind == "u" else 1
            try:
                # Where it has something to say, it prints it among our tables.
                with redirect_stdout(sys.stderr), np.errstate(all="ignore"):
                    alpha = solve(image / np.float64(scale), levels)
            except ValueError as error:  # it does not converge, or has too few pixels
                raise InputError(f"PyMatting's {self.name} gives no alpha: {error}") from error
            return Estimate(np.clip(alpha, 0, 1).astype(np.float32))

        return estimate


@dataclass(frozen=True)
class Predictions:
    """Alphas that are there already, whoever made them.

    Attributes:
        folder: where they lie.
        found: name of a picture -> its alpha.
        others: pictures in the folder that are nobody's.
        max_pixels: refuse larger ones.
    """

    folder: Path
    found: Mapping[str, Path] = field(repr=False)
    others: tuple[Path, ...] = field(repr=False)
    max_pixels: int = DEFAULT_MAX_PIXELS

    @classmethod
    def of(cls, folder: Path, data: Found, max_pixels: int = DEFAULT_MAX_PIXELS) -> Predictions:
        """Those of a folder for the pictures of a data set: files of the same names but for the suffix.

        They may lie among the pictures, where `mematte matte` writes them.

        Raises:
            DataError: there is no such folder, or no picture of the data set has a prediction in it.
        """
        pictures = (pair.files["image"] for pair in data.pairs)
        found, others = files_by_name(folder, (pair.name for pair in data.pairs), ALPHA_ENDINGS, pictures)
        if not found:
            names = f"{data.pairs[0].name}.png"
            raise DataError(
                f"{folder} has no prediction for any of the {len(data.pairs)} pictures of {data.folder}. "
                f"Predictions are named as the pictures are but for the suffix: {names} or .tif, .exr ..."
            )
        return cls(folder, found, others, max_pixels)

    @property
    def settings(self) -> dict[str, Any]:
        """As `Method.settings`."""
        return {"method": "ready predictions", "predictions": str(self.folder)}

    def files(self, name: str) -> tuple[Path, ...]:
        """As `Method.files`: the prediction, if there is one."""
        return (self.found[name],) if name in self.found else ()

    def start(self, processes: int) -> Estimator:  # noqa: ARG002, it takes no share of anything
        """As `Method.start`."""

        def estimate(pair: EvalPair) -> Estimate:
            if pair.name not in self.found:
                raise DataError(f"There is no prediction: {self.folder} holds no picture of this name.")
            alpha = read_alpha(self.found[pair.name], self.max_pixels)
            check_size("prediction", alpha.shape, (pair.trimap.shape[0], pair.trimap.shape[1]))
            return Estimate(alpha)

        return estimate
