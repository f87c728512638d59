"""MEMatte: backbone with routed tokens + decoder. The whole network, tensors in, tensors out.

Source: Lin et al., "Memory Efficient Matting with Adaptive Token Routing", AAAI 2025.
"""

from __future__ import annotations

from typing import Literal, NamedTuple

import torch.nn.functional as F
from torch import Tensor, nn

from .backbone import Backbone
from .blocks import Routing
from .decoder import Decoder
from .router import Decide, argmax
from .spec import ModelSpec

SIZE_MULTIPLE_PX = 32  # the published network pads to 32, not 16: the token grid is always even

Padding = Literal["zeros", "edge"]
"""What lies beyond a picture: zeros, as in the published network, or its last pixels again."""


class Matting(NamedTuple):
    """What the network computes."""

    alpha: Tensor  # (B, 1, H, W) in [0, 1]
    features: Tensor  # (B, h, w, C) of the padded image, for distillation
    routings: list[Routing]  # one per routed block


class MEMatte(nn.Module):
    """A matting network drawn by a `ModelSpec`; with G for R the same class is ViTMatte, its teacher."""

    def __init__(self, spec: ModelSpec) -> None:
        super().__init__()
        self.spec = spec
        self.backbone = Backbone(spec)
        self.decoder = Decoder(spec)

    def forward(self, inputs: Tensor, decide: Decide = argmax) -> Matting:
        """Estimate alpha in one piece. Images larger than a few megapixels belong in `mematte.engine`.

        Args:
            inputs: (B, 4, H, W) of any size: normalised RGB, trimap 0 / 0.5 / 1. Padded with zeros here,
                where they are not padded yet.
            decide: the routers' scores -> who attends (`argmax`, `gumbel`, `within_budget` with a budget).
        """
        height, width = inputs.shape[-2:]
        padded = pad(inputs)
        features, routings = self.backbone(padded, decide)
        alpha = self.decoder(features, padded)[..., :height, :width]
        return Matting(alpha, features, routings)


def pad(inputs: Tensor, padding: Padding = "zeros") -> Tensor:
    """Pad (B, 4, H, W) at the bottom and right to a multiple of 32 px."""
    height, width = inputs.shape[-2:]
    mode = "constant" if padding == "zeros" else "replicate"
    return F.pad(inputs, (0, -width % SIZE_MULTIPLE_PX, 0, -height % SIZE_MULTIPLE_PX), mode=mode)
