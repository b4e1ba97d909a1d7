"""Imbalance: what is drawn from the learning side, how losses weigh, and what is unknown counts nothing."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from sklearn.metrics import f1_score, roc_auc_score
from torch.nn import functional

from pipelines.lab.films.labels import Task
from pipelines.lab.measure import areas, rules
from pipelines.lab.train import imbalance
from pipelines.lab.train.imbalance import IMBALANCES, MOST_COPIES, MOST_WEIGHT, Plan, plan

ONE_OF = Task("one", ("a", "b", "c"), exclusive=True)
EACH = Task("each", ("often", "rare", "partly"))


def classes(*sizes: int) -> np.ndarray:
    """One-hot targets with so many films of each class."""
    return np.repeat(np.eye(len(sizes), dtype=np.float32), sizes, axis=0)


def conditions() -> np.ndarray:
    """Forty films without any, thirty with the first, four with the first and the second, six unknown."""
    rows = [[0, 0, 0]] * 40 + [[1, 0, 0]] * 30 + [[1, 1, 0]] * 4 + [[0, 0, math.nan]] * 6
    return np.array(rows, dtype=np.float32)


def drawn(made: Plan, films: int) -> np.ndarray:
    return made.order(films, torch.Generator().manual_seed(0))


@pytest.mark.parametrize("name", IMBALANCES)
@pytest.mark.parametrize("task", [ONE_OF, EACH], ids=["one of", "each"])
def test_only_rows_of_the_learning_side_are_ever_drawn(name: str, task: Task) -> None:
    """The plan is made from the rows it is given, and every epoch draws from these."""
    targets = classes(50, 20, 10) if task.exclusive else conditions()
    rows = np.arange(len(targets)) * 3 + 7  # the rows between belong to the validation side
    made = plan(name, rows, targets, task)
    assert set(drawn(made, 500)) <= set(rows)


@pytest.mark.parametrize("name", IMBALANCES)
def test_the_validation_side_changes_nothing(name: str) -> None:
    """The same learning rows and targets give the same plan, whatever the other films are."""
    targets = classes(50, 20, 10)
    rows = np.arange(80)
    x = torch.randn(8, 3, generator=torch.Generator().manual_seed(0))
    y = torch.from_numpy(targets[::10])
    one, other = (plan(name, rows + move, targets, ONE_OF) for move in (0, 1000))
    assert (one.rows + 1000).tolist() == other.rows.tolist()
    assert float(one.loss(x, y)) == float(other.loss(x, y))


def test_classes_are_evened_out_by_leaving_out_or_by_repeating() -> None:
    """Down to the smallest class, or up to the largest; every row of a class equally often, within one."""
    targets, rows = classes(50, 20, 10), np.arange(80)
    kind = targets.argmax(axis=1)
    fewer = plan("undersample", rows, targets, ONE_OF).rows
    assert np.bincount(kind[fewer]).tolist() == [10, 10, 10]
    assert len(set(fewer)) == 30
    more = plan("oversample", rows, targets, ONE_OF).rows
    assert np.bincount(kind[more]).tolist() == [50, 50, 50]
    assert set(more) == set(rows)
    times = np.bincount(more)
    assert times[kind == 1].max() - times[kind == 1].min() <= 1


def test_with_many_labels_the_rarest_of_a_row_decides() -> None:
    """A film with both conditions counts to the rare one, and no film is repeated without end."""
    targets = conditions()
    assert imbalance.kinds_of(targets, EACH).tolist() == [-1] * 40 + [0] * 30 + [1] * 4 + [-1] * 6
    more = plan("oversample", np.arange(80), targets, EACH).rows
    assert np.bincount(more)[70:74].tolist() == [MOST_COPIES] * 4
    fewer = plan("undersample", np.arange(80), targets, EACH).rows
    assert {70, 71, 72, 73} <= set(fewer)
    assert len(fewer) == 4 + 30 + 30


def test_every_row_comes_once_before_any_comes_again() -> None:
    """In another order each time, the same from the same generator."""
    made = plan("none", np.arange(10), classes(5, 5), Task("t", ("a", "b"), True))
    order = drawn(made, 25)
    assert sorted(order[:10]) == sorted(order[10:20]) == list(range(10))
    assert order[:10].tolist() != order[10:20].tolist()
    assert order.tolist() == drawn(made, 25).tolist()


def test_weights_are_the_odds_of_the_learning_side() -> None:
    """Binary cross entropy with negatives / positives, at most MOST_WEIGHT, as torch computes it."""
    targets = conditions()[:74]
    loss = plan("weighted", np.arange(74), targets, EACH).loss
    x, y = torch.randn(74, 3, generator=torch.Generator().manual_seed(0)), torch.from_numpy(targets)
    weight = torch.tensor([40 / 34, 70 / 4, MOST_WEIGHT])
    assert torch.allclose(loss(x, y), functional.binary_cross_entropy_with_logits(x, y, pos_weight=weight))
    one = classes(50, 20, 10)
    loss = plan("weighted", np.arange(80), one, ONE_OF).loss
    x = torch.randn(80, 3, generator=torch.Generator().manual_seed(0))
    weight = torch.tensor([80 / 50, 80 / 20, 80 / 10]) / 3
    assert torch.allclose(
        loss(x, torch.from_numpy(one)), functional.cross_entropy(x, torch.tensor(one.argmax(1)), weight)
    )


@pytest.mark.parametrize("name", IMBALANCES)
@pytest.mark.parametrize("task", [ONE_OF, EACH], ids=["one of", "each"])
def test_what_is_unknown_counts_in_no_loss(name: str, task: Task) -> None:
    """Changing the logit of an unknown target changes neither loss nor gradient; all unknown gives zero."""
    targets = torch.from_numpy(classes(4, 4, 4) if task.exclusive else conditions()[::7])
    targets[1] = math.nan
    made = plan(name, np.arange(len(targets)), targets.numpy(), task, smoothing=0.1)
    x = torch.randn(len(targets), 3, generator=torch.Generator().manual_seed(0)).requires_grad_()
    made.loss(x, targets).backward()
    assert x.grad is not None
    assert x.grad[1].tolist() == [0, 0, 0]
    assert torch.isfinite(x.grad).all()
    assert float(x.grad.abs().sum()) > 0
    known = torch.ones(len(targets), dtype=torch.bool)
    known[1] = False
    without = made.loss(x.detach()[known], targets[known])
    assert torch.allclose(made.loss(x.detach(), targets), without, atol=1e-6)
    assert float(made.loss(x.detach(), torch.full_like(targets, math.nan))) == 0


def test_focal_and_asymmetric_losses_are_those_of_their_papers() -> None:
    """Computed by hand for single numbers (Lin 2017, equation 4; Ridnik 2021, equations 5 to 7)."""
    x = torch.tensor([[0.3, -1.2]])
    y = torch.tensor([[1.0, 0.0]])
    p, q = 1 / (1 + math.exp(-0.3)), 1 / (1 + math.exp(1.2))
    focal = (-((1 - p) ** 2) * math.log(p) - q**2 * math.log(1 - q)) / 2
    assert float(imbalance.focal(x, y)) == pytest.approx(focal, abs=1e-6)
    m = q - 0.05
    asymmetric = (-math.log(p) - m**4 * math.log(1 - m)) / 2
    assert float(imbalance.asymmetric(x, y)) == pytest.approx(asymmetric, abs=1e-6)
    assert (
        float(imbalance.asymmetric(torch.tensor([[-4.0]]), torch.tensor([[0.0]]))) == 0
    )  # p below the margin


def test_easy_films_count_less_where_they_should() -> None:
    """The share of the loss that an easy film has: less with focal than with plain cross entropy."""
    y = torch.eye(3)
    easy, hard = torch.eye(3) * 6, torch.eye(3) * 0.2
    ratios = [
        float(loss(easy, y) / loss(hard, y))
        for loss in (imbalance.softmax_cross_entropy, imbalance.softmax_focal)
    ]
    assert ratios[1] < 0.01 * ratios[0]
    assert float(imbalance.softmax_asymmetric(easy, y)) < float(imbalance.softmax_asymmetric(hard, y))


def test_the_best_threshold_gives_the_best_f_score() -> None:
    """As scikit-learn counts it, also with ties; and a label of one kind is not averaged."""
    rng = np.random.default_rng(0)
    truth = rng.random(200) < 0.2
    scores = np.round(rng.random(200) + 0.3 * truth, 2)
    best = rules.best_f1_threshold(truth, scores)
    assert rules.f1(truth, scores >= best) == pytest.approx(
        max(f1_score(truth, scores >= t) for t in np.unique(scores))
    )
    targets = np.column_stack([truth, np.ones(200)]).astype(np.float32)
    each = areas.by_label(targets, np.column_stack([scores, scores]))
    assert each == pytest.approx([roc_auc_score(truth, scores), math.nan], nan_ok=True)
    assert areas.macro_auc(targets, np.column_stack([scores, scores])) == each[0]
