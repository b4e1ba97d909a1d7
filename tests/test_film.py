"""The frozen values that pass between the steps."""

from __future__ import annotations

from pipelines.film import Act


def test_no_word_that_people_read_of_a_decision_reads_as_right():
    """`correct` is kept for programs; in a list beside `pass` it would say that the film is in order."""
    assert [act.text for act in Act] == ["pass", "to correct", "withhold", "quarantine"]
    assert Act("correct").value == "correct"
