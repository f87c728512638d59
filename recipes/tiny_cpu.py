"""TINY on two CPU cores, stage 2 of the built-in weights: MEMatte, distilled from its teacher.

    mematte train recipes/tiny_cpu.py start=TEACHER teacher=TEACHER foregrounds=DIR backgrounds=DIR

TEACHER is weights.safetensors of recipes/tiny_teacher_cpu.py's run. The routers' noise falls to the argmax
that inference takes, and every router is drawn to the target share: docs/paper.md says why.
"""

from dataclasses import replace

from tiny_teacher_cpu import RECIPE as TEACHER

from mematte.model import TINY
from mematte.train import Crops, LossWeights

RECIPE = replace(
    TEACHER,
    spec=TINY,
    start="",
    steps=900,
    crops=(Crops(224, 8, 0.3), Crops(448, 2, 0.7)),
    decay_share=0.8,
    # Our teacher's features are large: with weight 1 their difference, 20 at first, drowns all other losses.
    weights=LossWeights(laplacian=4.0, gradient=0.25, routing=4.0, distillation=0.02),
    routers_balance=1.0,
    target_share=0.20,  # hard pictures ask for more than the average crop: below 0.30 on them
    noise_until=0.5,
)
