"""What a matte can be made into, and the two functions most programs need."""

import re
import subprocess
import sys
from pathlib import Path

import cv2
import numpy as np
import pytest

import mematte
from mematte.errors import InputError, MatteWarning, OutputError
from mematte.image import as_trimap, read_picture
from mematte.model import TINY
from mematte.weights import save_weights

from .conftest import banded_trimap, picture


@pytest.fixture(scope="module")
def matte(engine):
    return engine(picture(96, 120), banded_trimap(96, 120))


@pytest.fixture(scope="module")
def weights_file(weights, tmp_path_factory):
    path = tmp_path_factory.mktemp("weights") / "random.safetensors"
    save_weights(weights, path)
    return path


def test_foreground_keeps_opaque_colours(matte) -> None:
    opaque = matte.alpha == 1

    assert matte.foreground.shape == (96, 120, 3)
    assert np.abs(matte.foreground[opaque] - matte.picture.values()[opaque]).max() < 1e-6


@pytest.mark.parametrize(
    "background", ["#ff0000", "red", (1.0, 0.0, 0.0), np.full((5, 5, 3), [255, 0, 0], np.uint8)]
)
def test_a_composite_shows_the_background_where_alpha_is_0(matte, background) -> None:
    composite = matte.composite(background)

    assert np.abs(composite[matte.alpha == 0] - [1, 0, 0]).max() < 1e-5
    assert np.abs(composite[matte.alpha == 1] - matte.foreground[matte.alpha == 1]).max() < 1e-5


def test_in_a_notebook_a_matte_is_its_alpha_and_in_a_console_a_line(matte, engine) -> None:
    shown = cv2.imdecode(np.frombuffer(matte._repr_png_(), np.uint8), cv2.IMREAD_UNCHANGED)
    assert np.abs(shown / 255 - matte.alpha).max() <= 0.5 / 255 + 1e-6

    wide = engine(picture(20, 3000), banded_trimap(20, 3000))
    small = cv2.imdecode(np.frombuffer(wide._repr_png_(), np.uint8), cv2.IMREAD_UNCHANGED)
    assert small.shape == (7, 1000)
    assert small[3, 0] == 0
    assert small[3, -1] == 255

    assert re.fullmatch(r"Matte\(120x96 px, 33% unknown, by random on cpu in \d+\.\d s\)", repr(matte))
    assert repr(matte.picture) == "Picture(120x96 px, uint8, display-referred)"
    assert re.fullmatch(r"BlockRouting\(block 2: [\d.]+% of 48 tokens attend\)", repr(matte.routings[0]))
    assert repr(as_trimap(banded_trimap(96, 120))) == "Trimap(120x96 px)"
    assert repr(engine) == "Engine(random on cpu in float32)"


def test_everything_a_matte_writes_can_be_read_again(matte, tmp_path) -> None:
    matte.save(tmp_path / "alpha.png")
    matte.save_cutout(tmp_path / "cutout.png")
    matte.save_foreground(tmp_path / "foreground.tif")
    matte.save_composite(tmp_path / "composite.jpg", "white")

    alpha = read_picture(tmp_path / "alpha.png")
    cutout = read_picture(tmp_path / "cutout.png")
    assert np.abs(alpha.values()[..., 0] - matte.alpha).max() < 0.5 / 255 + 1e-6
    assert np.abs(cutout.alpha / 255 - matte.alpha).max() < 0.5 / 255 + 1e-6
    assert read_picture(tmp_path / "foreground.tif").size == (96, 120)
    assert read_picture(tmp_path / "composite.jpg").alpha is None


def test_cut_goes_from_files_to_a_file_in_one_call(weights_file, tmp_path) -> None:
    image, trimap = picture(64, 80), banded_trimap(64, 80)
    cv2.imwrite(str(tmp_path / "photo.png"), image[..., ::-1])
    cv2.imwrite(str(tmp_path / "trimap.png"), trimap)

    matte = mematte.cut(
        tmp_path / "photo.png", tmp_path / "trimap.png", tmp_path / "cutout.png",
        weights=weights_file, device="cpu", precision="float32",
    )  # fmt: skip

    cutout = cv2.imread(str(tmp_path / "cutout.png"), cv2.IMREAD_UNCHANGED)
    assert cutout.shape == (64, 80, 4)
    assert (np.rint(matte.alpha * 255) == cutout[..., 3]).all()
    opaque = trimap == 255
    assert (cutout[..., 2::-1][opaque] == image[opaque]).all()


def test_an_engine_comes_from_a_file_by_the_name_people_know(weights_file) -> None:
    engine = mematte.Engine.from_pretrained(weights_file, device="cpu", precision="float32")

    assert engine.spec == TINY


def test_cut_warns_of_a_trimap_that_says_little(weights_file, tmp_path) -> None:
    with pytest.warns(MatteWarning, match="no foreground"):
        mematte.cut(
            picture(40, 40), np.pad(np.full((20, 20), 128, np.uint8), 10), tmp_path / "cutout.png",
            weights=weights_file, device="cpu",
        )  # fmt: skip


def test_cut_looks_at_the_output_before_it_works(tmp_path) -> None:
    (tmp_path / "cutout.png").write_bytes(b"precious")

    with pytest.raises(OutputError, match="exists"):
        mematte.cut("no such photo.jpg", "no such trimap.png", tmp_path / "cutout.png")

    assert (tmp_path / "cutout.png").read_bytes() == b"precious"


def test_cut_never_writes_over_what_it_reads(tmp_path) -> None:
    cv2.imwrite(str(tmp_path / "photo.png"), picture(40, 40))

    with pytest.raises(OutputError, match="one of the inputs"):
        mematte.cut(tmp_path / "photo.png", "trimap.png", str(tmp_path / "photo.png"), force=True)


def test_pil_images_are_accepted(engine) -> None:
    from PIL import Image

    image, trimap = picture(48, 64), banded_trimap(48, 64)

    matte = engine(Image.fromarray(image), Image.fromarray(trimap))

    assert (matte.alpha == engine(image, trimap).alpha).all()


def test_importing_mematte_does_not_wait_for_torch() -> None:
    code = (
        "import sys, mematte; assert 'torch' not in sys.modules; "
        "mematte.Engine; assert 'torch' in sys.modules"
    )

    subprocess.run([sys.executable, "-c", code], check=True)


def test_the_public_names_are_all_there() -> None:
    assert sorted(mematte.__all__) == [name for name in dir(mematte) if name in mematte.__all__]
    assert all(getattr(mematte, name) for name in mematte.__all__)


@pytest.mark.parametrize("color", [(255, 0, 0), (1, 0), (1, "0", 0), (float("nan"), 0, 0), (-0.1, 0, 0)])
def test_a_colour_that_is_none_is_refused(matte, color) -> None:
    with pytest.raises(InputError, match=r"numbers in \[0, 1\]"):
        matte.composite(color)


def test_mattes_are_told_apart_and_kept_in_sets(matte, engine) -> None:
    other = engine(picture(96, 120), banded_trimap(96, 120))

    assert matte != other
    assert len({matte, other, matte}) == 2


def test_a_path_is_a_path_though_weights_have_its_name(weights_file, tmp_path, monkeypatch) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "tiny").write_bytes(weights_file.read_bytes())

    for load in (mematte.load, mematte.Engine.from_pretrained):
        assert load(Path("tiny"), device="cpu", precision="float32").weights_name == "random"
