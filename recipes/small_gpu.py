"""SMALL on one GPU in 25 minutes: MEMatte, distilled from the teacher of recipes/small_teacher_gpu.py.

mematte train recipes/small_gpu.py start=TEACHER teacher=TEACHER foregrounds=DIR backgrounds=DIR
"""

from dataclasses import replace

from small_teacher_gpu import RECIPE as TEACHER

from mematte.model import SMALL
from mematte.train import LossWeights

RECIPE = replace(
    TEACHER,
    spec=SMALL,
    steps=9_000,
    weights=LossWeights(laplacian=4.0, gradient=0.25, routing=2.0),
    routers_balance=1.0,
    noise_until=0.5,
)
