"""Fine-tune the built-in weights on your own pictures: twenty with alpha are enough to begin with.

    mematte train recipes/finetune.py photographs=MY_PICTURES
    mematte train recipes/finetune.py photographs=MY_PICTURES start=published.safetensors spec=small

MY_PICTURES is a folder that `mematte data check` understands. With foregrounds= and backgrounds= as well,
half of the crops are composites. Crops are parts of the pictures at their own size, hardly changed: nearly as
the network will be shown others of their kind. The low rates keep what the weights can do already, and so do
their batch statistics, which stay: a process sees one crop at a time, whose own are nothing like them.
"""

from mematte.model import TINY
from mematte.train import Crops, LossWeights, Recipe

RECIPE = Recipe(
    spec=TINY,
    start="tiny",
    steps=300,
    crops=(Crops(448, 2),),
    procedural_share=0.0,
    photograph_px=0,
    hard_share=0.0,
    optimiser="adamw",
    learning_rate=2e-4,
    layer_decay=0.8,
    weight_decay=0.05,
    warmup_steps=20,
    decay_share=0.7,
    averaging=0.99,
    freeze_batchnorm=True,
    weights=LossWeights(unknown_l2=6.0, laplacian=4.0, gradient=0.25),
    noise_until=0.0,
    save_every=50,
)
