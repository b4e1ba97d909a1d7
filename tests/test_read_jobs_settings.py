"""What settings and a person's word do to reading: classes, terms, rejection notes, children."""

from __future__ import annotations

import os
import signal
from pathlib import Path

import pytest
from pydicom.uid import (
    KeyObjectSelectionDocumentStorage,
)
from read_line import HELD, Children, Line, children, folder, line, tiny
from test_tasks import receive

from gateway.errors import FilmgateError, SettingsError
from gateway.ledger.acting.table import DoneBy
from gateway.sandbox.decoder import Decoder
from gateway.sandbox.reporter import Reporter
from gateway.settings import load
from gateway.settings.classifier import acceptance
from gateway.supervisor.snapshot import write_snapshot
from gateway.supervisor.supervisor import load_all
from models.classifiers import bundle, terms
from models.classifiers.accepts import Accepts
from pipelines.film import Operations
from pipelines.lab.films.phantom_dx import phantom_dx

__all__ = ["children", "folder", "line"]


def test_what_a_classifier_takes_stands_on_its_card_or_in_the_settings(
    tmp_path: Path, children: Children
) -> None:
    """The settings replace single words of the card, also in the processes that are given all settings."""
    where = tiny(tmp_path / "kids", accepts=Accepts(min_age=1, max_age=5, views=("PA",)))
    plain = Line(tmp_path, where, children).shell.acceptances()["chest"]
    assert (plain.min_age, plain.max_age, plain.views) == (1, 5, ("PA",))
    line = Line(tmp_path, where, children, block={"accepts": {"max_age": 3}})
    told = line.shell.acceptances()["chest"]
    assert (told.min_age, told.max_age) == (1, 3)
    in_a_worker = load(write_snapshot(line.shell.settings), env={})
    assert acceptance(in_a_worker.classifiers["chest"], "chest") == told
    unknown = Line(tmp_path, tmp_path / "nothing", children).shell.acceptances()["chest"]
    assert (unknown.min_age, unknown.views) == (10, ("PA", "AP", "frontal"))


def test_the_terms_are_those_of_the_card(tmp_path: Path) -> None:
    """Read without torch, and the same."""
    where = tiny(tmp_path / "kids", accepts=Accepts(min_age=1, max_age=5), off=True)
    card, read = bundle.read_card(where), terms.read(where)
    assert (read.name, read.version, read.weights_sha256) == (card.name, card.version, card.weights_sha256)
    assert (read.off, read.weights) == (True, where / card.weights)
    assert read.accepts == card.accepts == Accepts(min_age=1, max_age=5)
    with pytest.raises(terms.NoTerms, match="no card"):
        terms.read(tmp_path)


def test_a_classifier_that_is_off_must_be_switched_on_by_name(tmp_path: Path) -> None:
    tiny(tmp_path / "kids", off=True)
    config = tmp_path / "filmgate.yaml"
    config.write_text("destinations: {kids: {kind: classifier, bundle: ./kids}}\nroutes: {pass: [kids]}\n")
    with pytest.raises(SettingsError, match=r"destinations.kids: this classifier is off.*say `on: true`"):
        load_all(config, tmp_path)
    config.write_text(config.read_text().replace("./kids", "./kids, on: true"))
    assert load_all(config, tmp_path).classifiers["kids"].on


def test_a_rejection_note_follows_a_named_persons_reject_alone(
    tmp_path: Path, folder: Path, children: Children
) -> None:
    """Off until switched on; the note names the film, and the one who rejected it."""
    notes = {"rejection_notes": ["archive"]}
    line = Line(tmp_path, folder, children, block={"results": {}}, quarantine=notes)
    ds = phantom_dx("frontal", 12)
    receive(line.shell, ds, tmp_path)
    line.work(HELD)
    assert line.objects() == {}
    line.shell.quarantine().one(DoneBy.REJECT, 1, delayed=False, by="Ann Other", note="not a chest")
    note = line.objects()[KeyObjectSelectionDocumentStorage]
    assert str(ds.SOPInstanceUID) in str(note)
    assert "Ann" in str(note)


def test_what_no_note_can_name_is_rejected_without_one(
    tmp_path: Path, folder: Path, children: Children
) -> None:
    """A person can close its hold; a note that could never be made would keep it open."""
    notes = {"rejection_notes": ["archive"]}
    line = Line(tmp_path, folder, children, block={"results": {}}, quarantine=notes)
    ds = phantom_dx("frontal", 17)
    ds.StudyInstanceUID = ""
    receive(line.shell, ds, tmp_path)
    line.work(HELD)
    line.shell.quarantine().one(DoneBy.REJECT, 1, delayed=False, by="Ann Other", note="junk")
    assert (line.ledger.holds(), line.objects()) == ([], {})


def test_a_film_whose_file_is_gone_stays_held_in_words(
    tmp_path: Path, folder: Path, children: Children
) -> None:
    """Neither a copy nor a note can be made of it; other films are not held up by a crash."""
    line = Line(
        tmp_path, folder, children, block={"results": {}}, quarantine={"rejection_notes": ["archive"]}
    )
    receive(line.shell, phantom_dx("frontal", 18), tmp_path)
    line.work(HELD)
    (held,) = line.ledger.holds()
    line.shell.store.remove(held.digest)
    quarantine = line.shell.quarantine()
    with pytest.raises(FilmgateError, match="stays held"):
        quarantine.one(DoneBy.REJECT, 1, by="Ann Other")
    with pytest.raises(FilmgateError, match="stays held"):
        quarantine.one(DoneBy.CORRECT, 1, by="Ann Other", operations=Operations(turn=90))
    assert line.ledger.holds() == [held]


def test_rejecting_sends_no_note_unless_it_is_switched_on(line: Line) -> None:
    receive(line.shell, phantom_dx("frontal", 13), line.tmp_path)
    line.work(HELD)
    line.objects()
    line.shell.quarantine().one(DoneBy.REJECT, 1, delayed=False, by="ann", note="")
    assert line.objects() == {}


def test_a_lost_maker_of_reports_is_replaced(children: Children, tmp_path: Path, folder: Path) -> None:
    """It died between two films: nobody notices."""
    line = Line(tmp_path, folder, children)
    assert line.sent(phantom_dx("frontal", 14))["objects"]
    _, reporter = children
    assert reporter.pid is not None
    os.kill(reporter.pid, signal.SIGKILL)
    assert len(line.sent(phantom_dx("frontal", 15))["objects"]) == 3


def test_children_are_ready_before_the_first_film(tmp_path: Path) -> None:
    """Warmed up, they have loaded what they need, and answer."""
    with Decoder() as decoder, Reporter(timeout_s=60) as reporter:
        for child in (decoder, reporter):
            child.warm_up(tmp_path)
            assert child._ask(tmp_path, {"do": "ready"}, most=0) == ({}, bytearray())
