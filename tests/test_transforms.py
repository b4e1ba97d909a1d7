"""The input chain of the gates."""

from __future__ import annotations

import subprocess
import sys

import numpy as np
import torch
from monai.data import get_track_meta

from pipelines.transforms import HIGHEST, LOWEST, _quantile, as_batch, gate_input


def test_any_film_becomes_a_plain_square() -> None:
    """Portrait, landscape, tiny: (1, 128, 128) float32 in [0, 1]; in a batch without MONAI's metadata."""
    for shape in ((512, 420), (300, 512), (5, 3), (1, 1)):
        x = gate_input(np.random.default_rng(0).random(shape, dtype=np.float32))
        assert x.shape == (1, 128, 128)
        assert x.dtype == np.float32
        assert 0 <= x.min() <= x.max() <= 1
    tracked = get_track_meta()
    assert type(as_batch(torch.rand(2, 50, 40))) is torch.Tensor
    assert get_track_meta() is tracked  # of everybody else's transforms


def test_nan_and_infinity_never_reach_a_network() -> None:
    """They become black and white."""
    film = np.full((64, 64), np.nan, dtype=np.float32)
    film[:8], film[8:16] = np.inf, -np.inf
    assert np.isfinite(gate_input(film)).all()


def test_a_washed_out_film_is_stretched_and_keeps_its_polarity() -> None:
    """0.45 to 0.55 becomes black to white; a ramp still rises, a negative still falls."""
    ramp = np.linspace(0.45, 0.55, 128, dtype=np.float32)[None].repeat(128, axis=0)
    out, negative = gate_input(ramp)[0, 64], gate_input(1 - ramp)[0, 64]
    assert out[0] == 0
    assert out[-1] == 1
    assert np.allclose(negative, 1 - out, atol=1e-4)


def test_faint_noise_is_not_blown_up_to_a_picture() -> None:
    """A flat film stays flat: below LEAST_RANGE nothing is stretched further."""
    noise = 0.5 + 1e-4 * np.random.default_rng(0).standard_normal((256, 256), dtype=np.float32)
    assert gate_input(noise).std() < 0.05


def test_a_film_is_treated_alike_alone_and_in_a_batch() -> None:
    """What training does with a batch is what inference does with one film."""
    films = np.random.default_rng(0).random((3, 192, 192), dtype=np.float32)
    films[1] *= 0.2
    batch = as_batch(torch.from_numpy(films))
    alone = np.concatenate([gate_input(film) for film in films])
    assert np.allclose(batch, alone, atol=1e-6)


def test_the_chain_is_monais_and_loads_none_of_its_optional_packages() -> None:
    """They would cost a worker seconds and memory; whoever needs them can import them later."""
    program = (
        "import sys; from pipelines.transforms import gate_chain;"
        "loaded = {'scipy', 'matplotlib', 'sklearn', 'ignite'} & sys.modules.keys();"
        "import scipy.ndimage, ignite, monai;"
        "ours = all(isinstance(step, monai.transforms.Transform) for step in gate_chain().transforms);"
        "print(sorted(loaded), ours, isinstance(gate_chain(), monai.transforms.Compose))"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, timeout=60)
    assert done.stdout == "[] True True\n", done.stderr


def test_percentiles_are_those_of_torch_to_the_last_bit() -> None:
    for count in (1, 2, 3, 900, 4096):
        values = torch.rand(3, count, generator=torch.Generator().manual_seed(count))
        for share in (LOWEST, HIGHEST):
            assert torch.equal(_quantile(values, share), torch.quantile(values, share, dim=-1))
