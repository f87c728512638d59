"""Ordered linear layers compute what plain ones do."""

from __future__ import annotations

import platform
from collections.abc import Iterator
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from mematte.engine import Engine, ordered
from mematte.engine.ordered import OrderedLinear, order
from mematte.model.backbone import Backbone

PRECISIONS = [torch.float32, torch.bfloat16]


@pytest.fixture(autouse=True)
def asked_anew() -> Iterator[None]:
    ordered._orders.cache_clear()
    yield
    ordered._orders.cache_clear()  # other tests are not to remember what was pretended here


def needs(precision: torch.dtype) -> None:
    if platform.machine().lower() not in ("x86_64", "amd64"):
        pytest.skip("weights are ordered for x86 processors")
    if precision == torch.bfloat16 and not torch.ops.mkldnn._is_mkldnn_bf16_supported():
        pytest.skip("this processor's oneDNN has no bfloat16")
    assert ordered._orders(precision), "a PyTorch that orders otherwise: layers would be slower, unnoticed"


@pytest.fixture
def backbone(random_network, small_spec) -> Backbone:
    backbone: Backbone = random_network(small_spec).backbone
    return backbone


def close_to(expected: Tensor, precision: torch.dtype) -> dict[str, float]:
    error = {torch.float32: 1e-5, torch.bfloat16: 0.03}[precision]
    return {"rtol": 0, "atol": error * float(expected.abs().max())}


@pytest.mark.parametrize("precision", PRECISIONS)
@pytest.mark.parametrize("count", [0, 1, 7, 300])
@torch.no_grad()
def test_parts_are_parts_of_the_whole_and_gelu_comes_after(precision, count) -> None:
    needs(precision)
    torch.manual_seed(0)
    linear = nn.Linear(48, 96).to(precision)
    tokens = torch.randn(2, count, 48).to(precision)
    expected = nn.functional.linear(tokens.double(), linear.weight.double(), linear.bias.double())
    halves = slice(0, 32), slice(32, 96)

    for gelu in (False, True):
        if gelu:
            expected = nn.functional.gelu(expected)
        whole = OrderedLinear(linear, gelu=gelu)(tokens)
        parted = OrderedLinear(linear, halves, gelu=gelu)

        assert whole.shape == (2, count, 96)
        if count:
            close = close_to(expected, precision)
            torch.testing.assert_close(whole.double(), expected, **close)
            for half in halves:
                torch.testing.assert_close(parted.part(tokens, half).double(), expected[..., half], **close)


@torch.no_grad()
def test_a_layer_without_bias_and_tokens_that_do_not_lie_side_by_side() -> None:
    needs(torch.float32)
    linear = nn.Linear(48, 24, bias=False)
    tokens = torch.randn(48, 30).T

    torch.testing.assert_close(OrderedLinear(linear)(tokens), linear(tokens), rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("precision", PRECISIONS)
def test_every_linear_layer_of_every_block_is_replaced_and_its_weights_are_gone(backbone, precision) -> None:
    needs(precision)
    linear = [module for module in backbone.modules() if isinstance(module, nn.Linear)]
    window, routed, everyone = 4, 4 + 2 + 4 + 2, 4 + 2  # attention and MLP; LTRM, router, residual
    assert len(linear) == window + routed + everyone

    order(backbone.to(precision), precision)

    assert not [module for module in backbone.modules() if isinstance(module, nn.Linear)]
    assert len([module for module in backbone.modules() if isinstance(module, OrderedLinear)]) == len(linear)
    left = {id(parameter) for parameter in backbone.parameters()}
    assert not left & {id(parameter) for module in linear for parameter in module.parameters()}


@torch.no_grad()
def test_an_engine_with_ordered_layers_computes_what_the_network_does(monkeypatch, weights) -> None:
    needs(torch.float32)
    picture = (
        np.random.default_rng(0).integers(0, 256, (90, 250, 3), np.uint8),
        np.full((90, 250), 128, np.uint8),
    )
    ours = Engine(weights, device="cpu", precision="float32")
    monkeypatch.setattr(ordered, "_orders", lambda _: False)
    plain = Engine(weights, device="cpu", precision="float32")

    first, second = ours(*picture), plain(*picture)

    assert any(isinstance(module, OrderedLinear) for module in ours.network.modules())
    assert not any(isinstance(module, OrderedLinear) for module in plain.network.modules())
    assert abs(first.alpha - second.alpha).max() < 1e-5
    for one, other in zip(first.routings, second.routings, strict=True):
        assert (one.attend == other.attend).all()


def test_nothing_of_an_engine_lies_in_the_memory_of_the_weights(weights) -> None:
    needs(torch.float32)
    engine = Engine(weights, device="cpu", precision="float32")

    ours = {tensor.untyped_storage().data_ptr() for tensor in engine.network.state_dict().values()}
    theirs = {tensor.untyped_storage().data_ptr() for tensor in weights.state.values()}

    assert not ours & theirs  # theirs may be a mapped file


@pytest.mark.parametrize(
    "library",
    [
        SimpleNamespace(),  # a PyTorch that has no such function, or another name for it
        SimpleNamespace(
            _reorder_linear_weight=lambda weight, _: weight,
            _linear_pointwise=lambda tokens, weight, bias, *_: tokens @ weight.T + bias,  # no GELU
        ),
    ],
    ids=["without", "different"],
)
def test_where_the_library_does_something_else_layers_stay_as_they_are(
    monkeypatch, backbone, library
) -> None:
    monkeypatch.setattr(ordered, "_onednn", library)
    before = list(backbone.modules())

    order(backbone, torch.float32)

    assert list(backbone.modules()) == before


def test_asking_leaves_the_callers_random_numbers_alone_and_does_not_depend_on_their_settings() -> None:
    usual = ordered._orders(torch.float32)
    ordered._orders.cache_clear()
    state = torch.get_rng_state()

    torch.set_default_dtype(torch.float64)
    try:
        with torch.device("meta"), torch.autocast("cpu", torch.bfloat16):
            assert ordered._orders(torch.float32) == usual
    finally:
        torch.set_default_dtype(torch.float32)

    assert torch.equal(torch.get_rng_state(), state)


def test_on_other_processors_nobody_asks(monkeypatch) -> None:
    monkeypatch.setattr(ordered.platform, "machine", lambda: "arm64")

    assert not ordered._orders(torch.float32)
