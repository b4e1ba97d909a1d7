"""The quick engine: the same answers as torch, from an export that is kept, checked and made anew."""

from __future__ import annotations

import logging
import os
import subprocess
import sys
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest
import torch
from numpy.typing import NDArray

from models.bundle import BundleError
from models.classifiers import bundle, engine, nets
from models.classifiers.bundle import ClassifierCard, Input, Loaded
from models.classifiers.engine import Eager, Foreign, open_engine


@pytest.fixture(autouse=True, scope="module")
def one_thread() -> Iterator[None]:
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


def loaded(kind: str = "small", px: int = 64, digest: str = "a" * 64) -> Loaded:
    """A network with statistics that are not those of an untrained one."""
    torch.manual_seed(0)
    net = bundle.network(kind, 3)
    for module in net.modules():
        if isinstance(module, torch.nn.BatchNorm2d):
            torch.nn.init.uniform_(module.running_mean, -0.2, 0.2)
            torch.nn.init.uniform_(module.running_var, 0.5, 2.0)
    card = ClassifierCard("tiny", kind, ("a", "b", "c"), input=Input(px=px), weights_sha256=digest)
    return Loaded(card, net.eval().requires_grad_(False))


def films(count: int, px: int = 64) -> NDArray[np.float32]:
    return np.random.default_rng(1).random((count, 1, px, px), dtype=np.float32)


@pytest.fixture
def warned(caplog: pytest.LogCaptureFixture) -> pytest.LogCaptureFixture:
    caplog.set_level(logging.WARNING, logger="models.classifiers.engine")
    return caplog


@pytest.mark.parametrize(("kind", "px"), [("small", 64), ("lite", 96), ("densenet121", 64)])
def test_the_engine_answers_as_torch_does(kind: str, px: int) -> None:
    """Logits to 1e-4 and the maps they were made of, one film or several, at once or one by one."""
    one = loaded(kind, px)
    assert one.net
    quick, eager = open_engine(one, device="cpu", threads=1), Eager(one.card, one.net)
    assert (quick.runs_on, eager.runs_on) == ("onnxruntime", "torch")
    x = films(3, px)
    ours, theirs = quick.ask(x), eager.ask(x)
    assert np.abs(theirs.logits).max() > 1e-3
    assert np.allclose(ours.logits, theirs.logits, atol=1e-4)
    assert ours.maps is not None
    assert theirs.maps is not None
    assert np.allclose(ours.maps, theirs.maps, atol=1e-3)
    assert np.allclose(quick.ask(x[1:2]).logits, ours.logits[1:2], atol=1e-5)
    with torch.inference_mode():
        assert np.allclose(one.net(torch.from_numpy(x)).numpy(), ours.logits, atol=1e-4)


def test_the_logits_are_the_mean_of_the_maps_through_the_head() -> None:
    """What heat maps rely on."""
    one = loaded()
    assert one.net
    answer = open_engine(one, device="cpu").ask(films(2))
    assert answer.maps is not None
    head = one.net.get_submodule("head")
    assert isinstance(head, torch.nn.Linear)
    again = answer.maps.mean(axis=(2, 3)) @ head.weight.numpy().T + head.bias.numpy()
    assert np.allclose(again, answer.logits, atol=1e-4)


def test_an_export_is_kept_and_used_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """One file, of a name that other weights do not have; the second time nothing is exported."""
    first = open_engine(loaded(), cache=tmp_path, device="cpu").ask(films(1))
    (kept,) = tmp_path.iterdir()
    before = kept.stat().st_mtime_ns
    monkeypatch.setattr(engine, "exported", None)
    second = open_engine(loaded(), cache=tmp_path, device="cpu")
    assert second.runs_on == "onnxruntime"
    assert np.array_equal(second.ask(films(1)).logits, first.logits)
    assert (list(tmp_path.iterdir()), kept.stat().st_mtime_ns) == ([kept], before)
    assert engine.cache_name(loaded(digest="b" * 64).card) != kept.name


