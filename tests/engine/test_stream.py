"""Files in, files out, band by band: what the engine gives for the whole, within less memory."""

import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from mematte.engine import Engine, Results, job_of_files, matte_to_files, plan_in_memory
from mematte.errors import BudgetError, ImageFileError, SizeMismatchError
from mematte.image import (
    Picture,
    default_bits,
    encoder_bytes,
    open_picture,
    open_trimap,
    read_picture,
    write_picture,
    write_trimap,
)

from .conftest import banded_trimap, cut_into, picture

SIZE = (230, 310)


@pytest.fixture
def files(tmp_path: Path) -> tuple[Path, Path]:
    write_picture(tmp_path / "photo.tif", picture(*SIZE).astype(np.float32) / 255)
    write_trimap(tmp_path / "trimap.png", banded_trimap(*SIZE))
    return tmp_path / "photo.tif", tmp_path / "trimap.png"


def streamed(engine: Engine, files: tuple[Path, Path], results: Results, **options):
    with open_picture(files[0]) as photo, open_trimap(files[1]) as trimap:
        return matte_to_files(engine, photo, trimap, results, **options)


@pytest.mark.parametrize("tile_px", [64, 512])
def test_files_get_what_the_whole_picture_gets(engine, files, tmp_path, monkeypatch, tile_px) -> None:
    cut_into(monkeypatch, tile_px=tile_px, piece_tokens=49)
    behind = (0.2, 0.4, 0.6)
    results = Results(
        tmp_path / "alpha.tif",
        tmp_path / "cutout.tif",
        tmp_path / "foreground.png",
        tmp_path / "composite.png",
        behind,
    )
    told: list[tuple[str, float]] = []

    report, routings = streamed(engine, files, results, progress=lambda *part: told.append(part))

    matte = engine(*files)
    matte.save(tmp_path / "whole_alpha.tif")
    matte.save_cutout(tmp_path / "whole_cutout.tif")
    matte.save_foreground(tmp_path / "whole_foreground.png")
    matte.save_composite(tmp_path / "whole_composite.png", behind)
    for path in results.paths:
        ours, whole = (read_picture(p) for p in (path, path.with_name(f"whole_{path.name}")))
        # Where alpha is 0 a foreground's colour is anything.
        shown = matte.alpha[..., None] if path in (results.cutout, results.foreground) else 1
        assert np.abs((ours.values() - whole.values()) * shown).max() < 1.5 / 255
        if whole.alpha is not None:
            assert ours.alpha is not None
            assert np.abs(ours.alpha.astype(int) - whole.alpha.astype(int)).max() <= 1
    assert [one.asked for one in routings] == [other.asked for other in matte.routings]
    assert (report.size, report.unknown_share) == (matte.report.size, matte.report.unknown_share)
    assert told[-1] == ("colours", 1.0)
    assert {part for part, _ in told} == {"encode", "decode", "colours"}


def test_known_pixels_are_exact_in_files_too(engine, files, tmp_path) -> None:
    streamed(engine, files, Results(tmp_path / "alpha.png"))

    alpha, trimap = read_picture(tmp_path / "alpha.png").pixels[..., 0], banded_trimap(*SIZE)
    assert (alpha[trimap == 0] == 0).all()
    assert (alpha[trimap == 255] == 255).all()


@pytest.mark.parametrize("error", [KeyboardInterrupt, OSError(28, "No space left on device")])
@pytest.mark.parametrize("stage", ["decode", "colours"])
def test_an_interruption_leaves_nothing_behind(engine, files, tmp_path, error, stage) -> None:
    def interrupt(part: str, share: float) -> None:
        if part == stage and share > 0.3:
            raise error

    before = sorted(tmp_path.iterdir())
    with pytest.raises((KeyboardInterrupt, OSError)):
        streamed(engine, files, Results(tmp_path / "alpha.tif", tmp_path / "cutout.tif"), progress=interrupt)

    assert sorted(tmp_path.iterdir()) == before


