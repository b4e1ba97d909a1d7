"""What a run that trains a classifier averages, keeps, goes on from and says of itself."""

from __future__ import annotations

import json
from dataclasses import asdict
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn

from pipelines.lab.train import classifier_run, classifier_train, live
from pipelines.lab.train.classifier_run import Checkpoint, Settings, Standing
from pipelines.lab.train.classifier_train import EMA_DECAY, averaged, cycle, optimiser_of, set_rate
from pipelines.lab.train.live import Live


class Tiny(nn.Module):
    """A trunk with a batch norm, and a head."""

    def __init__(self) -> None:
        super().__init__()
        self.trunk = nn.Sequential(nn.Linear(3, 4), nn.BatchNorm1d(4))
        self.head = nn.Linear(4, 2)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        out: torch.Tensor = self.head(self.trunk(x))
        return out


def stepped(net: nn.Module, step: int) -> None:
    """Moves weights and running numbers, as a step of training does."""
    torch.manual_seed(step)
    net.train()
    net(torch.randn(8, 3))
    with torch.no_grad():
        for parameter in net.parameters():
            parameter.add_(torch.randn_like(parameter))


def moved(average: dict[str, torch.Tensor], net: nn.Module, step: int) -> dict[str, torch.Tensor]:
    """The average after a step, by the formula of Polyak and Juditsky: each weight for itself."""
    decay = min(EMA_DECAY, (1 + step) / (10 + step))
    now = net.state_dict()
    return {
        key: torch.lerp(value, now[key], 1 - decay) if value.is_floating_point() else now[key].clone()
        for key, value in average.items()
    }


def test_the_average_moves_more_at_the_beginning_and_takes_counts_as_they_are() -> None:
    """Bit by bit the formula, for weights and running means; how many batches were seen is no average."""
    net = Tiny()
    average = averaged(net)
    expected = {key: value.clone() for key, value in net.state_dict().items()}
    for step in range(6):
        stepped(net, step)
        average.update_parameters(net)
        expected = moved(expected, net, step)
    kept = average.module.state_dict()
    assert kept.keys() == expected.keys()
    assert all(torch.equal(kept[key], expected[key]) for key in expected)
    assert kept["trunk.1.num_batches_tracked"] == 6
    assert not average.module.training
    assert not any(parameter.requires_grad for parameter in average.module.parameters())


def test_the_average_never_forgets_faster_than_its_decay() -> None:
    """After thousands of steps it moves by two thousandths of the way."""
    net = Tiny()
    average = averaged(net)
    average.n_averaged.fill_(50_000)
    before = average.module.head.weight.clone()
    stepped(net, 1)
    average.update_parameters(net)
    way = ((average.module.head.weight - before) / (net.head.weight - before)).detach()
    assert way == pytest.approx(1 - EMA_DECAY, rel=1e-3)


def checkpoint(path: Path, net: nn.Module) -> Checkpoint:
    """A checkpoint of a run with this network."""
    optimiser = optimiser_of(net, Settings())
    return Checkpoint(path, net, averaged(net), optimiser, Standing())


def test_a_checkpoint_of_an_earlier_version_is_gone_on_from(tmp_path: Path) -> None:
    """Its average is a plain state dict; the next step moves it as the step after it would have."""
    torch.manual_seed(0)
    old, before = Tiny(), Tiny()
    state = {
        "step": 40,
        "net": old.state_dict(),
        "average": before.state_dict(),
        "optimiser": optimiser_of(old, Settings()).state_dict(),
        "standing": asdict(Standing(0.7, 3, 1)),
    }
    torch.save(state, tmp_path / "checkpoint.pt")
    ours = checkpoint(tmp_path / "checkpoint.pt", Tiny())
    assert ours.restore() == 40
    assert (ours.standing.best, ours.standing.best_epoch) == (0.7, 3)
    stepped(ours.net, 40)
    ours.average.update_parameters(ours.net)
    expected = moved(before.state_dict(), ours.net, 40)
    assert all(torch.equal(value, expected[key]) for key, value in ours.average.module.state_dict().items())


def test_a_checkpoint_is_what_it_was_and_its_average_has_no_other_names(tmp_path: Path) -> None:
    """So an earlier version can go on from it, too; nothing there is the beginning."""
    first = checkpoint(tmp_path / "checkpoint.pt", Tiny())
    assert first.restore() == 0
    for step in range(3):
        stepped(first.net, step)
        first.average.update_parameters(first.net)
    first.save(3)
    stored = torch.load(tmp_path / "checkpoint.pt", weights_only=True)
    assert stored["average"].keys() == stored["net"].keys()
    second = checkpoint(tmp_path / "checkpoint.pt", Tiny())
    assert second.restore() == 3
    assert int(second.average.n_averaged) == int(first.average.n_averaged) == 4
    assert not list(tmp_path.glob("*.part"))


