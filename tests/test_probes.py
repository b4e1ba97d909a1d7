"""The probes: a scorer that looks at the anatomy passes them, one that cheats is caught by one of them."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import Tensor

from pipelines.lab.ask import shortcut_probes
from pipelines.lab.ask.shortcut_probes import Ask
from pipelines.lab.ask.shortcut_probes import probes as probe
from pipelines.lab.films.data import Films, Row


def films(patients: int = 16) -> Films:
    """Frontal films of two sites: brighter downwards, with a bright blob at the right."""
    rng = np.random.default_rng(0)
    y, x = np.meshgrid(np.linspace(0, 1, 192), np.linspace(0, 1, 192), indexing="ij")
    rows, greys = [], []
    for n in range(patients):
        site = ("nih", "web")[n % 2]
        rows.append(Row(f"{n}.jpg", site, site, f"p{n}", "frontal", "", "open", "50", "", ""))
        at = rng.uniform(-0.04, 0.04, 2)
        blob = np.exp(-((y - 0.55 + at[0]) ** 2 + (x - 0.68 + at[1]) ** 2) / 0.01)
        film = 0.25 + 0.35 * y + 0.3 * blob + rng.normal(0, 0.02, y.shape)
        greys.append((film.clip(0, 1) * 255).astype(np.uint8))
    stack = np.stack(greys)
    return Films(tuple(rows), stack, np.zeros_like(stack))


def marked(some: Films) -> Films:
    """The same films with an L at the upper right."""
    letter = shortcut_probes._letter(192).numpy()
    greys = (some.greys * (1 - letter) + 250 * letter).astype(np.uint8)
    return Films(some.rows, greys, some.masks)


def middle(x: Tensor) -> Tensor:
    """The inner part, where the anatomy is (B, 64, 64)."""
    return x[:, 32:96, 32:96]


def honest_turn(x: Tensor) -> Tensor:
    """Upright when the lower half of the middle is the brighter one, by more than any side is."""
    inner = middle(x)
    down = inner[:, 32:].mean((1, 2)) - inner[:, :32].mean((1, 2))
    across = inner[:, :, 32:].mean((1, 2)) - inner[:, :, :32].mean((1, 2))
    return torch.sigmoid((down - across.abs()) * 60 - 0.5)


def reads_border(x: Tensor) -> Tensor:
    """Upright when the lowest rows are brighter than the topmost ones and than the sides."""
    down = x[:, -3:].mean((1, 2)) - x[:, :3].mean((1, 2))
    across = x[:, :, -3:].mean((1, 2)) - x[:, :, :3].mean((1, 2))
    return torch.sigmoid((down - across.abs()) * 40)


def reads_bars(x: Tensor) -> Tensor:
    """Upright when no bar lies on top, which is where padding never puts one."""
    return x[:, :3].mean((1, 2)).clamp(0, 1)


def reads_marker(x: Tensor) -> Tensor:
    """As taken when there is something bright at the upper right, and mirrored when at the upper left."""
    right, left = x[:, 4:26, 100:].amax((1, 2)), x[:, 4:26, :28].amax((1, 2))
    return torch.sigmoid((right - left) * 12)


def honest_hand(x: Tensor) -> Tensor:
    """As taken when the blob lies to the right."""
    wide = torch.nn.functional.avg_pool2d(x[:, None], 17, stride=1, padding=8)[:, 0][:, 40:100]
    return torch.sigmoid((wide[:, :, 66:104].mean((1, 2)) - wide[:, :, 24:62].mean((1, 2))) * 40)


def verdicts(gate: str, ask: Ask, some: Films) -> dict[str, bool]:
    """Probe -> whether all of its judged lines pass."""
    out: dict[str, bool] = {}
    for row in probe(gate, ask, some):
        if row.passes is not None:
            out[row.name] = out.get(row.name, True) and row.passes
    return out


def test_an_honest_scorer_of_turns_passes_every_probe() -> None:
    """What looks at the middle is right, is blind when the middle is blanked, and minds no accident."""
    rows = {(row.name, row.metric): row for row in probe("rotation", honest_turn, films())}
    assert rows["as it is", "AUC"].value > 0.99
    assert rows["as it is", "AUC"].n == 16
    failed = [row for row in rows.values() if row.passes is False]
    assert not failed


def test_an_honest_scorer_of_handedness_minds_no_marker() -> None:
    """The blob says left and right, whatever a letter says."""
    found = verdicts("mirror", honest_hand, marked(films()))
    assert found["markers painted over"]
    assert found["contrary marker pasted"]


def test_who_reads_the_border_fails_when_only_the_border_is_left() -> None:
    """The frame alone still tells it everything; it fails the probe that adds bars.

    The frame itself is only told of: that of a real film holds shoulders and belly.
    """
    rows = {(row.name, row.metric): row for row in probe("rotation", reads_border, films())}
    assert rows["only the outer frame", "AUC"].value > 0.99
    assert rows["only the outer frame", "AUC"].passes is None
    assert any(row.passes is False for (name, _), row in rows.items() if name == "bars added")


def test_who_reads_padding_bars_fails_when_only_bars_are_left() -> None:
    """Bars on a flat grey tell it the turn."""
    assert not verdicts("rotation", reads_bars, films())["only bars, blank between"]


def test_who_reads_the_marker_fails_both_probes_of_markers() -> None:
    """Without its letter it knows nothing; with the opposite letter it says the opposite."""
    some = marked(films())
    rows = {(row.name, row.metric): row for row in probe("mirror", reads_marker, some)}
    assert rows["as it is", "AUC"].value > 0.99
    assert rows["markers painted over", "AUC lost"].value > 0.3
    assert rows["contrary marker pasted", "AUC lost"].value > 0.9
    assert rows["contrary marker pasted", "patients newly wrong"].passes is False


def test_who_reads_the_grain_fails_the_probe_of_the_grain() -> None:
    """Films whose grain runs along rows: the finest waves alone tell their turn."""
    some = films()
    comb = (np.arange(192) % 3 == 0)[:, None] * 24
    greys = (some.greys.astype(int) + comb).clip(0, 255).astype(np.uint8)

    def reads_grain(x: Tensor) -> Tensor:
        down, across = (x - x.roll(1, 1)).abs().mean((1, 2)), (x - x.roll(1, 2)).abs().mean((1, 2))
        return torch.sigmoid((down - across) * 200)

    found = verdicts("rotation", reads_grain, Films(some.rows, greys, some.masks))
    assert not found["only the finest grain"]


def test_features_that_hold_the_site_are_told() -> None:
    """A feature that is the site is named every time; a constant one is at chance."""
    some = films()
    bright = np.array([row.site == "nih" for row in some.rows])
    greys = np.where(bright[:, None, None], 250, some.greys // 2).astype(np.uint8)
    told = Films(some.rows, greys, some.masks)
    sharp, chance = shortcut_probes.site_probe(lambda x: x.mean((1, 2))[:, None], told)
    blunt, _ = shortcut_probes.site_probe(lambda x: torch.zeros(len(x), 1), told)
    assert (sharp.value, chance.value, sharp.n) == (1.0, 0.5, 16)
    assert blunt.value < 0.7
    assert sharp.passes is None


def test_one_film_of_a_patient_and_view_is_taken() -> None:
    """At most so many patients of a source, each with one film."""
    some = films(6).plus(films(6))
    few = shortcut_probes.some_patients(some, 2)
    assert [row.group for row in few.rows] == ["p0", "p1", "p2", "p3"]


def test_an_area_is_what_pairs_say() -> None:
    """The area is the share of pairs in the right order, ties half, and its interval covers it."""
    rng = np.random.default_rng(1)
    good, bad = rng.integers(2, 9, 30).astype(float), rng.integers(0, 7, 50).astype(float)
    pairs = (good[:, None] > bad).mean() + 0.5 * (good[:, None] == bad).mean()
    value, low, high = shortcut_probes.auroc(good, np.arange(30).astype(str), bad, np.arange(50).astype(str))
    assert value == pytest.approx(pairs)
    assert low < value < high


def test_turned_copies_of_a_film_do_not_narrow_the_interval() -> None:
    """A film shown ten times is one patient: the interval stays as wide as with one showing."""
    rng = np.random.default_rng(2)
    good, bad, names = rng.normal(1, 1, 40), rng.normal(0, 1, 40), np.arange(40).astype(str)
    _, low, high = shortcut_probes.auroc(good, names, bad, np.char.add("b", names))
    again = np.tile(names, 10), np.char.add("b", np.tile(names, 10))
    _, low10, high10 = shortcut_probes.auroc(np.tile(good, 10), again[0], np.tile(bad, 10), again[1])
    assert high10 - low10 == pytest.approx(high - low, rel=0.02)


def test_the_interval_of_pictures_of_the_same_patients_is_delongs() -> None:
    """Drawing patients agrees to a fifth with DeLong's standard error over clusters (Obuchowski 1997)."""
    rng = np.random.default_rng(3)
    effect = rng.normal(0, 1, 60)
    good, bad = effect + rng.normal(1, 0.7, 60), effect + rng.normal(0, 0.7, 60)
    names = np.arange(60).astype(str)
    _, low, high = shortcut_probes.auroc(good, names, bad, names)
    beaten = (bad[None] < good[:, None]).mean(axis=1), (bad[:, None] < good[None]).mean(axis=1)
    parts = sum(part - part.mean() for part in beaten) / 60
    assert (high - low) / 3.92 == pytest.approx(np.sqrt((parts**2).sum() * 60 / 59), rel=0.2)


def test_nothing_confused_is_not_certainty() -> None:
    """Twenty patients without an error leave room for the rule of three; no pictures are no area."""
    names = np.arange(20).astype(str)
    value, low, high = shortcut_probes.auroc(np.ones(20), names, np.zeros(20), names)
    assert (value, high) == (1.0, 1.0)
    assert 0.8 < low < 0.85
    with pytest.raises(ValueError, match="0 and 20"):
        shortcut_probes.auroc(np.ones(0), names[:0], np.zeros(20), names)


def test_fine_and_coarse_make_up_the_picture() -> None:
    """What lies under and over a limit adds up, and a slow wave is not among the fine ones."""
    ramp = torch.linspace(0, 2 * torch.pi, 192)
    x = (0.5 + 0.4 * torch.sin(3 * ramp)).expand(192, 192)[None]
    assert torch.allclose(shortcut_probes.low_passed(x, 40), x, atol=0.02)
    assert shortcut_probes.low_passed(x, 0.5).std() < 0.06
