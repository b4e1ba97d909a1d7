"""Upload: drop films to see what the gates and the classifier say of them. Nothing is sent anywhere."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass
from typing import Annotated, Any

from fastapi import APIRouter, Depends, FastAPI, HTTPException, Path, Query, Request
from fastapi.concurrency import run_in_threadpool
from pydantic import BaseModel, Field
from starlette.responses import FileResponse, HTMLResponse

from gateway.console.doors import Reviewer
from gateway.console.rendering import page, part
from gateway.console.uploads import shelf as limits
from gateway.console.uploads.examiner import Examiner
from gateway.console.uploads.shelf import CannotTake, OtherOffset, Shelf, State, Upload, owner_of

MOST_ANNOUNCED = 100  # files in one request


@asynccontextmanager
async def _desk_is_open(app: FastAPI) -> AsyncIterator[None]:
    settings = app.state.shell.settings
    shelf = Shelf(settings.state, settings.store.min_free_mb)
    app.state.uploads = Uploads(shelf, Examiner(settings, shelf))
    app.state.uploads.examiner.start()
    yield
    await run_in_threadpool(app.state.uploads.examiner.close)


router = APIRouter(lifespan=_desk_is_open)


@dataclass(frozen=True, slots=True)
class Uploads:
    """The application's one shelf, and who looks at what lies on it."""

    shelf: Shelf
    examiner: Examiner


def _uploads(request: Request) -> Uploads:
    uploads: Uploads = request.app.state.uploads
    return uploads


Desk = Annotated[Uploads, Depends(_uploads)]
Sha256 = Annotated[str, Path(pattern="^[0-9a-f]{64}$")]


class Announced(BaseModel):
    """A file that a person chose."""

    name: Annotated[str, Field(max_length=1000)]
    size: Annotated[int, Field(ge=0, le=1 << 50)]
    sha256: Annotated[str, Field(pattern="^[0-9a-f]{64}$")]


class Announcement(BaseModel):
    """Several."""

    files: Annotated[list[Announced], Field(max_length=MOST_ANNOUNCED)]


class Known(BaseModel):
    """How far a file is; `state` is one of shelf.State, or "refused"."""

    sha256: str
    name: str
    size: int
    state: str
    offset: int
    act: str = ""
    words: str = ""
    error: str = ""


class KnownUploads(BaseModel):
    """A person's files, oldest first."""

    uploads: list[Known]


@router.get("/upload", response_class=HTMLResponse)
def upload(
    request: Request, person: Reviewer, desk: Desk, file: Annotated[str, Query(max_length=64)] = ""
) -> HTMLResponse:
    """The page; `file` is the one whose answer is open."""
    owner = owner_of(person.name)
    chosen = next((one for one in desk.shelf.of(owner) if one.sha256 == file), None)
    return page(request, "upload.html", person, chosen=chosen, limits=limits, problems=desk.examiner.problems)


@router.get("/upload/{sha256}", response_class=HTMLResponse)
def answer(request: Request, person: Reviewer, desk: Desk, sha256: Sha256) -> HTMLResponse:
    """What came of one file, as a part of the page."""
    return part(request, "upload_answer.html", person, chosen=_own(person.name, desk, sha256))


@router.get("/upload/{sha256}/film.png", response_class=FileResponse)
def film_png(person: Reviewer, desk: Desk, sha256: Sha256) -> FileResponse:
    """The film as displayed."""
    return _picture(desk, person.name, sha256, heat=False)


@router.get("/upload/{sha256}/heat.png", response_class=FileResponse)
def heat_png(person: Reviewer, desk: Desk, sha256: Sha256) -> FileResponse:
    """The film with its heat map."""
    return _picture(desk, person.name, sha256, heat=True)


@router.get("/api/uploads")
def list_uploads(person: Reviewer, desk: Desk) -> KnownUploads:
    """One's own files."""
    return KnownUploads(uploads=[_known(one) for one in desk.shelf.of(owner_of(person.name))])


@router.post("/api/uploads")
def announce(person: Reviewer, desk: Desk, announcement: Announcement) -> KnownUploads:
    """Make room for files, or say how much of each is here: the next piece begins there."""
    owner = owner_of(person.name)
    with _disk_has_room():
        return KnownUploads(uploads=[_announced(desk.shelf, owner, file) for file in announcement.files])


