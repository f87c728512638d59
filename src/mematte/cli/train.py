"""`mematte train`: train a network by a recipe."""

from __future__ import annotations

import logging
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from mematte.errors import TrainingError

from .options import QuietOption

if TYPE_CHECKING:
    from mematte.train import Recipe


def train(
    words: Annotated[
        list[str],
        typer.Argument(
            metavar="[RECIPE.py] [KEY=VALUE]...",
            help="A file that defines RECIPE, and settings that differ from it, such as steps=2000.",
            show_default=False,
        ),
    ] = [],  # noqa: B006, Typer reads it and never changes it
    run: Annotated[
        Path | None,
        typer.Option("--run", metavar="DIR", help="The run's folder; default: runs/ and the recipe's name."),
    ] = None,
    resume: Annotated[
        Path | None,
        typer.Option("--resume", metavar="DIR", help="Go on with the run in this folder, by its own recipe."),
    ] = None,
    device: Annotated[str, typer.Option("--device", metavar="NAME", help="auto, cpu, cuda or mps.")] = "auto",
    devices: Annotated[
        int | None,
        typer.Option(
            "--devices",
            min=1,
            metavar="N",
            help="GPUs, or processes on a CPU; default: all.",
            show_default=False,
        ),
    ] = None,
    workers: Annotated[
        int | None,
        typer.Option(
            "--workers",
            min=1,
            metavar="N",
            help="Processes that make the crops of each GPU; default: one per core.",
            show_default=False,
        ),
    ] = None,
    keys: Annotated[
        bool, typer.Option("--keys", help="Print every setting with its value, and stop.")
    ] = False,
    quiet: QuietOption = False,
) -> None:
    """Train a network by RECIPE.py, or go on with a run.

    The run's folder gets the checkpoint, the curves (log.jsonl, and for TensorBoard) and weights.safetensors,
    which `mematte matte --weights` takes. Stopped at any moment, a run goes on from its last checkpoint.

    Example: mematte train recipes/finetune.py photographs=my_pictures steps=500
    """
    if resume is not None and run is not None:
        raise TrainingError("--resume names the run's folder already; leave out --run.")
    settings = list(words)
    if resume is None and (not settings or "=" in settings[0]):
        raise TrainingError("Say what to train: a recipe, such as recipes/smoke.py, or --resume DIR.")
    recipe_file = None if resume is not None else Path(settings.pop(0))
    with training_packages():
        from mematte.train import changed, resumed
        from mematte.train import train as run_training
    if recipe_file is None:
        assert resume is not None
        folder, recipe = resume, resumed(resume)
    else:
        folder, recipe = run or Path("runs") / recipe_file.stem, read_recipe(recipe_file)
        if (folder / "checkpoint.ckpt").exists():
            raise TrainingError(
                f"{folder} holds a run already. Go on with it: mematte train --resume {folder}; or name "
                "another folder with --run."
            )
    recipe = changed(recipe, settings)
    if keys:
        from mematte.train.recipe import settings as all_settings

        typer.echo("\n".join(f"{key}={value}" for key, value in all_settings(recipe)))
        return
    logging.basicConfig(
        level=logging.WARNING if quiet else logging.INFO,
        format="%(asctime)s %(message)s",
        datefmt="%H:%M:%S",
        stream=sys.stderr,
    )
    for name in ("lightning.pytorch", "lightning.fabric"):  # they say much that users need not know
        logging.getLogger(name).setLevel(logging.WARNING)
    typer.echo(run_training(recipe, folder, device=device, devices=devices or 0, workers=workers or 0))


@contextmanager
def training_packages() -> Iterator[None]:
    """For importing what not every installation has.

    Raises:
        TrainingError: it is missing; says how to get it.
    """
    try:
        yield
    except ModuleNotFoundError as error:
        if (error.name or "").split(".")[0] not in ("lightning", "tensorboard"):
            raise
        raise TrainingError("Training needs more packages: pip install 'mematte[train]'") from None


def read_recipe(file: Path) -> Recipe:
    """What the file calls RECIPE.

    Raises:
        TrainingError: there is no such file, it fails, or it defines no recipe.
    """
    import runpy

    from mematte.train import Recipe

    if not file.is_file():
        raise TrainingError(f"There is no recipe {file}. A recipe is a Python file that defines RECIPE.")
    sys.path.insert(0, str(file.parent))  # recipes build on recipes beside them
    try:
        recipe = runpy.run_path(str(file)).get("RECIPE")
    except Exception as error:
        raise TrainingError(f"{file} cannot be run: {type(error).__name__}: {error}.") from error
    finally:
        sys.path.remove(str(file.parent))
    if not isinstance(recipe, Recipe):
        raise TrainingError(f"{file} defines no RECIPE that is a mematte.train.Recipe.")
    return recipe
