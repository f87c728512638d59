"""A page to look at: every picture with its trimap, true alpha, alpha, errors and routes, worst first.

A folder that opens from disk, without a network: index.html, report.html's text filled in; pictures/NAME/
with every panel at the picture's own size and small; scores.jsonl, the record that lets a run go on.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, fields
from html import escape
from importlib.resources import files
from pathlib import Path
from string import Template
from typing import TYPE_CHECKING, Any, Literal, cast
from urllib.parse import quote

import cv2
import numpy as np
from numpy.typing import NDArray

from mematte.errors import OutputError
from mematte.eval.datasets import flat_name
from mematte.eval.evaluate import TITLES, EvalPair
from mematte.eval.metrics import Alpha, Region, Scores
from mematte.eval.results import Results, Scored
from mematte.eval.tables import about, share_lines
from mematte.files import write_text
from mematte.image import BACKGROUND, FOREGROUND, UNKNOWN, Trimap
from mematte.image.bands import row_bands

if TYPE_CHECKING:
    from mematte.engine import Matte

Metric = Literal["sad", "mse", "mad", "grad", "conn"]

PAGE, RECORD, PICTURES = "index.html", "scores.jsonl", "pictures"

# Panel -> its title, and the suffix of its file. The errors come last but for the routes: a picture counts
# as drawn when its errors are there.
PANELS = {
    "picture": ("Picture", ".jpg"),
    "trimap": ("Trimap", ".png"),
    "truth": ("True alpha", ".png"),
    "alpha": ("Alpha", ".png"),
    "routes": ("Routes", ".jpg"),
    "errors": ("Errors", ".png"),
}
SMALL_PX = 560  # longer side of a small panel: sharp at 280 px on a dense screen
JPEG_QUALITY, SMALL_JPEG_QUALITY = 90, 84
JPEG_MOST_PX = 65_500  # per side; OpenCV writes no more

# Too opaque is orange and too transparent is blue, which the colour-blind tell apart too; RGB, 0 to 255.
TOO_OPAQUE, TOO_TRANSPARENT = (255, 138, 0), (40, 140, 255)
_ORANGE, _BLUE = (np.array(colour, np.float32) for colour in (TOO_OPAQUE, TOO_TRANSPARENT))
NOT_SCORED, EXACT = 14, 48  # grey
ERROR_GAMMA = 0.5  # an error of 0.1 shows as a third of the colour: small ones are many

Bytes = NDArray[np.uint8]


def check_folder(folder: Path, force: bool) -> None:
    """Raise if a folder holds something that is no report of ours.

    Raises:
        OutputError: it does.
    """
    known = {PAGE, RECORD, PICTURES}
    there = {path.name for path in folder.iterdir() if not path.name.startswith(".")}
    if there - known or (there and RECORD not in there and not force):
        other = sorted(there - known or there)[0]
        raise OutputError(f"{folder} holds {other}: it is no report. Name a new folder, or an empty one.")


def is_drawn(folder: Path, name: str) -> bool:
    """Whether a picture's panels are there."""
    return (folder / PICTURES / flat_name(name) / _file("errors", small=True)).is_file()


def draw(folder: Path, pair: EvalPair, alpha: Alpha, region: Region, matte: Matte | None) -> None:
    """Write a picture's panels, at its own size and small.

    Args:
        folder: the report's.
        pair: the picture.
        alpha: (H, W) what was scored.
        region: where errors count.
        matte: a network's, for its routes.

    Raises:
        OutputError: they cannot be written.
    """
    estimate = _in_unit(alpha)
    # What is scored: the method was told the known pixels.
    estimate = np.where(pair.trimap == BACKGROUND, 0, np.where(pair.trimap == FOREGROUND, 1, estimate))
    truth = _in_unit(pair.truth)
    scored = pair.trimap == UNKNOWN if region == "unknown" else np.ones(pair.trimap.shape, bool)
    panels: dict[str, Bytes] = {
        "picture": pair.image if pair.image.dtype == np.uint8 else _bytes(_in_unit(pair.image)),
        "trimap": pair.trimap,
        "truth": _bytes(truth),
        "alpha": _bytes(estimate),
    }
    if matte is not None and matte.routings:
        from mematte.engine.routes import draw_routes

        panels["routes"] = draw_routes(
            matte.picture, matte.routings, matte.report, trimap=Trimap(pair.trimap)
        )
    panels["errors"] = error_map(estimate - truth, scored)
    place = folder / PICTURES / flat_name(pair.name)
    try:
        place.mkdir(parents=True, exist_ok=True)
        for panel in PANELS.keys() - panels:  # of another method, drawn here before
            (place / _file(panel)).unlink(missing_ok=True)
            (place / _file(panel, small=True)).unlink(missing_ok=True)
        for panel, pixels in panels.items():
            _write(place / _file(panel), pixels, JPEG_QUALITY)
            _write(place / _file(panel, small=True), _shrunk(pixels, SMALL_PX), SMALL_JPEG_QUALITY)
    except OSError as error:
        raise OutputError(f"{place} cannot be written: {error.strerror}.") from error


