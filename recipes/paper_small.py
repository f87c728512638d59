"""MEMatte SMALL as published: Composition-1K, 40,406 iterations of 32 crops of 512 px.

    mematte train recipes/paper_small.py start=VITMATTE_S teacher=VITMATTE_S \\
        foregrounds=Adobe/Train backgrounds=coco/train2014 --devices 2

431 foregrounds x 100 backgrounds = 43,100 composites an epoch, 30 epochs, 16 crops on each of 2 GPUs:
43,100 x 30 / 32 = 40,406 steps. VITMATTE_S is the published ViTMatte-S through `mematte convert`.
Source: Lin et al. 2025; its configuration gives the rates.
"""

from mematte.model import SMALL
from mematte.train import Crops, Recipe

EPOCHS = 30
BATCH = 32
COMPOSITES = 431 * 100

RECIPE = Recipe(
    spec=SMALL,
    steps=COMPOSITES * EPOCHS // BATCH,
    crops=(Crops(512, BATCH),),
    augmentation="published",
    procedural_share=0.0,
    optimiser="adamw",
    learning_rate=5e-4,
    layer_decay=0.65,
    weight_decay=0.1,
    betas=(0.9, 0.999),
    warmup_steps=250,
    warmup_from=0.001,
    drops=((6 / EPOCHS, 0.1), (26 / EPOCHS, 0.05)),
    averaging=0.0,
)
