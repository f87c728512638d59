"""TINY on one GPU: the built-in weights, trained on, without a teacher.

    mematte train recipes/tiny_gpu.py foregrounds=DIR backgrounds=DIR [minutes=20]

Crops of 448 px are two windows wide, those of 672 px three and of 896 px four: no window is padding. Seen
once each: a third of 16 cores was busy with making half as many as an H200 takes.
"""

from mematte.model import TINY
from mematte.train import Crops, LossWeights, Recipe

RECIPE = Recipe(
    spec=TINY,
    start="tiny",  # the weights of the version before
    steps=100_000,  # the minutes end it
    minutes=9.0,
    crops=(Crops(448, 64, 0.75), Crops(672, 28, 0.15), Crops(896, 16, 0.10)),
    drawings=480,
    crops_per_drawing=1_000_000,
    hard_share=0.4,
    enlarged_share=0.3,
    optimiser="muon",
    learning_rate=1.2e-3,
    matrix_learning_rate=2e-3,
    weight_decay=0.05,
    betas=(0.9, 0.99),
    warmup_steps=50,
    decay_share=0.8,
    averaging=0.998,
    weights=LossWeights(unknown_l2=6.0, laplacian=4.0, gradient=0.25, routing=4.0),
    routers_balance=1.0,
    target_share=0.20,  # hard pictures ask for more than the average crop: below 0.30 on them
    # Version 4 of the weights had none: two routers' scores came to differ by less than rounding.
    noise_until=0.7,
    save_every=400,
    log_every=50,
    licence="MIT",
    data="procedural mattes, 293 openly licensed foregrounds and 698 openly licensed photographs; "
    "docs/model-card-tiny.md has their sources, licences and credits",
)
