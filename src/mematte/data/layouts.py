"""Folder layouts of data sets, as data: which files of a folder belong together.

Folders and suffixes are recognised in upper and lower case; files belong together if their paths below the
folders of their roles are the same but for the suffix. Hidden files are left out.
"""

from __future__ import annotations

import difflib
import os
import unicodedata
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

import OpenImageIO as oiio  # noqa: N813

from mematte.errors import DataError
from mematte.image.decode import complaint_of

Role = Literal["image", "alpha", "trimap", "foreground", "cutout"]
"""image: a photograph or composite. foreground: colours valid under soft alpha, no alpha of its own.
cutout: RGBA, straight alpha."""

Names = Mapping[Role, tuple[str, ...]]

Part = Literal["training", "test"]
"""Which part of a data set that is split is taken."""


@dataclass(frozen=True)
class Layout:
    """How a data set lies in its folder: each role in a folder of its own, or told by the end of the name.

    Attributes:
        name: what --layout calls it.
        folders: role -> names of its folder, of which the first that is there is taken; "" is the data set's
            own. All of these roles are needed.
        optional: the same for roles that may be missing, as a whole or for some pairs.
        endings: role -> what follows the pair's name in file names, "" for nothing, if all lie in one folder.
        aliases: other data sets that lie so.
    """

    name: str
    folders: Names = field(default_factory=dict)
    optional: Names = field(default_factory=dict)
    endings: Names = field(default_factory=dict)
    aliases: tuple[str, ...] = ()

    def __str__(self) -> str:
        """As people write it: "merged/ alpha_copy/ [trimaps/]"."""
        if "cutout" in self.folders:
            return "pictures with an alpha channel"
        if self.endings:
            return " ".join(f"NAME{endings[0]}.*" for endings in self.endings.values())
        needed = [f"{names[0]}/" for names in self.folders.values()]
        return " ".join([*needed, *(f"[{names[0]}/]" for names in self.optional.values())])


_ALPHA = ("alpha", "alphas", "matte", "mattes", "mask", "masks", "gt", "pha")
_TRIMAP: Names = {"trimap": ("trimap", "trimaps")}
_ALPHA_ENDINGS = ("_alpha", "-alpha", ".alpha", "_matte", "-matte", "_mask", "-mask", "_pha", "_gt")

# The first that fits is taken, so those that ask for more stand first.
LAYOUTS: tuple[Layout, ...] = (
    Layout(
        "composition-1k",
        {"image": ("merged",), "alpha": ("alpha_copy",)},
        {"trimap": ("trimaps",)},
        aliases=("distinctions-646", "uhr-395"),
    ),
    Layout("aim-500", {"image": ("original",), "alpha": ("mask",)}, _TRIMAP, aliases=("am-2k",)),
    Layout("p3m-500-p", {"image": ("blurred_image",), "alpha": ("mask",), "trimap": ("trimap",)}),
    Layout("p3m-500-np", {"image": ("original_image",), "alpha": ("mask",), "trimap": ("trimap",)}),
    Layout("p3m-10k", {"image": ("blurred_image",), "alpha": ("mask",)}),
    Layout(
        "alphamatting",
        {
            "image": ("image", "input_training_lowres"),
            "alpha": ("alpha", "gt_training_lowres"),
            "trimap": ("trimap1", "trimap_training_lowres/Trimap1"),
        },
    ),
    Layout(
        "alphamatting-trimap2",
        {
            "image": ("image", "input_training_lowres"),
            "alpha": ("alpha", "gt_training_lowres"),
            "trimap": ("trimap2", "trimap_training_lowres/Trimap2"),
        },
    ),
    Layout("ppm-100", {"image": ("image",), "alpha": ("matte",)}),
    Layout("video", {"foreground": ("fgr",), "alpha": ("pha",)}, aliases=("videomatte240k",)),
    Layout(
        "adobe",
        {"foreground": ("fg",), "alpha": ("alpha",)},
        aliases=("distinctions-646-train", "uhr-395-train"),
    ),
    Layout("images", {"image": ("image", "images", "img", "imgs"), "alpha": _ALPHA}, _TRIMAP),
    Layout("foregrounds", {"foreground": ("fg", "foreground", "foregrounds"), "alpha": _ALPHA}),
    Layout(
        "flat",
        endings={
            "image": ("", "_image", "-image", "_img", "_rgb"),
            "alpha": _ALPHA_ENDINGS,
            "trimap": ("_trimap", "-trimap", ".trimap"),
        },
    ),
    Layout(
        "flat-foregrounds",
        endings={"foreground": ("_fg", "-fg", "_fgr", "_foreground"), "alpha": _ALPHA_ENDINGS},
    ),
    Layout("cutouts", {"cutout": ("",)}),
)

