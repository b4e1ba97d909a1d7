"""/pictures: pixels by digest. A digest names the same pixels for ever, so a browser need not ask twice."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Annotated

from fastapi import APIRouter, Depends, FastAPI, HTTPException, Path, Request
from fastapi.concurrency import run_in_threadpool
from starlette.responses import Response, StreamingResponse

from gateway.bootstrap import Shell
from gateway.console.doors import Things, Viewer
from gateway.console.pictures.making import NoPicture, Pictures
from gateway.console.pictures.placeholder import placeholder
from gateway.sandbox.renderer import Values

FOR_EVER = {"Cache-Control": "private, max-age=31536000, immutable"}
NOT_KEPT = {"Cache-Control": "no-store"}
PART = 1 << 18  # bytes of an answer that are sent at once


@asynccontextmanager
async def _until_the_end(app: FastAPI) -> AsyncIterator[None]:
    yield
    if (pictures := getattr(app.state, "pictures", None)) is not None:
        pictures.close()


router = APIRouter(prefix="/pictures", lifespan=_until_the_end)


async def _pictures(request: Request) -> Pictures:
    """The application's one; made when the first picture is asked for. It runs in the loop, never twice."""
    state = request.app.state
    if not hasattr(state, "pictures"):
        state.pictures = Pictures(state.shell)
    pictures: Pictures = state.pictures
    return pictures


Digest = Annotated[str, Path(pattern="^[0-9a-f]{64}$")]
Making = Annotated[Pictures, Depends(_pictures)]


@router.get("/{digest}/thumb.jpg", response_class=Response)
async def thumb(
    request: Request, digest: Digest, _person: Viewer, shell: Things, pictures: Making
) -> Response:
    """About 320 px high, as displayed; where there is no picture, one that says why."""
    known, kept = await run_in_threadpool(_looked_up, shell, pictures, digest)
    if not known:
        raise HTTPException(404, "There is no such picture.")
    if (same := _unchanged(request, digest, "thumb")) is not None:
        return same
    try:
        jpeg = kept or await pictures.thumb(digest)
    except NoPicture as error:
        return Response(placeholder(str(error)), media_type="image/svg+xml", headers=NOT_KEPT)
    return Response(jpeg, media_type="image/jpeg", headers=_kept(digest, "thumb"))


def _looked_up(shell: Shell, pictures: Pictures, digest: str) -> tuple[bool, bytes | None]:
    """Whether the ledger knows it, and the thumbnail that is kept: one way to a thread and back."""
    known = shell.ledger.knows(digest)
    return known, pictures.kept_thumb(digest) if known else None


@router.get("/{digest}/pixels", response_class=Response)
async def pixels(
    request: Request, digest: Digest, _person: Viewer, shell: Things, pictures: Making
) -> Response:
    """Values of 16 bits, little endian, rows x columns, and behind them X-Entries bytes: the grey of each
    value as the film's own header has it shown. static/viewer-values.js reads it.

    X-Scale: [step, offset], a pixel's value is its number * step + offset. X-Window: [[centre, width], ...],
    of values. X-Padding: 1 where the number 0 is padding.
    """
    if not await run_in_threadpool(shell.ledger.knows, digest):
        raise HTTPException(404, "There is no such picture.")
    if (same := _unchanged(request, digest, "pixels")) is not None:
        return same
    try:
        values = await pictures.values(digest)
    except NoPicture as error:
        raise HTTPException(422 if error.lasting else 503, str(error), headers=NOT_KEPT) from error
    headers = _described(values) | _kept(digest, "pixels") | {"Content-Length": str(len(values.raw))}
    return StreamingResponse(_parts(values.raw), media_type="application/octet-stream", headers=headers)


async def _parts(raw: bytearray) -> AsyncIterator[bytes]:
    """A browser on a slow line has time for each of them (`doors.guard.PART_S`)."""
    for at in range(0, len(raw), PART):
        yield bytes(memoryview(raw)[at : at + PART])


@router.get("/{digest}/heatmap/{result_id}.png", response_class=Response)
async def heatmap(
    digest: Digest,
    result_id: Annotated[int, Path(ge=1, le=2**62)],
    _person: Viewer,
    shell: Things,
    pictures: Making,
) -> Response:
    """The picture that was made of a result: the film, the film with heat, and the ranked conditions."""
    made = await run_in_threadpool(shell.ledger.heatmap, digest, result_id)
    if made is None:
        raise HTTPException(404, "There is no heat map of this result.")
    try:
        png = await pictures.picture(made)
    except NoPicture as error:
        return Response(placeholder(str(error)), media_type="image/svg+xml", headers=NOT_KEPT)
    return Response(png, media_type="image/png", headers=FOR_EVER)


def _described(values: Values) -> dict[str, str]:
    return {
        "X-Rows": str(values.rows),
        "X-Columns": str(values.columns),
        "X-Entries": str(values.entries),
        "X-Scale": json.dumps([values.step, values.offset]),
        "X-Window": json.dumps(values.windows),
        "X-Inverse": str(int(values.inverse)),
        "X-Padding": str(int(values.padded)),
        "X-Bits": str(values.bits),
        "X-Spacing": json.dumps(values.spacing),
    }


def _etag(digest: str, kind: str) -> str:
    return f'"{digest[:32]}-{kind}-1"'


def _kept(digest: str, kind: str) -> dict[str, str]:
    return FOR_EVER | {"ETag": _etag(digest, kind)}


def _unchanged(request: Request, digest: str, kind: str) -> Response | None:
    """304 for a browser that has it."""
    if request.headers.get("if-none-match") != _etag(digest, kind):
        return None
    return Response(status_code=304, headers=_kept(digest, kind))
