"""`mematte matte` on bad input: the message says what is wrong, and nothing is written."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable
from pathlib import Path

import cv2
import numpy as np
import pytest
import torch

from .conftest import HEIGHT, WIDTH, Run, contents

GOOD = ("photo.png", "photo_trimap.png")
Refused = Callable[..., str]


def picture(name: str, pixels: np.ndarray) -> str:
    assert cv2.imwrite(name, pixels)
    return name


# Images and trimaps


def test_a_missing_image(refused: Refused) -> None:
    assert "nothere.png does not exist" in refused("nothere.png", "photo_trimap.png")


def test_an_empty_image(folder: Path, refused: Refused) -> None:
    (folder / "empty.png").touch()
    assert "empty.png is empty (0 bytes)" in refused("empty.png", "photo_trimap.png")


def test_a_truncated_image(folder: Path, refused: Refused) -> None:
    whole = (folder / "photo.png").read_bytes()
    (folder / "half.png").write_bytes(whole[: len(whole) // 2])
    assert "half.png" in (message := refused("half.png", "photo_trimap.png"))
    assert "truncated" in message


def test_a_folder_for_an_image(folder: Path, refused: Refused) -> None:
    (folder / "album").mkdir()
    assert "album is a folder, not a picture" in refused("album", "photo_trimap.png")


def test_a_text_for_an_image(folder: Path, refused: Refused) -> None:
    (folder / "notes.txt").write_text("no picture at all")
    assert "notes.txt" in refused("notes.txt", "photo_trimap.png")


def test_a_missing_trimap(refused: Refused) -> None:
    assert "nothere.png does not exist" in refused("photo.png", "nothere.png")


def test_a_trimap_of_another_size(refused: Refused) -> None:
    small = picture("small.png", np.full((20, 30), 128, np.uint8))
    message = refused("photo.png", small)
    assert f"the image is {WIDTH}x{HEIGHT} px, the trimap 30x20 px" in message


def test_a_trimap_without_unknown(refused: Refused) -> None:
    assert "no unknown pixel" in refused("photo.png", "mask.png")


def test_a_coloured_trimap(refused: Refused) -> None:
    assert "The trimap is coloured" in refused("photo.png", "deep.png")


def test_a_mask_of_another_size(refused: Refused) -> None:
    small = picture("small.png", np.pad(np.full((10, 10), 255, np.uint8), 10))
    message = refused("photo.png", "--mask", small)
    assert (
        f"The mask must be as large as the image: the image is {WIDTH}x{HEIGHT} px, the mask 30x30" in message
    )


def test_an_empty_mask(refused: Refused) -> None:
    black = picture("black.png", np.zeros((HEIGHT, WIDTH), np.uint8))
    assert "The mask is empty" in refused("photo.png", "--mask", black)


def test_more_pixels_than_allowed(refused: Refused) -> None:
    assert "--max-pixels" in refused(*GOOD, "--max-pixels", 1000)


# Outputs


@pytest.mark.parametrize("option", ["-o", "--cutout", "--foreground", "--routes", "--report"])
def test_an_output_that_exists(folder: Path, refused: Refused, option: str) -> None:
    name = "old.json" if option == "--report" else "old.png"
    (folder / name).write_text("old")
    assert f"{name} exists. --force" in refused(*GOOD, option, name)


def test_the_default_output_that_exists(folder: Path, refused: Refused) -> None:
    (folder / "photo.alpha.png").write_text("old")
    assert "photo.alpha.png exists. --force" in refused(*GOOD)


def test_one_bad_output_among_good_ones(refused: Refused) -> None:
    assert "no.such" in refused(*GOOD, "-o", "a.png", "--cutout", "no.such")


@pytest.mark.parametrize(
    ("option", "name"),
    [
        ("-o", "alpha.jpg"),
        ("-o", "alpha"),
        ("-o", "alpha.xyz"),
        ("--cutout", "c.jpg"),
        ("--foreground", "f.gif"),
    ],
)
def test_a_suffix_that_cannot_hold_the_result(refused: Refused, option: str, name: str) -> None:
    message = refused(*GOOD, option, name)
    assert name in message
    assert "cannot hold" in message
    assert "These can: .png" in message


def test_a_report_that_is_not_called_json(refused: Refused) -> None:
    assert "report.txt: a report needs a name that ends in .json" in refused(*GOOD, "--report", "report.txt")


def test_an_output_in_a_folder_that_is_not_there(refused: Refused) -> None:
    assert "does not exist. Make it first" in refused(*GOOD, "-o", "no/where/alpha.png")


def test_a_report_in_a_folder_that_is_not_there(refused: Refused) -> None:
    assert "does not exist. Make it first" in refused(*GOOD, "--report", "no/where/report.json")


@pytest.mark.parametrize(("option", "name"), [("-o", "album.png"), ("--report", "album.json")])
def test_an_output_that_is_a_folder(folder: Path, refused: Refused, option: str, name: str) -> None:
    (folder / name).mkdir()
    assert f"{name} is a folder" in refused(*GOOD, option, name, "--force")


@pytest.mark.skipif(sys.platform != "linux", reason="/proc is Linux's")
@pytest.mark.parametrize(("option", "name"), [("-o", "/proc/alpha.png"), ("--report", "/proc/report.json")])
def test_an_output_that_cannot_be_written(refused: Refused, option: str, name: str) -> None:
    assert f"{name} cannot be written" in refused(*GOOD, option, name)


@pytest.mark.parametrize("name", ["photo.png", "photo_trimap.png", "./photo.png"])
def test_an_output_that_is_an_input_even_with_force(refused: Refused, name: str) -> None:
    assert "is one of the inputs and would be lost" in refused(*GOOD, "-o", name, "--force")


def test_an_output_that_is_an_input_by_another_name(folder: Path, refused: Refused) -> None:
    os.link(folder / "photo.png", folder / "link.png")
    assert "link.png is one of the inputs" in refused(*GOOD, "--cutout", "link.png", "--force")


def test_an_output_that_is_the_background_picture(refused: Refused) -> None:
    message = refused(*GOOD, "--composite", "deep.png", "--over", "deep.png", "--force")
    assert "deep.png is one of the inputs" in message


def test_one_file_asked_for_twice(folder: Path, refused: Refused) -> None:
    message = refused(*GOOD, "-o", "x.png", "--cutout", folder / "x.png")
    assert "x.png is asked for twice, as the alpha and as the cutout" in message


def test_a_picture_wider_than_the_format_can_be(refused: Refused) -> None:
    wide = picture("wide.png", np.full((1, 16_400), 128, np.uint8))
    trimap = picture("wide_trimap.png", np.full((1, 16_400), 128, np.uint8))
    message = refused(wide, trimap, "-o", "alpha.webp", "-q")
    assert "WebP holds at most 16383 px per side" in message


# Options


def test_both_trimap_and_mask(refused: Refused) -> None:
    assert "a trimap and --mask are both given" in refused(*GOOD, "--mask", "mask.png", status=2)


def test_neither_trimap_nor_mask_and_what_lies_beside_the_photo(refused: Refused) -> None:
    message = refused("photo.png", status=2)
    assert "give a TRIMAP, or a mask with --mask" in message
    assert "Did you mean photo_trimap.png?" in message


def test_neither_trimap_nor_mask_and_nothing_beside_the_photo(refused: Refused) -> None:
    assert "Did you mean" not in refused("deep.png", status=2)


def test_a_radius_without_a_mask(refused: Refused) -> None:
    assert "--radius is for --mask" in refused(*GOOD, "--radius", 5, status=2)


def test_a_composite_without_anything_behind(refused: Refused) -> None:
    assert "--composite needs --over" in refused(*GOOD, "--composite", "k.png", status=2)


def test_something_behind_without_a_composite(refused: Refused) -> None:
    assert "--over needs --composite" in refused(*GOOD, "--over", "red", status=2)


@pytest.mark.parametrize("over", ["mauvish", "beach.jpg", "#12345", "1,2", ""])
def test_what_is_neither_a_colour_nor_a_picture(refused: Refused, over: str) -> None:
    message = refused(*GOOD, "--composite", "k.png", "--over", over)
    assert f'there is no file "{over}", and "{over}" is not a colour' in message


@pytest.mark.parametrize(
    ("option", "value"),
    [
        ("--max-global-tokens", "-1"),
        ("--max-global-tokens", "many"),
        ("--max-pixels", "0"),
        ("--precision", "float12"),
    ],
)
def test_a_value_that_makes_no_sense(refused: Refused, option: str, value: str) -> None:
    assert f"Invalid value for '{option}'" in refused(*GOOD, option, value, status=2)


def test_a_negative_radius(refused: Refused) -> None:
    assert "--radius" in refused("photo.png", "--mask", "mask.png", "--radius", "-3", status=2)


def test_an_unknown_option(refused: Refused) -> None:
    assert "--feather" in refused(*GOOD, "--feather", status=2)


# Device and weights


def test_a_gpu_that_is_not_there_is_an_error_and_not_the_cpu(
    refused: Refused, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    assert "Asked for cuda, but" in refused(*GOOD, "--device", "cuda")


def test_a_device_that_does_not_exist(refused: Refused) -> None:
    assert "There is no device called 'abacus'" in refused(*GOOD, "--device", "abacus")


def test_a_precision_that_the_cpu_does_not_run(refused: Refused) -> None:
    assert "A CPU does not run float16" in refused(*GOOD, "--precision", "float16")


@pytest.mark.parametrize("name", ["nosuchname", "no/such/file.safetensors", "gone.pth"])
def test_weights_that_are_not_there(refused: Refused, name: str) -> None:
    assert name in refused(*GOOD, "--weights", name)


def test_weights_that_are_cut_short(folder: Path, refused: Refused, network: Path) -> None:
    whole = network.read_bytes()
    (folder / "cut.safetensors").write_bytes(whole[: len(whole) // 2])
    assert "cut.safetensors" in (message := refused(*GOOD, "--weights", "cut.safetensors"))
    assert "damaged or cut short" in message


def test_a_picture_for_weights(refused: Refused) -> None:
    assert "photo.png" in refused(*GOOD, "--weights", "./photo.png")


def test_routes_of_a_network_without_routed_blocks(refused: Refused, unrouted_network: Path) -> None:
    message = refused(*GOOD, "--weights", unrouted_network, "--routes", "r.png")
    assert "--routes: the network probe (WG) has no routed blocks" in message


# While writing


def test_a_failure_while_writing_says_what_is_whole(
    folder: Path, matte: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    from mematte.engine import Matte
    from mematte.errors import OutputError

    def fail(_: Matte, path: Path, **__: object) -> None:
        raise OutputError(f"{path} was not written, nothing is left behind: the disk is full.")

    monkeypatch.setattr(Matte, "save_cutout", fail)
    before = contents(folder)

    result = matte(*GOOD, "-o", "a.png", "--cutout", "c.png", "--report", "r.json")

    assert result.status == 1
    assert result.out == "a.png\n"
    assert "c.png was not written" in result.err
    assert "Written before it, and whole: a.png." in result.err
    assert set(contents(folder)) - set(before) == {"a.png"}


def test_a_failure_of_the_first_output_names_no_other(
    folder: Path, matte: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*_: object, **__: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", fail)
    before = contents(folder)

    result = matte(*GOOD, "-o", "a.png", "--report", "r.json")

    assert result.status == 1
    assert result.out == ""
    assert "a.png was not written, nothing is left behind: No space left on device." in result.err
    assert "Written before" not in result.err
    assert contents(folder) == before


def test_a_full_disk_at_the_report_leaves_the_rest(
    folder: Path, matte: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    replace = Path.replace

    def fail(self: Path, target: Path) -> Path:
        if self.suffix == ".json":
            raise OSError(28, "No space left on device")
        return replace(self, target)

    monkeypatch.setattr(Path, "replace", fail)

    result = matte(*GOOD, "-o", "a.png", "--report", "r.json")

    assert result.status == 1
    assert "r.json was not written, nothing is left behind: No space left on device." in result.err
    assert not list(folder.glob("*r.json*"))
    assert (folder / "a.png").exists()


# Names


@pytest.mark.parametrize("name", [".", "", "/"])
def test_a_folder_without_a_name_for_an_image(refused: Refused, name: str) -> None:
    assert "is a folder, not a picture" in refused(name, "photo_trimap.png")


def test_links_that_lead_in_a_circle(folder: Path, refused: Refused) -> None:
    (folder / "one.png").symlink_to("two.png")
    (folder / "two.png").symlink_to("one.png")

    assert "one.png cannot be opened" in refused("one.png", "photo_trimap.png", "-o", "a.png")
    assert "one.png cannot be written" in refused(*GOOD, "-o", "one.png")
    assert "one.png/a.png cannot be written" in refused(*GOOD, "-o", "one.png/a.png")
    assert "one.json cannot be written" in refused(*GOOD, "-o", "a.png", "--report", circle(folder))


def circle(folder: Path) -> str:
    (folder / "one.json").symlink_to("one.json")
    return "one.json"


@pytest.mark.parametrize("option", ["-o", "--cutout", "--report"])
def test_an_output_name_that_is_not_utf_8(refused: Refused, option: str) -> None:
    suffix = ".json" if option == "--report" else ".png"
    assert "is not valid UTF-8" in refused(*GOOD, option, f"caf\udce9{suffix}")


def test_a_mask_without_soft_edge_and_radius(refused: Refused) -> None:
    assert "with a radius above 0" in refused("photo.png", "--mask", "mask.png", "--radius", "0")


@pytest.mark.parametrize(
    ("memory", "words"),
    [
        ("10", '"10" is 10 bytes. Write a unit'),
        ("-1GB", "no amount of memory"),
        ("plenty", "no amount of memory"),
        ("4000TB", "more than the"),
        ("2MB", "The least is"),
    ],
)
def test_a_budget_that_is_none_or_too_small(refused: Refused, memory: str, words: str) -> None:
    assert words in refused("photo.png", "photo_trimap.png", f"--memory={memory}")
