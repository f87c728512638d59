"""The exported file in ONNX Runtime against our own network."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from dataclasses import asdict, replace
from functools import cache, partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

pytest.importorskip("onnx", reason="the extra `onnx` brings it")
pytest.importorskip("onnxruntime", reason="the extra `onnx` brings it")

import onnx
import onnxruntime

from mematte.errors import ExportError, OutputError, WeightsError
from mematte.export import LOWEST_OPSET, export_onnx
from mematte.export.verify import compare, open_session, run
from mematte.export.write import onnx_model
from mematte.image import read_trimap
from mematte.model import MEMatte, ModelSpec, within_budget
from mematte.model.mematte import Padding, pad
from mematte.weights import Preprocessing, Weights, build, load_weights, weights_of
from mematte.weights.convert import convert

Network = Callable[..., MEMatte]
PREPROCESSING = Preprocessing(mean=(0.4, 0.5, 0.6), std=(0.2, 0.3, 0.25))


@pytest.fixture(autouse=True)
def _one_thread() -> Iterator[None]:
    """ONNX Runtime takes as many threads as torch."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


@pytest.fixture
def probe(small_spec: ModelSpec, random_network: Network) -> Callable[..., Weights]:
    """Blocks -> noisy weights of a small network."""

    def make(blocks: str = "WRWRG", **changes: Any) -> Weights:
        network = random_network(replace(small_spec, blocks=blocks))
        weights = weights_of(network, name="probe", licence="MIT", preprocessing=PREPROCESSING)
        return replace(weights, **changes)

    return make


def session_of(weights: Weights, folder: Path, opset: int = LOWEST_OPSET) -> tuple[Any, MEMatte]:
    """The network in ONNX Runtime, written without the export's own comparison; and ours."""
    network = build(weights)
    path = folder / "network.onnx"
    path.write_bytes(onnx_model(network, weights, opset).SerializeToString())
    return open_session(path), network


def picture(height: int, width: int) -> tuple[Tensor, Tensor]:
    generator = torch.Generator().manual_seed(height * 1000 + width)
    image = torch.rand(1, 3, height, width, generator=generator)
    trimap = torch.randint(0, 3, (1, 1, height, width), generator=generator) / 2
    return image, trimap


def ours(
    network: MEMatte, image: Tensor, trimap: Tensor, cap: int, padding: Padding = "zeros"
) -> tuple[Tensor, list[Tensor]]:
    """Alpha with its known pixels exact, and who attends; the oracle is `MEMatte.forward` alone."""
    mean, std = torch.tensor(PREPROCESSING.mean), torch.tensor(PREPROCESSING.std)
    inputs = torch.cat(((image - mean[:, None, None]) / std[:, None, None], trimap), dim=1)
    with torch.inference_mode():
        matting = network(pad(inputs, padding), partial(within_budget, budget=cap))
    alpha = torch.where(trimap == 0.5, matting.alpha[..., : image.shape[2], : image.shape[3]], trimap)
    return alpha, [routing.attend[0] for routing in matting.routings]


@pytest.mark.parametrize("blocks", ["WRWRG", "WWG", "RR"])
def test_any_size_and_any_cap_gives_what_the_network_gives(
    probe: Callable[..., Weights], tmp_path: Path, blocks: str
) -> None:
    session, network = session_of(probe(blocks), tmp_path)

    counts = set()
    for size in ((1, 1), (15, 16), (17, 33), (223, 225), (225, 224), (40, 450)):
        image, trimap = picture(*size)
        for cap in (0, 1, 20, 1 << 40):
            expected, routes = ours(network, image, trimap, cap)
            alpha, attend = run(session, image, trimap, cap)
            assert alpha.shape == (1, 1, *size)
            np.testing.assert_allclose(alpha, expected, rtol=0, atol=1e-5)
            assert len(attend) == len(routes) == blocks.count("R")
            for theirs, route in zip(attend, routes, strict=True):
                np.testing.assert_array_equal(theirs.ravel(), route)
                counts.add((size, cap, int(route.sum())))
    if "R" in blocks:  # nobody, one, as many as there is room for, and as many as want to
        assert {0, 1, 20} <= {count for *_, count in counts}
        assert max(count for *_, count in counts) > 50


