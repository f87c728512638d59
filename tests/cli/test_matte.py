"""`mematte matte` on good input: what appears, and what is said where."""

from __future__ import annotations

import json
import re
import sys
from pathlib import Path

import cv2
import numpy as np
import OpenImageIO as oiio  # noqa: N813
import pytest

from mematte.engine import plan_in_memory

from .conftest import HEIGHT, WIDTH, Run, contents

GOOD = ("photo.png", "photo_trimap.png")


def header(path: Path) -> tuple[int, int, int, str]:
    """(height, width, channels, type) as the file says."""
    reader = oiio.ImageInput.open(str(path))
    spec = reader.spec()
    reader.close()
    return spec.height, spec.width, spec.nchannels, str(spec.format)


def new_files(folder: Path, before: dict[str, bytes]) -> set[str]:
    return set(contents(folder)) - set(before)


def test_without_an_output_the_alpha_lies_beside_the_photo(folder: Path, matte: Run) -> None:
    before = contents(folder)

    result = matte(*GOOD)

    assert result.status == 0, result.err
    assert new_files(folder, before) == {"photo.alpha.png"}
    assert result.out == "photo.alpha.png\n"


def test_the_alpha_is_exact_where_the_trimap_is_sure(folder: Path, matte: Run) -> None:
    assert matte(*GOOD, "-o", "alpha.png").status == 0

    alpha = cv2.imread(str(folder / "alpha.png"), cv2.IMREAD_UNCHANGED)
    trimap = cv2.imread(str(folder / "photo_trimap.png"), cv2.IMREAD_UNCHANGED)
    assert (alpha[trimap == 255] == 255).all()
    assert (alpha[trimap == 0] == 0).all()
    assert len(np.unique(alpha[trimap == 128])) > 10


@pytest.mark.parametrize(
    ("photo", "option", "name", "channels", "kind"),
    [
        ("photo.png", "-o", "x.png", 1, "uint8"),
        ("deep.png", "-o", "x.png", 1, "uint16"),
        ("photo.png", "-o", "x.tif", 1, "uint8"),
        ("deep.png", "-o", "x.tiff", 1, "uint16"),
        ("photo.png", "-o", "x.exr", 1, "half"),
        ("photo.png", "--cutout", "x.png", 4, "uint8"),
        ("deep.png", "--cutout", "x.png", 4, "uint16"),
        ("deep.png", "--cutout", "x.exr", 4, "half"),
        ("photo.png", "--cutout", "x.tif", 4, "uint8"),
        ("photo.png", "--cutout", "x.webp", 4, "uint8"),
        ("photo.png", "--foreground", "x.jpg", 3, "uint8"),
        ("deep.png", "--foreground", "x.png", 3, "uint16"),
    ],
)
def test_each_output_has_the_photos_size_and_depth(
    folder: Path, matte: Run, photo: str, option: str, name: str, channels: int, kind: str
) -> None:
    before = contents(folder)

    result = matte(photo, "photo_trimap.png", option, name)

    assert result.status == 0, result.err
    assert new_files(folder, before) == {name}
    assert result.out == f"{name}\n"
    assert header(folder / name) == (HEIGHT, WIDTH, channels, kind)


def test_all_outputs_at_once_are_named_on_stdout_in_order(folder: Path, matte: Run) -> None:
    before = contents(folder)
    wanted = ["a.png", "c.exr", "f.jpg", "k.png", "r.png", "r.json"]

    result = matte(
        *GOOD, "--report", "r.json", "--routes", "r.png", "--composite", "k.png", "--over", "teal",
        "--foreground", "f.jpg", "--cutout", "c.exr", "-o", "a.png",
    )  # fmt: skip

    assert result.status == 0, result.err
    assert result.out.split() == wanted
    assert new_files(folder, before) == set(wanted)


@pytest.mark.parametrize("over", ["#20585c", "32,88,92"])
def test_a_composite_shows_the_colour_where_the_background_was(folder: Path, matte: Run, over: str) -> None:
    assert matte(*GOOD, "--composite", "k.png", "--over", over).status == 0

    composite = cv2.imread(str(folder / "k.png"))
    trimap = cv2.imread(str(folder / "photo_trimap.png"), cv2.IMREAD_UNCHANGED)
    assert (composite[trimap == 0] == (92, 88, 32)).all()
    assert not (folder / "photo.alpha.png").exists()


def test_a_composite_over_a_picture_covers_the_whole(folder: Path, matte: Run) -> None:
    cv2.imwrite(str(folder / "sea.png"), np.full((10, 100, 3), (200, 100, 50), np.uint8))

    result = matte(*GOOD, "--composite", "k.png", "--over", "sea.png")

    assert result.status == 0, result.err
    corner = cv2.imread(str(folder / "k.png"))[0, 0]
    assert np.abs(corner.astype(int) - (200, 100, 50)).max() <= 1


