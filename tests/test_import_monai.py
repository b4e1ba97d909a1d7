"""MONAI bundles and ONNX files in two parts as bundles of ours: which axis comes first, what is refused."""

from __future__ import annotations

import json
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
import torch
from foreign_network import Tiny, written
from monai.data.image_reader import PILReader
from monai.networks.nets.densenet import DenseNet121
from PIL import Image
from torch import Tensor

from models.bundle import BundleError
from models.classifiers import bundle, engine
from models.classifiers.accepts import Accepts
from models.classifiers.bundle import Input
from pipelines.lab.train import imports
from pipelines.lab.train.imports import Foreign, Terms
from pipelines.lab.train.monai_axes import axes_of

TERMS = Terms(accepts=Accepts(min_age=18))
TINY = Foreign(("Mass", "Effusion"), Input(px=32, low=0.0, high=255.0, channels=3))


@pytest.fixture(autouse=True, scope="module")
def one_thread() -> Iterator[None]:
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


def films(count: int = 2, px: int = 224) -> Tensor:
    return torch.rand(count, 1, px, px, generator=torch.Generator().manual_seed(7))


def monai_bundle(folder: Path, channels: int = 3) -> DenseNet121:
    """A bundle as MONAI writes them: a DenseNet121 of three channels and its metadata."""
    torch.manual_seed(4)
    net = DenseNet121(spatial_dims=2, in_channels=channels, out_channels=2).eval()
    (folder / "configs").mkdir(parents=True)
    (folder / "models").mkdir()
    torch.save(net.state_dict(), folder / "models" / "model.pt")
    image = {"num_channels": channels, "spatial_shape": [64, 64], "value_range": [0, 1]}
    answer = {"num_channels": 2, "channel_def": {"0": "Mass", "1": "Effusion"}}
    metadata = {"network_data_format": {"inputs": {"image": image}, "outputs": {"pred": answer}}}
    (folder / "configs" / "metadata.json").write_text(json.dumps(metadata))
    definition = {"_target_": "DenseNet121", "spatial_dims": 2, "in_channels": channels, "out_channels": 2}
    (folder / "configs" / "inference.json").write_text(json.dumps({"network_def": definition}))
    return net


def test_a_monai_bundle_becomes_one_of_ours(tmp_path: Path) -> None:
    """Labels, side and range from its metadata; three channels of the same grey become one."""
    net = monai_bundle(tmp_path / "theirs")
    card = imports.monai(tmp_path / "theirs", tmp_path / "ours", TERMS)
    assert (card.classes, card.input.px, card.input.channels) == (("Mass", "Effusion"), 64, 1)
    ours = bundle.load(tmp_path / "ours").net
    assert ours
    x = films(2, 64)
    with torch.inference_mode():
        assert torch.allclose(ours(x), net(x.expand(-1, 3, -1, -1)), atol=1e-5)


def test_a_monai_bundle_without_a_usable_network_is_refused(tmp_path: Path) -> None:
    monai_bundle(tmp_path / "theirs")
    (tmp_path / "theirs" / "models" / "model.pt").unlink()
    with pytest.raises(BundleError, match="ckpt_export"):
        imports.monai(tmp_path / "theirs", tmp_path / "ours", TERMS)
    (tmp_path / "theirs" / "configs" / "metadata.json").write_text("{}")
    with pytest.raises(BundleError, match="network_data_format"):
        imports.monai(tmp_path / "theirs", tmp_path / "ours", TERMS)


def described(folder: Path, *steps: dict[str, Any]) -> None:
    """What a bundle does to a picture before its network sees it."""
    path = folder / "configs" / "inference.json"
    config = json.loads(path.read_text())
    config["steps"] = [*steps]
    config["preprocessing"] = {"_target_": "Compose", "transforms": "@steps"}
    path.write_text(json.dumps(config))


def step(target: str, **words: Any) -> dict[str, Any]:
    return {"_target_": target, "keys": "image", **words}


FIRST = step("EnsureChannelFirstd")


