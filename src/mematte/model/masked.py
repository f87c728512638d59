"""Attention as routers are trained with: every token asks, and sees the attending tokens and itself.

The scores of all pairs of tokens are many times what a routed block keeps else for the backward pass. None
are kept: of each query the logarithm of its sum of exponentials is, and the backward pass makes the scores
again, of some heads at a time, as Dao et al., "FlashAttention", 2022, do for plain attention.

Source: Lin et al., "Memory Efficient Matting with Adaptive Token Routing", AAAI 2025, training of the
routers; the masking and its `EPS` follow Rao et al., "DynamicViT", 2021.
Shapes: B images, N tokens, c channels of a head; H = B * heads, of which G at a time.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import torch
from torch import Tensor

EPS = 1e-6  # keeps the quotient defined
# Scores at once: few enough for a CPU's caches, enough to keep a GPU busy.
_ON_A_CPU, _ON_A_GPU = 1 << 19, 1 << 25


def scores_at_once(device: str, tokens: int) -> int:
    """Most scores that are made at once, never less than one head's, on a "cpu" or another type of device."""
    return max(tokens**2, _ON_A_CPU if device == "cpu" else _ON_A_GPU)


def masked_attention(query: Tensor, key: Tensor, value: Tensor, decision: Tensor) -> Tensor:
    """Softmax attention in which a token sees the attending tokens and itself.

    Args:
        query, key, value: (B, heads, N, c), of one precision.
        decision: (B, N), 1 = attends, 0 = does not. Gradients flow into it.

    Returns:
        (B, heads, N, c).
    """
    heads = query.shape[1]
    of_heads = (part.flatten(0, 1) for part in (query * query.shape[-1] ** -0.5, key, value))
    attended: Tensor = _Masked.apply(*of_heads, decision.repeat_interleave(heads, dim=0))  # type: ignore[no-untyped-call]
    return attended.view(query.shape)


class _Masked(torch.autograd.Function):
    """Of (H, N, c) query, already scaled, key and value, and the (H, N) decision.

    Token i receives sum_j (w_ij + EPS / (N z_i)) v_j. There w_ij = seen_ij exp(score_ij - largest_i) / z_i,
    seen_ij is decision_j, or 1 where j = i, and z_i such that the weights of what it receives sum to 1.
    """

    @staticmethod
    def forward(ctx: Any, query: Tensor, key: Tensor, value: Tensor, decision: Tensor) -> Tensor:
        attended, sums, logs = torch.empty_like(value), [], []
        for part in _parts(query):
            weights = _scores(query[part], key[part])
            largest = weights.amax(dim=2, keepdim=True)
            weights = _seen(weights.sub_(largest).exp_(), decision[part])
            sums.append(weights.sum(dim=2, keepdim=True) + EPS)
            logs.append(largest + sums[-1].log())
            small = EPS / (value.shape[1] * sums[-1])
            of_all = small * value[part].sum(dim=1, keepdim=True, dtype=weights.dtype)
            # Weights of sum 1, before they are rounded: in float16 greater ones could sum to infinity.
            attended[part] = weights.div_(sums[-1]).to(value.dtype) @ value[part] + of_all
        ctx.save_for_backward(query, key, value, decision, torch.cat(sums), torch.cat(logs))
        return attended

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        query, key, value, decision, sums, logs = ctx.saved_tensors
        (gradient,) = gradients
        of_query, of_key, of_value = map(torch.empty_like, (query, key, value))
        of_decision = torch.empty_like(decision)
        for part in _parts(query):
            weights = _scores(query[part], key[part]).sub_(logs[part]).exp_()
            seen = _seen(weights.clone(), decision[part])
            of_weights = _scores(gradient[part], value[part])
            # All weights of a token sum to 1: what the change of one brings, it takes from the others. Taken
            # from the rounded products themselves, so that it is nothing where a token sees itself alone.
            small = EPS / (value.shape[1] * sums[part])
            mean = torch.linalg.vecdot(seen, of_weights)[..., None]
            of_weights -= mean + small * of_weights.sum(dim=2, keepdim=True)
            weights *= of_weights
            of_decision[part] = weights.sum(dim=1) - weights.diagonal(dim1=1, dim2=2)
            of_scores = of_weights.mul_(seen).to(query.dtype)
            of_query[part] = of_scores @ key[part]
            of_key[part] = of_scores.mT @ query[part]
            of_all = (gradient[part] * small).sum(dim=1, keepdim=True)
            of_value[part] = seen.to(value.dtype).mT @ gradient[part] + of_all
        return of_query, of_key, of_value, of_decision


def _parts(query: Tensor) -> Iterator[slice]:
    """Heads whose scores are made at once."""
    heads, tokens = query.shape[:2]
    at_once = scores_at_once(query.device.type, tokens) // tokens**2
    return (slice(first, first + at_once) for first in range(0, heads, at_once))


def _scores(rows: Tensor, columns: Tensor) -> Tensor:
    """(G, N, c) and (G, N, c) -> (G, N, N) products, never in half precision: sums of thousands of their
    exponentials are no work for eight bits of mantissa."""
    products = rows @ columns.mT
    return products.to(torch.promote_types(products.dtype, torch.float32))


def _seen(weights: Tensor, decision: Tensor) -> Tensor:
    """(G, N, N), in place: times the decision of the token that is looked at, but for each token's own."""
    own = weights.diagonal(dim1=1, dim2=2)
    kept = own.clone()
    weights *= decision[:, None, :]
    own.copy_(kept)
    return weights
