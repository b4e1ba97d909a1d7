"""Imports: other people's classifiers answer as they did at home, or are refused in words.

torchvision is not needed: the network below is DenseNet-121 written from the paper, with torchvision's names.
"""

from __future__ import annotations

import hashlib
import io
import os
from collections import OrderedDict
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import safetensors.torch
import torch
from foreign_network import Tiny, written
from torch import Tensor, nn
from torch.nn import functional

from models.bundle import BundleError
from models.classifiers import bundle, engine
from models.classifiers.accepts import Accepts
from models.classifiers.bundle import Input
from pipelines.film import Film, Header
from pipelines.lab.train import imports, txv
from pipelines.lab.train.imports import Foreign, Terms
from pipelines.reading import Reading
from pipelines.reading.classifier import Classifier

ALL = "densenet121-res224-all"
TERMS = Terms(accepts=Accepts(min_age=18))
TINY = Foreign(("Mass", "Effusion"), Input(px=32, low=0.0, high=255.0, channels=3))


class Layer(nn.Sequential):
    """Norm, ReLU, 1 x 1, norm, ReLU, 3 x 3; what comes out is put beside what went in."""

    def __init__(self, width: int) -> None:
        super().__init__(
            OrderedDict(
                norm1=nn.BatchNorm2d(width),
                relu1=nn.ReLU(),
                conv1=nn.Conv2d(width, 128, 1, bias=False),
                norm2=nn.BatchNorm2d(128),
                relu2=nn.ReLU(),
                conv2=nn.Conv2d(128, 32, 3, padding=1, bias=False),
            )
        )

    def forward(self, x: Tensor) -> Tensor:
        return torch.cat([x, super().forward(x)], dim=1)


