"""Phantom films: what a reader of films would look for, and that a seed always gives the same one."""

import numpy as np
import pytest

from models.phantom import KINDS, render


@pytest.mark.parametrize("kind", KINDS)
def test_a_seed_gives_one_film(kind: str) -> None:
    """The same seed is the same film to the last bit; another seed is another."""
    assert np.array_equal(render(kind, 7), render(kind, 7))
    assert not np.array_equal(render(kind, 7), render(kind, 8))


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("size", [(512, 420), (128, 128), (301, 500), (1100, 900)])
def test_any_size_and_range(kind: str, size: tuple[int, int]) -> None:
    """Any size comes as float32 in [0, 1] and uses most of the range."""
    film = render(kind, 3, size)
    assert film.shape == size
    assert film.dtype == np.float32
    assert film.min() >= 0 and film.max() <= 1
    assert np.percentile(film, 99) - np.percentile(film, 1) > 0.5


def test_an_unknown_kind_is_refused() -> None:
    """A kind that does not exist is named in the error, with those that do."""
    with pytest.raises(ValueError, match=r"'foot'.*frontal, lateral, hand"):
        render("foot", 0)