@pytest.mark.parametrize(
    ("steps", "axes"),
    [
        ([step("LoadImaged"), FIRST, step("ScaleIntensityd")], "wh"),
        ([step("LoadImaged", reader="PILReader", reverse_indexing=False), FIRST], "hw"),
        ([step("LoadImaged", reader="monai.data.ITKReader", reverse_indexing=True), FIRST], "hw"),
        ([step("LoadImaged", reader="ITKReader", reverse_indexing=False), FIRST], "wh"),
        ([step("LoadImaged", reader={"_target_": "PydicomReader", "swap_ij": False}), FIRST], "hw"),
        ([step("LoadImaged"), FIRST, step("Transposed", indices=[0, 2, 1])], "hw"),
        ([step("LoadImaged"), FIRST, step("Rotate90d", k=1), step("Flipd", spatial_axis=0)], "hw"),
        ([step("LoadImaged"), FIRST, {**step("Flipd"), "keys": ["label"]}], "wh"),
        ([{"_target_": "LoadImage", "ensure_channel_first": True}, {"_target_": "Resize"}], "wh"),
    ],
)
def test_the_card_keeps_which_axis_a_monai_bundle_puts_first(
    tmp_path: Path, steps: list[dict[str, Any]], axes: str
) -> None:
    """MONAI's readers put columns first unless told; the same word means two things in two of them."""
    monai_bundle(tmp_path / "theirs", channels=1)
    described(tmp_path / "theirs", *steps)
    assert axes_of(tmp_path / "theirs") == axes


def test_readers_of_monai_put_first_what_is_expected_of_them(tmp_path: Path) -> None:
    """What stands in the table above is what MONAI does."""
    path = tmp_path / "film.png"
    Image.fromarray(np.zeros((4, 6), np.uint8)).save(path)
    for reader, shape in (PILReader(), (6, 4)), (PILReader(reverse_indexing=False), (4, 6)):
        assert reader.get_data(reader.read(path))[0].shape == shape


@pytest.mark.parametrize(
    ("steps", "why"),
    [
        ([step("LoadImaged"), FIRST, step("Lambdad", func="$lambda x: x")], "'Lambdad' may turn them"),
        ([step("LoadImaged"), FIRST, step("Flipd", spatial_axis=0)], "turns or mirrors"),
        ([step("LoadImaged", reader="NumpyReader"), FIRST], "the reader 'numpyreader'"),
        ([step("LoadImaged", reverse_indexing=False), FIRST], "of its choice"),
        ([step("LoadImaged", reader="PILReader", reverse_indexing="@how"), FIRST], "neither true nor false"),
        ([step("Flipd", spatial_axis=0)], "no channel yet"),
        ([FIRST], "loads no picture"),
    ],
)
def test_a_monai_bundle_whose_axes_are_not_clear_is_refused(
    tmp_path: Path, steps: list[dict[str, Any]], why: str
) -> None:
    """Nothing is guessed; a person who knows says it."""
    monai_bundle(tmp_path / "theirs", channels=1)
    described(tmp_path / "theirs", *steps)
    with pytest.raises(BundleError, match=why):
        imports.monai(tmp_path / "theirs", tmp_path / "ours", TERMS)
    card = imports.monai(tmp_path / "theirs", tmp_path / "ours", TERMS, axes="wh")
    assert (card.input.axes, card.origin["axes"]) == ("wh", "as told")


def test_a_monai_bundle_that_refers_to_itself_is_refused(tmp_path: Path) -> None:
    monai_bundle(tmp_path / "theirs", channels=1)
    described(tmp_path / "theirs", step("LoadImaged"), "@preprocessing")  # type: ignore[arg-type]
    with pytest.raises(BundleError, match="refers to itself"):
        axes_of(tmp_path / "theirs")


@pytest.mark.parametrize("script", [False, True], ids=["weights", "torchscript"])
def test_the_engine_shows_a_network_columns_first_that_was_taught_so(tmp_path: Path, script: bool) -> None:
    net = monai_bundle(tmp_path / "theirs", channels=1)
    described(tmp_path / "theirs", step("LoadImaged"), FIRST)
    x = films(2, 64)
    if script:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            torch.jit.save(torch.jit.trace(net, x), str(tmp_path / "theirs" / "models" / "model.ts"))
        (tmp_path / "theirs" / "models" / "model.pt").unlink()
    imports.monai(tmp_path / "theirs", tmp_path / "ours", TERMS)
    answer = engine.open_engine(bundle.load(tmp_path / "ours"), device="cpu").ask(x.numpy())
    with torch.inference_mode():
        assert np.allclose(answer.logits, net(x.transpose(2, 3)).numpy(), atol=1e-4)
        assert not np.allclose(answer.logits, net(x).numpy(), atol=1e-4)
        if answer.maps is not None:
            maps = net.features(x.transpose(2, 3)).relu().transpose(2, 3)
            assert np.allclose(answer.maps, maps.numpy(), atol=1e-3)