# Where a data set is split, one end of this order is taken; what is not named here counts as between.
_SPLITS = {
    **dict.fromkeys(("train", "training", "trainset", "train_set", "training_set"), 0),
    **dict.fromkeys(("val", "valid", "validation", "valid_set", "validation_set"), 2),
    **dict.fromkeys(("test", "testing", "testset", "test_set"), 3),
}
_NO_SPLIT = 1
_DEEPEST = 2  # P3M-10k: validation/P3M-500-P/mask

_NEVER_WITH_ALPHA = frozenset((".jpg", ".jpeg", ".jpe", ".hdr", ".ppm", ".pgm"))
PICTURE_SUFFIXES = _NEVER_WITH_ALPHA | frozenset(
    (".png", ".tif", ".tiff", ".exr", ".webp", ".jxl", ".bmp", ".tga", ".dpx", ".psd", ".gif", ".jp2")
)


@dataclass(frozen=True)
class Pair:
    """The files of one matte: at least an alpha with an image or a foreground, or a cutout.

    Attributes:
        name: unique in its folder; with slashes, where the files lie in subfolders.
        files: by role.
    """

    name: str
    files: Mapping[Role, Path]


@dataclass(frozen=True)
class Found:
    """What a folder holds.

    Attributes:
        folder: as asked for.
        layout: how the pairs lie.
        pairs: sorted by name.
        unpaired: pictures in the folders of the pairs that belong to none.
        left_out: folders beside the pairs' own that hold pairs of another part: validation, test.
    """

    folder: Path
    layout: Layout
    pairs: tuple[Pair, ...]
    unpaired: tuple[Path, ...]
    left_out: tuple[Path, ...] = ()


def find_pairs(folder: Path, layout: str | None = None, *, part: Part = "training") -> Found:
    """The pairs of a folder, sorted by name; the layout is recognised unless it is named.

    The data set may lie one or two folders further down. Of one that is split, the training part is taken,
    or with `part="test"` the test part, or else the validation part; of several folders without such names,
    all.

    Raises:
        DataError: no folder, no layout fits (says what was looked for and what was found), or no pairs.
    """
    folder = Path(folder)
    _check_folder(folder)
    layouts = LAYOUTS if layout is None else (_layout_named(layout),)
    chosen, places, left_out = _choose(folder, layouts, layout is not None, part)
    pairs: list[Pair] = []
    unpaired: list[Path] = []
    for place in places:
        prefix = f"{place.relative_to(folder).as_posix()}/" if len(places) > 1 else ""
        found, alone = _pair(chosen, place, prefix)
        pairs += found
        unpaired += alone
    if not pairs:
        raise DataError(_no_pairs(folder, chosen, unpaired))
    pairs.sort(key=lambda pair: pair.name)
    return Found(folder, chosen, tuple(pairs), tuple(sorted(unpaired)), tuple(left_out))


def _check_folder(folder: Path) -> None:
    try:
        is_folder, is_there = folder.is_dir(), folder.exists()
        is_empty = is_folder and not any(folder.iterdir())
    except OSError as error:
        raise DataError(f"{folder} cannot be opened: {error.strerror}.") from error
    if not is_there:
        raise DataError(f"{folder} does not exist. Name the folder of a data set.")
    if not is_folder:
        raise DataError(f"{folder} is a file. Name the folder of a data set.")
    if is_empty:
        raise DataError(f"{folder} is empty.")


def _layout_named(name: str) -> Layout:
    by_name = {known: layout for layout in LAYOUTS for known in (layout.name, *layout.aliases)}
    if (layout := by_name.get(name.lower())) is not None:
        return layout
    near = difflib.get_close_matches(name.lower(), by_name, n=1, cutoff=0.5)
    guess = f" Did you mean {near[0]!r}?" if near else ""
    raise DataError(f"There is no layout {name!r}.{guess} Known are {', '.join(by_name)}.")


