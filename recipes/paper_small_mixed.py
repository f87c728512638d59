"""MEMatte SMALL on mixed data as published: 353,375 iterations of 8 crops of 1024 px.

    mematte train recipes/paper_small_mixed.py start=VITMATTE_S_MIXED teacher=VITMATTE_S_MIXED \\
        foregrounds=Adobe/Train,Distinctions-646/Train,AM-2K/train backgrounds=coco/train2014 --devices 4

Composition-1K, Distinctions-646 and AM-2K: 282,700 composites an epoch, 10 epochs, 2 crops on each of 4
GPUs: 282,700 x 10 / 8 = 353,375 steps. The teacher is a ViTMatte-S trained on the same mixture.
Source: Lin et al. 2025; its configuration gives the rates.
"""

from dataclasses import replace

from paper_small import RECIPE as PAPER_SMALL

from mematte.train import Crops

EPOCHS = 10
BATCH = 8
COMPOSITES = 282_700

RECIPE = replace(
    PAPER_SMALL,
    steps=COMPOSITES * EPOCHS // BATCH,
    crops=(Crops(1024, BATCH),),
    drops=((3 / EPOCHS, 0.1), (9 / EPOCHS, 0.05)),
)
