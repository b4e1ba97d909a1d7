"""Augmentation: never a mirror image, always in range, and the same from the same seed."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import Tensor
from torch.nn import functional

from models.classifiers.inputs import prepared
from pipelines.lab.films import phantom
from pipelines.lab.train.augmentation import AUGMENTATIONS, COMPLEX, NONE, Augmentation, Dice, smoothed

ALTERING = ("basic", "complex")


@pytest.fixture(scope="module")
def films() -> Tensor:
    """Four phantom chests with their hearts on the left, as a network sees them, (4, 1, 64, 64)."""
    drawn = [phantom.render("frontal", seed) for seed in range(4)]
    return torch.cat([prepared(film[None].astype(np.float32), 64) for film in drawn])


def marked(size: int = 64) -> Tensor:
    """An asymmetric film: a bright half moon on one side, a small square below on the other."""
    film = torch.full((1, 1, size, size), 0.2)
    film[..., 8:40, 8:26] = 0.9
    film[..., 44:56, 40:52] = 0.7
    return film


def likeness(one: Tensor, other: Tensor) -> Tensor:
    """The correlation of films, (B,)."""
    a, b = (functional.normalize((x - x.mean(dim=(1, 2, 3), keepdim=True)).flatten(1)) for x in (one, other))
    return (a * b).sum(dim=1)


@pytest.mark.parametrize("name", ALTERING)
def test_no_film_ever_becomes_its_mirror_image(name: str) -> None:
    """A flip makes situs inversus: over 2,000 draws every film is nearer to itself than to its mirror."""
    film = functional.avg_pool2d(marked(), 2).expand(200, -1, -1, -1)
    for seed in range(10):
        out = AUGMENTATIONS[name](film, torch.Generator().manual_seed(seed))
        assert bool((likeness(out, film) > likeness(out, film.flip(-1)) + 0.1).all())


@pytest.mark.parametrize("name", ALTERING)
def test_no_chest_ever_becomes_its_mirror_image(name: str, films: Tensor) -> None:
    """Chests are nearly symmetric, so on the mean of 256 draws: each keeps its heart where it is.

    Flipping half of them would bring the mean to nothing, flipping all below it.
    """
    whole = films.repeat(64, 1, 1, 1)
    out = AUGMENTATIONS[name](whole, torch.Generator().manual_seed(0))
    nearer = (likeness(out, whole) - likeness(out, whole.flip(-1))).reshape(-1, len(films)).mean(dim=0)
    gap = 1 - likeness(films.flip(-1), films)
    assert bool((nearer > 0.2 * gap).all())


@pytest.mark.parametrize("name", ALTERING)
def test_the_geometry_keeps_its_handedness(name: str) -> None:
    """A reflection has a negative determinant; and no film is turned further than ten degrees."""
    dice = Dice(5000, torch.Generator().manual_seed(1), torch.device("cpu"))
    matrices = AUGMENTATIONS[name].matrices(dice)
    assert bool((torch.linalg.det(matrices[:, :, :2]) > 0.3).all())
    turn = torch.atan2(matrices[:, 1, 0], matrices[:, 0, 0]).rad2deg()
    assert 6 < float(turn.abs().max()) <= 10


@pytest.mark.parametrize("name", AUGMENTATIONS)
def test_greys_stay_in_range_and_repeat_from_a_seed(name: str, films: Tensor) -> None:
    """The same generator gives the same films; the films that were given are not written to."""
    before = films.clone()
    one, again = (AUGMENTATIONS[name](films, torch.Generator().manual_seed(5)) for _ in range(2))
    assert torch.equal(one, again)
    assert torch.equal(films, before)
    assert one.shape == films.shape
    assert 0 <= float(one.min()) <= float(one.max()) <= 1
    assert torch.equal(one, films) == (name == "none")


def test_each_film_of_a_batch_is_altered_by_itself(films: Tensor) -> None:
    """Copies of one film come out differently: an oversampled row is not the same picture again."""
    copies = films[:1].repeat(6, 1, 1, 1)
    out = COMPLEX(copies, torch.Generator().manual_seed(0)).flatten(1)
    assert float(torch.pdist(out).min()) > 0.5


def test_moving_is_by_the_share_that_was_asked_for() -> None:
    """Shifted by up to a tenth of the side: a point in the middle is found that far away, and no further."""
    film = torch.zeros(500, 1, 65, 65)
    film[:, :, 32, 32] = 1
    out = Augmentation(shift=0.1)(film, torch.Generator().manual_seed(0))
    at = torch.stack([out[:, 0].sum(dim=1).argmax(dim=1), out[:, 0].sum(dim=2).argmax(dim=1)]).float() - 32
    assert 5 < float(at.abs().max()) <= 7


def test_smoothing_keeps_the_mean_and_lowers_the_noise() -> None:
    """A small Gaussian."""
    noise = torch.rand(2, 1, 40, 40, generator=torch.Generator().manual_seed(0))
    out = smoothed(noise)
    assert out.shape == noise.shape
    assert abs(float(out.mean() - noise.mean())) < 0.01
    assert float(out.std()) < 0.5 * float(noise.std())
    flat = torch.full((1, 1, 5, 5), 0.3)
    assert torch.allclose(smoothed(flat), flat)


def test_none_is_the_film_itself(films: Tensor) -> None:
    """Not a copy, not a resampling."""
    assert NONE(films, torch.Generator()) is films
