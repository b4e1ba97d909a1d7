"""Pictures for people come out of a child, whatever goes into it."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from dicom_files import dx, part10, ramp, real_files

from gateway.errors import DecodeError
from gateway.sandbox.renderer import JPEG_BEGINS, Renderer


@pytest.fixture(scope="module")
def renderer() -> Iterator[Renderer]:
    with Renderer() as one:
        yield one


@pytest.fixture
def film(tmp_path: Path) -> Path:
    path = tmp_path / "film.dcm"
    path.write_bytes(part10(dx(ramp(700, 600))))
    return path


def test_values_have_the_size_that_they_say(renderer: Renderer, film: Path) -> None:
    values = renderer.values(film)
    assert (values.rows, values.columns) == (700, 600)
    assert len(values.raw) == 2 * 700 * 600 + values.entries
    assert values.windows == ((2048.0, 4096.0),)


def test_the_hard_files_have_a_picture_or_words(renderer: Renderer) -> None:
    """The child that began is there at the end: none of them killed it."""
    files = real_files()
    if not files:
        pytest.skip("the real DICOM files are not beside the repository")
    renderer.start()
    child = renderer.pid
    pictures = 0
    for path in files:
        try:
            assert renderer.thumb(path).startswith(JPEG_BEGINS)
            values = renderer.values(path)
            assert len(values.raw) == 2 * values.rows * values.columns + values.entries
            pictures += 1
        except DecodeError:
            continue
    assert pictures > len(files) / 2
    assert renderer.pid == child


@pytest.mark.parametrize("fault", ["crash", "hog"])
def test_a_child_that_dies_is_an_error_of_the_film(
    film: Path, fault: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """And the next film has a child of its own."""
    monkeypatch.setenv("FILMGATE_DECODER_TEST", fault)
    with Renderer(memory_mb=1024) as renderer:
        with pytest.raises(DecodeError):
            renderer.thumb(film)
        monkeypatch.delenv("FILMGATE_DECODER_TEST")
        assert renderer.thumb(film)


def test_a_child_that_hangs_is_given_up(film: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FILMGATE_DECODER_TEST", "hang")
    with Renderer(timeout_s=0.3) as renderer, pytest.raises(DecodeError):
        renderer.thumb(film)


@pytest.mark.parametrize(
    "answer",
    [
        {"rows": 10**6},
        {"rows": "4"},
        {"columns": 3},
        {"entries": 0},
        {"step": float("nan")},
        {"windows": [[1]]},
        {"windows": [["<script>", 1]]},
        {"spacing": [1, None]},
        {"bits": 99},
    ],
)
def test_what_a_child_says_is_checked(answer: dict[str, object]) -> None:
    """It may be somebody else's by now."""
    from gateway.sandbox.renderer import _values

    honest = {"rows": 2, "columns": 2, "entries": 4, "step": 1.0, "offset": 0.0, "windows": [[1, 2]]}
    honest |= {"inverse": False, "padded": False, "bits": 12, "spacing": None}
    assert _values(honest, bytearray(12), 2000).rows == 2
    with pytest.raises((KeyError, TypeError, ValueError)):
        _values(honest | answer, bytearray(12), 2000)
