"""Which way round a MONAI bundle's network is shown a picture: rows first, or columns first.

MONAI's readers give a picture as (columns, rows) unless they are told otherwise: PILReader, ITKReader and
PydicomReader each in words of their own. A network that was taught so sees every film of ours mirrored about
its diagonal. So the bundle's own preprocessing is followed with a picture of six values; what it is not sure
to do is not guessed.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from models import plain_files
from models.bundle import BundleError
from models.classifiers.bundle import COLUMNS_FIRST, ROWS_FIRST
from pipelines import lined_yaml

CONFIGS = ("inference.json", "inference.yaml", "inference.yml")
TELL = f"Say how its network is shown a film: --axes {ROWS_FIRST} or --axes {COLUMNS_FIRST}"
# What leaves rows and columns where they are
STILL = frozenset(
    (
        "adjustcontrast",
        "borderpad",
        "casttotype",
        "centerscalecrop",
        "centerspatialcrop",
        "clipintensitypercentiles",
        "concatitems",
        "copyitems",
        "deleteitems",
        "divisiblepad",
        "ensuretype",
        "forcebackground",
        "gaussiansharpen",
        "gaussiansmooth",
        "histogramnormalize",
        "identity",
        "mediansmooth",
        "normalizeintensity",
        "repeatchannel",
        "resize",
        "resizewithpadorcrop",
        "savitzkygolaysmooth",
        "scaleintensity",
        "scaleintensityfixedmean",
        "scaleintensityrange",
        "scaleintensityrangepercentiles",
        "selectitems",
        "shiftintensity",
        "spatialcrop",
        "spatialpad",
        "stdshiftintensity",
        "thresholdintensity",
        "todevice",
        "tonumpy",
        "totensor",
    )
)
FILM: NDArray[np.int64] = np.arange(6).reshape(2, 3)

Words = Mapping[str, Any]
Picture = NDArray[np.int64]


class _Unclear(ValueError):
    """Raised when a step may turn the picture in a way that is not known; the text says which."""


def axes_of(folder: Path) -> str | None:
    """How the bundle shows its network a film; None where it has no preprocessing to say so.

    Raises:
        BundleError: its preprocessing is not understood, or turns or mirrors films.
    """
    config = _config(folder)
    try:
        steps = list(_steps(config, config.get("preprocessing")))
        if not steps:
            return None
        shown = _shown(steps)
    except RecursionError as error:  # of references that lead round in a circle
        raise BundleError(f"{folder.name}: its preprocessing refers to itself. {TELL}") from error
    except (_Unclear, KeyError, TypeError, ValueError) as error:
        raise BundleError(f"{folder.name}: how its films lie is not clear: {error}. {TELL}") from error
    for axes, picture in ((ROWS_FIRST, FILM), (COLUMNS_FIRST, FILM.T)):
        if np.array_equal(shown, picture):
            return axes
    raise BundleError(
        f"{folder.name}: its preprocessing turns or mirrors films, and a network of that kind is not taken: "
        "films are shown upright. If it undoes what its reader does, say so: --axes"
    )


def _config(folder: Path) -> Words:
    for name in CONFIGS:
        path = folder / "configs" / name
        if path.exists():
            try:
                if path.suffix == ".json":
                    found = plain_files.read_json(path)
                else:
                    found = lined_yaml.parse(plain_files.read_text(path)).value
            except (OSError, ValueError) as error:
                raise BundleError(f"{folder.name}: {name} cannot be read: {error}") from error
            return found if isinstance(found, dict) else {}
    return {}


def _steps(config: Words, found: Any) -> Iterator[Words]:
    """The transforms of a chain, in order; what is no plain description stands as an unknown one."""
    match found:
        case None:
            return
        case {"_disabled_": True}:
            return
        case {"_target_": str(target), **words} if _named(target) == "compose":
            yield from _steps(config, words.get("transforms"))
        case {"_target_": str(_)}:
            yield found
        case [*inner]:
            for one in inner:
                yield from _steps(config, one)
        case str(text) if text.startswith("@"):
            yield from _steps(config, _referred(config, text[1:]))
        case _:
            yield {"_target_": f"{found}"[:60]}


def _referred(config: Words, path: str) -> Any:
    found: Any = config
    for key in path.replace("#", "::").split("::"):
        try:
            found = found[int(key)] if isinstance(found, list) else found[key]
        except (KeyError, IndexError, ValueError, TypeError):
            return path  # is said to be unknown
    return found


def _named(target: str) -> str:
    """ "monai.transforms.LoadImaged" -> "loadimage": a transform and its kind for dictionaries are one."""
    name = target.rpartition(".")[2].lower()
    for tail in ("dict", "d"):
        if (short := name.removesuffix(tail)) in STILL or short in MOVES:
            return short
    return name


def _shown(steps: list[Words]) -> Picture:
    """FILM as the network is shown it."""
    picture, image, loaded = FILM, None, False
    for step in steps:
        name, keys = _named(str(step["_target_"])), step.get("keys")
        keys = [keys] if isinstance(keys, str) else keys
        if name == "loadimage":
            loaded, image = True, keys[0] if keys else None
        elif image is not None and keys and image not in keys:
            continue  # of a label, say
        if name in STILL:
            continue
        if name not in MOVES:
            raise _Unclear(f"{str(step['_target_'])[:60]!r} may turn them")
        picture = MOVES[name](step, picture)
    if not loaded:
        raise _Unclear("its preprocessing loads no picture")
    return picture[0] if picture.ndim == 3 else picture


def _load(step: Words, picture: Picture) -> Picture:
    reader = step.get("reader")
    words = {**step, **reader} if isinstance(reader, dict) else step
    name = str(reader.get("_target_") if isinstance(reader, dict) else reader or "")
    kind = name.lstrip("$").rstrip("()").rpartition(".")[2].lower()
    told = {key for key in ("reverse_indexing", "swap_ij", "index_order") if key in words}
    if kind == "pilreader":
        columns_first = _yes(words.get("reverse_indexing", True))
    elif kind == "itkreader":  # the same word, and the other way round
        columns_first = not _yes(words.get("reverse_indexing", False))
    elif kind in ("pydicomreader", "nvimgcodecpydicomreader"):
        columns_first = _yes(words.get("swap_ij", True))
    elif not kind and not told:  # whichever reader takes the file: all of them give columns first
        columns_first = True
    else:
        raise _Unclear(f"the reader {kind or 'of its choice'!r} with {', '.join(sorted(told)) or 'defaults'}")
    picture = picture.T if columns_first else picture
    return picture[None] if words.get("ensure_channel_first") is True else picture


def _yes(word: Any) -> bool:
    if not isinstance(word, bool):
        raise _Unclear(f"{word!r} is neither true nor false")
    return word


def _channel_first(_: Words, picture: Picture) -> Picture:
    return picture if picture.ndim == 3 else picture[None]


def _transpose(step: Words, picture: Picture) -> Picture:
    return picture.transpose(tuple(step["indices"]))


def _flip(step: Words, picture: Picture) -> Picture:
    axes = step.get("spatial_axis")
    chosen = (0, 1) if axes is None else (axes,) if isinstance(axes, int) else tuple(axes)
    return np.flip(picture, tuple(_spatial(picture, axis) for axis in chosen))


def _rotate90(step: Words, picture: Picture) -> Picture:
    first, second = step.get("spatial_axes", (0, 1))
    axes = (_spatial(picture, first), _spatial(picture, second))
    return np.rot90(picture, int(step.get("k", 1)), axes)


def _spatial(picture: Picture, axis: int) -> int:
    """MONAI counts the axes without the channel, which comes first."""
    if picture.ndim != 3:
        raise _Unclear("a picture is turned that has no channel yet")
    return axis + 1 if axis >= 0 else axis


MOVES: Mapping[str, Callable[[Words, Picture], Picture]] = {
    "loadimage": _load,
    "ensurechannelfirst": _channel_first,
    "aschannelfirst": _channel_first,
    "addchannel": _channel_first,
    "transpose": _transpose,
    "flip": _flip,
    "rotate90": _rotate90,
}