def test_a_photo_truncated_in_its_last_band_leaves_nothing_behind(engine, files, tmp_path) -> None:
    photo = files[0].read_bytes()
    files[0].write_bytes(photo[: len(photo) * 9 // 10])
    before = sorted(tmp_path.iterdir())

    with pytest.raises(ImageFileError, match=r"photo\.tif"):
        streamed(engine, files, Results(tmp_path / "alpha.tif"))

    assert sorted(tmp_path.iterdir()) == before


def test_a_trimap_of_another_size_is_refused_before_the_work(engine, files, tmp_path) -> None:
    write_trimap(files[1], banded_trimap(100, 310), force=True)

    with pytest.raises(SizeMismatchError):
        streamed(engine, files, Results(tmp_path / "alpha.tif"))


def test_files_need_less_than_pictures_in_memory(engine, files) -> None:
    with open_picture(files[0]) as photo, open_trimap(files[1]) as trimap:
        bare = job_of_files(engine, photo, trimap, Results(files[0].with_name("alpha.png")))
        coloured = job_of_files(engine, photo, trimap, Results(cutout=files[0].with_name("cutout.png")))

    assert bare.row_bytes == 310 * (2 * 3 + 2)
    assert not bare.colours_bytes
    assert coloured.colours_bytes > 100_000_000


@pytest.mark.parametrize("suffix", [".jxl", ".webp"])
@pytest.mark.parametrize("dtype", [np.uint8, np.uint16])
def test_encoders_that_hold_all_of_a_file_are_planned_as_deep_as_it_will_be(engine, suffix, dtype) -> None:
    photo = Picture(np.zeros((3000, 4000, 3), dtype))
    alpha, plain = Path(f"alpha{suffix}"), Path("alpha.png")
    takes = encoder_bytes(alpha, "alpha", photo.size, default_bits(alpha, photo))
    assert takes > 70_000_000

    beside = [job_of_files(engine, photo, None, Results(path)).beside_bytes for path in (alpha, plain)]
    whole = plan_in_memory(engine, photo, None, Results(alpha))

    assert beside[0] - beside[1] == pytest.approx(takes, rel=0.01)
    assert whole is not None
    assert whole.job.colours_bytes == takes


def test_a_budget_below_the_least_is_refused_by_name(weights, files, tmp_path) -> None:
    engine = Engine(weights, device="cpu", precision="float32", memory="2MB")

    with pytest.raises(BudgetError, match="do not fit into 2 MB"):
        streamed(engine, files, Results(tmp_path / "alpha.tif"))


PROGRAM = """
import json, sys
import numpy as np
from mematte.engine import Engine, Results, matte_to_files
from mematte.image import alpha_writer, open_picture, open_trimap, picture_writer
from mematte.model import TINY, MEMatte
from mematte.weights.checkpoint import weights_of

folder, side, budget = sys.argv[1], int(sys.argv[2]), sys.argv[3]
rows = np.linspace(0, 1, side, dtype=np.float32)
levels = np.zeros((512, side), np.float32)
levels[:, side // 2:] = 1
levels[:, side // 2 - 20 : side // 2 + 20] = 0.5
with picture_writer(f"{folder}/photo.tif", (side, side)) as photo, alpha_writer(
    f"{folder}/trimap.tif", (side, side)
) as trimap:
    for _ in range(side // 512):
        photo.write(np.broadcast_to(rows[None, :, None], (512, side, 3)))
        trimap.write(levels)
engine = Engine(weights_of(MEMatte(TINY), name="noise", licence="none"), device="cpu", memory=budget)
with open_picture(f"{folder}/photo.tif") as photo, open_trimap(f"{folder}/trimap.tif") as trimap:
    report, _ = matte_to_files(engine, photo, trimap, Results(alpha=f"{folder}/alpha.tif"))
print(json.dumps([report.peak_bytes, report.planned_bytes, report.memory_bytes]))
"""


def test_a_process_stays_within_its_budget(tmp_path: Path) -> None:
    """4 megapixels, of which a stored and a float copy alone would take 60 MB."""
    side, budget = 2048, 520_000_000
    result = subprocess.run(
        [sys.executable, "-c", PROGRAM, str(tmp_path), str(side), str(budget)],
        capture_output=True,
        text=True,
        check=False,
    )

    assert result.returncode == 0, result.stderr
    peak, planned, memory = json.loads(result.stdout)
    assert memory == budget
    assert peak <= budget
    assert planned <= budget
    assert 0.9 < planned / peak < 1.3  # how near it is, `mematte bench memory` says
    assert read_picture(tmp_path / "alpha.tif").size == (side, side)


def test_files_give_the_same_near_the_unknown_region(weights, tmp_path, monkeypatch) -> None:
    size = (1400, 230)
    levels = np.full(size, 255, np.uint8)
    levels[700:800] = 128
    write_picture(tmp_path / "photo.tif", picture(*size).astype(np.float32) / 255)
    write_trimap(tmp_path / "trimap.png", levels)
    files = tmp_path / "photo.tif", tmp_path / "trimap.png"
    engine = Engine(weights, device="cpu", precision="float32", windows="unknown")
    cut_into(monkeypatch, tile_px=64, piece_tokens=196)

    report, routings = streamed(engine, files, Results(tmp_path / "alpha.tif"))

    matte = engine(*files)
    matte.save(tmp_path / "whole.tif")
    ours, whole = (read_picture(tmp_path / name).values() for name in ("alpha.tif", "whole.tif"))
    assert np.abs(ours - whole).max() < 1.5 / 255
    assert report.computed_tokens == matte.report.computed_tokens < report.tokens / 2
    assert [one.asked for one in routings] == [other.asked for other in matte.routings]


def test_what_should_have_been_enlarged_and_was_not_is_said(engine, files, tmp_path, monkeypatch) -> None:
    plain, _ = streamed(engine, files, Results(tmp_path / "plain.tif"))
    monkeypatch.setattr(engine, "enlarge", 2)
    asked, _ = streamed(engine, files, Results(tmp_path / "asked.tif"))
    monkeypatch.setattr(engine, "enlarge", "auto")
    monkeypatch.setattr(engine, "_enlarge_below", SIZE[0] * SIZE[1] + 1)
    wanted, _ = streamed(engine, files, Results(tmp_path / "wanted.tif"))

    assert not [warning for warning in plain.warnings if "times its size" in warning]
    assert [
        warning for warning in asked.warnings if "310x230 px at 2 times its size, as asked for" in warning
    ]
    assert [warning for warning in wanted.warnings if "asks for pictures so small" in warning]
    assert asked.enlarged == wanted.enlarged == 1
