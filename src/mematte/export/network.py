"""The network as ONNX operators: each method here is its namesake in `mematte.model`, for one image.

It is written by hand because PyTorch's exporter does not get through (docs/onnx.md says where), and held to
the original by the comparison that every export makes, and by the tests.

Shapes: an image of (H, W) pixels, padded to (16 h, 16 w); tokens (N, C), N = h * w, row by row. H, W, h, w
and N are known only when the graph runs: they are tensors, lists of one int64.
"""

from __future__ import annotations

import copy
from collections.abc import Set
from dataclasses import dataclass

import numpy as np
from onnx import TensorProto
from torch import Tensor, nn

from mematte.image.trimap import BACKGROUND_UP_TO, FOREGROUND_FROM
from mematte.model import MEMatte
from mematte.model.attention import Attention
from mematte.model.backbone import Backbone
from mematte.model.blocks import GlobalBlock, Mlp, ResidualConvolution, RoutedBlock, WindowBlock
from mematte.model.decoder import HALO_PX, Decoder
from mematte.model.ltrm import TokenRefinement
from mematte.model.mematte import SIZE_MULTIPLE_PX
from mematte.model.router import Router
from mematte.weights import Preprocessing

from .graph import TO_THE_END, Graph, Operand, Value

# Attention goes through its queries in pieces of at most so many scores: 16 MB, so that memory stays linear
# in the number of tokens.
MAX_SCORES = 1 << 22

# The decoder goes by strips of so many rows of tokens: at the picture's own size its maps are the largest.
STRIP_TOKENS = 16


@dataclass(frozen=True)
class Grid:
    """The token grid of the padded image: lists of one int64."""

    h: Value
    w: Value


