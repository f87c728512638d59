"""TINY on two CPU cores: the built-in weights.

Two cores make about 9 crops of 224 px a second. A crop of 448 px costs as much as four of 224, but only
such crops show the network more than one attention window; their share grows in the course of the run.
"""

from mematte.model import TINY
from mematte.train.recipe import Phase, Recipe

RECIPE = Recipe(
    spec=TINY,
    hours=1.40,
    phases=(
        Phase(0.0, crops=((224, 4, 0.85), (448, 1, 0.15))),
        Phase(0.4, crops=((224, 4, 0.5), (448, 1, 0.5))),
    ),
    learning_rate=1e-3,
    matrix_learning_rate=1.5e-3,
    loss_weights=(
        ("unknown_l1", 1.0),
        ("known_l1", 1.0),
        ("laplacian", 4.0),
        ("gradient", 0.25),
        ("routing", 2.0),
    ),
    routers_balance=1.0,
    data="procedural mattes, 293 openly licensed foregrounds and 698 openly licensed photographs; "
    "docs/model-card-tiny.md has their sources, licences and credits",
)