class Reference(nn.Module):
    """DenseNet-121 (Huang et al. 2017, table 1) on one channel, named as torchvision names it."""

    def __init__(self, classes: int = 18, channels: int = 1) -> None:
        super().__init__()
        steps: dict[str, nn.Module] = {
            "conv0": nn.Conv2d(channels, 64, 7, 2, 3, bias=False),
            "norm0": nn.BatchNorm2d(64),
            "relu0": nn.ReLU(),
            "pool0": nn.MaxPool2d(3, 2, 1),
        }
        width = 64
        for number, layers in enumerate((6, 12, 24, 16), 1):
            block = OrderedDict((f"denselayer{n + 1}", Layer(width + 32 * n)) for n in range(layers))
            steps[f"denseblock{number}"] = nn.Sequential(block)
            width += 32 * layers
            if number < 4:
                steps[f"transition{number}"] = nn.Sequential(
                    OrderedDict(
                        norm=nn.BatchNorm2d(width),
                        relu=nn.ReLU(),
                        conv=nn.Conv2d(width, width // 2, 1, bias=False),
                        pool=nn.AvgPool2d(2, 2),
                    )
                )
                width //= 2
        steps["norm5"] = nn.BatchNorm2d(width)
        self.features = nn.Sequential(OrderedDict(steps))
        self.classifier = nn.Linear(width, classes)

    def forward(self, x: Tensor) -> Tensor:
        pooled = functional.relu(self.features(x)).mean(dim=(2, 3))
        out: Tensor = self.classifier(pooled)
        return out


def untrained(seed: int = 0) -> Reference:
    """Random weights, and statistics as a training leaves them: none of the norms does nothing."""
    torch.manual_seed(seed)
    net = Reference()
    for module in net.modules():
        if isinstance(module, nn.BatchNorm2d):
            nn.init.uniform_(module.weight, 0.5, 1.5)
            nn.init.uniform_(module.bias, -0.2, 0.2)
            nn.init.uniform_(module.running_mean, -0.5, 0.5)
            nn.init.uniform_(module.running_var, 0.5, 2.0)
    return net.eval()


REFERENCE = untrained()


@pytest.fixture(autouse=True, scope="module")
def one_thread() -> Iterator[None]:
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


def file_of(state: Any, path: Path) -> Path:
    torch.save(state, path)
    return path


@pytest.fixture(scope="module")
def release(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A file of the structure of TorchXRayVision's releases."""
    return file_of(REFERENCE.state_dict(), tmp_path_factory.mktemp("txv") / "all.pt")


@pytest.fixture(scope="module")
def imported(release: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The same as a bundle."""
    out = tmp_path_factory.mktemp("bundles") / "txv-all"
    imports.torchxrayvision(release, ALL, out, TERMS)
    return out


def films(count: int = 2, px: int = 224) -> Tensor:
    return torch.rand(count, 1, px, px, generator=torch.Generator().manual_seed(7))


def test_an_imported_network_gives_the_logits_of_the_original(imported: Path) -> None:
    """To 1e-5 on the same input, in the range -1024..1024 that the weights were made for."""
    loaded = bundle.load(imported)
    assert loaded.net
    with torch.inference_mode():
        theirs, ours = REFERENCE(films() * 2048 - 1024), loaded.net(films())
    assert theirs.std() > 0.1
    assert torch.allclose(ours, theirs, rtol=1e-5, atol=1e-5)


def test_the_card_tells_range_operating_points_and_origin(imported: Path, release: Path) -> None:
    card = bundle.read_card(imported)
    assert (card.input.px, card.input.low, card.input.high, card.input.aspect) == (224, -1024, 1024, "centre")
    assert card.classes == txv.LABELS
    assert card.operating["Atelectasis"] == 0.07422872
    assert set(card.thresholds.values()) == {0.5}
    assert card.accepts.min_age == 18
    assert card.origin["sha256"] == hashlib.sha256(release.read_bytes()).hexdigest()
    assert card.origin["release"] == ALL
    assert card.origin["sha256"] in (imported / "docs" / "README.md").read_text()


def test_probabilities_are_those_that_the_library_would_tell(imported: Path) -> None:
    """Sigmoid, then op_norm: below its point p / (2 t), above it 1 - (1 - p) / (2 (1 - t))."""
    loaded = bundle.load(imported)
    assert loaded.net
    eager = engine.Eager(loaded.card, loaded.net)  # an export would take longer than all else
    one = Classifier(loaded, eager)
    film = Film(Header(modality="DX", age_years=50.0), films(1)[0, 0].numpy())
    reading = one.read(film, heat=False)
    assert isinstance(reading, Reading)
    with torch.inference_mode():
        p = torch.sigmoid(REFERENCE(torch.from_numpy(one.seen(film)) * 2048 - 1024))[0].double().numpy()
    t = np.array(txv.RELEASES[ALL].operating)
    theirs = np.where(p < t, p / (2 * t), 1 - (1 - p) / (2 * (1 - t)))
    ours = {condition.name: condition.probability for condition in reading.conditions}
    assert [ours[name] for name in txv.LABELS] == pytest.approx(theirs.tolist(), abs=1e-4)


def test_labels_that_a_release_never_trained_are_absent(tmp_path: Path, release: Path) -> None:
    """Neither in the card nor in the network; the others keep their outputs."""
    weights = "densenet121-res224-chex"
    card = imports.torchxrayvision(release, weights, tmp_path / "some", TERMS)
    assert card.classes == tuple(filter(None, txv.RELEASES[weights].labels))
    assert 0 < len(card.classes) < 18
    net = bundle.load(tmp_path / "some").net
    assert net
    some = films(1, 64)
    kept = [n for n, label in enumerate(txv.RELEASES[weights].labels) if label]
    with torch.inference_mode():
        assert torch.allclose(net(some), REFERENCE(some * 2048 - 1024)[:, kept], rtol=1e-5, atol=1e-5)


def test_every_release_has_a_label_for_each_of_its_points() -> None:
    assert {len(release.labels) for release in txv.RELEASES.values()} == {18}
    assert txv.RELEASES["densenet121-res224-rsna"].labels[8] == "Pneumonia"
    assert sum(map(bool, txv.RELEASES["densenet121-res224-nih"].labels)) == 14


def of_a_wrapped_module_inside_a_dict(state: dict[str, Tensor]) -> bytes:
    return saved({"epoch": 3, "state_dict": {f"module.{key}": value for key, value in state.items()}})


def of_an_old_torch(state: dict[str, Tensor]) -> bytes:
    """torchvision once wrote norm.1 for norm1; counters of batches came later."""
    import re

    old = {
        re.sub(r"(denselayer\d+\.(?:norm|conv))(\d)", r"\1.\2", key): value for key, value in state.items()
    }
    return saved({key: value for key, value in old.items() if "num_batches" not in key})


def as_safetensors(state: dict[str, Tensor]) -> bytes:
    return bytes(safetensors.torch.save(state))


def with_its_points(state: dict[str, Tensor]) -> bytes:
    return saved(state | {"op_threshs": torch.tensor(txv.RELEASES[ALL].operating)})


def saved(what: Any) -> bytes:
    out = io.BytesIO()
    torch.save(what, out)
    return out.getvalue()


LAYOUTS = (of_a_wrapped_module_inside_a_dict, of_an_old_torch, as_safetensors, with_its_points)


@pytest.mark.parametrize("layout", LAYOUTS, ids=lambda layout: layout.__name__)
def test_the_same_weights_in_another_layout_make_the_same_bundle(
    tmp_path: Path, imported: Path, layout: Callable[[dict[str, Tensor]], bytes]
) -> None:
    file = tmp_path / "weights.pt"
    file.write_bytes(layout(dict(REFERENCE.state_dict())))
    card = imports.torchxrayvision(file, ALL, tmp_path / "again", TERMS)
    assert card.weights_sha256 == bundle.read_card(imported).weights_sha256


def truncated() -> bytes:
    return saved(REFERENCE.state_dict())[:100_000]


def a_pickled_module() -> bytes:
    return saved(REFERENCE)


def a_pickle_that_runs_code() -> bytes:
    class Runs:
        def __reduce__(self) -> tuple[Any, ...]:
            return (os.mkdir, ("ran",))

    return saved({"classifier.weight": Runs()})


def of_another_depth() -> bytes:
    return saved({k: v for k, v in REFERENCE.state_dict().items() if "denseblock4.denselayer16" not in k})


def of_fourteen_outputs() -> bytes:
    state = REFERENCE.state_dict()
    return saved(state | {k: state[k][:14] for k in ("classifier.weight", "classifier.bias")})


def with_nan() -> bytes:
    return saved(REFERENCE.state_dict() | {"classifier.bias": torch.full((18,), float("nan"))})


def of_another_shape() -> bytes:
    return saved(REFERENCE.state_dict() | {"features.norm5.bias": torch.zeros(7)})


def a_list() -> bytes:
    return saved([torch.zeros(3)])


def text() -> bytes:
    return b"<html>404: not found</html>"


def points_of_another_release() -> bytes:
    points = [float("nan") if p is None else p for p in txv.RELEASES["densenet121-res224-nih"].operating]
    return saved(REFERENCE.state_dict() | {"op_threshs": torch.tensor(points)})


REFUSED = (
    (truncated, "no whole file of weights"),
    (a_pickled_module, "state_dict"),
    (a_pickle_that_runs_code, "would have to run code"),
    (of_another_depth, "missing or too many"),
    (of_fourteen_outputs, "14 outputs, and 18 are expected"),
    (with_nan, "NaN"),
    (of_another_shape, r"\(7,\)"),
    (a_list, "no state dict"),
    (text, "weights"),
    (points_of_another_release, "not for the outputs of that release"),
)


@pytest.mark.parametrize(("made", "says"), REFUSED, ids=[made.__name__ for made, _ in REFUSED])
def test_what_is_no_such_file_is_refused_and_leaves_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, made: Callable[[], bytes], says: str
) -> None:
    """In words; no code of the file runs, and no bundle or half of one is left."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "weights.pt").write_bytes(made())
    with pytest.raises(BundleError, match=says):
        imports.torchxrayvision(tmp_path / "weights.pt", ALL, tmp_path / "out", TERMS)
    assert [path.name for path in tmp_path.iterdir()] == ["weights.pt"]


def test_a_file_with_another_digest_than_the_one_named_is_refused(tmp_path: Path, release: Path) -> None:
    right = hashlib.sha256(release.read_bytes()).hexdigest()
    with pytest.raises(BundleError, match=right):
        imports.torchxrayvision(release, ALL, tmp_path / "out", Terms(sha256="0" * 64))
    with pytest.raises(BundleError, match="no release is called"):
        imports.torchxrayvision(release, "resnet50-res512-all", tmp_path / "out", TERMS)
    imports.torchxrayvision(release, ALL, tmp_path / "out", Terms(sha256=right.upper()))
    with pytest.raises(BundleError, match="there already"):
        imports.torchxrayvision(release, ALL, tmp_path / "out", TERMS)


@pytest.mark.parametrize("kind", ["torchscript", "onnx", "onnx, one film at a time"])
def test_a_foreign_network_answers_as_it_did_at_home(tmp_path: Path, kind: str) -> None:
    """Also when its ONNX takes one film at a time."""
    taken = imports.torchscript if kind == "torchscript" else imports.onnx
    file = written(kind.partition(",")[0], tmp_path / "net.bin", batch=kind != "onnx, one film at a time")
    taken(file, tmp_path / "tiny", TINY, TERMS)
    asked = engine.open_engine(bundle.load(tmp_path / "tiny"), device="cpu")
    x = films(3, 32)
    with torch.inference_mode():
        home = Tiny().eval()((x * 255).expand(-1, 3, -1, -1)).numpy()
    assert np.allclose(asked.ask(x.numpy()).logits, home, atol=1e-5)
    assert asked.ask(x.numpy()).maps is None


@pytest.mark.parametrize("kind", ["torchscript", "onnx"])
def test_a_foreign_network_with_other_outputs_is_refused(tmp_path: Path, kind: str) -> None:
    taken = imports.torchscript if kind == "torchscript" else imports.onnx
    file = written(kind, tmp_path / "net.bin")
    three = Foreign(("a", "b", "c"), TINY.input)
    with pytest.raises(BundleError):
        taken(file, tmp_path / "tiny", three, TERMS)
    (tmp_path / "none").write_bytes(b"nothing of the kind")
    with pytest.raises(BundleError, match="cannot be run"):
        taken(tmp_path / "none", tmp_path / "tiny", TINY, TERMS)
    assert not (tmp_path / "tiny").exists()


@pytest.mark.parametrize("exclusive", [False, True])
def test_probabilities_of_a_foreign_network_are_turned_into_logits(exclusive: bool) -> None:
    """So calibration and thresholds mean the same for every classifier; 0 and 1 stay finite."""
    card = bundle.ClassifierCard("x", "onnx", ("a", "b"), exclusive=exclusive, gives="probabilities")
    logits = engine.as_logits(card, np.array([[0.2, 0.8], [0.0, 1.0]], np.float32))
    assert np.isfinite(logits).all()
    back = np.exp(logits[0]) if exclusive else 1 / (1 + np.exp(-logits[0]))
    assert back.tolist() == pytest.approx([0.2, 0.8], abs=1e-6)