def test_patience_is_for_the_second_phase() -> None:
    """An epoch that is no better counts once the trunk learns; without validation none does."""
    standing = Standing()
    assert standing.heard(0.6, 0, epochs_head=2)
    assert not standing.heard(0.5, 1, epochs_head=2)
    assert (standing.worse, standing.stopped(1)) == (0, False)
    assert not standing.heard(0.6, 2, epochs_head=2)
    assert not standing.heard(None, 3, epochs_head=2)
    assert standing.worse == 1
    assert standing.stopped(1)
    assert not standing.stopped(0)
    assert standing.heard(0.61, 4, epochs_head=2)
    assert (standing.best_epoch, standing.worse) == (4, 0)


def test_the_rate_rises_falls_and_leaves_the_trunk_alone_at_first() -> None:
    """One cycle a phase; the trunk's share of the rate is as the settings say."""
    settings = Settings(epochs_head=2, epochs_all=10, rate=1e-3, rate_head=4e-3, trunk_share=0.1)
    optimiser = optimiser_of(Tiny(), settings)
    assert set_rate(optimiser, settings, 1.0) == pytest.approx(4e-3 * cycle(0.5))
    assert optimiser.param_groups[0]["lr"] == 0
    rate = set_rate(optimiser, settings, 2 + 10 * classifier_train.WARM)
    assert rate == pytest.approx(1e-3)
    assert optimiser.param_groups[0]["lr"] == pytest.approx(1e-4)
    rises = [cycle(done / 100) for done in range(15)]
    falls = [cycle(done / 100) for done in range(15, 101)]
    assert rises == sorted(rises)
    assert falls == sorted(falls, reverse=True)
    assert falls[-1] == pytest.approx(classifier_train.LAST_RATE)


@pytest.mark.parametrize(
    ("name", "value"), [("network", "huge"), ("augmentation", "magic"), ("imbalance", "none at all")]
)
def test_settings_name_what_there_is(name: str, value: str) -> None:
    """A word that is not known is refused with those that are."""
    with pytest.raises(ValueError, match=f"'{value}' is none of"):
        Settings(**{name: value})  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="one epoch"):
        Settings(epochs_head=0, epochs_all=0)


TRAIN_JSON = {
    "settings": {"init": ""},
    "not_trained": ["Hernia"],
    "data": {
        "learned": {"films": 8, "patients": 5, "films_with": {"Mass": 3}, "sources": {"nih": 6, "web": 2}},
        "validated": {"films": 2, "patients": 2, "films_with": {"Mass": 1}, "sources": {"nih": 2}},
    },
}


def test_the_card_counts_what_a_run_learned_from() -> None:
    """Films, patients, labels and sources, on either side; and what it could not learn."""
    text = classifier_run.data_part(TRAIN_JSON)
    assert "| films | 8 | 2 |" in text
    assert "| with Mass | 3 | 1 |" in text
    assert "| from web | 2 | 0 |" in text
    assert "absent from every answer: Hernia" in text


def test_a_run_does_not_say_where_its_first_weights_lay(tmp_path: Path) -> None:
    """Their name and digest; nothing where they are gone; nothing at all where it began afresh."""
    assert classifier_run.published(TRAIN_JSON) == TRAIN_JSON
    begun = TRAIN_JSON | {"settings": {"init": str(tmp_path / "begin.safetensors")}}
    assert classifier_run.published(begun)["begun_with"] == {"file": "begin.safetensors", "sha256": ""}
    (tmp_path / "begin.safetensors").write_bytes(b"weights")
    published = classifier_run.published(begun)
    assert len(published["begun_with"]["sha256"]) == 64
    assert str(tmp_path) not in json.dumps(published)


def test_a_log_goes_on_where_the_checkpoint_was(tmp_path: Path) -> None:
    """Lines of steps after it are written anew; the epoch that it ended stays."""
    first = Live(tmp_path, "", with_picture=False)
    first.begin(0)
    for step in range(4):
        first.step({"step": step, "loss": 1.0 - step / 10, "rate": 0.1})
        if step == 1:
            first.epoch({"epoch": 0, "step": 2, "loss": 0.9, "valid_loss": None, "valid_auc": None})
    first.end()
    again = Live(tmp_path, "", with_picture=False)
    again.begin(2)
    again.step({"step": 2, "loss": 0.5, "rate": 0.1})
    again.end()
    lines = [json.loads(line) for line in (tmp_path / "train.jsonl").read_text().splitlines()]
    assert [line["step"] for line in lines] == [0, 1, 2, 2]
    assert [line["loss"] for line in lines] == [1.0, 0.9, 0.9, 0.5]
    assert [len(again.steps), len(again.epochs)] == [3, 1]


def test_a_picture_is_drawn_from_one_step_on(tmp_path: Path) -> None:
    """Also where nothing was validated; a rate that is looked for has one of its own."""
    live.draw(tmp_path / "progress.png", "one step", [{"step": 0, "loss": 1.0}], [])
    rates = np.geomspace(1e-6, 1, 9)
    live.draw_rates(tmp_path / "rates" / "rate.png", rates, 1 / (1 + rates), 0.01)
    assert (tmp_path / "progress.png").read_bytes()[:4] == b"\x89PNG"
    assert (tmp_path / "rates" / "rate.png").read_bytes()[:4] == b"\x89PNG"
