"""python -m mematte.eval DIR [--weights NAME_OR_PATH | --method closed-form|knn]: the four metrics over DIR.

DIR is laid out as alphamatting.com's training set is: image/ trimap1/ trimap2/ alpha/.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from mematte.errors import MatteError

from .evaluate import alphamatting_pairs, evaluate

Predict = Callable[[NDArray[np.uint8], NDArray[np.uint8]], NDArray[np.float32]]


def main() -> int:
    """Print a table of the metrics, a row per picture and their mean."""
    parser = argparse.ArgumentParser(prog="python -m mematte.eval", description=main.__doc__)
    parser.add_argument("folder", type=Path, help="holds image/ trimap1/ alpha/")
    parser.add_argument("--trimap", default="trimap1", help="the folder of trimaps")
    parser.add_argument("--weights", default="tiny", help="a name, a file or a folder")
    parser.add_argument("--method", choices=("network", "closed-form", "knn"), default="network")
    parser.add_argument("--precision", default="auto", help="auto, float32 or bfloat16")
    parser.add_argument("--enlarge", default="auto", choices=("auto", "1", "2"), help="as for mematte matte")
    parser.add_argument("--everyone", action="store_true", help="all tokens attend, whatever the routers say")
    parser.add_argument("--unquantised", action="store_true", help="score float alphas, not 8-bit ones")
    options = parser.parse_args()
    shares: list[dict[int, float]] = []
    try:
        predict = _network(options, shares) if options.method == "network" else _pymatting(options.method)
        result = evaluate(
            predict, alphamatting_pairs(options.folder, options.trimap), not options.unquantised
        )
    except MatteError as error:
        sys.stderr.write(f"Error: {error}\n")
        return 1
    sys.stdout.write(result.table() + "\n" + _share_lines(shares))
    return 0


def _network(options: argparse.Namespace, shares: list[dict[int, float]]) -> Predict:
    """A network as a method; `shares` gets each picture's attending share by routed block."""
    from mematte.engine import Engine, Plan
    from mematte.model.router import Decide, everyone
    from mematte.weights import load_weights

    class Unrouted(Engine):
        """All tokens attend, whatever the routers say: what routing costs in quality."""

        def decision(self, plan: Plan) -> Decide:  # noqa: ARG002, whatever the plan says too
            return everyone

    kind = Unrouted if options.everyone else Engine
    factors: dict[str, Literal["auto", 1, 2]] = {"auto": "auto", "1": 1, "2": 2}
    engine = kind(
        load_weights(options.weights), precision=options.precision, enlarge=factors[options.enlarge]
    )

    def predict(image: NDArray[np.uint8], trimap: NDArray[np.uint8]) -> NDArray[np.float32]:
        matte = engine(image, trimap)
        shares.append({routing.block: routing.share for routing in matte.routings})
        return matte.alpha

    return predict


def _share_lines(shares: list[dict[int, float]]) -> str:
    """Per routed block: the attending tokens' share, mean over pictures, smallest and largest."""
    lines = ""
    for block in shares[0] if shares else ():
        of_block = [picture[block] for picture in shares]
        lines += (
            f"block {block}: {np.mean(of_block):.1%} of the tokens attend globally "
            f"({min(of_block):.1%} to {max(of_block):.1%})\n"
        )
    return lines


def _pymatting(method: str) -> Predict:
    import pymatting

    estimate: Any = {"closed-form": pymatting.estimate_alpha_cf, "knn": pymatting.estimate_alpha_knn}[method]

    def predict(image: NDArray[np.uint8], trimap: NDArray[np.uint8]) -> NDArray[np.float32]:
        levels = np.where(trimap == 128, 0.5, trimap / 255)
        alpha: NDArray[np.float32] = np.clip(estimate(image / 255.0, levels), 0, 1).astype(np.float32)
        return alpha

    return predict


if __name__ == "__main__":
    sys.exit(main())
