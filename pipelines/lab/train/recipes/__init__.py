"""One recipe a gate: which films, shown how, to which network, and what counts as an error."""

from __future__ import annotations

from pipelines.lab.train.recipes.anatomy import ANATOMY
from pipelines.lab.train.recipes.base import SIZE, Pool, Recipe, pool_of
from pipelines.lab.train.recipes.frontal import INVERSION, MIRROR, ROTATION
from pipelines.lab.train.recipes.lungs import LUNGS

RECIPES: dict[str, Recipe] = {
    "rotation": ROTATION,
    "inversion": INVERSION,
    "anatomy": ANATOMY,
    "mirror": MIRROR,
    "lungs": LUNGS,
}

__all__ = ["RECIPES", "SIZE", "Pool", "Recipe", "pool_of"]
