"""The pages of labels, of the blind check and of models, and the export for training and calibration."""

from __future__ import annotations

import csv
import json
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from console_client import add_person, signed_in, stranger
from console_client import sign_in as sign_in_as
from ledger_films import claimed, received
from passed_films import GOOD, PASS, pass_film
from PIL import Image
from typer.testing import CliRunner

from gateway.bootstrap import Shell, now
from gateway.cli import app
from gateway.console.bundles import SHIPPED, bundles
from gateway.console.doors import Role
from gateway.console.labels import KEYS
from gateway.console.pages.models import judging
from gateway.ledger.labelling.scores import BINS
from gateway.ledger.labelling.words import ANSWERS, Said, What, checked
from gateway.settings import Settings
from pipelines.film import Finding, Reason, Verdict
from pipelines.lab.films import data


@pytest.fixture
def shell(tmp_path: Path) -> Iterator[Shell]:
    settings = Settings(state=tmp_path / "state", quarantine={"blind_share": 1.0})  # type: ignore[arg-type]
    shell = Shell.open(settings, migrate_first=True)
    yield shell
    shell.close()


def say(shell: Shell, film_id: int, by: str = "ann", **labels: object) -> None:
    shell.ledger.label([Said(film_id, checked(labels), "relabel")], by=by, now=now())


def chest(shell: Shell, film_id: int, by: str = "ann", **more: object) -> None:
    say(shell, film_id, by, view="frontal", part="chest", **more)


def exported(shell: Shell, out: Path, *words: str) -> list[dict[str, Any]]:
    state = str(shell.settings.state)
    result = CliRunner().invoke(
        app, ["labels", "export", "--out", str(out), "--state", state, "--json", *words]
    )
    assert result.exit_code == 0, result.output
    items: list[dict[str, Any]] = json.loads(result.stdout)
    return items


def test_every_key_names_a_view_and_a_part_that_there_are() -> None:
    assert [key.key for key in KEYS] == list("123456789")
    for key in KEYS:
        assert checked(key.labels) == {What.VIEW: key.view, What.PART: key.part}
    assert {key.view for key in KEYS} == set(ANSWERS[What.VIEW])


def test_the_page_counts_lists_and_filters(shell: Shell, tmp_path: Path) -> None:
    first, second = pass_film(shell, tmp_path, 1), pass_film(shell, tmp_path, 2, sender="ROOM2")
    say(shell, first, view="lateral", part="chest")
    chest(shell, first, "ben")
    say(shell, second, turned="90")
    with signed_in(shell, Role.VIEWER) as client:
        page = client.get("/labels").text
        assert "films with labels" in page
        assert page.count("gate: frontal") == 1
        assert "CANARY" not in page
        assert client.get("/labels?differs=gate&what=turned").text.count('class="card"') < page.count(
            'class="card"'
        )
        only = client.get("/labels?sender=ROOM2").text
        assert f"/films/{second}" in only
        assert f"/films/{first}" not in only
        assert client.get("/labels?differs=nobody").status_code == 422


def test_what_slips_through_is_told_with_its_interval(shell: Shell, tmp_path: Path) -> None:
    """Four passed films, all drawn; three are good, one lies on its side."""
    for number in range(4):
        pass_film(shell, tmp_path, number)
    with signed_in(shell) as client:
        assert "not known yet" in client.get("/labels").text
        for number in range(4):
            film = client.get("/api/blind").json()
            assert set(film) == {"check", "digest", "waiting"}
            said = {"good": number > 0, "labels": {"turned": "90"} if number == 0 else {}}
            kept = client.post(f"/api/blind/{film['check']}", json=said).json()
            assert kept["passed"]
        assert client.get("/api/blind").json()["check"] is None
        page = client.get("/labels").text
    assert "<b>25 %</b> (0.63 % to 81 %)" in page
    assert {label.value for label in shell.ledger.labels() if label.what is What.TURNED} == {"90", "0"}
    (event,) = [e for e in shell.ledger.events(kept["film"]) if e["what"] == "blind check"]
    assert (event["who"], event["passed"]) == ("reviewer", True)


