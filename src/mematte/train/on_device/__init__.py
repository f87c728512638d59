"""Crops made where the network is: workers cut tiles out of pictures, the device does everything else.

A worker's part is one or two resampled tiles and a seed (`raw`). Turning, merging, colours, blur,
composition, noise, JPEG and trimap are batched operations on the device that the tiles have been moved to.

`composition` is that whole, in order. `geometry` turns the tiles, `colour` changes their colours, `camera`
adds what cameras add, `jpeg` takes away what files take away, and `trimaps` draws trimaps by the `erosion` of
what is known. `draws` has the random numbers of them all.

What a sample becomes depends on its tiles and its seed alone, bit by bit on one device: not on its batch, nor
on the workers. Hence random numbers are drawn per sample, on the CPU, which also makes two devices agree but
for rounding; noise is a hash of seed and position; and sums over neighbours are sums of shifted pictures,
since the order in which a matrix product or a convolution adds up may change with the batch.

Shapes: B samples, S px of the crop, T px of a tile. Pictures are (B, C, S, S) float32 in [0, 1], alpha is
straight.
"""

from __future__ import annotations

from .composition import Batch, compose_on_device
from .raw import RawBatch, RawSample, RawSource, collate

__all__ = [
    "Batch",
    "RawBatch",
    "RawSample",
    "RawSource",
    "collate",
    "compose_on_device",
]
