"""Which files of a folder belong together, for every layout; and what is said where none do."""

from __future__ import annotations

import os
from pathlib import Path

import cv2
import numpy as np
import pytest

from mematte.data.layouts import LAYOUTS, Found, Layout, find_pairs
from mematte.errors import DataError

SHARED = Path(__file__).resolve().parents[3] / "shared" / "data"

# Layout -> for the pair named "a", its roles and their files.
FOLDERS = {
    "composition-1k": {
        "image": "merged/a.jpeg", "alpha": "alpha_copy/a.png", "trimap": "trimaps/a.png",
    },
    "aim-500": {"image": "original/a.jpg", "alpha": "mask/a.png", "trimap": "trimap/a.png"},
    "p3m-500-p": {"image": "blurred_image/a.jpg", "alpha": "mask/a.png", "trimap": "trimap/a.png"},
    "p3m-500-np": {"image": "original_image/a.jpg", "alpha": "mask/a.png", "trimap": "trimap/a.png"},
    "p3m-10k": {"image": "blurred_image/a.jpg", "alpha": "mask/a.png"},
    "alphamatting": {
        "image": "input_training_lowres/a.png",
        "alpha": "gt_training_lowres/a.png",
        "trimap": "trimap_training_lowres/Trimap1/a.png",
    },
    "alphamatting-trimap2": {"image": "image/a.png", "alpha": "alpha/a.png", "trimap": "trimap2/a.png"},
    "ppm-100": {"image": "image/a.jpg", "alpha": "matte/a.png"},
    "video": {"foreground": "fgr/a.jpg", "alpha": "pha/a.jpg"},
    "adobe": {"foreground": "fg/a.jpg", "alpha": "alpha/a.png"},
    "images": {"image": "image/a.webp", "alpha": "alpha/a.exr", "trimap": "trimap/a.png"},
    "foregrounds": {"foreground": "foregrounds/a.png", "alpha": "alphas/a.png"},
    "flat": {"image": "a.jpg", "alpha": "a_alpha.png", "trimap": "a_trimap.png"},
    "flat-foregrounds": {"foreground": "a_fg.png", "alpha": "a_alpha.png"},
    "cutouts": {"cutout": "a.png"},
}  # fmt: skip

# The same layouts, written in the other ways that occur.
VARIANTS = [
    ("composition-1k", {"image": "merged/a.png", "alpha": "alpha_copy/a.png"}),
    ("aim-500", {"image": "original/a.jpg", "alpha": "mask/a.png"}),
    ("alphamatting", {"image": "image/a.png", "alpha": "alpha/a.png", "trimap": "trimap1/a.png"}),
    ("images", {"image": "images/a.jpg", "alpha": "alphas/a.png"}),
    ("images", {"image": "images/a.jpg", "alpha": "masks/a.png", "trimap": "trimaps/a.png"}),
    ("adobe", {"foreground": "FG/a.JPG", "alpha": "Alpha/a.PNG"}),
    ("foregrounds", {"foreground": "FG/a.png", "alpha": "GT/a.png"}),
    ("flat", {"image": "a.jpg", "alpha": "a.alpha.png"}),
    ("flat", {"image": "a_image.jpg", "alpha": "a_Matte.PNG"}),
]


def write(root: Path, *files: str) -> None:
    """Empty files: for all layouts but cut-outs only names count."""
    for file in files:
        path = root / file
        path.parent.mkdir(parents=True, exist_ok=True)
        path.touch()


def write_picture(path: Path, channels: int) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    assert cv2.imwrite(str(path), np.full((4, 4, channels), 128, np.uint8))


def make(root: Path, roles: dict[str, str]) -> None:
    for role, file in roles.items():
        if role == "cutout":
            write_picture(root / file, 4)
        else:
            write(root, file)


def names(found: Found) -> list[str]:
    return [pair.name for pair in found.pairs]


def unpaired(found: Found) -> list[str]:
    return [file.relative_to(found.folder).as_posix() for file in found.unpaired]


