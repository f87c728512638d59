"""`mematte trimap`, `mematte convert` and `mematte weights`."""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np
import pytest
import torch

from mematte.weights import CATALOG, load_weights

from .conftest import Run, check_refused, contents


def test_a_trimap_has_three_levels_and_the_masks_size(folder: Path, run: Run) -> None:
    result = run("trimap", "mask.png", "-o", "t.png", "--radius", 4)

    assert (result.status, result.out) == (0, "t.png\n")
    assert "radius 4 px" in result.err
    trimap = cv2.imread(str(folder / "t.png"), cv2.IMREAD_UNCHANGED)
    mask = cv2.imread(str(folder / "mask.png"), cv2.IMREAD_UNCHANGED)
    assert trimap.shape == mask.shape
    assert set(np.unique(trimap)) == {0, 128, 255}


@pytest.mark.usefixtures("folder")
def test_the_default_radius_is_said(run: Run) -> None:
    assert "radius 1 px" in run("trimap", "mask.png", "-o", "t.png").err


@pytest.mark.usefixtures("folder")
def test_a_quiet_trimap_says_only_its_path(run: Run) -> None:
    result = run("trimap", "mask.png", "-o", "t.png", "-q")
    assert (result.out, result.err) == ("t.png\n", "")


@pytest.mark.parametrize(
    ("arguments", "status", "says"),
    [
        (["nothere.png", "-o", "t.png"], 1, "nothere.png does not exist"),
        (["photo.png", "-o", "t.png"], 1, "The mask is coloured"),
        (["mask.png", "-o", "t.jpg"], 1, "cannot hold a trimap"),
        (["mask.png", "-o", "mask.png", "--force"], 1, "is one of the inputs"),
        (["mask.png", "-o", "deep.png"], 1, "deep.png exists. --force"),
        (["mask.png", "-o", "t.png", "--max-pixels", "10"], 1, "--max-pixels"),
        (["mask.png", "-o", "t.png", "--radius", "-1"], 2, "--radius"),
        (["mask.png"], 2, "--output"),
    ],
)
def test_a_bad_trimap_command_writes_nothing(
    folder: Path, run: Run, arguments: list[str], status: int, says: str
) -> None:
    check_refused(folder, lambda: run("trimap", *arguments), status, says)


def test_convert_says_what_it_wrote(folder: Path, run: Run, network: Path) -> None:
    result = run("convert", network, "-o", "out.safetensors")

    assert (result.status, result.out) == (0, "out.safetensors\n")
    assert "Network: probe, blocks WRWR, 32 channels, 2 heads" in result.err
    parameters = sum(value.numel() for value in load_weights(network).state.values())
    assert f"Parameters: {parameters:,}" in result.err
    assert "Licence: MIT" in result.err
    assert load_weights(folder / "out.safetensors").spec == load_weights(network).spec


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (["nothere.pth", "-o", "o.safetensors"], "nothere.pth"),
        (["photo.png", "-o", "o.safetensors"], "no file of weights"),
        (["other.pth", "-o", "o.safetensors"], "weights of another network"),
        (["other.pth", "-o", "o.pth"], "ends in .safetensors"),
        (["other.pth", "-o", "old.safetensors"], "old.safetensors exists. --force"),
        (["old.safetensors", "-o", "old.safetensors", "--force"], "is one of the inputs"),
        (["other.pth", "-o", "no/where.safetensors"], "does not exist. Make it first"),
    ],
)
def test_a_bad_convert_command_writes_nothing(
    folder: Path, run: Run, arguments: list[str], says: str
) -> None:
    torch.save({"layer.weight": torch.zeros(2, 2)}, folder / "other.pth")
    (folder / "old.safetensors").write_text("old")
    before = contents(folder)

    result = run("convert", *arguments)

    assert result.status == 1
    assert says in result.message
    assert contents(folder) == before


def test_every_name_of_the_catalogue_is_listed_with_its_licence(run: Run) -> None:
    result = run("weights")

    assert result.status == 0
    lines = result.out.splitlines()
    assert lines[0].split() == ["NAME", "SIZE", "WHERE", "LICENCE"]
    for line, entry in zip(lines[1:], CATALOG.values(), strict=True):
        assert line.startswith(entry.name)
        assert line.endswith(entry.licence)
