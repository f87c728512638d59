"""ViTMatte as `transformers` has it: the same weights give the same alpha."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from mematte.errors import MatteWarning, WeightsError
from mematte.model import SMALL
from mematte.train import Recipe
from mematte.train.start import frozen_teacher, starting_point
from mematte.weights import Preprocessing, Weights, build, convert_file, load_weights

transformers = pytest.importorskip("transformers", reason="the development extra brings transformers")

MEAN, STD = (0.5, 0.4, 0.3), (0.5, 0.6, 0.7)


def config(channels: int, heads: int, depth: int, **changes: Any) -> Any:
    """Small's configuration with other numbers: every third block is global, and has the residual "
    "convolution."""
    globals_ = list(range(2, depth, 3))
    backbone = {
        "hidden_size": channels,
        "num_attention_heads": heads,
        "num_hidden_layers": depth,
        "image_size": 512,
        "num_channels": 4,
        "window_size": 14,
        "window_block_indices": [index for index in range(depth) if index not in globals_],
        "residual_block_indices": globals_,
        "use_relative_position_embeddings": True,
        "out_features": [f"stage{depth}"],
    }
    return transformers.VitMatteConfig(
        backbone_config=transformers.VitDetConfig(**(backbone | changes)),
        hidden_size=channels,
        convstream_hidden_sizes=[6, 8, 10] if channels < 384 else [48, 96, 192],
        fusion_hidden_sizes=[12, 10, 8, 6] if channels < 384 else [256, 128, 64, 32],
    )


@pytest.fixture
def save(fill_with_noise: Callable[..., None], tmp_path: Path) -> Callable[..., tuple[nn.Module, Path]]:
    """Configuration -> a network of noise, and the folder it is saved in, with its preprocessor."""

    def make(configuration: Any) -> tuple[nn.Module, Path]:
        network = transformers.VitMatteForImageMatting(configuration).eval()
        fill_with_noise(network)
        folder = tmp_path / "vitmatte-noise"
        network.save_pretrained(folder)
        preprocessor = {
            "image_processor_type": "VitMatteImageProcessor",
            "do_rescale": True,
            "rescale_factor": 1 / 255,
            "do_normalize": True,
            "image_mean": MEAN,
            "image_std": STD,
            "size_divisibility": 32,
        }
        (folder / "preprocessor_config.json").write_text(json.dumps(preprocessor))
        return network, folder

    return make


def picture(height: int, width: int) -> tuple[np.ndarray, np.ndarray]:
    generator = np.random.default_rng(0)
    image = generator.integers(0, 256, (height, width, 3), dtype=np.uint8)
    return image, generator.choice(np.array([0, 128, 255], np.uint8), (height, width))


def theirs(network: nn.Module, folder: Path, image: np.ndarray, trimap: np.ndarray) -> Tensor:
    """Through their own preprocessing, which pads."""
    try:  # since version 5 the one without torchvision has a name of its own
        from transformers.models.vitmatte.image_processing_pil_vitmatte import (
            VitMatteImageProcessorPil as Processor,
        )
    except ImportError:
        from transformers import VitMatteImageProcessor as Processor

    processor = Processor.from_pretrained(folder)
    inputs = processor(images=image, trimaps=trimap, return_tensors="pt")
    with torch.inference_mode():
        alphas: Tensor = network(**inputs).alphas
    return alphas[..., : image.shape[0], : image.shape[1]]


def ours(weights: Weights, image: np.ndarray, trimap: np.ndarray) -> Tensor:
    mean, std = (
        torch.tensor(value)[:, None, None]
        for value in (weights.preprocessing.mean, weights.preprocessing.std)
    )
    colours = (torch.from_numpy(image).permute(2, 0, 1) / 255 - mean) / std
    inputs = torch.cat((colours, torch.from_numpy(trimap)[None] / 255))[None]
    with torch.inference_mode():
        return build(weights)(inputs).alpha


# The last is larger than the 512 px that the global blocks' positions are made for.
@pytest.mark.parametrize(("height", "width"), [(224, 224), (100, 333), (96, 544)])
def test_the_same_weights_give_the_same_alpha(
    save: Callable[..., tuple[nn.Module, Path]], height: int, width: int
) -> None:
    network, folder = save(config(channels=16, heads=2, depth=6))
    image, trimap = picture(height, width)

    weights = load_weights(folder)

    assert weights.spec.blocks == "WWGWWG"
    assert weights.name == "vitmatte-noise"
    assert weights.preprocessing == Preprocessing(MEAN, STD)
    torch.testing.assert_close(
        ours(weights, image, trimap), theirs(network, folder, image, trimap), rtol=1e-4, atol=1e-5
    )