def test_a_blind_answer_is_given_once_and_can_be_taken_back(shell: Shell, tmp_path: Path) -> None:
    pass_film(shell, tmp_path, 1)
    pass_film(shell, tmp_path, 2)
    with signed_in(shell) as client:
        client.get("/labels/blind")
        check = client.get("/api/blind").json()["check"]
        assert client.post(f"/api/blind/{check}/later").json()["check"] != check
        assert (
            client.post(f"/api/blind/{check}", json={"good": False, "labels": {"view": "x"}}).status_code
            == 422
        )
        assert client.post(f"/api/blind/{check}", json={"good": False}).status_code == 200
        assert client.post(f"/api/blind/{check}", json={"good": True}).status_code == 409
        assert client.post(f"/api/blind/{check}/undo").json()["waiting"] == 2
        assert client.post("/api/blind/999/undo").status_code == 409


def test_who_may_only_look_answers_nothing(shell: Shell) -> None:
    with signed_in(shell, Role.VIEWER) as client:
        for address in ("/labels/blind", "/api/blind", "/upload", "/api/uploads"):
            assert client.get(address).status_code == 403
    assert stranger(shell).get("/labels").status_code in (303, 401)
    add_person(shell, "ann", Role.REVIEWER)
    with stranger(shell) as client:
        sign_in_as(client, "ann")
        del client.headers["X-CSRF-Token"]
        assert client.post("/api/blind/1", json={"good": True}).status_code == 403


def test_an_export_names_nobody_and_keeps_patients_together(shell: Shell, tmp_path: Path) -> None:
    """Of films whose view is known and agreed on; a film lying on its side is put right."""
    films = [pass_film(shell, tmp_path, number, patient=f"CANARY-ID-{number // 2}") for number in range(4)]
    for film in films:
        chest(shell, film)
    turned = pass_film(shell, tmp_path, 10, patient="CANARY-ID-9", turn=90, inverted=True)
    chest(shell, turned, turned="90", polarity="inverted", lung_box=[0.1, 0.2, 0.5, 0.9])
    no_view, differs = pass_film(shell, tmp_path, 11), pass_film(shell, tmp_path, 12)
    say(shell, no_view, turned="0")
    chest(shell, differs)
    say(shell, differs, "ben", view="lateral", part="chest")
    out = tmp_path / "export"
    items = exported(shell, out, "--pictures")
    assert [item["film_id"] for item in items] == [*films, turned]
    groups = [item["group"] for item in items]
    assert groups[0] == groups[1] != groups[2] == groups[3]
    assert len(set(groups)) == 3
    text = "".join(path.read_bytes().decode("latin-1") for path in out.rglob("*") if path.is_file())
    assert "CANARY" not in text
    last = items[-1]
    with Image.open(out / last["file"]) as picture:
        assert (picture.height, picture.width) == (200, 164)  # upright again
        left, top, right, bottom = map(int, last["lung_box"].split())
    assert (left, top, right, bottom) == (33, 100, 148, 180)
    assert "turned back 90 degrees; inverted back" in last["note"]
    with signed_in(shell) as client:
        told = client.get("/labels/manifest.csv").text
    with (out / "manifest.csv").open() as handle:
        written = [line | {"lung_box": ""} for line in csv.DictReader(handle)]
    assert list(csv.DictReader(told.splitlines())) == written
    again = CliRunner().invoke(
        app, ["labels", "export", "--out", str(out), "--state", str(shell.settings.state)]
    )
    assert again.exit_code == 1


