"""A linear layer that can be asked for a part of what it gives."""

from __future__ import annotations

import torch.nn.functional as F
from torch import Tensor, nn


class PartedLinear(nn.Linear):
    """Queries apart from keys and values, a router's local half apart from its context."""

    def part(self, tokens: Tensor, outputs: slice) -> Tensor:
        """(..., in) -> (..., outputs), at its part of the cost."""
        return F.linear(tokens, self.weight[outputs], self.bias[outputs])