def test_small_at_a_lower_depth_gives_the_same_alpha(save: Callable[..., tuple[nn.Module, Path]]) -> None:
    network, folder = save(config(channels=384, heads=6, depth=3))
    image, trimap = picture(90, 130)

    weights = load_weights(folder)

    assert (weights.spec.channels, weights.spec.heads, weights.spec.blocks) == (384, 6, "WWG")
    assert weights.spec.detail_channels == SMALL.detail_channels
    torch.testing.assert_close(
        ours(weights, image, trimap), theirs(network, folder, image, trimap), rtol=1e-4, atol=1e-5
    )


def test_every_form_of_the_folder_gives_the_same(
    save: Callable[..., tuple[nn.Module, Path]], tmp_path: Path
) -> None:
    network, folder = save(config(channels=16, heads=2, depth=3))
    from_folder = load_weights(folder)
    from_file = load_weights(folder / "model.safetensors")
    convert_file(folder, tmp_path / "one.safetensors")
    converted = load_weights(tmp_path / "one.safetensors")
    torch.save(network.state_dict(), folder / "pytorch_model.bin")
    (folder / "model.safetensors").unlink()
    from_pickle = load_weights(folder)

    for weights in (from_file, converted, from_pickle):
        assert weights.spec == from_folder.spec
        assert weights.preprocessing == from_folder.preprocessing
        assert all(torch.equal(weights.state[key], value) for key, value in from_folder.state.items())


def test_without_a_preprocessor_it_warns_and_takes_what_transformers_takes(
    save: Callable[..., tuple[nn.Module, Path]],
) -> None:
    _, folder = save(config(channels=16, heads=2, depth=3))
    (folder / "preprocessor_config.json").unlink()

    with pytest.warns(MatteWarning, match=r"no preprocessor_config.json .* taken as 0.5"):
        weights = load_weights(folder)

    assert weights.preprocessing == Preprocessing((0.5, 0.5, 0.5), (0.5, 0.5, 0.5))


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"hidden_act": "relu"}, "hidden_act is 'relu' and should be 'gelu'"),
        ({"layer_norm_eps": 1e-5}, "layer_norm_eps is 1e-05 and should be 1e-06"),
        ({"window_block_indices": [0]}, r"window_block_indices is \[0\] and should be \[0, 1\]"),
        ({"out_features": ["stage2"]}, r"out_features is \['stage2'\] and should be \['stage3'\]"),
    ],
)
def test_what_tensors_cannot_tell_is_read_from_the_configuration(
    save: Callable[..., tuple[nn.Module, Path]], changes: dict[str, Any], message: str
) -> None:
    _, folder = save(config(channels=16, heads=2, depth=3))
    path = folder / "config.json"
    read = json.loads(path.read_text())
    read["backbone_config"].update(changes)
    path.write_text(json.dumps(read))

    with pytest.raises(WeightsError, match=message):
        load_weights(folder)


@pytest.mark.parametrize(
    ("file", "content", "message"),
    [
        ("config.json", "{not json", "config.json: the file cannot be read as JSON"),
        ("config.json", "[1, 2]", "a JSON object was expected, not a list"),
        ("config.json", '{"model_type": "sam"}', "describes a 'sam' network"),
        ("config.json", '{"model_type": "vitmatte"}', "does not describe the backbone"),
        ("preprocessor_config.json", '{"rescale_factor": 1.0}', "does not scale 0 ... 255 to 0 ... 1"),
        ("preprocessor_config.json", '{"image_mean": [0.5]}', "must be three numbers each"),
        ("preprocessor_config.json", '{"image_std": [0, 1, 1]}', "std above 0"),
    ],
)
def test_a_damaged_description_is_an_error(
    save: Callable[..., tuple[nn.Module, Path]], file: str, content: str, message: str
) -> None:
    _, folder = save(config(channels=16, heads=2, depth=3))
    (folder / file).write_text(content)

    with pytest.raises(WeightsError, match=message):
        load_weights(folder)


def test_training_starts_from_it_and_is_taught_by_it(save: Callable[..., tuple[nn.Module, Path]]) -> None:
    network, folder = save(config(channels=16, heads=2, depth=6))
    image, trimap = picture(64, 96)
    spec = load_weights(folder).spec

    for start in (
        starting_point(Recipe(spec, start=str(folder))),
        frozen_teacher(Recipe(spec, teacher=str(folder))),
    ):
        assert start is not None
        levels = np.concatenate((image, trimap[..., None]), axis=-1)
        pictures = torch.from_numpy(levels).permute(2, 0, 1)[None].float() / 255
        with torch.inference_mode():
            alpha = start.network.eval()(start.inputs(pictures)).alpha
        torch.testing.assert_close(alpha, theirs(network, folder, image, trimap), rtol=1e-4, atol=1e-5)