def error_map(difference: NDArray[Any], scored: NDArray[np.bool_]) -> Bytes:
    """(H, W) alpha less true alpha, in [-1, 1] -> (H, W, 3) RGB: orange too opaque, blue too transparent.

    Args:
        difference: alpha less truth.
        scored: (H, W) where errors count; elsewhere the map is nearly black.
    """
    colours: Bytes = np.empty((*difference.shape, 3), np.uint8)
    for rows in row_bands(difference.shape):  # its floats take twenty times what it is
        part = difference[rows, :, None]
        hue = np.where(part > 0, _ORANGE, _BLUE)
        colour = EXACT + np.abs(part) ** ERROR_GAMMA * (hue - EXACT)
        colours[rows] = np.rint(np.where(scored[rows, :, None], colour, NOT_SCORED))
    return colours


def write_page(folder: Path, results: Results, sort_by: Metric = "sad") -> Path:
    """Write index.html, whose panels are there.

    Args:
        folder: the report's.
        results: what it tells.
        sort_by: the largest first, until the reader sorts otherwise.

    Returns:
        Its path.

    Raises:
        OutputError: it cannot be written.
    """
    page = folder / PAGE
    write_text(page, _page(folder, results, sort_by))
    return page


def _page(folder: Path, results: Results, sort_by: Metric) -> str:
    ranked = sorted(results.scored, key=lambda one: (-getattr(one.scores, sort_by), one.name))
    most = {metric: max(asdict(one.scores)[metric] for one in ranked) for metric in _METRICS}
    facts = about(results)
    called = facts.get("weights", facts["method"])
    template = Template(files(__package__).joinpath("report.html").read_text(encoding="utf-8"))
    return template.substitute(
        title=escape(f"{called} on {Path(facts['data set']).resolve().name}"),
        facts="\n".join(f"<dt>{escape(key)}</dt><dd>{escape(value)}</dd>" for key, value in facts.items()),
        shares="".join(f"<p>{escape(line)}</p>" for line in share_lines(results.scored)),
        tiles="\n".join(_tile(metric, results.mean, ranked) for metric in _METRICS),
        pictures=escape(facts["pictures"]),
        region=escape(facts["region"]),
        rounding=escape(facts["alphas"]),
        options="\n".join(
            f'<option value="{metric}"{" selected" if metric == sort_by else ""}>{title}</option>'
            for metric, title in _METRICS.items()
        ),
        heads="\n".join(_head(metric, title, sort_by) for metric, title in _METRICS.items()),
        rows="\n".join(_row(one, most) for one in ranked),
        means="".join(f"<td>{value:.2f}</td>" for value in asdict(results.mean).values()),
        failures=_failures(results),
        cards="\n".join(_card(folder, one) for one in ranked),
        opaque=_css(TOO_OPAQUE),
        transparent=_css(TOO_TRANSPARENT),
        exact=_css((EXACT,) * 3),
        unscored=_css((NOT_SCORED,) * 3),
        # As the map has them: steps of a tenth, since its scale is no straight line.
        legend=", ".join(_css(cast("Any", colour)) for colour in _legend()),
    )


_METRICS: Mapping[str, str] = dict(zip((field.name for field in fields(Scores)), TITLES, strict=True))


def _tile(metric: str, mean: Scores, ranked: Sequence[Scored]) -> str:
    worst = max(ranked, key=lambda one: getattr(one.scores, metric))
    best = min(ranked, key=lambda one: getattr(one.scores, metric))
    extremes = " ".join(
        f'<a href="#{_anchor(one.name)}">{word} {getattr(one.scores, metric):.2f}</a>'
        for word, one in (("least", best), ("most", worst))
    )
    return (
        f'<div class="tile"><span class="name">{_METRICS[metric]}</span>'
        f'<span class="value">{getattr(mean, metric):.2f}</span>'
        f'<span class="extremes">{extremes}</span></div>'
    )


def _head(metric: str, title: str, sort_by: str) -> str:
    sorted_so = ' aria-sort="descending"' if metric == sort_by else ""
    return f'<th scope="col"{sorted_so}><button type="button" data-sort="{metric}">{title}</button></th>'


