"""SMALL's teacher on one GPU in 25 minutes, from random values.

    mematte train recipes/small_teacher_gpu.py foregrounds=DIR backgrounds=DIR

Planned for 300 crops of 512 px a second: 25 x 60 x 300 / 32 = 14,000 steps; where a GPU is slower, give fewer
with steps=N, so that the rate still falls to zero. Composition, geometry, colour and trimaps are computed on
the GPU. The speed is a plan, not a measurement: on a GPU only recipes/tiny_gpu.py has run so far.
"""

from mematte.model import SMALL
from mematte.model.spec import teacher
from mematte.train import Crops, LossWeights, Recipe

RECIPE = Recipe(
    spec=teacher(SMALL),
    steps=14_000,
    crops=(Crops(512, 32),),
    augmentation="on_device",
    procedural_share=0.0,
    optimiser="muon",
    learning_rate=1e-3,
    matrix_learning_rate=1.5e-3,
    weight_decay=0.05,
    betas=(0.9, 0.99),
    warmup_steps=200,
    decay_share=0.4,
    averaging=0.9995,
    weights=LossWeights(laplacian=4.0, gradient=0.25),
    save_every=500,
    licence="MIT",
)
