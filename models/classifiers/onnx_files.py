"""ONNX files: exporters of today put the weights beside the graph (`net.onnx` and `net.onnx.data`).

A graph without its weights answers by whatever lies in the working directory under that name, and its digest
says nothing of them. So an import folds them in, and no bundle with a graph that names files is opened.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from pathlib import Path

import onnx
from google.protobuf.message import DecodeError, EncodeError, Message
from onnx import ModelProto, TensorProto

from models.bundle import BundleError


def check_whole(name: str, packed: bytes) -> None:
    """
    Raises:
        BundleError: the graph names other files, or this is no ONNX file.
    """
    for tensor in _outside(_model(name, packed)):
        raise BundleError(
            f"{name}: this ONNX file cannot be run: it names another file ({_shown(tensor)}) for its "
            "weights, which no digest vouches for. Import it again from where both lie: "
            "`filmgate models import onnx`"
        )


def whole(file: Path, packed: bytes) -> tuple[bytes, dict[str, str]]:
    """A graph with its weights in it -> itself, and nothing. One with weights beside it -> both as one file,
    and the sha256 of each file that was folded in, by name.

    Raises:
        BundleError: it is no ONNX file; weights lie elsewhere than beside it, are not there, or too short.
    """
    model = _model(file.name, packed)
    outside = list(_outside(model))
    if not outside:
        return packed, {}
    found = {name: _beside(file, name) for name in {_facts(tensor).get("location", "") for tensor in outside}}
    for tensor in outside:
        _fold(file.name, tensor, found)
    try:
        one = model.SerializeToString()
    except (EncodeError, ValueError) as error:
        raise BundleError(f"{file.name}: with its weights it is too big for one ONNX file (2 GiB)") from error
    return one, {name: hashlib.sha256(content).hexdigest() for name, content in sorted(found.items())}


def _model(name: str, packed: bytes) -> ModelProto:
    """The graph; files that it names are not opened."""
    try:
        model: ModelProto = onnx.load_model_from_string(packed)
    except (DecodeError, ValueError) as error:
        raise BundleError(f"{name}: this ONNX file cannot be run: it is none: {error}") from error
    return model


def _outside(message: Message) -> Iterator[TensorProto]:
    """Every tensor whose values are not in the file, wherever it hangs: graphs, subgraphs, functions."""
    if isinstance(message, TensorProto):
        if message.data_location == TensorProto.EXTERNAL or message.external_data:
            yield message
        return
    for field, value in message.ListFields():
        if field.message_type is not None:
            for inner in (value,) if isinstance(value, Message) else value:
                yield from _outside(inner)


def _facts(tensor: TensorProto) -> dict[str, str]:
    return {entry.key: entry.value for entry in tensor.external_data}


def _shown(tensor: TensorProto) -> str:
    return repr(_facts(tensor).get("location", ""))[:80]


def _beside(file: Path, location: str) -> bytes:
    """The file of that name in the same folder; no other one, whatever the graph asks for."""
    path = file.parent / location
    if not location or "\\" in location or Path(location).name != location:
        raise BundleError(
            f"{file.name}: it names {location[:80]!r} for its weights, which does not lie beside it. A file "
            "is taken from its own folder alone: save the network again, with its weights beside it or in it"
        )
    if path.is_symlink() or not path.is_file():
        raise BundleError(f"{file.name}: its weights lie in {location!r}, which is not beside it; copy both")
    try:
        return path.read_bytes()
    except OSError as error:
        raise BundleError(f"{path.name}: cannot be read: {error.strerror}") from error


def _fold(name: str, tensor: TensorProto, found: dict[str, bytes]) -> None:
    facts = _facts(tensor)
    content = found[facts.get("location", "")]
    try:
        start = int(facts.get("offset", 0))
        length = int(facts["length"]) if "length" in facts else len(content) - start
    except ValueError as error:
        raise BundleError(f"{name}: where its weights begin is no number") from error
    if start < 0 or length < 0 or start + length > len(content):
        raise BundleError(f"{name}: the file with its weights is shorter than it says: it is not whole")
    tensor.ClearField("external_data")
    tensor.data_location = TensorProto.DEFAULT
    tensor.raw_data = content[start : start + length]
