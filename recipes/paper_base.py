"""MEMatte BASE as published: Composition-1K, 64,650 iterations of 40 crops of 512 px.

    mematte train recipes/paper_base.py start=VITMATTE_B teacher=VITMATTE_B \\
        foregrounds=Adobe/Train backgrounds=coco/train2014 --devices 4

10 crops on each of 4 GPUs, 60 epochs: 43,100 x 60 / 40 = 64,650 steps.
Source: Lin et al. 2025; its configuration gives the rates.
"""

from dataclasses import replace

from paper_small import COMPOSITES
from paper_small import RECIPE as PAPER_SMALL

from mematte.model import BASE
from mematte.train import Crops

EPOCHS = 60
BATCH = 40

RECIPE = replace(
    PAPER_SMALL,
    spec=BASE,
    steps=COMPOSITES * EPOCHS // BATCH,
    crops=(Crops(512, BATCH),),
    drops=((30 / EPOCHS, 0.1), (52 / EPOCHS, 0.05)),
)