def _choose(
    folder: Path, layouts: Sequence[Layout], named: bool, part: Part
) -> tuple[Layout, list[Path], list[Path]]:
    """The layout, the places that lie so, and the places that are left out."""
    # Pictures with an alpha channel are taken for cut-outs only where nothing else makes sense of them.
    paired = [layout for layout in layouts if "cutout" not in layout.folders]
    fits = list(_fits(folder, paired, _DEEPEST, named)) or [
        (layout, folder) for layout in layouts if layout not in paired and (named or _holds_cutouts(folder))
    ]
    if not fits:
        raise DataError(_no_layout(folder, layouts, named))

    def rank(place: Path) -> tuple[int, int]:
        parts = place.relative_to(folder).parts
        splits = [_SPLITS[part.lower()] for part in parts if part.lower() in _SPLITS]
        split = splits[0] if splits else _NO_SPLIT
        return (split if part == "training" else -split), len(parts)

    first = min(rank(place) for _, place in fits)
    chosen = [(layout, place) for layout, place in fits if rank(place) == first]
    if any(layout != chosen[0][0] for layout, _ in chosen):
        several = ", ".join(f"{place} ({layout.name})" for layout, place in chosen)
        raise DataError(f"{folder} holds several data sets: {several}. Name one of these folders.")
    left_out = sorted(place for _, place in fits if rank(place) != first)
    return chosen[0][0], [place for _, place in chosen], left_out


def _fits(place: Path, layouts: Sequence[Layout], deeper: int, named: bool) -> Iterator[tuple[Layout, Path]]:
    """Each place at or below this one that a layout fits, with the first such; not what lies below those."""
    for layout in layouts:
        if _fits_here(layout, place, named):
            yield layout, place
            return
    if deeper:
        for subfolder in _subfolders(place).values():
            yield from _fits(subfolder, layouts, deeper - 1, named)


def _fits_here(layout: Layout, place: Path, named: bool) -> bool:
    if layout.folders:
        return all(_folder_of(place, names) is not None for names in layout.folders.values())
    pairs, unpaired = _pair(layout, place)
    # Endings are weak evidence: "leaf_alpha" may be a cut-out's whole name. Most files must agree.
    return bool(pairs) and (named or sum(len(pair.files) for pair in pairs) >= len(unpaired))


def _folder_of(place: Path, names: Sequence[str]) -> Path | None:
    """The first of the names that is a folder below the place, in upper or lower case."""
    for name in names:
        folder: Path | None = place
        for part in Path(name).parts:
            folder = _subfolders(folder).get(part.lower()) if folder else None
        if folder is not None:
            return folder
    return None


def _subfolders(folder: Path) -> dict[str, Path]:
    """Visible subfolders by their name in lower case, sorted; links count as what they lead to."""
    names = sorted(entry.name for entry in _entries(folder) if entry.is_dir())
    return {name.lower(): folder / name for name in names if not name.startswith(".")}


def _entries(folder: Path) -> list[os.DirEntry[str]]:
    try:
        with os.scandir(folder) as entries:
            return list(entries)
    except OSError as error:
        raise DataError(f"{folder} cannot be opened: {error.strerror}.") from error


def pictures_in(folder: Path, deep: bool = True) -> Iterator[Path]:
    """Visible picture files in a folder and, if `deep`, below it, in order of name."""

    def fail(error: OSError) -> None:
        raise DataError(f"{error.filename} cannot be opened: {error.strerror}.") from error

    seen: set[str] = set()
    for root, folders, files in os.walk(folder, onerror=fail, followlinks=True):
        real = os.path.realpath(root)
        visible = sorted(name for name in folders if not name.startswith("."))
        folders[:] = visible if deep and real not in seen else []
        if real in seen:  # a link that leads back
            continue
        seen.add(real)
        for name in sorted(files):
            if not name.startswith(".") and Path(name).suffix.lower() in PICTURE_SUFFIXES:
                yield Path(root) / name


def _pair(layout: Layout, place: Path, prefix: str = "") -> tuple[list[Pair], list[Path]]:
    """The pairs of one place, and the pictures that belong to none."""
    if "cutout" in layout.folders:
        return _cutouts(place, prefix)
    roles = _by_ending(layout, place) if layout.endings else _by_folder(layout, place)
    needed = [role for role in roles if role in layout.folders or (layout.endings and role != "trimap")]
    names = set.intersection(*(set(roles[role]) for role in needed))
    pairs = []
    for name in names:
        files = {role: found[name][0] for role, found in roles.items() if name in found}
        pairs.append(Pair(prefix + name, files))
    alone = [
        file
        for found in roles.values()
        for name, files_of_name in found.items()
        for file in files_of_name[1 if name in names else 0 :]  # a.png and a.jpg: only the first has a place
    ]
    return pairs, alone


def _by_folder(layout: Layout, place: Path) -> dict[Role, dict[str, list[Path]]]:
    """Role -> name -> the files that have it."""
    roles: dict[Role, dict[str, list[Path]]] = {}
    for role, names in {**layout.folders, **layout.optional}.items():
        if (folder := _folder_of(place, names)) is not None:
            found = roles.setdefault(role, {})
            for file in pictures_in(folder):
                found.setdefault(_name(file, folder), []).append(file)
    return roles


