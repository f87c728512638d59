"""SMALL on one GPU in 25 minutes: TINY's built-in weights, every channel twice, trained on without a teacher.

mematte train recipes/small_gpu.py foregrounds=DIR backgrounds=DIR
"""

from dataclasses import replace

from tiny_gpu import RECIPE as TINY_GPU

from mematte.model import SMALL

RECIPE = replace(TINY_GPU, spec=SMALL, widen=True, minutes=25.0)
