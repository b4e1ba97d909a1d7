"""The copy of the settings that the processes of an `up` read: a file that is edited meanwhile harms none."""

from __future__ import annotations

import json
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path

from gateway.errors import SettingsError
from gateway.process import private
from gateway.settings import PREFIX, Settings
from gateway.settings.lined_yaml import text_of
from pipelines.policy import Policy, PolicyError


def write_snapshot(settings: Settings) -> Path:
    """The settings as the children read them: complete, with secrets, for this user's eyes alone.

    Nothing is written where they stand there already: a gateway that is started again on a full disk delivers
    what it owes, and takes films in when there is room.

    Raises:
        SettingsError: the rules cannot be read or used, or the files not be written; those there stay as they
            are.
    """
    path = snapshot_of(settings.state)
    texts = {path: ""}
    if settings.policy.file is not None:  # the rules are copied too: half-edited ones must not be found
        copy = path.with_name("policy.yaml")
        texts = {copy: policy_text(settings.policy.file), path: ""}
        policy = settings.policy.model_copy(update={"file": copy})
        settings = settings.model_copy(update={"policy": policy})
    texts[path] = json.dumps(settings.model_dump(mode="json", by_alias=True), indent=1)
    try:
        private.make_folder(path.parent)
        drafts = {
            target: _drafted(target, text) for target, text in texts.items() if not _stands(target, text)
        }
        for target, draft in drafts.items():  # all of them are written by now: the disk has room
            draft.replace(target)
    except OSError as error:
        raise SettingsError(
            f"the settings cannot be kept in {path.parent}: {error.strerror}. Films are safe. "
            "Make room there."
        ) from error
    return path


def snapshot_of(state: Path) -> Path:
    """Where the settings lie that the children of a state folder's `up` read."""
    return state / "run" / "settings.json"


def _stands(target: Path, text: str) -> bool:
    with suppress(OSError, UnicodeDecodeError):
        return target.read_text(encoding="utf-8") == text and target.stat().st_mode & 0o777 == 0o600
    return False


def _drafted(target: Path, text: str) -> Path:
    draft = target.with_suffix(".part")
    draft.unlink(missing_ok=True)
    try:
        draft.touch(mode=0o600)
        draft.write_text(text, encoding="utf-8")
    except OSError:
        draft.unlink(missing_ok=True)
        raise
    return draft


def policy_text(path: Path) -> str:
    """
    Raises:
        SettingsError: the rules cannot be read or used.
    """
    try:
        text = text_of(path)
        Policy.load(text)
    except SettingsError as error:
        raise SettingsError(f"policy.file: {error}") from error
    except PolicyError as error:
        raise SettingsError(f"policy.file: {path}:{error.line}: {error.words}") from error
    return text


def child_environment(env: Mapping[str, str]) -> dict[str, str]:
    """Without the settings in it: the children's settings are complete already."""
    return {k: v for k, v in env.items() if not k.startswith(PREFIX) or k == "FILMGATE_CRASH_AT"}
