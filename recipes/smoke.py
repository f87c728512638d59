"""Smoke: TINY for ten steps, in under a minute on two CPU cores: do all parts fit together?

mematte train recipes/smoke.py backgrounds=DIR
"""

from mematte.model import TINY
from mematte.train import Crops, Recipe

RECIPE = Recipe(
    spec=TINY,
    steps=10,
    crops=(Crops(96, 4),),
    optimiser="muon",
    learning_rate=1e-3,
    warmup_steps=2,
    procedural_share=1.0,
    save_every=5,
    log_every=5,
)
