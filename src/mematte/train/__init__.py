"""Training: recipes, losses, routing and distillation as in the paper, run by Lightning.

Lightning and TensorBoard come with `pip install 'mematte[train]'`.
"""

from __future__ import annotations

from mematte.train.recipe import Crops, LossWeights, Recipe, changed
from mematte.train.run import resumed, train

__all__ = ["Crops", "LossWeights", "Recipe", "changed", "resumed", "train"]
