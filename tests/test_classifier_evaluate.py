"""The page of a classifier: what is chosen on which films, what is judged by others, and the card."""

from __future__ import annotations

import json
from html.parser import HTMLParser
from pathlib import Path

import numpy as np
import pytest
from typer.testing import CliRunner

from gateway.cli import app
from gateway.errors import FilmgateError
from models.classifiers import bundle, nets
from models.classifiers.bundle import ClassifierCard
from pipelines.lab.measure import areas, classifier_fit, classifier_scores, learning_curve, platt, rules
from pipelines.lab.measure.classifier_scores import Scores
from pipelines.lab.report import classifier_figures, classifier_report
from pipelines.lab.report.classifier_report import Evaluation

CHEST, CHILD = ("Mass", "Hernia"), ("Normal", "Bacterial", "Viral")


def chest(path: Path, n: int = 300, sets: tuple[str, ...] = ("cv",), seed: int = 1) -> Path:
    """A frequent condition that is told fairly well, and a rare one, of two films a patient."""
    rng = np.random.default_rng(seed)
    films, truth, said = [], [], []
    for set_ in sets:
        for i in range(n):
            patient = f"{set_}{i // 2}"
            fold = str(i // 2 % 3) if set_ == "cv" else ""
            films.append(
                {
                    "file": f"{set_}{i}",
                    "patient": patient,
                    "fold": fold,
                    "set": set_,
                    "group": "PA" if i % 4 else "AP",
                }
            )
            has = [float(rng.random() < 0.3), float(i < 12)]
            truth.append(has)
            said.append([1 / (1 + np.exp(-rng.normal(1.5 * has[0] - 1))), rng.uniform(0, 0.2) + 0.1 * has[1]])
    classifier_scores.write(path, CHEST, films, np.array(truth), np.array(said))
    return path


def child(path: Path) -> Path:
    """Three classes, on training patients and on a test set with other shares."""
    rng = np.random.default_rng(2)
    films, truth, said = [], [], []
    for set_, n, shares in (("cv", 240, [0.2, 0.5, 0.3]), ("test", 150, [0.4, 0.3, 0.3])):
        for i in range(n):
            true = rng.choice(3, p=shares)
            odds = np.exp(rng.standard_normal(3) + 2.5 * np.eye(3)[true])
            films.append({"file": f"{set_}{i}", "patient": f"{set_}{i}", "fold": str(i % 3), "set": set_})
            truth.append(np.eye(3)[true])
            said.append(odds / odds.sum())
    classifier_scores.write(path, CHILD, films, np.array(truth), np.array(said))
    return path


@pytest.fixture(scope="module")
def of_chest(tmp_path_factory: pytest.TempPathFactory) -> tuple[Evaluation, Path]:
    folder = tmp_path_factory.mktemp("chest")
    table = chest(folder / "scores.csv")
    return classifier_report.evaluate(
        table, folder / "page", title="chest14", rule="youden", draws=100
    ), folder / "page"


@pytest.fixture(scope="module")
def of_child(tmp_path_factory: pytest.TempPathFactory) -> tuple[Evaluation, Path]:
    folder = tmp_path_factory.mktemp("child")
    table = child(folder / "scores.csv")
    return classifier_report.evaluate(
        table, folder / "page", title="pneumonia3", draws=100, pictures=False
    ), folder / "page"


class Links(HTMLParser):
    def __init__(self) -> None:
        super().__init__()
        self.files: list[str] = []
        self.tags: set[str] = set()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.add(tag)
        for name, value in attrs:
            if name in ("src", "srcset", "href") and value and not value.startswith("#"):
                self.files.append(value)


def test_the_page_has_no_script_and_everything_it_links_to(of_chest: tuple[Evaluation, Path]) -> None:
    """One folder that can be sent to somebody."""
    made, folder = of_chest
    links = Links()
    links.feed(made.page.read_text())
    assert "script" not in links.tags
    assert links.files
    assert [name for name in links.files if not (folder / name).exists()] == []
    for stem in ("roc", "precision", "reliability", "thresholds", "sweep"):
        assert f"cv-{stem}-dark.svg" in links.files


def test_the_frequent_condition_gets_a_threshold_and_the_rare_one_a_reason(
    of_chest: tuple[Evaluation, Path],
) -> None:
    """Twelve films with a hernia are too few for a number."""
    made, _ = of_chest
    assert made.thresholds["Mass"] is not None
    assert made.thresholds["Hernia"] is None
    assert made.evidence["without threshold"]["Hernia"].startswith("insufficient positives (12")
    assert "insufficient positives" in made.markdown
    assert set(made.evidence["sets"]["cv"]["points"]) == {"Mass"}


def test_thresholds_come_from_the_films_that_are_not_set_aside(of_chest: tuple[Evaluation, Path]) -> None:
    """Those of "cv", on scaled probabilities."""
    made, folder = of_chest
    table = classifier_scores.read(folder.parent / "scores.csv")
    films = platt.scaled(table.of("cv"), platt.fit_scalings(table.of("cv")))
    truth, p, _ = films.known("Mass")
    chosen = rules.choose(rules.parse("youden"), truth, p)
    assert made.thresholds["Mass"] == pytest.approx(chosen.value, abs=1e-6)
    assert made.evidence["sets"]["cv"]["judged"] == classifier_report.CROSSED


def test_what_is_put_on_the_card_is_also_written_as_json(of_chest: tuple[Evaluation, Path]) -> None:
    """Plain JSON: no nan in it."""
    made, folder = of_chest
    told = json.loads(
        (folder / classifier_report.EVIDENCE).read_text(), parse_constant=lambda word: pytest.fail(word)
    )
    assert told["thresholds"] == made.thresholds
    assert told["chosen on"] == "cv"
    low, high = told["sets"]["cv"]["labels"]["Mass"]["AUC"][1:]
    assert low < told["sets"]["cv"]["labels"]["Mass"]["AUC"][0] < high


def test_groups_are_told_apart(of_chest: tuple[Evaluation, Path]) -> None:
    """PA and AP by themselves."""
    groups = of_chest[0].evidence["sets"]["cv"]["groups"]
    assert set(groups) == {"PA", "AP"}
    assert (
        sum(groups[name]["labels"]["Mass"]["with it"] for name in groups)
        == (of_chest[0].evidence["sets"]["cv"]["labels"]["Mass"]["with it"])
    )


def test_of_three_classes_there_is_a_confusion_matrix_and_any_but_normal(
    of_child: tuple[Evaluation, Path],
) -> None:
    """Pneumonia against normal has its area and a threshold fixed on training patients."""
    made, folder = of_child
    test = made.evidence["sets"]["test"]
    assert test["judged"] == classifier_report.FIXED
    assert np.sum(test["exclusive"]["confusion"]) == 150
    assert "any but Normal" in test["labels"]
    assert "any but Normal" in test["points"]
    assert set(made.thresholds) == set(made.calibration) == set(CHILD)
    assert made.evidence["threshold of any"]["any but Normal"] is not None
    assert not list(folder.glob("*.svg"))


def test_a_fold_is_judged_by_the_others(tmp_path: Path) -> None:
    """Where a fold's labels are pure noise a threshold chosen on it would look good, and does not here."""
    rng = np.random.default_rng(3)
    n = 90
    truth = rng.random((n, 1)) < 0.4
    films = Scores(
        ("A",),
        *(np.array([f"{kind}{i}" for i in range(n)]) for kind in ("f", "p")),
        np.array([str(i % 30) for i in range(n)]),
        np.full(n, ""),
        np.full(n, "cv"),
        truth.astype(float),
        rng.random((n, 1)),
    )
    rule = rules.parse("youden")
    fitted = classifier_fit.fit(films, rule)
    itself, crossed = (
        classifier_fit.judge(films, "cv", fitted, None),
        classifier_fit.judge(films, "cv", fitted, rule),
    )

    def youden(judged: classifier_fit.Judged) -> float:
        point = rules.point("A", judged.thresholds["A"], truth[:, 0], judged.called["A"])
        return point.sensitivity + point.specificity - 1

    assert youden(crossed) < youden(itself)


def test_without_folds_the_patients_are_dealt_to_parts() -> None:
    """All films of a patient into the same one."""
    patients = np.array([f"p{i // 3}" for i in range(60)])
    blank = np.full(60, "")
    films = Scores(("A",), patients, patients, blank, blank, blank, np.zeros((60, 1)), np.zeros((60, 1)))
    dealt = list(classifier_fit.parts(films))
    assert len(dealt) == classifier_fit.PARTS
    assert np.sum(dealt, axis=0).tolist() == [1] * 60
    assert all(len(set(here[patients == name])) == 1 for here in dealt for name in patients)


def test_nothing_is_chosen_where_every_film_is_set_aside(tmp_path: Path) -> None:
    """A table of a test set gives areas, and no threshold; to ask for one is refused."""
    table = chest(tmp_path / "scores.csv", 60, sets=("test",))
    made = classifier_report.evaluate(table, tmp_path / "page", draws=20, pictures=False)
    assert made.thresholds == {}
    assert made.evidence["chosen on"] is None
    assert "Every set of the table is set aside" in made.markdown
    with pytest.raises(ValueError, match="set aside: nothing is chosen on it"):
        classifier_report.evaluate(table, tmp_path / "page", chosen_on="test")
    with pytest.raises(ValueError, match="no set 'dev'"):
        classifier_report.evaluate(table, tmp_path / "page", chosen_on="dev")


def test_one_threshold_for_all_is_swept_beside_one_for_each() -> None:
    """By hand: A needs a threshold of 0.7, B one of 0.2; no single one is right for both."""
    truth = np.array([[1, 1], [1, 1], [0, 0], [0, 0]], dtype=float)
    said = np.array([[0.9, 0.3], [0.8, 0.3], [0.6, 0.1], [0.6, 0.1]])
    blank = np.full(4, "")
    films = Scores(("A", "B"), np.arange(4).astype(str), blank, blank, blank, blank, truth, said)
    called = {"A": said[:, 0] >= 0.7, "B": said[:, 1] >= 0.2}
    found = rules.sweep(films, called)
    assert (found.macro_each, found.micro_each) == (1.0, 1.0)
    assert found.best[1] == pytest.approx((2 / 3 + 1) / 2)  # at 0.2 to 0.3: A is right half the time
    assert found.macro[0] == pytest.approx(2 / 3)  # everything is called positive
    assert found.macro[-1] == 0.0


def test_a_confusion_matrix_and_a_learning_curve_are_drawn(tmp_path: Path) -> None:
    """Each in two looks, with what it says as text."""
    some = areas.Value(0.8)
    found = areas.Exclusive(("Normal", "Viral"), np.array([[7, 1], [2, 8]]), some, (0, 1), some, 0.5)
    curve = learning_curve.learning_curve(
        [learning_curve.Learned(n, 0.8 - n**-0.4, 0.01) for n in (100, 200, 400)]
    )
    drawn = [
        *classifier_figures.draw_confusion(tmp_path, found),
        *classifier_figures.draw_learning(tmp_path, curve, goal=0.777),
    ]
    texts = [(tmp_path / name).read_text() for name in drawn]
    assert all("80.0%" in text for text in texts[:2])
    assert all("published: 0.777" in text for text in texts[2:])


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A bundle of two classes, without thresholds."""
    card = ClassifierCard("small", "lite", CHEST)
    bundle.save(tmp_path / "small", card, nets.KINDS["lite"](2))
    return tmp_path / "small"


def test_the_card_gets_thresholds_calibration_and_evidence(
    of_chest: tuple[Evaluation, Path], folder: Path
) -> None:
    """None for what has too few films, and the weights are still those that the card names."""
    classifier_report.into_card(folder, of_chest[0])
    card = bundle.load(folder).card
    assert card.thresholds == of_chest[0].thresholds
    assert card.calibration["Mass"] == pytest.approx(of_chest[0].calibration["Mass"])
    kept = json.loads((folder / "configs" / "metadata.json").read_text())["filmgate"]["evidence"]
    assert kept["sets"]["cv"]["films"] == 300


def test_a_card_of_other_labels_is_left_alone(of_child: tuple[Evaluation, Path], folder: Path) -> None:
    """Thresholds of another classifier would be worse than none."""
    before = (folder / "configs" / "metadata.json").read_bytes()
    with pytest.raises(ValueError, match="the card is not"):
        classifier_report.into_card(folder, of_child[0])
    assert (folder / "configs" / "metadata.json").read_bytes() == before


def test_the_command_writes_the_page_and_the_card(folder: Path, tmp_path: Path) -> None:
    """One JSON item: where the page is, and what was chosen."""
    table = chest(tmp_path / "scores.csv", 120)
    words = ["evaluate", "classifier", "--scores", str(table), "--out", str(tmp_path / "page")]
    words += ["--no-pictures", "--json"]
    done = CliRunner().invoke(app, [*words, "--rule", "sensitivity=0.9", "--bundle", str(folder)])
    assert done.exit_code == 0, done.output
    (told,) = json.loads(done.stdout)
    assert Path(told["page"]).exists()
    assert told["evidence"]["rule"] == "sensitivity=0.9"
    assert bundle.read_card(folder).thresholds == told["thresholds"]


@pytest.mark.parametrize(
    ("text", "more", "says"),
    [
        ("file,patient\n", [], "no column fold"),
        ("file,patient,fold,group,set,y:A,p:A\na,p,,,cv,1,0.5\n", ["--rule", "best"], "'best' is no rule"),
    ],
)
def test_the_command_says_what_is_wrong(text: str, more: list[str], says: str, tmp_path: Path) -> None:
    """In words, without a page."""
    table = tmp_path / "scores.csv"
    table.write_text(text)
    words = ["evaluate", "classifier", "--scores", str(table), "--out", str(tmp_path / "page")]
    done = CliRunner().invoke(app, [*words, *more])
    assert isinstance(done.exception, FilmgateError)
    assert says in str(done.exception)
    assert not (tmp_path / "page" / "index.html").exists()