class NetworkWriter:
    """Writes one network's operators into a graph."""

    def __init__(self, network: MEMatte, graph: Graph, halves: Set[str] = frozenset()) -> None:
        """`halves`: parameters that the file holds as float16; the computation is float32 all the same."""
        self.network, self.graph = network, graph
        self._names = {id(value): key for key, value in network.state_dict(keep_vars=True).items()}
        self._halves = halves

    def of(self, parameter: Tensor) -> Value:
        """A parameter or buffer of the network, under its own name."""
        name = self._names[id(parameter)]
        return self.graph.parameter(name, parameter, half=name in self._halves)

    def within(self, body: Graph) -> NetworkWriter:
        """The same for the body of a loop."""
        inner = copy.copy(self)
        inner.graph = body
        return inner

    # Whole.

    def write(
        self, image: Value, trimap: Value, cap: Value, preprocessing: Preprocessing
    ) -> tuple[Value, Value]:
        """The whole way from an image to its alpha.

        Args:
            image: (1, 3, H, W) in [0, 1].
            trimap: (1, 1, H, W) in [0, 1], taken as `mematte.image` takes a file's.
            cap: int64 scalar; most tokens that attend in each routed block.
            preprocessing: what the image is normalised with, and what lies beyond it.

        Returns:
            (1, 1, H, W) alpha, exactly 0 and 1 where the trimap is sure; and (R, h, w) bool, who attends in
            each of the R routed blocks ("" without any).
        """
        g = self.graph
        background = g.LessOrEqual(trimap, BACKGROUND_UP_TO)
        foreground = g.GreaterOrEqual(trimap, FOREGROUND_FROM)
        levels = g.Where(background, 0.0, g.Where(foreground, 1.0, 0.5))
        mean, std = (
            np.asarray(values, np.float32)[None, :, None, None]
            for values in (preprocessing.mean, preprocessing.std)
        )
        inputs = g.Concat(g.Div(g.Sub(image, mean), std), levels, axis=1)
        height, width = g.size(inputs, 2), g.size(inputs, 3)
        below, right = (self.up_to_multiple(side, SIZE_MULTIPLE_PX) for side in (height, width))
        mode = {"zeros": "constant", "edge": "edge"}[preprocessing.padding]
        padded = g.Pad(inputs, g.list(0, 0, 0, 0, 0, 0, below, right), mode=mode)

        features, attending = self.backbone(self.network.backbone, padded, cap)
        alpha = self.in_strips(self.network.decoder, features, padded)
        alpha = g.Slice(alpha, [0, 0], g.list(height, width), [2, 3])
        alpha = g.Where(background, 0.0, g.Where(foreground, 1.0, alpha))
        return alpha, g.Concat(*attending, axis=0) if attending else ""

    def backbone(self, backbone: Backbone, inputs: Value, cap: Value) -> tuple[Value, list[Value]]:
        """(1, 4, 16 h, 16 w) -> (1, C, h, w) features, and (1, h, w) bool for each routed block."""
        g = self.graph
        patches = self.convolution(backbone.patches, inputs)
        grid = Grid(g.size(patches, 2), g.size(patches, 3))
        channels = backbone.patches.out_channels
        positions = g.Transpose(self.of(backbone.positions), perm=[0, 3, 1, 2])
        resized = g.resize(positions, g.list(1, channels, grid.h, grid.w), "cubic")
        tokens = self.to_tokens(g.Add(patches, resized))
        attending = []
        for block in backbone.blocks:
            if isinstance(block, WindowBlock):
                tokens = self.window_block(block, tokens, grid)
            elif isinstance(block, GlobalBlock):
                tokens = self.global_block(block, tokens, grid)
            else:
                assert isinstance(block, RoutedBlock)
                tokens, attend = self.routed_block(block, tokens, grid, cap)
                attending.append(g.reshape(attend, 1, grid.h, grid.w))
        return self.to_map(tokens, grid), attending

    # Blocks: (N, C) -> (N, C).

    def window_block(self, block: WindowBlock, tokens: Value, grid: Grid) -> Value:
        g, size = self.graph, block.window
        channels = block.norm1.normalized_shape[0]
        on_grid = g.reshape(self.norm(block.norm1, tokens), grid.h, grid.w, -1)
        below, right = (self.up_to_multiple(side, size) for side in (grid.h, grid.w))
        on_grid = g.Pad(on_grid, g.list(0, 0, 0, below, right, 0))
        rows, columns = (g.Div(g.size(on_grid, axis), [size]) for axis in (0, 1))
        windows = g.Transpose(g.reshape(on_grid, rows, size, columns, size, -1), perm=[0, 2, 1, 3, 4])
        attended = self.in_windows(block.attention, g.reshape(windows, -1, channels), size)
        windows = g.reshape(attended, rows, columns, size, size, -1)
        on_grid = g.reshape(
            g.Transpose(windows, perm=[0, 2, 1, 3, 4]), g.Mul(rows, [size]), g.Mul(columns, [size]), -1
        )
        inside = g.Slice(on_grid, [0, 0], g.list(grid.h, grid.w), [0, 1])
        tokens = g.Add(tokens, g.reshape(inside, -1, channels))
        return g.Add(tokens, self.mlp(block.mlp, self.norm(block.norm2, tokens)))

    def global_block(self, block: GlobalBlock, tokens: Value, grid: Grid) -> Value:
        g = self.graph
        attended = self.positioned(block.attention, self.norm(block.norm1, tokens), grid)
        tokens = g.Add(tokens, attended)
        tokens = g.Add(tokens, self.mlp(block.mlp, self.norm(block.norm2, tokens)))
        return self.residual_convolution(block.residual, tokens, grid)

    def routed_block(self, block: RoutedBlock, tokens: Value, grid: Grid, cap: Value) -> tuple[Value, Value]:
        """Also (N,) bool: who attends."""
        g = self.graph
        best, count = self.within_budget(self.router(block.router, tokens), cap)
        chosen = g.Unsqueeze(g.rows(best, [0], count), [1])  # (n, 1)
        # One token looks at itself where nobody attends, and nobody reads what it sees: not every runtime
        # can attend among no tokens.
        some = g.rows(best, [0], g.Max(count, [1]))
        attended = self.among(block.attention, self.norm(block.norm1, g.Gather(tokens, some, axis=0)))
        refined = self.refinement(block.refinement, tokens, grid)
        branch = g.ScatterND(refined, chosen, g.rows(attended, [0], count))
        nobody = g.Expand(np.asarray(False), g.size(tokens, 0))
        attend = g.ScatterND(nobody, chosen, g.Expand(np.asarray(True), count))
        tokens = g.Add(tokens, branch)
        tokens = g.Add(tokens, self.mlp(block.mlp, self.norm(block.norm2, tokens)))
        return self.residual_convolution(block.residual, tokens, grid), attend

    # Routing.

    def router(self, router: Router, tokens: Value) -> Value:
        """(N, C) -> (N, 2) log-probabilities of [attend, refine]."""
        g = self.graph
        norm, linear, _ = router.embed
        assert isinstance(norm, nn.LayerNorm)
        assert isinstance(linear, nn.Linear)
        embedded = g.gelu(self.linear(linear, self.norm(norm, tokens)))
        half = linear.out_features // 2
        local = g.rows(embedded, [0], [half], axis=1)
        context = g.mean(g.rows(embedded, [half], [TO_THE_END], axis=1), 0)
        scores = g.Concat(local, g.Expand(context, g.Shape(local)), axis=1)
        for layer in router.score:
            scores = self.linear(layer, scores) if isinstance(layer, nn.Linear) else g.gelu(scores)
        return g.LogSoftmax(scores, axis=1)

    def within_budget(self, log_probs: Value, cap: Value) -> tuple[Value, Value]:
        """(N, 2) -> tokens by falling margin, one or more, and how many of these attend (0 or more)."""
        g = self.graph
        margin = g.Sub(*(g.Gather(log_probs, np.asarray(index), axis=1) for index in (0, 1)))
        budget = g.Max(g.Min(g.reshape(cap, 1), g.size(margin, 0)), [0])
        margins, best = g.top(margin, g.Max(budget, [1]))
        willing = g.ReduceSum(g.Cast(g.Greater(margins, 0.0), to=TensorProto.INT64), [0], keepdims=1)
        return best, g.Min(willing, budget)

    # Attention.

    def among(self, attention: Attention, tokens: Value) -> Value:
        """(n, C) -> (n, C), n >= 1: plain softmax attention, a piece of the queries at a time."""
        g, heads = self.graph, attention.heads
        query, key, value = self.split(attention, tokens)
        scaled, keys = g.Mul(query, attention.head_channels**-0.5), g.Transpose(key, perm=[0, 2, 1])
        count = g.size(tokens, 0)
        length = g.Min(g.Max(g.Div([MAX_SCORES // heads], count), [1]), count)
        pieces = g.Div(g.Sub(g.Add(count, length), [1]), length)
        # All pieces have one length, as a loop's results must: the last is filled with zeros.
        scaled = g.Pad(scaled, g.list(0, 0, 0, 0, g.Sub(g.Mul(pieces, length), count), 0))

        def look(body: Graph, number: Value) -> Value:
            start = body.Mul(number, length)
            scores = body.MatMul(body.rows(scaled, start, body.Add(start, length), axis=1), keys)
            return body.MatMul(body.Softmax(scores, axis=-1), value)

        attended = g.Transpose(
            g.loop(g.Squeeze(pieces), look), perm=[0, 2, 1, 3]
        )  # (pieces, length, heads, c)
        merged = g.reshape(attended, -1, heads * attention.head_channels)
        return self.linear(attention.project, g.rows(merged, [0], count))

    def positioned(self, attention: Attention, tokens: Value, grid: Grid) -> Value:
        """(N, C) -> (N, C): all tokens to all, with relative positions, a row of the grid at a time."""
        g, heads, channels = self.graph, attention.heads, attention.head_channels
        query, key, value = self.split(attention, tokens)
        keys = g.Transpose(key, perm=[0, 2, 1])
        by_row, by_column = (
            self.offsets(relative, length)
            for relative, length in ((attention.relative_rows, grid.h), (attention.relative_columns, grid.w))
        )
        on_grid = g.Transpose(g.reshape(query, heads, grid.h, grid.w, channels), perm=[1, 0, 2, 3])
        shape = g.list(heads, grid.w, -1)

        def look(body: Graph, row: Value) -> Value:
            part = body.Gather(on_grid, row, axis=0)  # (heads, w, c)
            vertical = body.MatMul(part, body.Gather(by_row, row, axis=0))  # (heads, w, h)
            turned = body.Transpose(part, perm=[1, 0, 2])
            across = body.Transpose(body.MatMul(turned, by_column), perm=[1, 0, 2])  # (heads, w, w)
            bias = body.Add(body.Unsqueeze(vertical, [3]), body.Unsqueeze(across, [2]))
            scores = body.MatMul(body.Mul(part, channels**-0.5), keys)
            weights = body.Softmax(body.Add(scores, body.Reshape(bias, shape)), axis=-1)
            return body.MatMul(weights, value)

        attended = g.Transpose(g.loop(g.Squeeze(grid.h), look), perm=[0, 2, 1, 3])  # (h, w, heads, c)
        return self.linear(attention.project, g.reshape(attended, -1, heads * channels))

    def in_windows(self, attention: Attention, tokens: Value, size: int) -> Value:
        """(windows * size * size, C) -> the same: within each window, with relative positions."""
        g, heads, channels = self.graph, attention.heads, attention.head_channels
        count = size * size
        qkv = g.reshape(self.linear(attention.qkv, tokens), -1, count, 3, heads, channels)
        qkv = g.Transpose(qkv, perm=[2, 0, 3, 1, 4])
        query, key, value = (g.Gather(qkv, np.asarray(part), axis=0) for part in range(3))
        on_grid = g.reshape(query, 0, heads, size, size, channels)
        by_row = g.MatMul(on_grid, self.offsets(attention.relative_rows, size))
        turned = g.Transpose(on_grid, perm=[0, 1, 3, 2, 4])
        by_column = g.MatMul(turned, self.offsets(attention.relative_columns, size))
        by_column = g.Transpose(by_column, perm=[0, 1, 3, 2, 4])
        bias = g.Add(g.Unsqueeze(by_row, [5]), g.Unsqueeze(by_column, [4]))
        scores = g.MatMul(g.Mul(query, channels**-0.5), g.Transpose(key, perm=[0, 1, 3, 2]))
        weights = g.Softmax(g.Add(scores, g.reshape(bias, 0, heads, count, count)), axis=-1)
        attended = g.Transpose(g.MatMul(weights, value), perm=[0, 2, 1, 3])
        return self.linear(attention.project, g.reshape(attended, -1, heads * channels))

    def split(self, attention: Attention, tokens: Value) -> tuple[Value, Value, Value]:
        """(N, C) -> query, key, value, each (heads, N, C / heads)."""
        g = self.graph
        qkv = g.reshape(self.linear(attention.qkv, tokens), -1, 3, attention.heads, attention.head_channels)
        qkv = g.Transpose(qkv, perm=[1, 2, 0, 3])
        query, key, value = (g.Gather(qkv, np.asarray(part), axis=0) for part in range(3))
        return query, key, value

    def offsets(self, relative: Tensor, length: Value | int) -> Value:
        """(2p - 1, c) parameters -> (queries, c, keys): the entry of each pair along one axis."""
        g, entries = self.graph, self.of(relative)
        index: Operand
        if isinstance(length, int):
            assert relative.shape[0] == 2 * length - 1
            places = np.arange(length)
            index = places[:, None] - places[None, :] + length - 1
        else:
            last = g.Sub(length, [1])
            stretched = g.Unsqueeze(g.Transpose(entries, perm=[1, 0]), [0, 3])  # (1, c, 2p - 1, 1)
            sizes = g.list(1, relative.shape[1], g.Add(length, last), 1)
            stretched = g.resize(stretched, sizes, "linear")
            entries = g.Transpose(g.Squeeze(stretched, [0, 3]), perm=[1, 0])
            range_ = g.Range(np.asarray(0), g.Squeeze(length), np.asarray(1))
            index = g.Add(g.Sub(g.Unsqueeze(range_, [1]), g.Unsqueeze(range_, [0])), last)
        return g.Transpose(g.Gather(entries, index, axis=0), perm=[0, 2, 1])

    # What blocks are made of.

    def refinement(self, refinement: TokenRefinement, tokens: Value, grid: Grid) -> Value:
        g = self.graph
        hidden = self.to_map(g.gelu(self.linear(refinement.expand, tokens)), grid)
        hidden = self.to_tokens(g.gelu(self.convolution(refinement.mix, hidden)))
        mean = self.linear(refinement.shrink, g.mean(hidden, 0))
        gate = g.Sigmoid(self.convolution(refinement.gate, g.Unsqueeze(mean, [0])))
        return g.Mul(self.linear(refinement.shrink, hidden), g.Add(g.Squeeze(gate, [0]), 1.0))

    def residual_convolution(self, residual: ResidualConvolution, tokens: Value, grid: Grid) -> Value:
        g = self.graph
        hidden = g.gelu(self.norm(residual.shrink_norm, self.linear(residual.shrink, tokens)))
        hidden = self.to_tokens(self.convolution(residual.mix, self.to_map(hidden, grid)))
        hidden = g.gelu(self.norm(residual.mix_norm, hidden))
        return g.Add(tokens, self.norm(residual.expand_norm, self.linear(residual.expand, hidden)))

    def mlp(self, mlp: Mlp, tokens: Value) -> Value:
        first, _, last = mlp
        assert isinstance(first, nn.Linear)
        assert isinstance(last, nn.Linear)
        return self.linear(last, self.graph.gelu(self.linear(first, tokens)))

    # Decoder.

    def in_strips(self, decoder: Decoder, features: Value, inputs: Value) -> Value:
        """(1, C, h, w) features and (1, 4, 16 h, 16 w) inputs -> (1, 1, 16 h, 16 w) alpha, strip by strip.

        Each strip sees all that its rows see in one piece, and only the picture's true edges are edges.
        """
        g = self.graph
        patch = self.network.spec.patch
        height = g.size(features, 2)
        # All strips have one height, as a loop's results must: the last one overlaps the one before it.
        rows = g.Min(height, [STRIP_TOKENS])
        strips = g.Div(g.Sub(g.Add(height, rows), [1]), rows)

        def decode(body: Graph, number: Value) -> Value:
            start = body.Min(body.Mul(number, rows), body.Sub(height, rows))
            top = body.Max(body.Sub(start, [HALO_PX // patch]), [0])
            bottom = body.Min(body.Add(body.Add(start, rows), [HALO_PX // patch]), height)
            window = body.rows(inputs, body.Mul(top, [patch]), body.Mul(bottom, [patch]), axis=2)
            alpha = self.within(body).decoder(decoder, body.rows(features, top, bottom, axis=2), window)
            first = body.Mul(body.Sub(start, top), [patch])
            return body.rows(alpha, first, body.Add(first, body.Mul(rows, [patch])), axis=2)

        stacked = g.loop(g.Squeeze(strips), decode, rank=4)  # (strips, 1, 1, 16 rows, 16 w)
        alpha = g.reshape(stacked, 1, 1, -1, g.size(inputs, 3))
        before_last = g.Mul(g.Mul(g.Sub(strips, [1]), rows), [patch])
        of_last = g.Sub(g.size(inputs, 2), before_last)
        last = g.rows(alpha, g.Sub(g.size(alpha, 2), of_last), [TO_THE_END], axis=2)
        return g.Concat(g.rows(alpha, [0], before_last, axis=2), last, axis=2)

    def decoder(self, decoder: Decoder, features: Value, inputs: Value) -> Value:
        """(1, C, h, w) features and (1, 4, 16 h, 16 w) inputs -> (1, 1, 16 h, 16 w) alpha."""
        g = self.graph
        details = [inputs]
        for convolve in decoder.details:
            details.append(self.layers(convolve, details[-1]))
        fused = features
        for fuse in decoder.fusions:
            doubled = g.Resize(
                fused, "", np.asarray([1, 1, 2, 2], np.float32),
                mode="linear", coordinate_transformation_mode="half_pixel",
            )  # fmt: skip
            fused = self.layers(fuse, g.Concat(details.pop(), doubled, axis=1))
        return g.Sigmoid(self.layers(decoder.head, fused))

    def layers(self, layers: nn.Module, value: Value) -> Value:
        """Convolutions, batch norms and ReLUs, one after the other."""
        for layer in layers.children():
            if isinstance(layer, nn.Conv2d):
                value = self.convolution(layer, value)
            elif isinstance(layer, nn.BatchNorm2d):
                assert layer.running_mean is not None
                assert layer.running_var is not None
                statistics = (layer.weight, layer.bias, layer.running_mean, layer.running_var)
                value = self.graph.BatchNormalization(value, *map(self.of, statistics), epsilon=layer.eps)
            else:
                assert isinstance(layer, nn.ReLU)
                value = self.graph.Relu(value)
        return value

    # Layers.

    def linear(self, linear: nn.Linear, tokens: Value) -> Value:
        parameters = [linear.weight] if linear.bias is None else [linear.weight, linear.bias]
        return self.graph.Gemm(tokens, *map(self.of, parameters), transB=1)

    def norm(self, norm: nn.LayerNorm, tokens: Value) -> Value:
        return self.graph.LayerNormalization(
            tokens, self.of(norm.weight), self.of(norm.bias), axis=-1, epsilon=norm.eps
        )

    def convolution(self, convolution: nn.Conv1d | nn.Conv2d, value: Value) -> Value:
        padding = [int(one) for one in convolution.padding]
        parameters = (
            [convolution.weight] if convolution.bias is None else [convolution.weight, convolution.bias]
        )
        return self.graph.Conv(
            value, *map(self.of, parameters),
            kernel_shape=[*convolution.kernel_size], strides=[*convolution.stride], pads=padding * 2,
            group=convolution.groups,
        )  # fmt: skip

    # Shapes.

    def to_map(self, tokens: Value, grid: Grid) -> Value:
        """(N, C) -> (1, C, h, w)."""
        on_grid = self.graph.reshape(tokens, 1, grid.h, grid.w, -1)
        return self.graph.Transpose(on_grid, perm=[0, 3, 1, 2])

    def to_tokens(self, on_grid: Value) -> Value:
        """(1, C, h, w) -> (N, C)."""
        g = self.graph
        return g.reshape(g.Transpose(on_grid, perm=[0, 2, 3, 1]), -1, g.size(on_grid, 1))

    def up_to_multiple(self, side: Value, multiple: int) -> Value:
        """How much is missing to the next multiple: 0 ... multiple - 1."""
        g = self.graph
        return g.Mod(g.Sub([multiple], g.Mod(side, [multiple])), [multiple])