def beside(folder: Path, location: str = "net.onnx.data", times: float = 1.0) -> Path:
    """The network as ONNX with its weights in a file beside it, as exporters of today write it."""
    folder.mkdir(parents=True, exist_ok=True)
    model = onnx.load(written("onnx", folder / "one.onnx"))
    for tensor in model.graph.initializer:
        values = np.frombuffer(tensor.raw_data, np.dtype("<f4" if tensor.data_type == 1 else "<i8"))
        tensor.raw_data = (values * (times if tensor.data_type == 1 else 1)).astype(values.dtype).tobytes()
    words = {"save_as_external_data": True, "all_tensors_to_one_file": True, "size_threshold": 0}
    onnx.save_model(model, folder / "net.onnx", location="net.onnx.data", **words)
    packed = onnx.load(folder / "net.onnx", load_external_data=False)
    for tensor in packed.graph.initializer:
        for entry in tensor.external_data:
            entry.value = location if entry.key == "location" else entry.value
    (folder / "net.onnx").write_bytes(packed.SerializeToString())
    return folder / "net.onnx"


def test_an_onnx_of_two_files_is_folded_into_one(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """And answers the same from every folder, whatever lies there under the name of its weights."""
    file, other = beside(tmp_path / "theirs"), beside(tmp_path / "other", times=2)
    assert file.read_bytes() == other.read_bytes()
    card = imports.onnx(file, tmp_path / "tiny", TINY, TERMS)
    assert set(card.origin) == {"file", "sha256", "sha256 of net.onnx.data"}
    x = films(3, 32).numpy()
    answers = []
    for folder in (tmp_path, tmp_path / "other"):
        monkeypatch.chdir(folder)
        asked = engine.open_engine(bundle.load(tmp_path / "tiny"), device="cpu")
        answers.append(asked.ask(x).logits)
    with torch.inference_mode():
        home = Tiny().eval()((torch.from_numpy(x) * 255).expand(-1, 3, -1, -1)).numpy()
    assert np.allclose(answers[0], home, atol=1e-5)
    assert np.array_equal(*answers)


@pytest.mark.parametrize(
    ("location", "why"),
    [
        ("/etc/hostname", "does not lie beside it"),
        ("../one.onnx", "does not lie beside it"),
        ("deeper/net.onnx.data", "does not lie beside it"),
        ("absent.data", "is not beside it"),
        ("link.data", "is not beside it"),
        ("short.data", "is not whole"),
    ],
)
def test_weights_from_elsewhere_are_refused(tmp_path: Path, location: str, why: str) -> None:
    """A graph must not name what of this machine it is read with."""
    file = beside(tmp_path / "theirs", location)
    (tmp_path / "theirs" / "link.data").symlink_to("/etc/hostname")
    (tmp_path / "theirs" / "short.data").write_bytes(b"\0" * 8)
    with pytest.raises(BundleError, match=why):
        imports.onnx(file, tmp_path / "tiny", TINY, TERMS)
    assert not (tmp_path / "tiny").exists()


def test_a_bundle_whose_onnx_names_another_file_is_not_opened(tmp_path: Path) -> None:
    """As an import of an earlier release could make them."""
    packed = beside(tmp_path / "theirs").read_bytes()
    card = bundle.ClassifierCard("tiny", "onnx", TINY.labels, input=TINY.input)
    bundle.save(tmp_path / "tiny", card, packed)
    with pytest.raises(BundleError, match="names another file"):
        bundle.load(tmp_path / "tiny")
    with pytest.raises(BundleError, match="names another file"):
        engine.open_engine(bundle.Loaded(card, None, packed), device="cpu")
