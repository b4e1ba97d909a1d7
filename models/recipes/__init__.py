"""One recipe a gate: which films, shown how, to which network, and what counts as an error."""

from __future__ import annotations

from models.recipes.anatomy import ANATOMY
from models.recipes.base import SIZE, Pool, Recipe, pool_of
from models.recipes.frontal import INVERSION, MIRROR, ROTATION
from models.recipes.lungs import LUNGS

RECIPES: dict[str, Recipe] = {
    "rotation": ROTATION,
    "inversion": INVERSION,
    "anatomy": ANATOMY,
    "mirror": MIRROR,
    "lungs": LUNGS,
}

__all__ = ["RECIPES", "SIZE", "Pool", "Recipe", "pool_of"]
