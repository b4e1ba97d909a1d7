"""The frozen values that pass between the steps."""

from __future__ import annotations

from dataclasses import astuple

import numpy as np
import pytest

from pipelines.film import WHOLE, Act, Box


def test_no_word_that_people_read_of_a_decision_reads_as_right() -> None:
    """`correct` is kept for programs; in a list beside `pass` it would say that the film is in order."""
    assert [act.text for act in Act] == ["pass", "to correct", "withhold", "quarantine"]
    assert Act("correct").value == "correct"


BOX = Box(0.1, 0.2, 0.4, 0.9)


def test_a_box_turns_with_its_film_and_back() -> None:
    """Clockwise, as displayed: what lay on the left lies on top."""
    assert BOX.turned(1) == Box(1 - 0.9, 0.1, 1 - 0.2, 0.4)
    assert BOX.turned(0) == BOX.turned(4) == BOX.turned(-4) == BOX
    for quarters in range(1, 4):
        assert astuple(BOX.turned(quarters).turned(-quarters)) == pytest.approx(astuple(BOX))
        assert astuple(BOX.turned(-quarters)) == pytest.approx(astuple(BOX.turned(4 - quarters)))


def test_a_box_is_told_in_the_film_that_its_frame_was_cut_from() -> None:
    frame = Box(0.5, 0.0, 1.0, 0.5)
    assert Box(0.0, 0.5, 0.5, 1.0).in_whole(frame) == Box(0.5, 0.25, 0.75, 0.5)
    assert BOX.in_whole(WHOLE) == BOX
    assert WHOLE.in_whole(frame) == frame


def test_boxes_meet_hold_and_overlap() -> None:
    left, right = Box(0.0, 0.0, 0.5, 1.0), Box(0.25, 0.0, 0.75, 1.0)
    assert left.union(right) == Box(0.0, 0.0, 0.75, 1.0)
    assert left.iou(right) == pytest.approx(1 / 3)
    assert left.iou(left) == 1.0
    assert left.iou(Box(0.5, 0.0, 1.0, 1.0)) == 0.0
    assert (BOX.inside(WHOLE), WHOLE.inside(BOX)) == (True, False)
    assert not Box(float("nan"), 0.0, 1.0, 1.0).inside(WHOLE)
    assert not Box(0.5, 0.0, 0.5, 1.0).inside(WHOLE)


def test_a_margin_ends_at_the_edge_of_the_film() -> None:
    assert astuple(BOX.grown(0.15)) == pytest.approx((0.0, 0.05, 0.55, 1.0))


def test_a_box_cuts_whole_pixels_out_of_a_picture() -> None:
    """Those that lie in it in part, too."""
    picture = np.arange(100).reshape(10, 10)
    assert picture[Box(0.11, 0.2, 0.39, 0.45).cut(10, 10)].tolist() == picture[2:5, 1:4].tolist()
    assert Box(0.5, 0.25, 1.0, 0.75).in_pixels(rows=8, columns=4) == (2.0, 2.0, 4.0, 6.0)