def _by_ending(layout: Layout, place: Path) -> dict[Role, dict[str, list[Path]]]:
    """Role -> name -> the files that have it."""
    endings = [(ending, role) for role, known in layout.endings.items() for ending in known]
    endings.sort(key=lambda item: -len(item[0]))  # the longest that fits
    roles: dict[Role, dict[str, list[Path]]] = {role: {} for role in layout.endings}
    for file in pictures_in(place, deep=False):
        stem = _name(file, place)
        for ending, role in endings:
            if stem.lower().endswith(ending) and len(stem) > len(ending):
                roles[role].setdefault(stem[: len(stem) - len(ending)], []).append(file)
                break
    return roles


def _cutouts(place: Path, prefix: str) -> tuple[list[Pair], list[Path]]:
    """Every picture that has an alpha channel; one that cannot be opened is a damaged cut-out."""
    pairs: dict[str, Pair] = {}
    alone = []
    for file in pictures_in(place):
        if _has_alpha(file) is False:
            alone.append(file)
            continue
        name = _name(file, place)
        if name in pairs:  # rose.png beside rose.webp
            name = file.relative_to(place).as_posix()
        pairs[name] = Pair(prefix + name, {"cutout": file})
    return list(pairs.values()), alone


def _name(file: Path, folder: Path) -> str:
    """The path below the folder without its suffix; macOS writes accents in two characters, others in one."""
    return unicodedata.normalize("NFC", file.relative_to(folder).with_suffix("").as_posix())


def _holds_cutouts(folder: Path) -> bool:
    """Whether most pictures have an alpha channel, and no folder's name says that alphas lie elsewhere."""
    elsewhere = {
        name
        for layout in LAYOUTS
        for names in (layout.folders, layout.optional)
        for role in ("alpha", "trimap")
        for name in names.get(role, ())
    }
    if elsewhere & _subfolders(folder).keys():
        return False
    have = [_has_alpha(file) for file in pictures_in(folder)]
    return 0 < have.count(True) >= have.count(False)


def _has_alpha(file: Path) -> bool | None:
    """Whether a picture has an alpha channel, by its header; None if that cannot be read."""
    if file.suffix.lower() in _NEVER_WITH_ALPHA:
        return False
    reader = oiio.ImageInput.open(str(file))
    if reader is None:
        complaint_of(oiio)  # `check` says what is wrong with it
        return None
    try:
        return int(reader.spec().alpha_channel) >= 0
    finally:
        reader.close()


def _no_layout(folder: Path, layouts: Sequence[Layout], named: bool) -> str:
    if named:
        return f"{folder} is not laid out as {layouts[0].name}, {layouts[0]}. It holds {_contents(folder)}."
    looked_for = "; ".join(f"{layout.name}: {layout}" for layout in layouts)
    return (
        f"No layout fits {folder}, which holds {_contents(folder)}. Rename its folders to fit one of these, "
        f"files of one pair having the same name but for the suffix. {looked_for}."
    )


def _no_pairs(folder: Path, layout: Layout, unpaired: Sequence[Path]) -> str:
    if "cutout" in layout.folders:
        return f"No picture in {folder} has an alpha channel. It holds {_contents(folder)}."
    if not unpaired:
        return f"{folder} is laid out as {layout.name}, {layout}, but there are no pictures in these folders."
    by_folder = {file.parent: file for file in reversed(unpaired)}
    examples = " and ".join(str(file.relative_to(folder)) for file in reversed(by_folder.values()))
    return (
        f"{folder} is laid out as {layout.name}, {layout}, but no files have the same name in all of them: "
        f"there are, for example, {examples}. Name the files of one pair alike but for the suffix."
    )


def _contents(folder: Path) -> str:
    """What lies in a folder, in words."""
    most = 8  # folders that are named
    subfolders = [path.name for path in _subfolders(folder).values()]
    files = [Path(entry.name) for entry in _entries(folder) if entry.is_file()]
    kinds = Counter(file.suffix.lower() or "without suffix" for file in files)
    names = ", ".join(f"{name}/" for name in subfolders[:most])
    more = f" and {len(subfolders) - most} more" if len(subfolders) > most else ""
    counts = ", ".join(f"{count} {kind}" for kind, count in kinds.most_common(4))
    parts = [f"the folders {names}{more}"] if subfolders else []
    return " and ".join([*parts, f"files ({counts})"] if counts else parts) or "nothing that can be seen"
