"""TINY's teacher on two CPU cores, stage 1 of the built-in weights: every token attends globally.

    mematte train recipes/tiny_teacher_cpu.py foregrounds=DIR backgrounds=DIR validation=DIR

A crop of 448 px costs as much as four of 224, but only such crops show the network more than one attention
window. Many small batches teach more per crop than few large ones: 16 crops per step were tried and worse.
"""

from mematte.model import TINY
from mematte.model.spec import teacher
from mematte.train import Crops, LossWeights, Recipe

RECIPE = Recipe(
    spec=teacher(TINY),
    start="tiny",  # the weights of the version before
    steps=4000,
    crops=(Crops(224, 8), Crops(448, 2)),
    optimiser="muon",
    learning_rate=1e-3,
    matrix_learning_rate=1.5e-3,
    weight_decay=0.05,
    betas=(0.9, 0.99),
    warmup_steps=100,
    decay_share=0.4,
    weights=LossWeights(laplacian=4.0, gradient=0.25),
    licence="MIT",
    data="procedural mattes, 293 openly licensed foregrounds and 698 openly licensed photographs; "
    "docs/model-card-tiny.md has their sources, licences and credits",
)