def test_beyond_the_image_is_what_the_weights_ask_for(probe: Callable[..., Weights], tmp_path: Path) -> None:
    edge = replace(PREPROCESSING, padding="edge")
    session, network = session_of(probe(preprocessing=edge), tmp_path)

    for size in ((1, 1), (17, 33), (70, 50)):
        image, trimap = picture(*size)
        alpha, _ = run(session, image, trimap, 1 << 40)
        expected, zeros = (ours(network, image, trimap, 1 << 40, padding)[0] for padding in ("edge", "zeros"))
        np.testing.assert_allclose(alpha, expected, rtol=0, atol=1e-5)
        assert compare(session, network, edge, image, trimap, 1 << 40)[0] < 1e-5
        if size != (1, 1):
            assert (expected - zeros).abs().max() > 1e-3


@pytest.mark.parametrize("bias", [-50.0, 50.0])
def test_nobody_and_everybody_may_attend(probe: Callable[..., Weights], tmp_path: Path, bias: float) -> None:
    weights = probe("WRW")
    weights.state["backbone.blocks.1.router.score.4.bias"] = torch.tensor([bias, -bias])
    session, network = session_of(weights, tmp_path)
    image, trimap = picture(100, 70)

    alpha, attend = run(session, image, trimap, 18_500)

    assert attend.all() if bias > 0 else not attend.any()
    np.testing.assert_allclose(alpha, ours(network, image, trimap, 18_500)[0], rtol=0, atol=1e-5)


