"""An order in which what looks alike stands beside each other. Plain Python: the console has no numpy.

Places are halved along the direction in which they differ most, the halves again, and each few that are left
are walked from one to the nearest that is left.
"""

from __future__ import annotations

from collections.abc import Sequence
from math import dist
from operator import mul

Place = tuple[float, ...]

FEW = 24  # places that are walked one by one
TURNS = 8  # of the power iteration: the direction need not be exact


def in_order(places: Sequence[Place]) -> list[int]:
    """The indices of the places, in an order in which neighbours are alike."""
    return _ordered(places, list(range(len(places))))


def nearest_first(places: Sequence[Place], to: Place) -> list[int]:
    """The indices of the places, by their distance to one."""
    return sorted(range(len(places)), key=lambda one: (dist(places[one], to), one))


def _ordered(places: Sequence[Place], which: list[int]) -> list[int]:
    if len(which) <= FEW:
        return _walked(places, which)
    along = _direction([places[one] for one in which])
    sorted_ = sorted(which, key=lambda one: (_product(places[one], along), one))
    half = len(sorted_) // 2
    first, second = _ordered(places, sorted_[:half]), _ordered(places, sorted_[half:])
    # Either half may be walked backwards: so that the step between the two is the shortest.
    ways = [(a, b) for a in (first, first[::-1]) for b in (second, second[::-1])]
    one, other = min(ways, key=lambda way: dist(places[way[0][-1]], places[way[1][0]]))
    return one + other


def _walked(places: Sequence[Place], which: list[int]) -> list[int]:
    left, way = which[1:], which[:1]
    while left:
        last = places[way[-1]]
        nearest = min(left, key=lambda one: dist(places[one], last))
        left.remove(nearest)
        way.append(nearest)
    return way


def _direction(places: Sequence[Place]) -> Place:
    """The first principal component, by power iteration."""
    count, size = len(places), len(places[0])
    mean = [sum(place[axis] for place in places) / count for axis in range(size)]
    centred = [tuple(x - m for x, m in zip(place, mean, strict=True)) for place in places]
    columns = list(zip(*centred, strict=True))
    covariance = [[_product(a, b) for b in columns] for a in columns]
    along = [1.0 + axis / size for axis in range(size)]
    for _ in range(TURNS):
        along = [_product(row, along) for row in covariance]
        length = max(map(abs, along))
        if not length:  # all in one place
            return (1.0, *[0.0] * (size - 1))
        along = [x / length for x in along]
    return tuple(along)


def _product(one: Sequence[float], other: Sequence[float]) -> float:
    return sum(map(mul, one, other), 0.0)
