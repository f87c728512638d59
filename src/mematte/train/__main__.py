"""python -m mematte.train RECIPE.py --foregrounds DIR --backgrounds DIR --run DIR"""

from __future__ import annotations

import argparse
import logging
import os
import runpy
from pathlib import Path

from mematte.data.crops import CropSource

from .ranks import launch
from .run import Run


def main() -> None:
    """Train the recipe in a file; a run folder that has a checkpoint goes on from it."""
    parser = argparse.ArgumentParser(prog="python -m mematte.train", description=main.__doc__)
    parser.add_argument("recipe", type=Path, help="a Python file that defines RECIPE")
    parser.add_argument("--foregrounds", type=Path, required=True, help="folder of RGBA cut-outs")
    parser.add_argument("--backgrounds", type=Path, required=True, help="folder of photographs")
    parser.add_argument("--run", type=Path, required=True, help="folder for checkpoint and log")
    parser.add_argument("--ranks", type=int, default=os.cpu_count(), help="processes; default: one per core")
    options = parser.parse_args()
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(message)s", datefmt="%H:%M:%S")
    recipe = runpy.run_path(str(options.recipe))["RECIPE"]
    source = CropSource(options.foregrounds, options.backgrounds)
    options.run.mkdir(parents=True, exist_ok=True)
    launch(lambda: Run(recipe, options.run).train(source), options.ranks, options.run)


if __name__ == "__main__":
    main()