def _data(one: Scored) -> str:
    """A picture's scores, for the page's script to sort by."""
    values = " ".join(f'data-{metric}="{value:.6g}"' for metric, value in asdict(one.scores).items())
    return f'data-name="{escape(one.name)}" {values}'


def _row(one: Scored, most: Mapping[str, float]) -> str:
    cells = "".join(
        f'<td style="--share:{value / most[metric] if most[metric] else 0:.3f}">{value:.2f}</td>'
        for metric, value in asdict(one.scores).items()
    )
    name = f'<a href="#{_anchor(one.name)}">{escape(one.name)}</a>'
    return f'<tr {_data(one)}><th scope="row">{name}</th>{cells}</tr>'


def _card(folder: Path, one: Scored) -> str:
    place = folder / PICTURES / flat_name(one.name)
    figures = "".join(
        _figure(one.name, panel, title)
        for panel, (title, _) in PANELS.items()
        if (place / _file(panel, small=True)).is_file()
    )
    scores = "".join(
        f"<div><dt>{_METRICS[metric]}</dt><dd>{value:.2f}</dd></div>"
        for metric, value in asdict(one.scores).items()
    )
    facts = [f"{one.size[1]}x{one.size[0]} px", f"{one.unknown_share:.1%} unknown", f"{one.seconds:.1f} s"]
    if one.shares:
        facts.append(f"{np.mean(list(one.shares.values())):.1%} of the tokens attend")
    warned = "".join(f'<p class="warning">{escape(warning)}</p>' for warning in one.warnings)
    return (
        f'<article class="card" id="{_anchor(one.name)}" {_data(one)}>'
        f'<header><h3>{escape(one.name)}</h3><p class="facts">{escape(" · ".join(facts))}</p>'
        f'<dl class="scores">{scores}</dl></header>{warned}<div class="panels">{figures}</div></article>'
    )


def _figure(name: str, panel: str, title: str) -> str:
    folder = f"{PICTURES}/{quote(flat_name(name))}"
    label = escape(f"{title} of {name}, at its own size")
    return (
        f'<figure><a href="{folder}/{_file(panel)}" data-panel="{panel}" aria-label="{label}">'
        f'<img src="{folder}/{_file(panel, small=True)}" alt="" loading="lazy"></a>'
        f"<figcaption>{title}</figcaption></figure>"
    )


def _failures(results: Results) -> str:
    if not results.failures:
        return ""
    items = "".join(f"<li><b>{escape(one.name)}</b>: {escape(one.reason)}</li>" for one in results.failures)
    return f'<section class="failures"><h2>Not scored</h2><ul>{items}</ul></section>'


def _legend() -> list[tuple[int, ...]]:
    """Colours of errors from -1 to 1, in steps of a tenth."""
    steps = np.linspace(-1, 1, 21, dtype=np.float32)[None]
    return [tuple(map(int, colour)) for colour in error_map(steps, np.ones(steps.shape, bool))[0]]


def _anchor(name: str) -> str:
    return escape(f"picture-{quote(name, safe='')}".replace("%", "_"))


def _file(panel: str, *, small: bool = False) -> str:
    return f"{panel}.small.jpg" if small else f"{panel}{PANELS[panel][1]}"


def _css(colour: tuple[int, ...]) -> str:
    return f"rgb({' '.join(map(str, colour))})"


def _in_unit(values: NDArray[Any]) -> NDArray[np.float32]:
    scale = np.iinfo(values.dtype).max if values.dtype.kind == "u" else 1
    return (values / np.float32(scale)).astype(np.float32)


def _bytes(values: NDArray[np.float32]) -> Bytes:
    return np.rint(np.clip(values, 0, 1) * 255).astype(np.uint8)


def _shrunk(pixels: Bytes, most_px: int) -> Bytes:
    """No side longer than `most_px`."""
    height, width = pixels.shape[:2]
    scale = most_px / max(height, width)
    if scale >= 1:
        return pixels
    size = max(1, round(width * scale)), max(1, round(height * scale))
    return cast(Bytes, cv2.resize(pixels, size, interpolation=cv2.INTER_AREA))


def _write(path: Path, pixels: Bytes, quality: int) -> None:
    flags = []
    if path.suffix == ".jpg":
        flags, pixels = [cv2.IMWRITE_JPEG_QUALITY, quality], _shrunk(pixels, JPEG_MOST_PX)
    done, encoded = cv2.imencode(path.suffix, pixels[..., ::-1] if pixels.ndim == 3 else pixels, flags)
    assert done
    path.write_bytes(encoded.tobytes())
