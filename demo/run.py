"""Matte the demo's two photographs with the public command, and say where to look.

Run it from anywhere: python demo/run.py. The photographs come with scikit-image (`pip install mematte[dev]`).
"""
# ruff: noqa: T201, this is a script: what it prints is its purpose.

from __future__ import annotations

import os
import shlex
import shutil
import subprocess
import sys
from pathlib import Path

import skimage.data

HERE = Path(__file__).resolve().parent
OUT = HERE / "out"
PICTURES = {
    "cat": ("chelsea.png", "#20585c"),
    "astronaut": ("astronaut.png", "#d9b44a"),
}  # name: file, new background


def main() -> int:
    """Run `mematte matte` once per photograph; returns the exit status."""
    # The command of the environment that runs this script, wherever PATH points.
    command = shutil.which(
        "mematte", path=os.pathsep.join([str(Path(sys.executable).parent), os.environ["PATH"]])
    )
    if command is None:
        print("The `mematte` command is not installed here; run `make setup` first.", file=sys.stderr)
        return 1
    OUT.mkdir(exist_ok=True)
    for name, (file, colour) in PICTURES.items():
        shutil.copyfile(Path(skimage.data.data_dir) / file, OUT / f"{name}.png")
        arguments = [
            "matte", f"out/{name}.png", f"{name}_trimap.png", "-o", f"out/{name}_alpha.png",
            "--cutout", f"out/{name}_cutout.png",
            "--composite", f"out/{name}_composite.png", "--over", colour, "--force",
        ]  # fmt: skip
        print(f"$ {shlex.join(['mematte', *arguments])}", flush=True)
        status = subprocess.run([command, *arguments], cwd=HERE, check=False).returncode
        if status:
            return status
    print("\nLook at these in demo/out/, at 100 %:")
    for name in PICTURES:
        print(f"  {name}_alpha.png  {name}_cutout.png  {name}_composite.png")
    return 0


if __name__ == "__main__":
    sys.exit(main())