@router.put("/api/uploads/{sha256}")
async def piece(
    request: Request,
    person: Reviewer,
    desk: Desk,
    sha256: Sha256,
    offset: Annotated[int, Query(ge=0, le=limits.FILE_BYTES)],
) -> Known:
    """The next piece of a file, at most 4 MiB."""
    content = await _limited(request, limits.PIECE_BYTES)
    try:
        with _disk_has_room():
            here = await run_in_threadpool(desk.shelf.append, owner_of(person.name), sha256, offset, content)
    except OtherOffset as error:
        raise HTTPException(409, str(error), headers={"X-Offset": str(error.offset)}) from error
    except CannotTake as error:
        raise HTTPException(404 if "announced" in str(error) else 422, str(error)) from error
    if here.state is State.QUEUED:
        desk.examiner.look()
    return _known(here)


@router.post("/api/uploads/{sha256}/again")
def again(person: Reviewer, desk: Desk, sha256: Sha256) -> Known:
    """Examine a file once more."""
    owner, known = owner_of(person.name), _own(person.name, desk, sha256)
    if not known.ended or not desk.shelf.file(owner, sha256).exists():
        raise HTTPException(409, "It is not here as a whole, or waits already. Choose it again.")
    with _disk_has_room():
        queued = desk.shelf.again(owner, known)
    desk.examiner.look()
    return _known(queued)


@router.delete("/api/uploads/{sha256}")
def forget(person: Reviewer, desk: Desk, sha256: Sha256) -> KnownUploads:
    """Delete one file and what came of it; the rest."""
    desk.shelf.forget(owner_of(person.name), sha256)
    return list_uploads(person, desk)


@router.delete("/api/uploads")
def forget_all(person: Reviewer, desk: Desk) -> KnownUploads:
    """Delete all of one's own files."""
    owner = owner_of(person.name)
    for one in desk.shelf.of(owner):
        desk.shelf.forget(owner, one.sha256)
    return list_uploads(person, desk)


@contextmanager
def _disk_has_room() -> Iterator[None]:
    """
    Raises:
        HTTPException: what is to be kept cannot be written.
    """
    try:
        yield
    except OSError as error:
        raise HTTPException(507, f"It could not be kept: {error.strerror}. Films are not touched.") from error


def _own(name: str, desk: Uploads, sha256: str) -> Upload:
    known = desk.shelf.get(owner_of(name), sha256)
    if known is None:
        raise HTTPException(
            404, "There is no such file of yours. After a day they are deleted: choose it again."
        )
    return known


def _picture(desk: Uploads, name: str, sha256: str, *, heat: bool) -> FileResponse:
    path = desk.shelf.picture(owner_of(name), sha256, heat=heat)
    if not path.exists():
        raise HTTPException(404, "There is no picture of it.")
    return FileResponse(path, media_type="image/png", headers={"Cache-Control": "no-store"})


def _announced(shelf: Shelf, owner: str, file: Announced) -> Known:
    try:
        return _known(shelf.announce(owner, file.sha256, file.name, file.size))
    except CannotTake as error:
        return Known(
            sha256=file.sha256, name=file.name, size=file.size, state="refused", offset=0, error=str(error)
        )


def _known(upload: Upload) -> Known:
    said: dict[str, Any] = upload.answer
    return Known(
        sha256=upload.sha256,
        name=upload.name,
        size=upload.size,
        state=upload.state.value,
        offset=upload.offset,
        act=said.get("act", ""),
        words=said.get("words", ""),
        error=upload.error,
    )


async def _limited(request: Request, most: int) -> bytes:
    """The body, when it is no larger: whatever its header says, not more than that is ever held."""
    said = request.headers.get("content-length", "0")
    if said.isdecimal() and int(said) > most:
        raise HTTPException(413, f"A piece has at most {most >> 20} MiB.")
    body = bytearray()
    async for received in request.stream():
        body += received
        if len(body) > most:
            raise HTTPException(413, f"A piece has at most {most >> 20} MiB.")
    return bytes(body)