def test_routes_and_report_come_beside_the_alpha(folder: Path, matte: Run) -> None:
    result = matte(*GOOD, "--routes", "routes.png", "--report", "report.json")

    assert result.out.split() == ["photo.alpha.png", "routes.png", "report.json"]
    assert header(folder / "routes.png")[2:] == (3, "uint8")


def test_the_report_says_what_was_done(folder: Path, matte: Run) -> None:
    result = matte(*GOOD, "-o", "a.png", "--report", "report.json", "--max-global-tokens", 2)

    assert result.status == 0, result.err
    report = json.loads((folder / "report.json").read_text())
    trimap = cv2.imread("photo_trimap.png", cv2.IMREAD_UNCHANGED)
    assert set(report) == {
        "version", "inputs", "outputs", "weights",
        "weights_source", "network", "device", "precision", "size", "enlarged",
        "padded", "tokens", "computed_tokens", "max_global_tokens", "unknown_share",
        "first_reduced", "asked_share",
        "routing", "seconds", "memory_bytes",
        "planned_bytes", "peak_bytes", "notes", "warnings",
    }  # fmt: skip
    assert report["inputs"] == {
        "image": "photo.png", "trimap": "photo_trimap.png", "mask": None, "over": None
    }  # fmt: skip
    assert report["outputs"] == {"alpha": "a.png"}
    assert report["size"] == {"width": WIDTH, "height": HEIGHT}
    assert report["padded"] == {"width": 64, "height": 64}
    assert (report["device"], report["precision"], report["network"]) == ("cpu", "float32", "WRWR")
    assert (report["tokens"], report["max_global_tokens"]) == (16, 2)
    assert report["unknown_share"] == pytest.approx((trimap == 128).mean())
    assert [routing["block"] for routing in report["routing"]] == [1, 3]
    for routing in report["routing"]:
        assert routing["attending"] == min(2, routing["asked"])
        assert routing["attending_share"] == routing["attending"] / 16
        assert routing["asked_share"] == routing["asked"] / 16
    assert {"read", "load", "encode", "decode", "write_alpha"} == set(report["seconds"])
    assert report["peak_bytes"] > 1_000_000