@pytest.mark.slow
def test_an_export_is_what_train_reads_and_calibrate_takes(shell: Shell, tmp_path: Path) -> None:
    """12 phantoms of 12 patients are enough to promise 25 %; one film is flagged and counts for nothing."""
    for number in range(13):
        film = pass_film(shell, tmp_path, number, patient=f"CANARY-ID-{number}")
        chest(shell, film, exposure="unusable" if number == 12 else "usable")
    out = tmp_path / "export"
    exported(shell, out, "--pictures", "--site", "phantoms", "--terms", "open")
    films = data.load(out, tmp_path / "cache")
    assert len(films) == 12
    assert {(row.view, row.part, row.site, row.terms) for row in films.rows} == {
        ("frontal", "chest", "phantoms", "open")
    }
    assert len({row.group for row in films.rows}) == 12
    assert float(films.greys.std()) > 10
    words = ["calibrate", "rotation", "--site", str(out), "--out", str(tmp_path / "site"), "--may-lose", "25"]
    result = CliRunner().invoke(app, [*words, "--json"])
    assert result.exit_code == 0, (result.output, result.exception)
    (chosen,) = json.loads(result.stdout)
    assert chosen["lost"]["patients"] == 12
    card = (tmp_path / "site" / "rotation" / "configs" / "metadata.json").read_text()
    assert json.loads(card)["filmgate"]["evidence"]["calibration"]["site"] == "export"


def test_models_says_what_is_used_and_whether_its_weights_are_there(shell: Shell, tmp_path: Path) -> None:
    with signed_in(shell, Role.VIEWER) as client:
        page = client.get("/models").text
        told = client.get("/api/models").json()["models"]
    assert "as the card says" in page
    used = [one["name"] for one in told if one["use"]]
    assert used == ["anatomy", "inversion", "rotation", "mirror", "lungs"]
    assert {one["name"] for one in told} == {path.name for path in SHIPPED.iterdir() if path.is_dir()}
    assert all(one["sha256_holds"] for one in told)
    (rotation,) = [one for one in told if one["name"] == "rotation"]
    assert rotation["thresholds"]["high"] == 0.5
    assert rotation["calibrated"]["patients"] == 3373


def test_a_bundle_that_is_damaged_is_told(tmp_path: Path) -> None:
    folder = tmp_path / "rotation"
    (folder / "configs").mkdir(parents=True)
    (folder / "configs" / "metadata.json").write_text('{"filmgate": {"weights_sha256": "00"}}')
    (folder / "models").mkdir()
    (folder / "models" / "model.safetensors").write_bytes(b"other")
    (tmp_path / "mirror" / "configs").mkdir(parents=True)
    (tmp_path / "mirror" / "configs" / "metadata.json").write_text("[1]")
    settings = Settings(work={"bundles": str(tmp_path)})  # type: ignore[arg-type]
    shown = {one.name: one for one in bundles(settings) if one.use}
    assert shown["rotation"].sha256_holds is False
    assert "cannot be read" in shown["mirror"].problem
    assert "no card" in shown["lungs"].problem


def test_a_gate_that_is_unsure_of_more_films_than_before_drifts(shell: Shell) -> None:
    """Twenty films as ever, then twenty of half of which the rotation gate is not sure."""
    doubt = Finding("rotation", Verdict.UNSURE, 0.4, 0.2, 0.5, Reason.ROTATION_UNSURE)
    unsure = replace(PASS, findings=(*(f for f in GOOD if f.gate != "rotation"), doubt))
    for number in range(40):
        shell.ledger.record([received(f"1.{number}", f"{number % 16:x}")])
        judged = unsure if number >= 20 and number % 2 else PASS
        shell.ledger.judge(claimed(shell.ledger), judged, now=now())
    last, before = shell.ledger.gate_scores(20)["rotation"], shell.ledger.gate_scores(20, skip=20)["rotation"]
    assert (last.good, last.unsure, before.good, before.unsure) == (10, 10, 20, 0)
    assert (last.bins[int(0.4 * BINS)], last.bins[int(0.97 * BINS)], sum(last.bins)) == (10, 10, 20)
    (rotation,) = [one for one in bundles(shell.settings) if one.name == "rotation"]
    drifts = judging(rotation, last, before).drifts
    assert [drift.drifts for drift in drifts] == [True, True]
    assert not any(drift.drifts for drift in judging(rotation, before, None).drifts)
    with signed_in(shell) as client:
        page = client.get("/models?films=20").text
    assert "this gate meets other films" in page
    assert "<polyline" in page
