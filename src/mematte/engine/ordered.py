"""Ordered: the backbone's linear layers made ready for a CPU: weights in its library's order, GELU within.

oneDNN multiplies by weights in an order of its own, which depends on the processor. Given them as they come,
it takes a tenth longer. And GELU, done on the way out, needs no second look at an MLP's widest map.
"""

from __future__ import annotations

import platform
from collections.abc import Sequence
from functools import cache
from itertools import pairwise
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from mematte.model.backbone import Backbone
from mematte.model.blocks import GlobalBlock, RoutedBlock

# How many tokens weights are ordered for: a large piece's. Others they suit nearly as well.
_TOKENS = 42**2

_onednn: Any = torch.ops.mkldnn
_EVERYTHING = slice(None)


class OrderedLinear(nn.Module):
    """What a linear layer computes, for inference on a CPU."""

    def __init__(
        self, linear: nn.Linear, parts: Sequence[slice] = (_EVERYTHING,), *, gelu: bool = False
    ) -> None:
        """Take a layer's place; its own weights are not kept.

        Args:
            linear: the layer.
            parts: of its outputs, those that will be asked for.
            gelu: apply it to what comes out.
        """
        super().__init__()
        weight, bias = linear.weight.detach(), linear.bias
        self._parts = {
            (part.start, part.stop): (
                _onednn._reorder_linear_weight(weight[part], _TOKENS),
                None if bias is None else bias.detach()[part].clone(),
            )
            for part in parts
        }
        self._activation = "gelu" if gelu else "none"

    def forward(self, tokens: Tensor) -> Tensor:
        """(..., in) -> (..., out)."""
        return self.part(tokens, _EVERYTHING)

    def part(self, tokens: Tensor, outputs: slice) -> Tensor:
        """(..., in) -> (..., outputs)."""
        weight, bias = self._parts[outputs.start, outputs.stop]
        result: Tensor = _onednn._linear_pointwise(tokens, weight, bias, self._activation, [], "none")
        return result


def order(backbone: Backbone, precision: torch.dtype) -> None:
    """Order a backbone's linear layers in place, on a CPU whose library does that."""
    if not _orders(precision):
        return
    parts: dict[nn.Module, Sequence[slice]] = {}
    for block in backbone.blocks:
        if isinstance(block, (RoutedBlock, GlobalBlock)):
            parts[block.attention.qkv] = block.attention.query_part, block.attention.key_value_part
        if isinstance(block, RoutedBlock):
            parts[block.router.embed[1]] = tuple(block.router.halves.values())
    for parent in [module for module in backbone.modules() if not isinstance(module, nn.Linear)]:
        children = [*parent.named_children(), ("", None)]
        for (name, child), (next_name, following) in pairwise(children):
            if isinstance(child, nn.Linear):
                gelu = isinstance(following, nn.GELU)
                setattr(parent, name, OrderedLinear(child, parts.pop(child, (_EVERYTHING,)), gelu=gelu))
                if gelu:
                    setattr(parent, next_name, nn.Identity())
    # A file that weights were read from stays in memory as long as one tensor lies in it.
    for left in (*backbone.parameters(), *backbone.buffers()):
        left.data = left.data.clone()


@cache
def _orders(precision: torch.dtype) -> bool:
    """Whether PyTorch can do this here. How is its own business, so it is tried with a small layer."""
    if platform.machine().lower() not in ("x86_64", "amd64") or not torch.backends.mkldnn.is_available():
        return False
    with torch.device("cpu"), torch.autocast("cpu", enabled=False):
        numbers = torch.linspace(-2, 2, 64 * 32, dtype=precision)
        linear = nn.utils.skip_init(nn.Linear, 32, 64, dtype=precision).requires_grad_(False)
        linear.weight.copy_(numbers.view(64, 32))
        linear.bias.copy_(numbers[:64])
        tokens = numbers.flip(0).view(64, 32)
        try:
            ours = OrderedLinear(linear, gelu=True)(tokens)
        except (AttributeError, RuntimeError):
            return False
        expected = F.gelu(linear(tokens))
    return torch.allclose(ours, expected, rtol=0, atol=0.01 * float(expected.max()))