def test_a_mask_takes_the_place_of_a_trimap(folder: Path, matte: Run) -> None:
    result = matte("photo.png", "--mask", "mask.png", "--radius", 6, "-o", "a.png", "--report", "r.json")

    assert result.status == 0, result.err
    report = json.loads((folder / "r.json").read_text())
    assert report["inputs"]["mask"] == "mask.png"
    assert report["inputs"]["trimap"] is None
    alpha = cv2.imread(str(folder / "a.png"), cv2.IMREAD_UNCHANGED)
    assert alpha[HEIGHT // 2, WIDTH // 2] == 255
    assert alpha[0, 0] == 0


def test_a_larger_radius_leaves_more_unknown(folder: Path, matte: Run) -> None:
    shares = []
    for radius in (2, 8):
        name = f"{radius}.json"
        matte("photo.png", "--mask", "mask.png", "--radius", radius, "-o", f"{radius}.png", "--report", name)
        shares.append(json.loads((folder / name).read_text())["unknown_share"])
    assert shares[0] < shares[1] / 2


@pytest.mark.parametrize(
    ("missing", "says"), [(255, "The trimap has no foreground"), (0, "The trimap has no background")]
)
def test_a_trimap_of_two_levels_is_warned_of_once_and_matted(
    folder: Path, matte: Run, missing: int, says: str
) -> None:
    trimap = cv2.imread("photo_trimap.png", cv2.IMREAD_UNCHANGED)
    trimap[trimap == missing] = 128
    cv2.imwrite("two.png", trimap)

    result = matte("photo.png", "two.png", "--report", "r.json")

    assert result.status == 0
    assert result.err.count(f"Warning: {says}") == 1
    assert (folder / "photo.alpha.png").exists()
    assert json.loads((folder / "r.json").read_text())["warnings"][0].startswith(says)


def test_what_was_done_with_the_photos_own_alpha_is_said(folder: Path, matte: Run) -> None:
    photo = cv2.imread("photo.png")
    cv2.imwrite("rgba.png", np.dstack((photo, np.full((HEIGHT, WIDTH), 90, np.uint8))))

    result = matte("rgba.png", "photo_trimap.png")

    assert result.status == 0
    assert "Note: rgba.png: the photo's own alpha channel is ignored." in result.err
    assert (folder / "rgba.alpha.png").exists()


def test_the_last_line_of_stderr_sums_up(matte: Run) -> None:
    last = matte(*GOOD).err.splitlines()[-1]

    assert last.startswith(f"{WIDTH}x{HEIGHT} px, ")
    assert last.endswith(" MB at most.")


def test_quiet_keeps_stderr_empty_and_stdout_as_it_is(folder: Path, matte: Run) -> None:
    trimap = cv2.imread("photo_trimap.png", cv2.IMREAD_UNCHANGED)
    trimap[trimap == 255] = 128
    cv2.imwrite("two.png", trimap)

    result = matte("photo.png", "two.png", "-q")

    assert (result.status, result.err, result.out) == (0, "", "photo.alpha.png\n")
    assert (folder / "photo.alpha.png").exists()


def test_force_replaces_what_exists(folder: Path, matte: Run) -> None:
    (folder / "alpha.png").write_text("old")
    (folder / "report.json").write_text("old")

    result = matte(*GOOD, "-o", "alpha.png", "--report", "report.json", "--force")

    assert result.status == 0, result.err
    assert header(folder / "alpha.png") == (HEIGHT, WIDTH, 1, "uint8")
    assert json.loads((folder / "report.json").read_text())["outputs"] == {"alpha": "alpha.png"}


def test_inputs_are_never_changed(folder: Path, matte: Run) -> None:
    before = contents(folder)

    matte(*GOOD, "-o", "a.png", "--cutout", "c.png", "--routes", "r.png")

    after = contents(folder)
    assert {name: after[name] for name in before} == before


def test_progress_is_drawn_only_on_a_terminal(matte: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    assert "\x1b" not in matte(*GOOD, "-o", "plain.png").err
    monkeypatch.setenv("TERM", "xterm")
    monkeypatch.setenv("FORCE_COLOR", "1")
    monkeypatch.setattr(type(sys.stderr), "isatty", lambda _: True, raising=False)

    photo = cv2.imread("photo.png")
    cv2.imwrite("rgba.png", np.dstack((photo, photo[..., 0])))

    result = matte("rgba.png", "photo_trimap.png", "-o", "drawn.png")

    assert result.status == 0, result.err
    assert "\x1b" in result.err
    assert result.out == "drawn.png\n"
    # A note is a line of its own, after the bar has been wiped out ("\x1b[2K").
    assert re.search(r"\x1b\[2KNote: rgba.png: the photo's own alpha channel is ignored.\n", result.err)


def test_what_was_done_with_mask_and_background_is_said(folder: Path, matte: Run) -> None:
    mask = cv2.imread("mask.png", cv2.IMREAD_GRAYSCALE)
    cv2.imwrite("cut.png", np.dstack((cv2.imread("photo.png"), mask)))

    result = matte("photo.png", "--mask", "cut.png", "--composite", "c.png", "--over", "cut.png")

    assert result.status == 0
    assert "Note: cut.png: the mask's own alpha channel is taken for the mask." in result.err
    assert "Note: cut.png: the background's own alpha channel is ignored." in result.err
    assert (folder / "c.png").exists()


def test_what_does_not_fit_into_memory_goes_by_bands_and_gives_the_same(
    folder: Path, matte: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    files = ("-o", "a.tif", "--cutout", "c.tif", "--routes", "r.png", "--report", "report.json")
    assert matte(*GOOD, *files).status == 0
    whole = contents(folder)
    monkeypatch.setattr("mematte.engine.plan_in_memory", lambda *_: None)

    result = matte(*GOOD, *files, "--force")

    assert result.status == 0, result.err
    assert result.out.split() == ["a.tif", "c.tif", "r.png", "report.json"]
    assert f"{WIDTH}x{HEIGHT} px" in result.err
    banded = contents(folder)
    assert set(banded) == set(whole)
    for name in ("a.tif", "r.png"):
        ours, others = (
            cv2.imdecode(np.frombuffer(held[name], np.uint8), cv2.IMREAD_UNCHANGED).astype(int)
            for held in (banded, whole)
        )
        assert np.abs(ours - others).max() <= 1
    reports = [json.loads(held["report.json"]) for held in (banded, whole)]
    assert reports[0]["outputs"] == reports[1]["outputs"]
    assert reports[0]["routing"] == reports[1]["routing"]


def test_a_large_enough_budget_is_kept_and_reported(folder: Path, matte: Run) -> None:
    assert matte(*GOOD, "-o", "a.png", "--memory", "2GB", "--report", "report.json").status == 0

    report = json.loads((folder / "report.json").read_text())
    assert report["memory_bytes"] == 2_000_000_000
    assert report["planned_bytes"] <= 2_000_000_000


def test_what_lies_far_from_the_unknown_region_is_left_out_and_it_is_said(folder: Path, matte: Run) -> None:
    photo = np.random.default_rng(0).integers(0, 256, (100, 1400, 3), dtype=np.uint8)
    levels = np.full((100, 1400), 255, np.uint8)
    levels[:, :300] = 128
    cv2.imwrite("wide.png", photo)
    cv2.imwrite("wide_trimap.png", levels)
    wide = ("wide.png", "wide_trimap.png", "--report", "report.json", "--force")

    everything = matte(*wide, "-o", "a.png")
    whole = json.loads((folder / "report.json").read_text())
    near = matte(*wide, "-o", "b.png", "--windows", "unknown")
    said = json.loads((folder / "report.json").read_text())

    assert whole["computed_tokens"] == whole["tokens"] == said["tokens"]
    assert said["computed_tokens"] == 2 * 14 * whole["padded"]["height"] // 16
    assert "tokens computed" not in everything.err
    assert f"{said['computed_tokens'] / said['tokens']:.0%} of the tokens computed" in near.err
    a, b = (cv2.imread(name, cv2.IMREAD_UNCHANGED) for name in ("a.png", "b.png"))
    assert (b[levels == 255] == 255).all()
    assert (a != b)[levels == 128].any()


def test_a_first_look_narrows_the_unknown_region_and_it_is_said(folder: Path, matte: Run) -> None:
    photo = np.full((400, 600, 3), 30, np.uint8)
    photo[:, 300:] = 220
    levels = np.full((400, 600), 128, np.uint8)
    levels[:, :20], levels[:, -20:] = 0, 255
    cv2.imwrite("half.png", photo)
    cv2.imwrite("half_trimap.png", levels)
    files = ("half.png", "half_trimap.png", "--report", "report.json", "--force")
    half = (*files, "--weights", "tiny", "--enlarge", "1")

    plain = matte(*half, "-o", "a.png")
    said = json.loads((folder / "report.json").read_text())
    looked = matte(*half, "-o", "b.png", "--narrow", "always")
    narrowed = json.loads((folder / "report.json").read_text())

    assert (said["first_reduced"], said["asked_share"]) == (1, said["unknown_share"])
    assert "first look" not in plain.err
    assert narrowed["first_reduced"] == 2
    assert narrowed["unknown_share"] == said["unknown_share"] == pytest.approx(560 / 600)
    assert narrowed["asked_share"] < 0.3
    assert f"{narrowed['asked_share']:.0%} after a first look" in looked.err
    b = cv2.imread("b.png", cv2.IMREAD_UNCHANGED)
    assert (b[:, :200] == 0).all()
    assert (b[:, 400:] == 255).all()


def test_enlarging_changes_the_matte_and_not_its_size(folder: Path, matte: Run) -> None:
    assert matte(*GOOD, "-o", "a.png").status == 0
    assert matte(*GOOD, "-o", "b.png", "--enlarge", "2", "--report", "report.json").status == 0

    once, twice = (cv2.imread(name, cv2.IMREAD_UNCHANGED) for name in ("a.png", "b.png"))
    assert once.shape == twice.shape
    assert (once != twice).any()
    assert json.loads((folder / "report.json").read_text())["enlarged"] == 2


def test_what_colours_take_is_planned_and_reported(
    folder: Path, matte: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    plans = []
    monkeypatch.setattr(
        "mematte.engine.plan_in_memory", lambda *what: plans.append(plan_in_memory(*what)) or plans[-1]
    )

    assert matte(*GOOD, "-o", "a.png", "--cutout", "c.png", "--report", "r.json").status == 0

    (plan,) = plans
    assert plan.stages["colours"] > plan.base_bytes + 150_000_000
    assert json.loads((folder / "r.json").read_text())["planned_bytes"] >= plan.stages["colours"]


def test_an_exr_with_more_than_its_display_window_is_matted(folder: Path, matte: Run) -> None:
    light = np.random.default_rng(0).random((HEIGHT + 20, WIDTH + 30, 3), dtype=np.float32)
    spec = oiio.ImageSpec(WIDTH + 30, HEIGHT + 20, 3, "half")
    spec.x, spec.y, spec.full_width, spec.full_height = -15, -10, WIDTH, HEIGHT
    output = oiio.ImageOutput.create("over.exr")
    output.open("over.exr", spec)
    output.write_image(light)
    output.close()

    result = matte("over.exr", GOOD[1], "-o", "a.tif", "--max-pixels", (HEIGHT + 20) * (WIDTH + 30))

    assert result.status == 0, result.err
    assert header(folder / "a.tif")[:2] == (HEIGHT, WIDTH)
