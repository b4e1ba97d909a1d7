"""The commands of the laboratory, as far as they need no films."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import pytest
from command_line import Run, commands_on, filmgate, items

from gateway.cli import lazy
from gateway.cli.commands import GATES
from gateway.cli.lab.classifiers import How, Lessons
from gateway.cli.lab.models import Network, Scope
from gateway.errors import FilmgateError
from models import bundle, nets
from pipelines.lab.ask import gate_ask
from pipelines.lab.measure import scores
from pipelines.lab.measure.scores import Score
from pipelines.lab.train import gate_train
from pipelines.lab.train.classifier_run import Settings
from pipelines.lab.train.recipes import RECIPES


@pytest.fixture
def run(tmp_path: Path) -> Run:
    """A command on a small gateway."""
    return commands_on(tmp_path)


def test_training_needs_films_and_a_known_gate(run: Run, tmp_path: Path) -> None:
    """Rounds and terms are names that are known, and the folder is there."""
    assert run("train", "colour", "--films", tmp_path).exit_code == 2
    assert run("train", "rotation", "--films", tmp_path, "--leave-out", "mars").exit_code == 2
    assert run("train", "rotation", "--films", tmp_path, "--terms", "mine").exit_code == 2
    shown = filmgate("train", "rotation", "--films", tmp_path / "none")
    assert shown.returncode == 1
    assert "there are no films at" in shown.stderr


def test_the_gates_that_can_be_trained_are_the_commands() -> None:
    """The names that `--help` shows are those of the recipes."""
    assert set(GATES) == set(RECIPES) == set(gate_ask.NEEDS)


def test_what_the_extra_brings_is_asked_for_in_words(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    """Without SciPy a command of the laboratory ends with what to install, and no traceback."""
    for name in [module for module in sys.modules if module.startswith("gateway.cli.lab.gates")]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.setitem(sys.modules, "pipelines.lab.measure.calibrate", None)
    monkeypatch.setattr(lazy, "TRAINING", ("pipelines",))
    error = run("evaluate", "rotation", "--films", "none").exception
    assert isinstance(error, FilmgateError)
    assert "pip install 'filmgate[train]'" in str(error)


def test_rounds_train_what_the_gate_is_asked_with_and_then_ask(
    run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Each round without its sites, pose networks first."""
    asked: list[str] = []

    def trained(name: str, films: Path, runs: Path, round_: str, cache: Path) -> Path:
        asked.append(f"train {name} without {round_}")
        return runs / round_ / name

    def scored(name: str, films: Path, runs: Path, round_: str) -> Path:
        asked.append(f"ask {name} without {round_}")
        return runs / round_ / name / "scores.csv"

    monkeypatch.setattr(gate_train, "train_round", trained)
    monkeypatch.setattr(gate_ask, "score_round", scored)
    where = ("--films", tmp_path, "--runs", tmp_path / "runs", "--cache", tmp_path / "cache")
    shown = items(run("rounds", "mirror", "--json", *where))
    assert [item["round"] for item in shown] == ["nih", "web", "kermany"]
    names = ("train rotation", "train inversion", "train mirror", "ask mirror")
    assert asked[:4] == [f"{name} without nih" for name in names]
    assert len(asked) == 12


@pytest.fixture
def rounds_of_rotation(tmp_path: Path) -> Path:
    """Two rounds of thirty patients each, and a bundle that they are about."""
    bundle.save(
        tmp_path / "bundles" / "rotation",
        bundle.Card("rotation", "Antisymmetric", ("x",)),
        nets.Antisymmetric(),
    )
    for site in ("nih", "web"):
        table = [
            Score("rotation", site, f"{site}{n}.png", site, site, f"{site}{n}", "frontal", "chest", *shown)
            for n in range(30)
            for shown in (
                ("upright", "good", 0.97, "ROTATED_90"),
                ("turned 90", "ROTATED_90", 0.02, "ROTATED_90"),
            )
        ]
        scores.write(tmp_path / "runs" / site / "rotation" / "scores.csv", table)
    return tmp_path


def test_calibrate_from_rounds_writes_the_card_and_says_what_it_is_worth(
    run: Run, rounds_of_rotation: Path
) -> None:
    """Thresholds, bound, and how many patients the budget would need."""
    words = ("calibrate", "rotation", "--scores", rounds_of_rotation / "runs")
    words += ("--bundles", rounds_of_rotation / "bundles")
    (shown,) = items(run(*words, "--json"))
    assert 0.02 < shown["thresholds"]["low"] < shown["thresholds"]["high"] < 0.97
    assert (shown["lost"]["errors"], shown["lost"]["patients"]) == (0, 60)
    told = run(*words).stdout
    assert "0.03 % needs 9,985 patients with no error, has 60" in told
    card = rounds_of_rotation / "bundles" / "rotation" / "configs" / "metadata.json"
    assert json.loads(card.read_text())["filmgate"]["thresholds"]["high"] == shown["thresholds"]["high"]