@pytest.mark.parametrize("place", ["", "Train", "set/part"])
@pytest.mark.parametrize(("layout", "roles"), [*FOLDERS.items(), *VARIANTS])
def test_every_layout_is_recognised_also_further_down(
    tmp_path: Path, layout: str, roles: dict[str, str], place: str
) -> None:
    make(tmp_path / place, roles)

    found = find_pairs(tmp_path)

    assert found.layout.name == layout
    (pair,) = found.pairs
    assert pair.files == {role: tmp_path / place / file for role, file in roles.items()}
    assert pair.name == (f"{place}/a".lstrip("/") if layout == "cutouts" else "a")
    assert (found.folder, found.unpaired, found.left_out) == (tmp_path, (), ())


def test_no_layout_is_untested() -> None:
    assert list(FOLDERS) == [layout.name for layout in LAYOUTS]


@pytest.mark.parametrize("layout", LAYOUTS, ids=lambda layout: layout.name)
def test_every_layout_can_be_named_also_by_the_data_sets_that_lie_so(tmp_path: Path, layout: Layout) -> None:
    make(tmp_path, FOLDERS[layout.name])
    for name in (layout.name, layout.name.upper(), *layout.aliases):
        found = find_pairs(tmp_path, name)
        assert (found.layout, names(found)) == (layout, ["a"])


def test_a_named_layout_goes_before_the_recognised_one(tmp_path: Path) -> None:
    write(tmp_path, "image/a.png", "alpha/a.png", "trimap1/a.png", "trimap2/a.png")
    assert find_pairs(tmp_path).layout.name == "alphamatting"
    (pair,) = find_pairs(tmp_path, "alphamatting-trimap2").pairs
    assert pair.files["trimap"] == tmp_path / "trimap2/a.png"


def test_pairs_are_sorted_by_name(tmp_path: Path) -> None:
    for name in ("b", "c", "a"):
        write(tmp_path, f"fg/{name}.jpg", f"alpha/{name}.png")
    assert names(find_pairs(tmp_path)) == ["a", "b", "c"]


def test_the_suffix_is_what_follows_the_last_dot(tmp_path: Path) -> None:
    write(tmp_path, "fg/a.v1.jpg", "alpha/a.v1.png", "fg/a.v2.jpg", "alpha/a.v2.png")
    assert names(find_pairs(tmp_path)) == ["a.v1", "a.v2"]


def test_clips_lie_in_subfolders(tmp_path: Path) -> None:
    for clip in ("0001", "0002"):
        write(tmp_path, f"train/fgr/{clip}/0000.jpg", f"train/pha/{clip}/0000.png")
    assert names(find_pairs(tmp_path)) == ["0001/0000", "0002/0000"]


def test_accents_written_in_one_character_or_two_are_one_name(tmp_path: Path) -> None:
    write(tmp_path, "fg/caf\u00e9.jpg", "alpha/cafe\u0301.png")
    assert names(find_pairs(tmp_path)) == ["caf\u00e9"]


def test_hidden_files_and_what_is_no_picture_are_left_out(tmp_path: Path) -> None:
    write(
        tmp_path, "fg/a.jpg", "alpha/a.png", "fg/._b.jpg", "alpha/.c.png", "fg/.old/d.jpg", "alpha/Thumbs.db"
    )
    found = find_pairs(tmp_path)
    assert (names(found), unpaired(found)) == (["a"], [])


def test_what_has_no_partner_is_told(tmp_path: Path) -> None:
    write(tmp_path, "original/a.jpg", "mask/a.png", "original/b.jpg", "mask/c.png", "trimap/d.png")
    found = find_pairs(tmp_path)
    assert (names(found), unpaired(found)) == (["a"], ["mask/c.png", "original/b.jpg", "trimap/d.png"])


def test_of_two_files_of_one_name_the_second_has_no_partner(tmp_path: Path) -> None:
    write(tmp_path, "fg/a.jpg", "fg/a.png", "alpha/a.png")
    found = find_pairs(tmp_path)
    assert (names(found), unpaired(found)) == (["a"], ["fg/a.png"])


