"""Procedural mattes: hair, fur, threads, foliage, blossoms, meshes, lace, smoke, glass, solids, ...

Each is drawn at several times its size and averaged down, so its alpha is the exact coverage. Besides
coverage a drawing carries three values per pixel that say how its colour is to be made: `shade` (how
light), `tint` and `hue` (which mixture of three colours), different for every strand, leaf and wire.
What lies behind is darker: dark gaps between leaves belong to the drawing, gaps in its alpha do not.

`bank` lists the kinds, finishes drawings and keeps them by number. `hair_and_fur`, `threads`, `plants`,
`nets_and_lace`, `smoke_and_glass` and `solids` draw one family each, one function per kind, out of the
`curves`, `strands` and `leaves` that several of them share, on a `canvas`. `colours` gives a drawing the
colours of its material.

Contract: a drawing takes all its randomness from the generator passed to it: the same state, size and
kind give the same bytes.
"""

from mematte.data.procedural.bank import KINDS, MatteBank, ProceduralMatte, draw_matte
from mematte.data.procedural.canvas import Canvas

__all__ = ["KINDS", "Canvas", "MatteBank", "ProceduralMatte", "draw_matte"]