def test_calibrate_says_what_is_wrong_with_what_it_was_given(run: Run, rounds_of_rotation: Path) -> None:
    """Neither or both kinds of films; no scores; too few films of a hospital: nothing is changed."""
    bundles = rounds_of_rotation / "bundles"
    assert run("calibrate", "rotation").exit_code == 2
    assert run("calibrate", "rotation", "--scores", "a", "--site", "b").exit_code == 2
    before = (bundles / "rotation" / "configs" / "metadata.json").read_bytes()
    empty = run("calibrate", "mirror", "--scores", rounds_of_rotation, "--bundles", bundles)
    assert isinstance(empty.exception, FilmgateError)
    assert "no scores.csv of mirror" in str(empty.exception)
    (rounds_of_rotation / "films").mkdir()
    out = rounds_of_rotation / "out"
    where = ("--site", rounds_of_rotation / "films", "--bundles", bundles, "--out", out)
    few = run("calibrate", "rotation", *where)
    assert isinstance(few.exception, FilmgateError)  # exit code 1, as for every error of ours
    assert "4,992 patients are missing" in str(few.exception)
    assert not out.exists()
    assert (bundles / "rotation" / "configs" / "metadata.json").read_bytes() == before


@pytest.mark.slow
def test_evaluate_writes_a_page_and_the_summary_into_the_card(run: Run, rounds_of_rotation: Path) -> None:
    """From the rounds' tables alone: bars, counts, curves, and thresholds chosen without the site."""
    films = rounds_of_rotation / "films"
    films.mkdir()
    head = "file,source,site,split,body_part,view,projection,labels,age,sex,group,terms,lung_mask,lung_box"
    (films / "manifest.csv").write_text(f"{head},note,flag\n")
    where = ("--films", films, "--runs", rounds_of_rotation / "runs", "--out", rounds_of_rotation / "report")
    bundles = rounds_of_rotation / "bundles"
    (shown,) = items(run("evaluate", "rotation", *where, "--bundles", bundles, "--json"))
    page = Path(shown["page"]).read_text()
    assert "Thresholds chosen without the site" in page
    assert "Sites left out of training" in page
    assert "## Evaluation" in (bundles / "rotation" / "docs" / "README.md").read_text()


def test_what_is_not_said_of_a_classifier_is_as_its_settings_have_it(tmp_path: Path) -> None:
    """Only what was given goes into the settings; a file to begin with is its path."""
    assert How().settings(3, 2) == Settings(seed=3, threads=2)
    begun = How(network="small", epochs=7, init=tmp_path / "a").settings(0, 1)
    assert (begun.network, begun.epochs_all, begun.init) == ("small", 7, str(tmp_path / "a"))
    quick = Lessons(epochs=2, rate=0.5).settings()
    assert (quick.network, quick.epochs_all, quick.rate, quick.init) == ("small", 2, 0.5, "")


@pytest.mark.parametrize(
    "words",
    [
        ("train", "classifier", "--task", "chest14"),
        ("train", "classifier", "--task", "chest14", "--nih", "table.csv"),
        ("train", "classifier", "--task", "colours", "--films", "here"),
        ("train", "classifier", "--task", "chest14", "--films", "here", "--folds", "1"),
        ("train", "lessons", "--task", "chest14", "--films", "here", "--folders", "there"),
        ("calibrate", "rotation", "--scores", "a", "--may-lose", "1"),
        ("rounds", "colour", "--films", "here"),
    ],
)
def test_words_that_do_not_go_together_are_refused(run: Run, words: tuple[str, ...]) -> None:
    """Exit code 2, as for every command line that cannot be used; nothing is read."""
    assert run(*words).exit_code == 2


@pytest.mark.parametrize(
    "words",
    [
        ("evaluate", "classifier", "--scores", "none.csv"),
        ("evaluate", "robustness", "--films", "none", "--model", "chest14"),
        ("evaluate", "rotation", "--films", "none"),
        ("train", "classifier", "--task", "chest14", "--films", "none"),
        ("region", "check", "none.yaml", "--films", "none"),
        ("models", "import", "onnx", "none.onnx", "--labels", "a", "--px", "32", "--out", "out"),
        ("models", "import", "monai", "none", "--out", "out"),
    ],
)
def test_what_is_not_there_is_named(run: Run, words: tuple[str, ...]) -> None:
    """An error of ours, in words."""
    error = run(*words).exception
    assert isinstance(error, FilmgateError)
    assert "none" in str(error)


def test_scope_and_network_of_an_import_are_what_was_said() -> None:
    """Views in the words of the cards, labels without their spaces; a view that is none is refused."""
    terms = Scope("mine", "ab", "PA, AP", 10.0, 60.0, unknown_age=True).terms()
    assert (terms.name, terms.sha256, terms.accepts.views) == ("mine", "ab", ("PA", "AP"))
    assert (terms.accepts.min_age, terms.accepts.max_age, terms.accepts.unknown_age) == (10, 60, True)
    foreign = Network("Mass, Effusion,", 64, high=255.0, channels=3).foreign()
    assert foreign.labels == ("Mass", "Effusion")
    assert (foreign.input.px, foreign.input.high, foreign.input.channels) == (64, 255.0, 3)
    with pytest.raises(FilmgateError, match="--views"):
        Scope(views="sideways").terms()
