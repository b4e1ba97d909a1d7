"""Rules without a network: each finds what it can find, and finds nothing where there is nothing."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from pipelines.lab.ask import controls
from pipelines.lab.ask.shortcut_probes import shown, some_patients
from pipelines.lab.films.data import ROUNDS, Films, Row, decode, read_rows

SHARED = Path(__file__).parents[2] / "shared" / "films"
SITES = {"nih": "nih_talo", "web": "cohen", "kermany": "kermany"}


def films(paint: str, each: int = 12) -> Films:
    """Frontal films of three sites and as many other parts; `paint` says what gives the upright away."""
    rng = np.random.default_rng(0)
    rows, greys = [], []
    for site, source in SITES.items():
        for n in range(each):
            for view, where in (("frontal", (site, source)), ("not_chest", (ROUNDS[site][1],) * 2)):
                name = f"{where[1]}/{view}-{n}"
                rows.append(Row(name, where[1], where[0], name, view, "", "open", "50", "", ""))
                grey = rng.integers(100, 156, (192, 192))
                if paint == "border" and view == "frontal":
                    grey[:5] = 255
                if paint == "centre" and view == "frontal":
                    grey[48:-48, 48:-48] += 90
                if paint == "shape" and view == "frontal":
                    grey[30:60, 40:150], grey[120:170, 40:80] = 255, 0
                greys.append(grey)
    stack = np.clip(np.stack(greys), 0, 255).astype(np.uint8)
    return Films(tuple(rows), stack, np.zeros_like(stack))


def sizes(of: Films, wide: int = 400) -> dict[str, tuple[int, int]]:
    return {row.file: (wide, 500) if row.view == "frontal" else (500, 500) for row in of.rows}


def values(paint: str, metric: str = "AUC", wide: int = 400) -> dict[str, float]:
    """ "gate, rule" -> the value over all rounds."""
    some = films(paint)
    rows = controls.controls(some, sizes(some, wide))
    return {
        row.name.removesuffix(", all rounds"): row.value
        for row in rows
        if row.name.endswith("all rounds") and row.metric == metric
    }


def test_no_rule_finds_anything_in_noise() -> None:
    """On square films of noise every rule is at chance for every gate."""
    found = values("noise", wide=500)
    assert len(found) == 4 * 5
    assert all(abs(v - 0.5) < 0.25 for name, v in found.items()), found


def test_the_header_tells_a_film_that_lies_down_but_never_its_polarity() -> None:
    """An upright 400 x 500 film turned by 90 is 500 x 400; inverted or mirrored it is as it was."""
    found = values("noise")
    assert found["rotation, header only"] > 0.8  # upside down it cannot know
    assert found["anatomy, header only"] == 1
    assert found["inversion, header only"] == found["mirror, header only"] == 0.5


def test_a_bright_upper_edge_is_found_by_the_border_rule() -> None:
    """What stands in the outermost rows tells all four turns, but no handedness."""
    found = values("border")
    assert found["rotation, border rows"] > 0.99
    assert abs(found["mirror, border rows"] - 0.5) < 0.2


def test_a_bright_centre_is_found_by_the_corner_rule() -> None:
    """A centre brighter than its corners gives the polarity away, and no turn."""
    found = values("centre")
    assert found["inversion, corners against centre"] > 0.99
    assert abs(found["rotation, corners against centre"] - 0.5) < 0.2


def test_the_neighbours_know_a_shape_in_every_view() -> None:
    """A shape without symmetry has its turn, its polarity and its handedness named in every view."""
    found = values("shape", "patients right in every view")
    for k in (1, 5):
        for gate in ("rotation", "inversion", "mirror"):
            assert found[f"{gate}, {k} nearest of 32 x 32"] == 1, gate
        assert found[f"anatomy, {k} nearest of 32 x 32"] > 0.9  # the other parts are noise, near to anything


def test_the_patients_of_a_round_are_those_it_leaves_out() -> None:
    """n counts patients, of the sites that the round never saw."""
    some = films("noise")
    rows = {(row.name, row.metric): row for row in controls.controls(some, sizes(some))}
    assert rows["rotation, border rows, without nih", "AUC"].n == 12
    assert rows["anatomy, border rows, without nih", "AUC"].n == 24
    assert rows["rotation, border rows, all rounds", "AUC"].n == 36


def test_a_picture_that_lies_down_swaps_width_and_height() -> None:
    """The header's aspect ratio of a film turned by 90 or 270 is the opposite; its size stays."""
    some = films("noise", each=1)
    facts = controls.header_facts(some, shown("rotation", some), sizes(some))
    assert np.allclose(facts[:, 0].reshape(4, 3)[:, 0], np.log(0.8) * np.array([1, -1, 1, -1]))
    assert len(set(facts[:, 3])) == 1


@pytest.mark.slow
def test_no_control_of_the_real_films_does_what_a_gate_must_do() -> None:
    """On 40 patients of each source, over all rounds; nor does one round, of 80 patients or so, prove it."""
    if not SHARED.exists():
        pytest.skip(f"the shared films are not at {SHARED}")
    rows = read_rows(SHARED)
    unseen = np.zeros((len(rows), 1, 1), np.uint8)
    rows = some_patients(Films(rows, unseen, unseen), 40).rows
    greys = np.stack([decode(SHARED / row.file, row.known) for row in rows])
    some = Films(rows, greys, np.zeros_like(greys))
    found = controls.controls(some, controls.native_sizes(SHARED), most=40)
    turned = [r for r in found if r.metric.startswith("patients") and r.name.startswith("rotation")]
    pooled = [r.value for r in turned if r.name.endswith("all rounds")]
    assert pooled
    assert max(pooled) < 0.99
    assert max(r.low for r in turned) < 0.99
