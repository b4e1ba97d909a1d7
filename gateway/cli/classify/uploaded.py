"""The child of the console's upload page: what the gates and a classifier say of one file after another.

python -m gateway.cli.classify.uploaded PARENT_PID

JSON lines on its pipes: first our settings, answered by {"ready": [what cannot be used]}; then for each file
{"path", "film_png", "heat_png"}, answered by what came of it, or {"error": words}. Nothing is sent anywhere,
and nothing comes into the ledger. This loads torch; it ends with its parent.
"""

from __future__ import annotations

import ctypes
import json
import os
import resource
import signal
import sys
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
import torch
from PIL import Image

from gateway.bootstrap import Shell
from gateway.cli.quiet import quiet_logs
from gateway.errors import DecodeError, FilmgateError, NoTime
from gateway.ledger import Ledger
from gateway.process.priority import give_way
from gateway.sandbox.decoder import Decoder
from gateway.settings import Settings
from gateway.settings.classifier import bundle_of
from gateway.store import Store
from models import pictures
from models.bundle import BundleError
from models.classifiers.bundle import find
from models.picture_files import PictureError
from pipelines import gates
from pipelines.examine import Examination, Rules, examine
from pipelines.film import REASON_TEXT, Act, Box, Film, Finding, Operations
from pipelines.gates import Gates
from pipelines.instance.first_elements import is_part10
from pipelines.json_values import plain
from pipelines.pixels.film_files import picture_film
from pipelines.reading import Condition, Reading
from pipelines.reading.classifier import Classifier
from pipelines.report.capture import heated

NICE = 10  # people wait for it, but films go first
MEMORY_MB = 6144  # of its heap, torch and one large picture included
MOST_PX = 150_000_000
DEFAULT_CLASSIFIER = "chest14"  # where the settings name none
PR_SET_PDEATHSIG = 1  # linux/prctl.h


@dataclass(frozen=True, slots=True)
class UploadDesk:
    """All that is needed to look at a file as the gateway would."""

    gates: Gates
    rules: Rules
    decoder: Decoder
    reader: Classifier | None

    def answer(self, path: Path, film_png: Path, heat_png: Path) -> dict[str, Any]:
        """What came of a file. Raises DecodeError, NoTime, PictureError or OSError."""
        is_picture = not is_part10(path)
        film, notes = self._pictured(path) if is_picture else (self.decoder.film(path), ())
        _save(film.pixels, film_png)
        # A picture says nothing of age, modality or sender: what its pixels show is all that is judged.
        rules = replace(self.rules, destinations={}, mode="alone") if is_picture else self.rules
        examined: Examination[Any] = examine(film, self.gates.look, rules)
        said = {"picture": is_picture, "notes": list(notes), **_examined(examined, rules)}
        return said | self._read(film, examined, heat_png, any_film=is_picture)

    def _pictured(self, path: Path) -> tuple[Film, tuple[str, ...]]:
        try:
            picture = pictures.read(path, most_px=MOST_PX)
        except PictureError as error:
            raise PictureError(
                f"{path.name}: it does not begin as DICOM does, and {_words(error)}"
            ) from error
        return picture_film(picture), picture.notes

    def _read(
        self, film: Film, examined: Examination[Any], heat_png: Path, *, any_film: bool
    ) -> dict[str, Any]:
        """What the classifier says of a film that would pass."""
        if self.reader is None:
            return {
                "classifier": None,
                "conditions": [],
                "not_read": "no classifier can be used",
                "heat": False,
            }
        card = self.reader.card
        of_it: dict[str, Any] = {
            "classifier": f"{card.name} {card.version}",
            "conditions": [],
            "not_read": None,
            "heat": False,
        }
        if examined.decision.act is not Act.PASS:
            return of_it | {"not_read": "it would not get to a classifier as it is, so none read it"}
        answer = self.reader.read(film, examined.findings, heat=True, any_film=any_film)
        if not isinstance(answer, Reading):
            return of_it | {"not_read": answer.why}
        if answer.shown:
            Image.fromarray(heated(film.pixels, answer)).save(heat_png, format="PNG")
        conditions = [_condition(condition) for condition in answer.conditions]
        return of_it | {"conditions": conditions, "shown": answer.shown, "heat": bool(answer.shown)}


def _examined(examined: Examination[Any], rules: Rules) -> dict[str, Any]:
    decision = examined.decision
    return {
        "act": decision.act.value,
        "words": decision.act.text,
        "rule": decision.rule,
        "why": decision.why,
        "reasons": [{"code": one.value, "text": REASON_TEXT[one]} for one in decision.reasons],
        "flags": [{"code": one.value, "text": REASON_TEXT[one]} for one in decision.flags],
        "correction": _correction(decision.operations),
        "takers": list(rules.takers(examined.header, examined.findings)) if rules.destinations else [],
        "findings": [_finding(finding) for finding in examined.findings],
    }


