"""Router: which tokens are worth global attention.

Source: Lin et al., "Memory Efficient Matting with Adaptive Token Routing", AAAI 2025.
Shapes: B images, N tokens per image, C channels.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Literal, cast

import torch
from torch import Tensor, nn

from .parted import PartedLinear

Decide = Callable[[Tensor], Tensor]
"""(B, N, 2) log-probabilities -> (B, N) decision, either bool (inference: the attending tokens are gathered)
or 0/1 floats that carry gradients (training: attention is masked)."""


DECISION_GRADIENT_LIMIT = 4.0
"""Most that one decision's gradient may be, times the number of decisions in the batch; 0.1 is usual."""


class Router(nn.Module):
    """Score each token from its own features (local) and the mean of all tokens (global)."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        half = channels // 2
        self.embed = nn.Sequential(nn.LayerNorm(channels), PartedLinear(channels, channels), nn.GELU())
        self.halves = {"local": slice(0, half), "context": slice(half, channels)}
        shrink = [nn.Linear(channels, half), nn.GELU(), nn.Linear(half, half // 2), nn.GELU()]
        self.score = nn.Sequential(*shrink, nn.Linear(half // 2, 2))

    def forward(self, tokens: Tensor) -> Tensor:
        """(B, N, C) tokens -> (B, N, 2) log-probabilities of [attend, refine]."""
        local, context = self.embed(tokens).chunk(2, dim=-1)
        # One global vector per image keeps the router linear in N: it must not cost what it saves.
        return self.judge(local, context.mean(dim=1, keepdim=True))

    def half_embed(self, tokens: Tensor, half: Literal["local", "context"]) -> Tensor:
        """(B, N, C) -> (B, N, C / 2), one half of what `embed` gives, at half of the cost."""
        norm, linear, activation = self.embed
        parted = cast("PartedLinear", linear)
        embedded: Tensor = activation(parted.part(norm(tokens), self.halves[half]))
        return embedded

    def judge(self, local: Tensor, context: Tensor) -> Tensor:
        """(B, N, C / 2) of each token and (B, 1, C / 2) of the image -> (B, N, 2) log-probabilities."""
        scores: Tensor = self.score(torch.cat((local, context.expand_as(local)), dim=-1))
        # float32: the decision is a comparison of two nearly equal numbers.
        return scores.float().log_softmax(dim=-1)


def argmax(log_probs: Tensor) -> Tensor:
    """Attend where attending is the more probable: (B, N, 2) -> (B, N) bool."""
    return log_probs[..., 0] > log_probs[..., 1]


def everyone(log_probs: Tensor) -> Tensor:
    """All tokens attend, whatever the router says: (B, N, 2) -> (B, N) bool. The network without routing."""
    return torch.ones_like(log_probs[..., 0], dtype=torch.bool)


def gumbel(
    log_probs: Tensor,
    noise: float = 1.0,
    generator: torch.Generator | None = None,
    gradient_scale: Tensor | float = 1.0,
) -> Tensor:
    """A random hard decision with the gradient of the soft one (straight-through Gumbel-softmax).

    Args:
        log_probs: (B, N, 2) output of `Router`.
        noise: factor on the Gumbel noise. At 1 a token attends as often as its probability says: routers that
            give all tokens the target share meet the constraint, yet choose nobody by `argmax`. Towards 0
            the decision becomes the `argmax` that inference takes, and routers have to choose.
        generator: of the noise, on the scores' device; None: PyTorch's own.
        gradient_scale: what the loss is multiplied by before its gradient is taken, for the sake of float16,
            or because it is one of several parts.

    Returns:
        (B, N) floats, exactly 0 or 1; 1 = attend.

    Source: Lin et al. 2025, training; Jang et al., "Categorical Reparameterization with Gumbel-Softmax",
    2017. The falling noise is ours.
    """
    exponential = torch.empty_like(log_probs).exponential_(generator=generator)
    scores = log_probs - noise * exponential.log()  # at temperature 1
    soft = scores.softmax(dim=-1)[..., 0]
    if soft.requires_grad:
        # Where hardly anyone attends, one more token would change everything: a gradient thousands of times
        # the usual, which would drown all else that the batch has to teach.
        limit = DECISION_GRADIENT_LIMIT / soft.numel() * gradient_scale
        soft.register_hook(lambda gradient: gradient.clamp(-limit, limit))
    hard = argmax(scores).to(soft.dtype)
    return hard + (soft - soft.detach())  # the bracket is exactly 0, and all of the gradient


def within_budget(log_probs: Tensor, budget: int) -> Tensor:
    """Keep the tokens that prefer attention, at most `budget` per image.

    Args:
        log_probs: (B, N, 2) output of `Router`; index 0 is "attend".
        budget: tokens per image, an absolute count because memory is absolute.

    Returns:
        (B, N) bool, True = attend. With budget >= N this is the plain argmax.

    Raises:
        ValueError: `budget` is negative.

    Source: Lin et al. 2025; the cap that bounds memory at inference.
    """
    if budget < 0:
        raise ValueError(f"The budget is a number of tokens, 0 or more, not {budget}.")
    attend = argmax(log_probs)
    if budget >= attend.shape[1]:
        return attend
    margin = log_probs[..., 0] - log_probs[..., 1]
    best = margin.topk(budget, dim=1).indices
    return attend & torch.zeros_like(attend).scatter_(1, best, True)