def test_more_queries_than_one_piece_holds(
    probe: Callable[..., Weights], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Pieces of 50, 20, 7 ... queries, the last one with fewer than the others."""
    monkeypatch.setattr("mematte.export.network.MAX_SCORES", 2 * 400)
    weights = probe("WR")
    weights.state["backbone.blocks.1.router.score.4.bias"] = torch.tensor([5.0, -5.0])
    session, network = session_of(weights, tmp_path)
    image, trimap = picture(300, 330)
    attending = set()
    for cap in (8, 20, 57, 150, 1 << 20):
        expected, routes = ours(network, image, trimap, cap)
        alpha, _ = run(session, image, trimap, cap)
        np.testing.assert_allclose(alpha, expected, rtol=0, atol=1e-5)
        attending.add(int(routes[0].sum()))
    assert len(attending) == 5


@pytest.mark.parametrize("strip", [1, 3, 16])
@pytest.mark.parametrize("height", [32, 97, 544])
def test_strips_of_the_decoder_give_what_the_whole_gives(
    probe: Callable[..., Weights], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, strip: int, height: int
) -> None:
    monkeypatch.setattr("mematte.export.network.STRIP_TOKENS", strip)
    session, network = session_of(probe("W"), tmp_path)
    image, trimap = picture(height, 50)
    trimap[:] = 0.5

    alpha, _ = run(session, image, trimap, 0)

    np.testing.assert_allclose(alpha, ours(network, image, trimap, 0)[0], rtol=0, atol=1e-5)


@pytest.mark.parametrize("blocks", ["R", "G"])
def test_attention_never_holds_all_scores(probe: Callable[..., Weights], blocks: str) -> None:
    weights = probe(blocks)
    model = onnx_model(build(weights), weights)
    onnx.checker.check_model(model, full_check=True)

    bodies = [node.attribute[0].g for node in model.graph.node if node.op_type == "Loop"]
    counts = [sum(node.op_type == "Softmax" for node in graph.node) for graph in (model.graph, *bodies)]
    assert counts == [0, 1, 0]  # outside, in the loop over queries, in the decoder's


@pytest.mark.parametrize(("cap", "computed"), [(0, 1), (7, 7), (60, 60)])
def test_attention_is_computed_for_no_more_tokens_than_attend(
    probe: Callable[..., Weights], tmp_path: Path, cap: int, computed: int
) -> None:
    """What attention gives, before it is scattered back among all tokens; of nobody one row, not used."""
    weights = probe("RR")
    for block in range(2):
        weights.state[f"backbone.blocks.{block}.router.score.4.bias"] = torch.tensor([50.0, -50.0])
    session_of(weights, tmp_path)
    model = onnx.load(tmp_path / "network.onnx")
    makers = {name: node.op_type for node in model.graph.node for name in node.output}
    scattered = [node.input[2] for node in model.graph.node if node.op_type == "ScatterND"]
    attended = [name for name in scattered if makers[name] != "Expand"]  # the others mark who attends
    for name in attended:
        model.graph.output.append(onnx.helper.make_tensor_value_info(name, onnx.TensorProto.FLOAT, None))
    session = onnxruntime.InferenceSession(model.SerializeToString(), providers=["CPUExecutionProvider"])
    image, trimap = picture(160, 160)

    inputs = {"image": image.numpy(), "trimap": trimap.numpy(), "max_global_tokens": np.asarray(cap)}
    rows = [output.shape[0] for output in session.run(attended, inputs)]

    assert len(attended) == 2
    # Where nobody attends, a row is computed in its place and not scattered.
    assert all(count in (cap, computed) for count in rows)


@pytest.mark.parametrize("opset", [17, 18, 20, 23])
def test_every_opset_gives_the_same(probe: Callable[..., Weights], tmp_path: Path, opset: int) -> None:
    session, network = session_of(probe(), tmp_path, opset)
    image, trimap = picture(97, 230)

    distance, differing = compare(session, network, PREPROCESSING, image, trimap, 60)

    assert onnx.load(tmp_path / "network.onnx").opset_import[0].version == opset
    assert distance < 1e-5
    assert differing == 0


@pytest.mark.parametrize(
    ("level", "taken_as"), [(0.05, 0), (0.1, 0), (0.11, 0.5), (128 / 255, 0.5), (0.95, 1)]
)
def test_trimaps_are_taken_as_those_of_files(
    probe: Callable[..., Weights], tmp_path: Path, level: float, taken_as: float
) -> None:
    session, _ = session_of(probe("WW"), tmp_path)
    image, trimap = picture(32, 32)
    trimap[..., 5:20, 5:20] = taken_as
    smeared = trimap.clone()
    smeared[..., 5:20, 5:20] = level

    alpha, _ = run(session, image, smeared, 0)

    np.testing.assert_array_equal(alpha, run(session, image, trimap, 0)[0])
    if taken_as != 0.5:
        assert (alpha[..., 5:20, 5:20] == taken_as).all()


@pytest.fixture(scope="module")
def parity_session(
    published_state: Callable[[str], dict[str, Tensor]], tmp_path_factory: pytest.TempPathFactory
) -> Callable[[str, float | None], tuple[Any, MEMatte]]:
    """A published network in ONNX Runtime, and in ours; made once. A bias is that of all routers."""

    @cache
    def make(variant: str, bias: float | None) -> tuple[Any, MEMatte]:
        converted = convert(published_state(variant), variant)
        if bias is not None:
            for key in converted.state:
                if key.endswith("router.score.4.bias"):
                    converted.state[key] = torch.tensor([bias, -bias])
        weights = Weights(converted.spec, converted.state, source=variant)
        return session_of(weights, tmp_path_factory.mktemp(variant))

    return make


@pytest.mark.parametrize(
    ("case", "variant"),
    [
        ("s_plain", "mematte_s"),
        ("s_odd_size", "mematte_s"),
        ("s_capped", "mematte_s"),
        ("s_none_global", "mematte_s"),
        ("s_all_global", "mematte_s"),
        ("s_whole", "mematte_s"),
        ("b_plain", "mematte_b"),
        ("vitmatte_s", "vitmatte_s"),
    ],
)
def test_parity_cases_agree_in_onnx_runtime(
    parity_session: Callable[[str, float | None], tuple[Any, MEMatte]],
    parity_cases: dict[str, dict[str, Any]],
    parity_expected: dict[str, Tensor],
    case: str,
    variant: str,
) -> None:
    session, network = parity_session(variant, {"s_none_global": -50.0, "s_all_global": 50.0}.get(case))
    shown = "s_tiled" if case == "s_whole" else case  # the reference shows both the same picture
    image, trimap = (parity_expected[f"{shown}.{role}"][None] / 255 for role in ("image", "trimap"))
    cap = parity_cases[case].get("max_global_tokens", 18_500)

    distance, differing = compare(session, network, Preprocessing(), image, trimap, cap)

    assert distance < 1e-4
    assert differing <= network.spec.blocks.count("R")  # the reference says: up to one token per router


@pytest.fixture(scope="module")
def tiny(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The built-in network, exported."""
    path = tmp_path_factory.mktemp("onnx") / "tiny.onnx"
    verified = export_onnx(load_weights("tiny"), path).verification
    assert verified is not None
    assert verified.largest < 1e-4
    return path


def demo_picture(name: str) -> tuple[Path, Path]:
    data = pytest.importorskip("skimage.data", reason="the development extra brings scikit-image")
    demo = Path(__file__).resolve().parents[2] / "demo"
    file = {"cat": "chelsea.png", "astronaut": "astronaut.png"}[name]
    return Path(data.data_dir) / file, demo / f"{name}_trimap.png"


@pytest.mark.parametrize("name", ["cat", "astronaut"])
def test_photographs_get_what_the_engine_gives(tiny: Path, name: str) -> None:
    import mematte
    from mematte.image import read_picture

    photo, trimap = demo_picture(name)
    engine = mematte.load("tiny", device="cpu", precision="float32", enlarge=1, windows="all")
    expected = engine(photo, trimap)
    image = torch.from_numpy(read_picture(photo).values()).permute(2, 0, 1)[None]
    levels = torch.from_numpy(read_trimap(trimap).levels)[None, None] / 255

    alpha, attend = run(open_session(tiny), image.contiguous(), levels, 18_500)

    assert 0 < attend.mean() < 1
    np.testing.assert_allclose(alpha[0, 0], expected.alpha, rtol=0, atol=1e-4)
    for theirs, routing in zip(attend, expected.routings, strict=True):
        assert np.count_nonzero(theirs != routing.attend) <= 1


def test_the_example_gives_what_the_command_gives(tiny: Path, tmp_path: Path) -> None:
    import subprocess
    import sys

    import cv2

    import mematte

    example = Path(__file__).resolve().parents[2] / "examples" / "onnx_matte.py"
    photo, trimap = demo_picture("cat")
    program = (  # in which nothing of ours can be imported
        "import runpy, sys; sys.modules['mematte'] = sys.modules['torch'] = None; "
        f"runpy.run_path({str(example)!r}, run_name='__main__')"
    )
    arguments = [str(part) for part in (tiny, photo, trimap, tmp_path / "alpha.png", 18_500)]
    subprocess.run([sys.executable, "-c", program, *arguments], check=True)

    alpha = cv2.imread(str(tmp_path / "alpha.png"), cv2.IMREAD_UNCHANGED)
    engine = mematte.load("tiny", device="cpu", precision="float32")
    expected = engine(photo, trimap)
    assert expected.report.enlarged > 1
    assert np.abs(alpha - np.round(expected.alpha * 255)).max() <= 1


def test_an_example_is_short() -> None:
    example = Path(__file__).resolve().parents[2] / "examples" / "onnx_matte.py"
    assert len(example.read_text().splitlines()) <= 42


def test_the_file_says_what_it_is(probe: Callable[..., Weights], tmp_path: Path) -> None:
    weights = probe(enlarge_below=1234)
    export_onnx(weights, tmp_path / "p.onnx")

    said = open_session(tmp_path / "p.onnx").get_modelmeta().custom_metadata_map

    assert (said["name"], said["licence"], said["enlarge_below"]) == ("probe", "MIT", "1234")
    assert json.loads(said["spec"]) == json.loads(json.dumps(asdict(weights.spec)))
    assert {
        "tensor.image",
        "tensor.trimap",
        "tensor.max_global_tokens",
        "tensor.alpha",
        "tensor.attend",
    } <= set(said)


def test_the_built_in_file_says_what_it_was_made_of(tiny: Path) -> None:
    from mematte.weights import CATALOG

    said = open_session(tiny).get_modelmeta().custom_metadata_map
    assert said["source_sha256"] == CATALOG["tiny"].sha256["tiny.safetensors"]
    assert said["source"] == "tiny.safetensors"


def test_float16_halves_the_file_and_auto_keeps_what_is_stored(
    tmp_path: Path, small_spec: ModelSpec, random_network: Network
) -> None:
    spec = replace(small_spec, channels=64)
    weights = weights_of(random_network(spec), name="probe", licence="MIT")
    sizes = {}
    for precision in ("auto", "float32", "float16"):
        written = export_onnx(weights, tmp_path / f"{precision}.onnx", precision=precision)
        assert written.size_bytes == (tmp_path / f"{precision}.onnx").stat().st_size
        sizes[precision] = written.size_bytes

    assert sizes["auto"] == sizes["float32"]
    assert sizes["float16"] < 0.6 * sizes["float32"]


def test_what_float16_cannot_hold_is_refused(probe: Callable[..., Weights], tmp_path: Path) -> None:
    weights = probe()
    weights.state["backbone.patches.weight"] = weights.state["backbone.patches.weight"] + 1e6
    with pytest.raises(WeightsError, match="too large for the precision"):
        export_onnx(weights, tmp_path / "p.onnx", precision="float16")
    assert not list(tmp_path.iterdir())


def test_a_file_that_computes_something_else_does_not_appear(
    probe: Callable[..., Weights], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "p.onnx").write_text("old")
    right = run

    def wrong(*arguments: Any) -> Any:
        alpha, attend = right(*arguments)
        return np.clip(alpha + 2e-4, 0, 1), attend

    monkeypatch.setattr("mematte.export.verify.run", wrong)
    with pytest.raises(ExportError, match=r"differs from mematte by 0\.0002"):
        export_onnx(probe(), tmp_path / "p.onnx", overwrite=True)

    assert [path.read_text() for path in tmp_path.iterdir()] == ["old"]


def test_routes_that_rounding_does_not_explain_are_refused(
    probe: Callable[..., Weights], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    right = run

    def wrong(*arguments: Any) -> Any:
        alpha, attend = right(*arguments)
        return alpha, ~attend

    monkeypatch.setattr("mematte.export.verify.run", wrong)
    with pytest.raises(ExportError, match="tokens to attention"):
        export_onnx(probe(), tmp_path / "p.onnx")
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("opset", [16, 1000])
def test_an_opset_out_of_range_is_refused(probe: Callable[..., Weights], tmp_path: Path, opset: int) -> None:
    with pytest.raises(ExportError, match=rf"from 17 to \d+ .* not {opset}"):
        export_onnx(probe(), tmp_path / "p.onnx", opset=opset)


def test_a_network_that_no_file_holds_is_refused_before_it_is_made(
    probe: Callable[..., Weights], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("mematte.export.write.onnx_model", lambda *_: pytest.fail("it was made"))
    monkeypatch.setattr("mematte.export.write.MOST_BYTES", 1000)
    with pytest.raises(ExportError, match=r"takes .* GB, and an ONNX file holds 2.1 GB"):
        export_onnx(probe("WR"), tmp_path / "network.onnx")
    assert list(tmp_path.iterdir()) == []


def test_an_existing_file_stays(probe: Callable[..., Weights], tmp_path: Path) -> None:
    (tmp_path / "p.onnx").write_text("old")
    with pytest.raises(OutputError, match="exists already"):
        export_onnx(probe(), tmp_path / "p.onnx")
    assert (tmp_path / "p.onnx").read_text() == "old"