def test_a_trimap_may_be_missing(tmp_path: Path) -> None:
    write(tmp_path, "original/a.jpg", "mask/a.png", "original/b.jpg", "mask/b.png", "trimap/b.png")
    first, second = find_pairs(tmp_path).pairs
    assert ("trimap" in first.files, "trimap" in second.files) == (False, True)


@pytest.mark.parametrize("others", [("valid",), ("Test_set", "validation")])
def test_the_training_part_is_taken_and_the_others_are_told(tmp_path: Path, others: tuple[str, ...]) -> None:
    for part in ("train", *others):
        write(tmp_path, f"{part}/fgr/{part}.jpg", f"{part}/pha/{part}.png")
    found = find_pairs(tmp_path)
    assert names(found) == ["train"]
    assert found.left_out == tuple(tmp_path / part for part in others)


def test_parts_that_are_no_split_are_taken_together(tmp_path: Path) -> None:
    for part in ("people", "animals"):
        write(tmp_path, f"{part}/fg/a.jpg", f"{part}/alpha/a.png")
    assert names(find_pairs(tmp_path)) == ["animals/a", "people/a"]


def test_p3m_is_read_from_its_root(tmp_path: Path) -> None:
    write(tmp_path / "train", "blurred_image/t.jpg", "mask/t.png")
    for part, image in (("P3M-500-P", "blurred_image"), ("P3M-500-NP", "original_image")):
        write(tmp_path / "validation" / part, f"{image}/{part}.jpg", f"mask/{part}.png", f"trimap/{part}.png")

    assert names(find_pairs(tmp_path)) == ["t"]
    assert names(find_pairs(tmp_path, "p3m-500-np")) == ["P3M-500-NP"]
    assert names(find_pairs(tmp_path / "validation" / "P3M-500-P")) == ["P3M-500-P"]
    with pytest.raises(DataError, match=r"several data sets: .*P3M-500-NP .*P3M-500-P .*Name one"):
        find_pairs(tmp_path / "validation")


@pytest.mark.skipif(os.name == "nt", reason="links need rights there")
def test_linked_folders_are_followed_and_circles_end(tmp_path: Path) -> None:
    write(tmp_path / "elsewhere", "clip/a.png")
    write(tmp_path / "set", "fg/clip/a.jpg")
    (tmp_path / "set" / "alpha").symlink_to(tmp_path / "elsewhere")
    (tmp_path / "elsewhere" / "clip" / "again").symlink_to(tmp_path / "elsewhere")
    assert names(find_pairs(tmp_path / "set")) == ["clip/a"]


def test_cutouts_are_found_in_subfolders_by_their_alpha_channel(tmp_path: Path) -> None:
    write_picture(tmp_path / "a.png", 4)
    write_picture(tmp_path / "roses" / "b.WEBP", 4)
    write_picture(tmp_path / "roses" / "c.tif", 4)
    write_picture(tmp_path / "roses" / "opaque.png", 3)
    write(tmp_path, "roses/photo.jpg", "roses/licence.txt")

    found = find_pairs(tmp_path)

    assert names(found) == ["a", "roses/b", "roses/c"]
    assert unpaired(found) == ["roses/opaque.png", "roses/photo.jpg"]


def test_two_cutouts_of_one_name_are_both_taken(tmp_path: Path) -> None:
    write_picture(tmp_path / "a.png", 4)
    write_picture(tmp_path / "a.webp", 4)
    assert names(find_pairs(tmp_path)) == ["a", "a.webp"]


def test_a_damaged_cutout_is_found_so_that_it_can_be_told(tmp_path: Path) -> None:
    write_picture(tmp_path / "a.png", 4)
    write(tmp_path, "damaged.png")
    assert names(find_pairs(tmp_path)) == ["a", "damaged"]


@pytest.mark.parametrize(
    "pictures",
    [
        {
            "image/a.png": 4,
            "trimap/a.png": 4,
        },  # pictures without alphas, saved with a channel that says nothing
        {"photos/a.png": 3, "photos/b.png": 3, "logo.png": 4},
    ],
)
def test_pictures_that_happen_to_have_an_alpha_channel_are_no_cutouts(
    tmp_path: Path, pictures: dict[str, int]
) -> None:
    for file, channels in pictures.items():
        write_picture(tmp_path / file, channels)
    with pytest.raises(DataError, match="No layout fits"):
        find_pairs(tmp_path)