def _finding(finding: Finding) -> dict[str, Any]:
    return {
        "gate": finding.gate,
        "verdict": finding.verdict.value,
        "score": round(finding.score, 4),
        "reason": finding.reason.value if finding.reason else None,
        "text": REASON_TEXT[finding.reason] if finding.reason else "",
        "detail": finding.detail,
        "box": plain(finding.box) if isinstance(finding.box, Box) else None,
    }


def _correction(operations: Operations) -> str:
    """What would be done to the copy, in words."""
    done = [f"turned {operations.turn} degrees clockwise"] if operations.turn else []
    done += ["inverted"] if operations.invert else []
    done += ["cropped to the exposed part"] if operations.crop else []
    return ", ".join(done or (["its polarity named in the header"] if operations.relabel else []))


def _condition(condition: Condition) -> dict[str, Any]:
    return {
        "name": condition.name,
        "probability": round(condition.probability, 4),
        "threshold": condition.threshold,
        "positive": bool(condition.positive) and not condition.nothing,
    }


def _save(pixels: Any, target: Path) -> None:
    Image.fromarray(np.rint(np.asarray(pixels) * 255).astype(np.uint8)).save(target, format="PNG")


def _desk(settings: Settings, problems: list[str]) -> UploadDesk:
    """What cannot be used is told in `problems`; films are looked at without it, and held for that.

    Raises FilmgateError: the policy cannot be used.
    """
    torch.set_num_threads(1)
    shell = _without_ledger(settings)
    ready = gates.load(**shell.models())
    problems += ready.problems()
    policy = settings.policy
    destinations, today = shell.acceptances(), shell.today()
    rules = Rules(shell.policy(), today, destinations, policy.mode, policy.correct, ready.regions())
    return UploadDesk(ready, rules, shell.decoder(), _reader(settings, problems))


def _without_ledger(settings: Settings) -> Shell:
    """The policy, the models and the acceptances of a gateway: nothing here asks its ledger or its store."""
    nobody: Any = None
    ledger: Ledger = nobody
    store: Store = nobody
    return Shell(settings, ledger, store)


def _reader(settings: Settings, problems: list[str]) -> Classifier | None:
    """The first classifier that films pass on to, else the one that ships."""
    named = [name for name in settings.routes.pass_ if name in settings.classifiers]
    try:
        name = named[0] if named else DEFAULT_CLASSIFIER
        folder = bundle_of(settings.classifiers[name], name) if named else find(name)
        return Classifier.open(folder, cache=settings.state / "engines", threads=1)
    except BundleError as error:
        problems.append(str(error))
        return None


def _answers(desk: UploadDesk, requests: BinaryIO) -> Iterator[dict[str, Any]]:
    for line in requests:
        request = json.loads(line)
        try:
            yield desk.answer(*(Path(request[name]) for name in ("path", "film_png", "heat_png")))
        except (DecodeError, NoTime, PictureError, OSError) as error:
            yield {"error": _words(error)}
        except MemoryError:
            raise  # a process that ran out of memory is not worth keeping
        except Exception as error:  # noqa: BLE001 - a stranger's bytes find every bug; the others go on
            yield {"error": f"it cannot be examined: {type(error).__name__}"}


def _words(error: Exception) -> str:
    """Without the name under which it is kept."""
    if isinstance(error, OSError):
        return f"it cannot be read: {error.strerror}"
    first, _, rest = str(error).partition(": ")
    return rest if isinstance(error, PictureError) and rest else f"{first}{': ' if rest else ''}{rest}"


def _limit(parent_pid: int) -> None:
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGKILL)
    if os.getppid() != parent_pid:
        sys.exit()
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # it is for the console, which closes the pipe in the end
    resource.setrlimit(resource.RLIMIT_DATA, (MEMORY_MB << 20, MEMORY_MB << 20))
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    os.umask(0o077)


def _own_pipes() -> tuple[BinaryIO, BinaryIO]:
    """Our pipes under other numbers: what a library prints must not get into an answer."""
    requests, answers = os.fdopen(os.dup(0), "rb"), os.fdopen(os.dup(1), "wb")
    nothing = os.open(os.devnull, os.O_RDWR)
    os.dup2(nothing, 0)
    os.dup2(nothing, 1)
    return requests, answers


def main() -> None:
    """Answer until the pipe is closed."""
    requests, answers = _own_pipes()
    _limit(int(sys.argv[1]))
    give_way(NICE)
    quiet_logs(errors_alone=True)

    def say(answer: dict[str, Any]) -> None:
        answers.write(json.dumps(answer).encode() + b"\n")
        answers.flush()

    problems: list[str] = []
    try:
        desk = _desk(Settings.model_validate_json(requests.readline()), problems)
    except FilmgateError as error:
        say({"error": str(error)})
        return
    say({"ready": problems})
    with desk.decoder:
        for answer in _answers(desk, requests):
            say(answer)


if __name__ == "__main__":
    main()
