"""python -m mematte.train RECIPE.py --run DIR [--foregrounds DIR --backgrounds DIR | --export FILE]"""

from __future__ import annotations

import argparse
import logging
import os
import runpy
from pathlib import Path

import torch

from mematte.data.crops import CropSource
from mematte.errors import MatteError
from mematte.weights import save_weights

from .ranks import launch
from .recipe import Recipe
from .run import Run


def main() -> None:
    """Train the recipe in a file, or export what a run has learned so far.

    A run folder that has a checkpoint goes on from it.
    """
    parser = argparse.ArgumentParser(prog="python -m mematte.train", description=main.__doc__)
    parser.add_argument("recipe", type=Path, help="a Python file that defines RECIPE")
    parser.add_argument("--run", type=Path, required=True, help="folder for checkpoint and log")
    parser.add_argument("--foregrounds", type=Path, help="folder of RGBA cut-outs to train on")
    parser.add_argument("--backgrounds", type=Path, help="folder of photographs to train on")
    parser.add_argument("--ranks", type=int, default=os.cpu_count(), help="processes; default: one per core")
    parser.add_argument("--export", type=Path, help="write the averaged weights (float16), do not train")
    parser.add_argument("--licence", default="unknown", help="of the exported weights")
    options = parser.parse_args()
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(message)s", datefmt="%H:%M:%S")
    if not options.recipe.is_file():
        parser.error(f"there is no recipe {options.recipe}")
    recipe = runpy.run_path(str(options.recipe)).get("RECIPE")
    if not isinstance(recipe, Recipe):
        parser.error(f"{options.recipe} defines no RECIPE, a mematte.train.recipe.Recipe")
    if options.export:
        if not (options.run / "checkpoint.pt").exists():
            parser.error(f"{options.run} holds no checkpoint to export")
        save_weights(Run(recipe, options.run).weights(options.licence), options.export, torch.float16)
        return
    if not (options.foregrounds and options.backgrounds):
        parser.error("training needs --foregrounds and --backgrounds")
    try:
        source = CropSource(options.foregrounds, options.backgrounds)
    except MatteError as error:
        parser.exit(1, f"Error: {error}\n")
    options.run.mkdir(parents=True, exist_ok=True)
    launch(lambda: Run(recipe, options.run).train(source), options.ranks, options.run)


if __name__ == "__main__":
    main()