def test_a_name_that_ends_in_alpha_makes_no_flat_folder_of_cutouts(tmp_path: Path) -> None:
    for name in ("oak", "oak_alpha", "elm", "ash", "fir"):
        write_picture(tmp_path / f"{name}.png", 4)
    assert find_pairs(tmp_path).layout.name == "cutouts"
    assert names(find_pairs(tmp_path, "flat")) == ["oak"]


@pytest.mark.parametrize(
    ("files", "layout", "says"),
    [
        ([], None, "is empty"),
        (["notes.txt"], None, r"No layout fits .* files \(1 \.txt\).*composition-1k: merged/ alpha_copy/"),
        (["photos/a.jpg", "mattes/a.png"], None, "No layout fits .* the folders mattes/, photos/"),
        ([f"{n:02}/a.jpg" for n in range(12)], None, "07/ and 4 more"),
        (["merged/a.jpg", "mask/a.png"], "aim-500", "is not laid out as aim-500, original/ mask/ .*merged/"),
        (["fg/a.jpg", "alpha/a.png"], "adob", r"no layout 'adob'\. Did you mean 'adobe'\?"),
        (["fg/a.jpg", "alpha/a.png"], "qqq", r"no layout 'qqq'\. Known are composition-1k"),
        (["fg/a.jpg", "alpha/a_0.png"], None, r"no files have the same name .* fg/a\.jpg and alpha/a_0\.png"),
        (["fgr/a.mp4", "pha/a.mp4"], None, "laid out as video.* no pictures in these folders"),
        (["a.jpg", "b.jpg"], "cutouts", "No picture in .* has an alpha channel"),
        (["a.jpg", "b_alpha.png"], "flat", "is not laid out as flat"),
        ([".hidden/a.png"], None, "holds nothing that can be seen"),
        (["aim/original/a.jpg", "aim/mask/a.png", "ppm/image/a.jpg", "ppm/matte/a.png"], None,
         r"several data sets: \S+aim \(aim-500\), \S+ppm \(ppm-100\)\. Name one"),
    ],
)  # fmt: skip
def test_a_folder_that_is_no_data_set_is_told_what_is_missing(
    tmp_path: Path, files: list[str], layout: str | None, says: str
) -> None:
    write(tmp_path, *files)
    with pytest.raises(DataError, match=says):
        find_pairs(tmp_path, layout)


def test_a_missing_folder_and_a_file_are_told(tmp_path: Path) -> None:
    write(tmp_path, "a.png")
    with pytest.raises(DataError, match=r"nothere does not exist\. Name the folder"):
        find_pairs(tmp_path / "nothere")
    with pytest.raises(DataError, match=r"a\.png is a file\. Name the folder"):
        find_pairs(tmp_path / "a.png")


@pytest.mark.parametrize("shut", ["alpha", "alpha/clip"])
def test_a_folder_that_may_not_be_opened_is_told(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, shut: str
) -> None:
    write(tmp_path, "fg/clip/a.jpg", "alpha/clip/a.png")
    scandir = os.scandir

    def refuse(path: str | Path) -> object:
        if Path(path) == tmp_path / shut:
            raise PermissionError(13, "Permission denied", str(path))
        return scandir(path)

    monkeypatch.setattr(os, "scandir", refuse)
    with pytest.raises(DataError, match=f"{shut} cannot be opened: Permission denied"):
        find_pairs(tmp_path)


@pytest.mark.parametrize(
    ("folder", "layout", "count"), [("eval/alphamatting", "alphamatting", 14), ("train/fg", "cutouts", 293)]
)
def test_the_shared_pictures_are_recognised(folder: str, layout: str, count: int) -> None:
    if not (SHARED / folder).is_dir():
        pytest.skip(f"the pictures are not here: {SHARED / folder}")
    found = find_pairs(SHARED / folder)
    assert (found.layout.name, len(found.pairs), found.unpaired) == (layout, count, ())