@pytest.mark.parametrize("damage", [b"", b"not ONNX", None])
def test_a_damaged_export_is_made_anew(
    tmp_path: Path, warned: pytest.LogCaptureFixture, damage: bytes | None
) -> None:
    """Empty, nonsense, or another network's: what does not answer like the weights is not used."""
    one = loaded()
    path = tmp_path / engine.cache_name(one.card)
    if damage is None:
        torch.manual_seed(9)
        damage = engine.exported(nets.Small(3).eval(), 64)
    path.write_bytes(damage)
    right = Eager(one.card, one.net).ask(films(1)) if one.net else None
    quick = open_engine(one, cache=tmp_path, device="cpu")
    assert quick.runs_on == "onnxruntime"
    assert right
    assert np.allclose(quick.ask(films(1)).logits, right.logits, atol=1e-4)
    assert "made anew" in warned.text
    assert path.read_bytes() != damage


def test_what_cannot_be_exported_is_read_by_torch(warned: pytest.LogCaptureFixture) -> None:
    """With a reason in the log, and the same answers."""

    class Sorting(nets.Small):
        def maps(self, x: torch.Tensor) -> torch.Tensor:
            return torch.from_numpy(np.sort(x.numpy())).expand(-1, 128, -1, -1)  # no exporter follows this

    one = loaded()
    odd = Loaded(one.card, Sorting(3).eval().requires_grad_(False))
    assert open_engine(odd, device="cpu").runs_on == "torch"
    assert "torch is used" in warned.text


def test_a_cache_that_cannot_be_written_costs_nothing_but_the_next_export(
    tmp_path: Path, warned: pytest.LogCaptureFixture
) -> None:
    (tmp_path / "cache").write_text("a file where a folder should be")
    assert open_engine(loaded(), cache=tmp_path / "cache", device="cpu").runs_on == "onnxruntime"
    assert "could not be kept" in warned.text


def test_workers_may_race_for_the_export(tmp_path: Path) -> None:
    """Whoever looks meanwhile sees all of an export or none, and nothing is left beside it."""
    packed = np.random.default_rng(2).bytes(3_000_000)
    path = tmp_path / "cache" / "net.onnx"

    def kept() -> bytes:
        for _ in range(10):
            engine.keep(path, packed)
        return path.read_bytes()

    with ThreadPoolExecutor(4) as workers:
        assert all(one.result() == packed for one in [workers.submit(kept) for _ in range(4)])
    assert list(path.parent.iterdir()) == [path]


@pytest.mark.parametrize("bad", [np.nan, np.inf])
def test_a_film_that_is_not_finite_reaches_no_network(bad: float) -> None:
    one, x = loaded(), films(2)
    assert one.net
    x[1, 0, 3, 3] = bad
    for asked in (open_engine(one, device="cpu"), Eager(one.card, one.net)):
        with pytest.raises(ValueError, match="not finite"):
            asked.ask(x)


def test_a_foreign_network_of_the_wrong_kind_is_refused() -> None:
    """ONNX with another input size than the card says, and bytes that are no ONNX."""
    packed = engine.exported(nets.Small(3).eval(), 64)
    card = ClassifierCard("x", "onnx", ("a", "b"), input=Input(px=64, low=0.0))
    with pytest.raises(BundleError, match=r"answers \(1, 3\), not \(1, 2\)"):
        open_engine(Loaded(card, None, packed))
    with pytest.raises(BundleError, match="cannot be run"):
        Foreign(card, b"nothing of the kind")


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is a GPU")
def test_a_gpu_that_cannot_be_had_is_said_in_words() -> None:
    with pytest.raises(BundleError, match="there is no GPU for it"):
        open_engine(loaded(), device="cuda")


@pytest.mark.skipif(not torch.cuda.is_available(), reason="no GPU here")
def test_a_gpu_gives_the_same_answers() -> None:
    one, again = loaded("densenet121", 96), loaded("densenet121", 96)
    assert again.net
    gpu = open_engine(one)
    assert gpu.runs_on == "torch on cuda"
    assert np.allclose(
        gpu.ask(films(4, 96)).logits, Eager(again.card, again.net).ask(films(4, 96)).logits, atol=1e-2
    )


def test_the_engine_reports_to_nobody(tmp_path: Path) -> None:
    """ONNX Runtime keeps no records for its maker: they would lie in home and temporary folder."""
    root = str(Path(__file__).parents[1])
    bare = {"PATH": os.environ["PATH"], "PYTHONPATH": root}  # no CI, which stops them too
    here = dict.fromkeys(("HOME", "TMPDIR", "XDG_CACHE_HOME"), str(tmp_path))
    code = "from models.classifiers import engine"
    subprocess.run((sys.executable, "-c", code), env=bare | here, check=True, timeout=300)
    assert not [*tmp_path.rglob(".onnxruntime"), *tmp_path.rglob(".ses")]
