"""Procedural mattes: hair, fur, wool, stems, foliage, nets, baskets, smoke, glass, plain outlines, ...

Each is drawn at several times its size and averaged down, so its alpha is the exact coverage. Besides
coverage a drawing carries two values per pixel that say how its colour is to be made: `shade` (how
light) and `tint` (which of two textures), different for every strand, leaf and wire.

`bank` lists the kinds, finishes drawings and keeps a stock of them. `hair_and_fur`, `plants`,
`nets_and_lace`, `smoke_and_glass` and `solids` draw one family each, one function per kind, out of the
`curves` and `strands` that several of them share, on a `canvas`.

Contract: a drawing takes all its randomness from the generator passed to it: the same state, size and
kind give the same bytes.
"""

from mematte.data.procedural.bank import KINDS, MatteBank, ProceduralMatte, draw_matte
from mematte.data.procedural.canvas import Canvas

__all__ = ["KINDS", "Canvas", "MatteBank", "ProceduralMatte", "draw_matte"]
